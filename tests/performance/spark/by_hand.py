"""The alternative: sixteen windowed features in plain Spark SQL, as a person with experience of it would write them.

A range join of events and queries, or a window function over both, is quadratic in the rows of a frequent key and does
not end. So events are first aggregated to tiles, one for each key and hop; a window is whole tiles and, in the hop of
the query itself, the events before it. For the tiles there are two ways:

- windows over tiles: tiles and the hops that are asked for together, a RANGE frame of constant width over them
- joined tiles: each query joined to the tiles that it sees, by equality of key and hour or day, then grouped

Both are exact (floored window starts included), and both leave the rest to Spark: adaptive execution, its own choice of
joins, its default number of partitions.
"""

from __future__ import annotations

from tests.performance.baselines import DAY, HOPS, HOUR, LENGTHS, MINUTE
from tests.performance.definitions import WINDOWED, WINDOWS

FORMULATIONS = ("windows over tiles", "joined tiles")
_PARTIALS = {"s": ("sum", "sum"), "c": ("count", "sum"), "low": ("min", "min"), "high": ("max", "max")}
"""Name -> the aggregate of events, and that of tiles."""

View = tuple[str, str]
"""A name and the statement that it stands for."""


def sixteen_windows(formulation: str) -> tuple[list[View], str]:
    """(views, the statement that gives k, ts and the sixteen features) over the views `events` and `queries`."""
    return _windows_over_tiles() if formulation == "windows over tiles" else _joined_tiles()


def _of_events(names: str = "{0}") -> str:
    return ", ".join(f"{f}(v) AS {names.format(name)}" for name, (f, _) in _PARTIALS.items())


def _results(partial: str) -> str:
    """`partial` is the SQL of a partial of a window, with {name} and {window}."""
    columns = []
    for operation, name in zip(WINDOWED, _PARTIALS, strict=True):
        for window in WINDOWS:
            value = partial.format(name=name, window=window, merge=_PARTIALS[name][1])
            columns.append(f"{f'coalesce({value}, 0)' if name == 'c' else value} AS v_{operation.lower()}_{window}")
    return ", ".join(columns)


def _windows_over_tiles() -> tuple[list[View], str]:
    views = [
        ("e", "SELECT k, unix_micros(t) AS t, v FROM events"),
        ("q", "SELECT monotonically_increasing_id() AS row, k, unix_micros(ts) AS t FROM queries"),
    ]
    hops = sorted(set(HOPS.values()))
    for hop in hops:
        windows = [window for window in WINDOWS if HOPS[window] == hop]
        frames = ", ".join(
            f"{merge}({name}) OVER (PARTITION BY k ORDER BY b RANGE BETWEEN {LENGTHS[window] // hop} PRECEDING "
            f"AND 1 PRECEDING) AS {name}_{window}"
            for window in windows
            for name, (_, merge) in _PARTIALS.items()
        )
        head = ", ".join(
            f"{f}(v) OVER (PARTITION BY k, b ORDER BY t RANGE BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS {name}"
            for name, (f, _) in _PARTIALS.items()
        )
        nothing = ", ".join(f"NULL AS {name}" for name in _PARTIALS)
        views += [
            (f"tiles_{hop}", f"SELECT k, t div {hop} AS b, {_of_events()} FROM e GROUP BY k, t div {hop}"),
            (
                f"seen_{hop}",
                f"SELECT * FROM (SELECT k, b, asked, {frames} FROM (SELECT k, b, false AS asked, "
                f"{', '.join(_PARTIALS)} FROM tiles_{hop} UNION ALL "
                f"SELECT DISTINCT k, t div {hop}, true, {nothing} FROM q)) WHERE asked",
            ),
            (
                f"heads_{hop}",
                f"SELECT * FROM (SELECT row, k, b, {head} FROM (SELECT NULL AS row, k, t, t div {hop} AS b, v FROM e "
                f"UNION ALL SELECT row, k, t, t div {hop}, NULL FROM q)) WHERE row IS NOT NULL",
            ),
        ]
    of_hop = {window: f"h{HOPS[window]}" for window in WINDOWS}
    merged = {
        "s": "coalesce({t} + {h}, {t}, {h})",
        "c": "coalesce({t}, 0) + {h}",
        "low": "least({t}, {h})",
        "high": "greatest({t}, {h})",
    }
    columns = []
    for operation, name in zip(WINDOWED, _PARTIALS, strict=True):
        for window in WINDOWS:
            value = merged[name].format(t=f"w{HOPS[window]}.{name}_{window}", h=f"{of_hop[window]}.{name}")
            columns.append(f"{value} AS v_{operation.lower()}_{window}")
    joins = " ".join(
        f"JOIN heads_{hop} h{hop} ON h{hop}.row = q.row "
        f"JOIN seen_{hop} w{hop} ON w{hop}.k = q.k AND w{hop}.b = q.t div {hop}"
        for hop in hops
    )
    return views, f"SELECT q.k, timestamp_micros(q.t) AS ts, {', '.join(columns)} FROM q {joins}"


def _joined_tiles() -> tuple[list[View], str]:
    of_tiles = ", ".join(f"{merge}({name}) AS {name}" for name, (_, merge) in _PARTIALS.items())
    names = ", ".join(f"x.{name}" for name in _PARTIALS)
    one = "v AS s, CAST(v IS NOT NULL AS INT) AS c, v AS low, v AS high"
    five = 5 * MINUTE

    def piece(tile: str, join: str, seen: dict[str, str]) -> str:
        flags = ", ".join(f"{seen.get(window, 'false')} AS in_{window}" for window in WINDOWS)
        return f"SELECT q.row, {names}, {flags} FROM q JOIN {tile} x ON x.k = q.k AND {join}"

    everywhere = dict.fromkeys(WINDOWS, "true")
    pieces = [
        piece("e", f"x.b = q.t div {five} AND x.t < q.t", everywhere),
        piece("minutes", f"x.p = q.hour AND x.b < q.t div {five}", everywhere | {"1h": "x.b >= q.start_1h"}),
        piece("minutes", "x.p = q.hour - 1 AND x.b >= q.start_1h", {"1h": "true"}),
        piece("hours", "x.p = q.day AND x.b < q.hour", {"30d": "true", "7d": "true", "1d": "x.b >= q.start_1d"}),
        piece("hours", "x.p = q.day - 1 AND x.b >= q.start_1d", {"1d": "true"}),
        piece("hours", "x.p = q.day - 7 AND x.b >= q.start_7d", {"7d": "true"}),
        piece("days", "x.b < q.day AND x.b >= q.start_30d", {"30d": "true", "7d": "x.b > q.day - 7"}),
    ]
    merged = ", ".join(
        f"{merge}({name}) FILTER (WHERE in_{window}) AS {name}_{window}"
        for window in WINDOWS
        for name, (_, merge) in _PARTIALS.items()
    )
    views = [
        ("e", f"SELECT k, unix_micros(t) AS t, unix_micros(t) div {five} AS b, {one}, v FROM events"),
        (
            "q",
            f"""SELECT row, k, t, t div {HOUR} AS hour, t div {DAY} AS day,
            (t - {HOUR}) div {five} AS start_1h, (t - {DAY}) div {HOUR} AS start_1d,
            (t - {7 * DAY}) div {HOUR} AS start_7d, (t - {30 * DAY}) div {DAY} AS start_30d
            FROM (SELECT monotonically_increasing_id() AS row, k, unix_micros(ts) AS t FROM queries)""",
        ),
        ("minutes", f"SELECT k, b, t div {HOUR} AS p, {_of_events()} FROM e GROUP BY k, b, t div {HOUR}"),
        ("hours", f"SELECT k, p AS b, p div 24 AS p, {of_tiles} FROM minutes GROUP BY k, minutes.p, minutes.p div 24"),
        ("days", f"SELECT k, p AS b, {of_tiles} FROM hours GROUP BY k, hours.p"),
        ("seen", f"SELECT row, {merged} FROM ({' UNION ALL '.join(pieces)}) GROUP BY row"),
    ]
    results = _results("{name}_{window}")
    return views, f"SELECT q.k, timestamp_micros(q.t) AS ts, {results} FROM q LEFT JOIN seen ON seen.row = q.row"
