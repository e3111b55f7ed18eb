"""The alternatives: for every case the DuckDB formulations that give the same result, floored window starts included.

Each is a list of statements, the last of which copies the result to a Parquet file in the queries' order.

- window functions: events and queries together, frames whose bounds are expressions of the row.
- tiles: partial results by hop, equal-joined to the queries that see them whole, and raw events where they do not.
- range join: queries joined to the events of their key and window, grouped by query.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.performance.definitions import LOOKED_UP, OPERATION_WINDOWS, WINDOWED, WINDOWS

MINUTE = 60_000_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
LENGTHS = {"1h": HOUR, "1d": DAY, "7d": 7 * DAY, "30d": 30 * DAY}
HOPS = {"1h": 5 * MINUTE, "1d": HOUR, "7d": HOUR, "30d": DAY}

Statements = list[str]


def _copy(select: str, out: Path) -> str:
    return f"COPY ({select}) TO '{out}' (FORMAT parquet)"


def _start(window: str, t: str = "t") -> str:
    return f"(({t} - {LENGTHS[window]}) // {HOPS[window]} * {HOPS[window]})"


def window_functions(
    events: Path, queries: Path, out: Path, items: dict[str, tuple[str, str]], columns: Sequence[str], final: str = "*"
) -> Statements:
    """`items`: column -> (aggregate, window); events have empty frames, for nobody asks for theirs.

    Where a frame begins is sought once for each window, by counting its rows; DuckDB would otherwise seek it anew for
    every aggregate. `peers` are the rows of the query's own time that stand before it.
    """
    nothing = ", ".join(f"NULL AS {column}" for column in columns)
    used = list({window: None for _, window in items.values()})
    rows = f"""
        SELECT k, epoch_us(t) AS t, {", ".join(columns)}, NULL AS row FROM '{events}'
        UNION ALL SELECT k, epoch_us(ts), {nothing}, row_number() OVER () FROM '{queries}'"""
    counts = ", ".join(
        f"count(*) OVER (PARTITION BY k ORDER BY t RANGE BETWEEN "
        f"(CASE WHEN row IS NULL THEN 0 ELSE t - {_start(window)} END) PRECEDING AND 1 PRECEDING) AS rows_{window}"
        for window in used
    )
    placed = f"""
        SELECT *, {counts}, row_number() OVER (PARTITION BY k ORDER BY t, row NULLS FIRST)
                            - rank() OVER (PARTITION BY k ORDER BY t) AS peers FROM ({rows})"""
    frames = ", ".join(
        f"w{window} AS (PARTITION BY k ORDER BY t, row NULLS FIRST "
        f"ROWS BETWEEN rows_{window} + peers PRECEDING AND peers + 1 PRECEDING)"
        for window in used
    )
    computed = ", ".join(f"{aggregate} OVER w{window} AS {column}" for column, (aggregate, window) in items.items())
    select = f"""
        SELECT k, make_timestamptz(t) AS ts, {final.replace("*", ", ".join(items))}
        FROM (SELECT k, t, row, {computed} FROM ({placed}) WINDOW {frames}) WHERE row IS NOT NULL ORDER BY row"""
    return [_copy(select, out)]


def range_join(
    events: Path, queries: Path, out: Path, items: dict[str, tuple[str, str]], columns: Sequence[str]
) -> Statements:
    """`items`: column -> (aggregate, window)."""
    widest = max((window for _, window in items.values()), key=LENGTHS.__getitem__)
    computed = ", ".join(
        f"{aggregate} FILTER (e.t >= {_start(window, 'q.t')}) AS {column}"
        for column, (aggregate, window) in items.items()
    )
    select = f"""
        WITH e AS (SELECT k, epoch_us(t) AS t, {", ".join(columns)} FROM '{events}'),
             q AS (SELECT row_number() OVER () AS row, k, epoch_us(ts) AS t FROM '{queries}'),
             g AS (SELECT q.row, {computed} FROM q JOIN e
                   ON e.k = q.k AND e.t < q.t AND e.t >= {_start(widest, "q.t")} GROUP BY q.row)
        SELECT q.k, make_timestamptz(q.t) AS ts, {_zero_counts(items)} FROM q LEFT JOIN g USING (row) ORDER BY row"""
    return [_copy(select, out)]


def _zero_counts(items: dict[str, tuple[str, str]]) -> str:
    return ", ".join(
        f"coalesce({column}, 0) AS {column}" if aggregate.startswith("count") else column
        for column, (aggregate, _) in items.items()
    )


def tiles(
    events: Path,
    queries: Path,
    out: Path,
    windows: Sequence[str],
    partials: dict[str, tuple[str, str, str]],
    results: str,
    group: str = "",
) -> Statements:
    """`partials`: name -> (of one event, of a tile's events, of tiles); `results` selects from them per window.

    In `results` the partials are named `{name}_{window}`; with a `group` there is one row for each of its values, and
    `results` aggregates these.
    """
    by, keyed = (f", {group}", f", x.{group}") if group else ("", "")
    of_events = ", ".join(f"{tile.format(name)} AS {name}" for name, (_, tile, _) in partials.items())
    of_tiles = ", ".join(f"{merge.format(name)} AS {name}" for name, (_, _, merge) in partials.items())
    one = ", ".join(f"{single} AS {name}" for name, (single, _, _) in partials.items())
    names = ", ".join(f"x.{name}" for name in partials)
    starts = {"1h": "q.start_1h", "1d": "q.start_1d", "7d": "q.start_7d", "30d": "q.start_30d"}

    def piece(tile: str, join: str, seen: dict[str, str]) -> str:
        flags = ", ".join(f"{seen.get(window, 'false')} AS in_{window}" for window in windows)
        return f"SELECT q.row{keyed}, {names}, {flags} FROM q JOIN {tile} x ON x.k = q.k AND {join}"

    everywhere = dict.fromkeys(windows, "true")
    finest = HOPS["1h"] if "1h" in windows else HOUR
    pieces = [piece("e", f"x.b = q.t // {finest} AND x.t < q.t", everywhere)]
    if "1h" in windows:
        pieces.append(
            piece("minutes", "x.p = q.hour AND x.b < q.t // 300000000", everywhere | {"1h": f"x.b >= {starts['1h']}"})
        )
        pieces.append(piece("minutes", f"x.p = q.hour - 1 AND x.b >= {starts['1h']}", {"1h": "true"}))
    longer = {window: "true" for window in windows if window in ("7d", "30d")}
    pieces.append(piece("hours", "x.p = q.day AND x.b < q.hour", longer | {"1d": f"x.b >= {starts['1d']}"}))
    pieces.append(piece("hours", f"x.p = q.day - 1 AND x.b >= {starts['1d']}", {"1d": "true"}))
    if "7d" in windows:
        pieces.append(piece("hours", f"x.p = q.day - 7 AND x.b >= {starts['7d']}", {"7d": "true"}))
    pieces.append(piece("days", f"x.b < q.day AND x.b >= {starts['30d']}", {"30d": "true", "7d": "x.b > q.day - 7"}))
    merged = ", ".join(
        f"{merge.format(name)} FILTER (in_{window}) AS {name}_{window}"
        for window in windows
        for name, (_, _, merge) in partials.items()
    )
    seen = f"SELECT row{by}, {merged} FROM ({' UNION ALL '.join(pieces)}) GROUP BY row{by}"
    if group:
        seen = f"SELECT row, {results} FROM ({seen}) GROUP BY row"
    final = "* EXCLUDE (row)" if group else results
    first = (
        [f"CREATE TEMP TABLE minutes AS SELECT k{by}, b, t // {HOUR} AS p, {of_events} FROM e GROUP BY ALL"]
        if "1h" in windows
        else []
    )
    hours_of, hours_by = (of_tiles, "p") if first else (of_events, "b")
    return [
        f"CREATE TEMP TABLE e AS SELECT k{by}, epoch_us(t) AS t, epoch_us(t) // {finest} AS b, {one} FROM '{events}'",
        f"""CREATE TEMP TABLE q AS SELECT row_number() OVER () AS row, k, t, t // {HOUR} AS hour, t // {DAY} AS day,
            (t - {HOUR}) // {5 * MINUTE} AS start_1h, (t - {DAY}) // {HOUR} AS start_1d,
            (t - {7 * DAY}) // {HOUR} AS start_7d, (t - {30 * DAY}) // {DAY} AS start_30d
            FROM (SELECT k, epoch_us(ts) AS t FROM '{queries}')""",
        *first,
        f"CREATE TEMP TABLE hours AS SELECT k{by}, {hours_by} AS b, {hours_by} // 24 AS p, {hours_of} "
        f"FROM {'minutes' if first else 'e'} GROUP BY ALL",
        f"CREATE TEMP TABLE days AS SELECT k{by}, p AS b, {of_tiles} FROM hours GROUP BY ALL",
        _copy(
            f"SELECT k, make_timestamptz(t) AS ts, {final} FROM (SELECT q.k, q.t, q.row AS row, g.* EXCLUDE (row) "
            f"FROM q LEFT JOIN ({seen}) g ON g.row = q.row) ORDER BY row"
            if not group
            else f"SELECT q.k, make_timestamptz(q.t) AS ts, g.* EXCLUDE (row) FROM q LEFT JOIN ({seen}) g "
            "ON g.row = q.row ORDER BY q.row",
            out,
        ),
    ]


def sixteen_windows(formulation: str, events: Path, queries: Path, out: Path) -> Statements:
    """SUM, COUNT, MIN and MAX over four windows."""
    items = {f"v_{name.lower()}_{w}": (f"{name.lower()}(v)", w) for name in WINDOWED for w in WINDOWS}
    if formulation == "window functions":
        return window_functions(events, queries, out, items, ["v"])
    if formulation == "range join":
        return range_join(events, queries, out, items, ["v"])
    partials = {
        "s": ("v", "sum({})", "sum({})"),
        "c": ("1", "count(*)", "sum({})"),
        "low": ("v", "min({})", "min({})"),
        "high": ("v", "max({})", "max({})"),
    }
    results = ", ".join(
        f"coalesce(c_{w}, 0)::BIGINT AS v_count_{w}" if name == "COUNT" else f"{partial}_{w} AS v_{name.lower()}_{w}"
        for name, partial in zip(WINDOWED, partials, strict=True)
        for w in WINDOWS
    )
    return tiles(events, queries, out, WINDOWS, partials, results)


FORMULATIONS = ("tiles", "window functions", "range join")

AGGREGATES = {
    "SUM": "sum(v)",
    "AVERAGE": "avg(v)",
    "VARIANCE": "var_pop(v)",
    "LAST_K": "arg_max(v, {t}, 3)",
    "TOP_K": "max(v, 3)",
    "UNIQUE_COUNT": "count(DISTINCT item)",
    "HISTOGRAM": "histogram(item)",
    "APPROX_PERCENTILE": "quantile_disc(v, [0.5, 0.95])",
}


def operation(name: str, formulation: str, events: Path, queries: Path, out: Path) -> Statements | None:
    """One operation over a day and thirty; None where the formulation does not suit it."""
    if formulation == "tiles":
        return _tiled_operation(name, events, queries, out)
    if name == "bucketed SUM":
        return _bucketed(formulation, events, queries, out)
    event_time = "t" if formulation == "window functions" else "e.t"
    aggregate = AGGREGATES[name].format(t=event_time)
    items = {f"f_{window}": (aggregate, window) for window in OPERATION_WINDOWS}
    columns = ["item"] if "item" in aggregate else ["v"]
    if formulation == "range join":
        return range_join(events, queries, out, items, columns)
    only_events = {name: (f"{a} FILTER (row IS NULL)" if "arg_max" in a else a, w) for name, (a, w) in items.items()}
    final = ", ".join(f"nullif({n}, MAP {{}}) AS {n}" for n in items) if name == "HISTOGRAM" else "*"
    return window_functions(events, queries, out, only_events, columns, final)


def _bucketed(formulation: str, events: Path, queries: Path, out: Path) -> Statements:
    """Eight buckets: with window functions one filtered sum for each."""
    if formulation == "range join":
        sums = ", ".join(
            f"sum(v) FILTER (e.t >= {_start(w, 'q.t')}) AS s_{w}, count(v) FILTER (e.t >= {_start(w, 'q.t')}) AS c_{w}"
            for w in OPERATION_WINDOWS
        )
        select = f"""
            WITH e AS (SELECT k, epoch_us(t) AS t, v, bucket FROM '{events}'),
                 q AS (SELECT row_number() OVER () AS row, k, epoch_us(ts) AS t FROM '{queries}'),
                 b AS (SELECT q.row, bucket, {sums} FROM q JOIN e
                       ON e.k = q.k AND e.t < q.t AND e.t >= {_start("30d", "q.t")} GROUP BY ALL),
                 g AS (SELECT row, {_maps("bucket", "s")} FROM b GROUP BY row)
            SELECT q.k, make_timestamptz(q.t) AS ts, g.* EXCLUDE (row) FROM q LEFT JOIN g USING (row) ORDER BY row"""
        return [_copy(select, out)]
    names = [f"bucket{n:02d}" for n in range(8)]
    items = {f"{b}_{w}": (f"sum(v) FILTER (bucket = '{b}')", w) for w in OPERATION_WINDOWS for b in names}
    final = ", ".join(
        "nullif(map_from_entries(list_filter(["
        + ", ".join(f"{{'key': '{b}', 'value': {b}_{w}}}" for b in names)
        + f"], lambda e: e.value IS NOT NULL)), MAP {{}}) AS f_{w}"
        for w in OPERATION_WINDOWS
    )
    return window_functions(events, queries, out, items, ["v", "bucket"], final)


def _maps(key: str, value: str) -> str:
    return ", ".join(
        f"map_from_entries(list({{'key': {key}, 'value': {value}_{w}}} ORDER BY {key}) FILTER (c_{w} > 0)) AS f_{w}"
        for w in OPERATION_WINDOWS
    )


def _tiled_operation(name: str, events: Path, queries: Path, out: Path) -> Statements | None:
    partials = {"s": ("v", "sum({})", "sum({})"), "c": ("1", "count(*)", "sum({})")}
    squares = {"ss": ("v * v", "sum({})", "sum({})")}
    counts = {"c": ("1", "count(*)", "sum({})")}
    if name in ("SUM", "AVERAGE", "VARIANCE"):
        of = {
            "SUM": "s_{w}",
            "AVERAGE": "s_{w} / c_{w}",
            "VARIANCE": "ss_{w} / c_{w} - (s_{w} / c_{w}) * (s_{w} / c_{w})",
        }[name]
        results = ", ".join(f"{of.format(w=w)} AS f_{w}" for w in OPERATION_WINDOWS)
        used = partials | squares if name == "VARIANCE" else partials
        return tiles(events, queries, out, OPERATION_WINDOWS, used, results)
    if name == "UNIQUE_COUNT":
        results = ", ".join(f"count(*) FILTER (c_{w} > 0) AS f_{w}" for w in OPERATION_WINDOWS)
        statements = tiles(events, queries, out, OPERATION_WINDOWS, counts, results, group="item")
        zeros = ", ".join(f"coalesce(g.f_{w}, 0) AS f_{w}" for w in OPERATION_WINDOWS)
        return [*statements[:-1], statements[-1].replace("g.* EXCLUDE (row)", zeros)]
    if name == "HISTOGRAM":
        maps = _maps("item", "c")
        return tiles(events, queries, out, OPERATION_WINDOWS, counts, maps, group="item")
    if name == "bucketed SUM":
        return tiles(events, queries, out, OPERATION_WINDOWS, partials, _maps("bucket", "s"), group="bucket")
    return None


def asof_join(events: Path, queries: Path, out: Path) -> Statements:
    """The latest row before the query, by DuckDB's own join for it."""
    columns = ", ".join(f"e.{name}" for name in LOOKED_UP)
    select = f"""
        SELECT q.k, q.ts, {columns} FROM (SELECT *, row_number() OVER () AS row FROM '{queries}') q
        ASOF LEFT JOIN '{events}' e ON e.k = q.k AND e.t < q.ts ORDER BY q.row"""
    return [_copy(select, out)]
