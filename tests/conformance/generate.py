"""Seeded definitions and the cases of each: what the random differential tests run.

A scenario is a theme (which operations over which columns, or a lookup), a mode (accuracy, clocks, number of sources)
and a kind of key; its cases differ in their data only, so they can run as one job. `tally` counts what was drawn.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from zipline import Accuracy, Aggregation, EventSource, GroupBy, Operation, Query

from .instants import instant, micros, span
from .streams import BASES, CHANNELS, COUNTS, DAYS, EXTREME, HUGE, SMALL, TAME, WILD, WORDS, Draw, moments
from .tables import AggregateCase, Row, Table

SEED = "zipline"
COLUMNS: dict[str, tuple[str, Sequence[Any]]] = {
    "amount": ("DOUBLE", TAME),
    "extreme": ("DOUBLE", EXTREME),
    "wild": ("DOUBLE", WILD),
    "ratio": ("FLOAT", [0.5, 0.1, -0.25, 3.0]),
    "n": ("BIGINT", COUNTS),
    "huge": ("BIGINT", HUGE),
    "small": ("INT", SMALL),
    "word": ("STRING", WORDS),
    "flag": ("BOOLEAN", [True, False]),
    "day": ("DATE", DAYS),
    "moment": ("TIMESTAMP", moments()),
    "tags": ("ARRAY<STRING>", WORDS),
    "scores": ("ARRAY<DOUBLE>", [*TAME, math.inf]),
    "levels": ("ARRAY<BIGINT>", COUNTS),
    "channel": ("STRING", CHANNELS),
    "level": ("INT", [1, 2, -1]),
}
NUMBERS = ("amount", "extreme", "wild", "ratio", "n", "huge", "small")
SCALARS = (*NUMBERS, "word", "flag", "day", "moment")
LISTS = ("tags", "scores", "levels")
TEMPORAL_WINDOWS = ["1m", "30m", "1h", "6h", "11h", "12h", "1d", "7d", "11d", "12d", "30d", None]
SNAPSHOT_WINDOWS = ["1d", "2d", "7d", "12d", "30d", None]
ARGUMENTS: dict[str, dict[str, Any]] = {
    "FIRST_K": {"k": 3},
    "LAST_K": {"k": 3},
    "TOP_K": {"k": 3},
    "BOTTOM_K": {"k": 2},
    "BOUNDED_UNIQUE_COUNT": {"k": 3},
    "APPROX_HISTOGRAM_K": {"k": 8},
    "APPROX_PERCENTILE": {"percentiles": [0.0, 0.25, 0.5, 0.99]},
}
ON_NUMBERS = ("AVERAGE", "VARIANCE", "SKEW", "KURTOSIS", "APPROX_PERCENTILE")

Choice = tuple[str, str, tuple[str, ...]]
"""Operation, input column, buckets."""


def _all(operations: Sequence[str], columns: Sequence[str]) -> list[Choice]:
    return [(operation, column, ()) for operation in operations for column in columns]


def _everything_on(columns: Sequence[str], buckets: Sequence[tuple[str, ...]]) -> list[Choice]:
    """Every operation on every column that it takes, the buckets in turn."""
    pairs = [(name, column) for column in columns for name in Operation.__members__ if takes(name, column)]
    return [(name, column, buckets[number % len(buckets)]) for number, (name, column) in enumerate(pairs)]


def takes(operation: str, column: str) -> bool:
    """Whether an operation is meant for a column; totals of huge integers would overflow."""
    kind = COLUMNS[column][0].removeprefix("ARRAY<").rstrip(">")
    if operation in ON_NUMBERS:
        return kind in ("DOUBLE", "FLOAT", "BIGINT", "INT")
    return operation != "SUM" or (kind in ("DOUBLE", "FLOAT", "BIGINT", "INT") and column != "huge")


LOOKUPS = "lookups"
LOOKED_UP = ("word", "amount", "level", "flag", "moment")
THEMES: dict[str, list[Choice]] = {
    "totals": [
        *((name, column, ()) for name in ("SUM", "AVERAGE") for column in NUMBERS if takes(name, column)),
        *_all(["COUNT"], SCALARS),
    ],
    "moments": _all(["VARIANCE", "SKEW", "KURTOSIS"], NUMBERS),
    "ends": _all(["MIN", "MAX"], SCALARS),
    "order": _all(["FIRST", "LAST", "FIRST_K", "LAST_K"], SCALARS),
    "ranks": _all(["TOP_K", "BOTTOM_K"], SCALARS),
    "distinct": _all(["UNIQUE_COUNT", "BOUNDED_UNIQUE_COUNT", "APPROX_UNIQUE_COUNT"], SCALARS),
    "shapes": [
        *_all(["HISTOGRAM", "APPROX_HISTOGRAM_K"], ["amount", "n", "word", "flag", "day"]),
        *_all(["APPROX_PERCENTILE"], NUMBERS),
    ],
    "lists": _everything_on(LISTS, [()]),
    "buckets": _everything_on(["amount", "word"], [("channel",), ("level",), ("channel", "level")]),
    LOOKUPS: [],
}
KEYS: dict[str, tuple[dict[str, str], list[tuple[Any, ...]]]] = {
    "text": ({"user": "STRING"}, [("ann",), ("Ann",), ("é",), ("e\u0301",), ("",)]),
    "pair": ({"a": "STRING", "b": "STRING"}, [("a", "bc"), ("ab", "c"), ("abc", "")]),
    "number": ({"user": "BIGINT"}, [(1,), (-1,), (2**31 - 1,), (0,)]),
    "float": ({"user": "DOUBLE"}, [(0.0,), (-0.0,), (1.5,), (math.inf,), (math.nan,)]),
    "mixed": (
        {"user": "STRING", "born": "DATE"},
        [("1", dt.date(2024, 3, 1)), ("1", dt.date(1969, 12, 31)), ("2", dt.date(2024, 3, 1))],
    ),
    "none": ({}, [()]),
}
NARROW = {"BIGINT": "INT"}
"""Queries hold integer keys in a narrower type than events do."""


@dataclass(frozen=True)
class Mode:
    name: str
    accuracy: Accuracy = Accuracy.TEMPORAL
    known: bool = False
    sources: int = 1
    event_id: bool = False


MODES = (
    Mode("temporal"),
    Mode("temporal known", known=True),
    Mode("snapshot", Accuracy.SNAPSHOT),
    Mode("snapshot known", Accuracy.SNAPSHOT, known=True),
    Mode("union", known=True, sources=2),
    Mode("event id", known=True, event_id=True),
)


@dataclass(frozen=True)
class Scenario:
    """One definition, from which cases are drawn by number."""

    theme: str
    mode: Mode
    key: str
    table: str = "events"

    @property
    def name(self) -> str:
        return f"{self.theme}, {self.mode.name}, {self.key} key"

    @property
    def columns(self) -> list[str]:
        chosen = THEMES[self.theme]
        used = {name for _, column, buckets in chosen for name in (column, *buckets)} or set(LOOKED_UP)
        return [column for column in COLUMNS if column in used]

    def group_by(self, windows: Sequence[str | None] | None = None) -> GroupBy:
        """The definition, its windows of the given ones or else of all that its accuracy allows."""
        draw = Draw(f"{SEED} {self.name}")
        pool = windows or (TEMPORAL_WINDOWS if self.mode.accuracy is Accuracy.TEMPORAL else SNAPSHOT_WINDOWS)
        aggregations = [
            Aggregation(
                column,
                Operation[operation],
                windows=sorted(draw.random.sample(pool, 2), key=str),
                buckets=buckets,
                **ARGUMENTS.get(operation, {}),
            )
            for operation, column, buckets in THEMES[self.theme]
        ]
        return GroupBy(
            keys=list(KEYS[self.key][0]),
            sources=[self._source(number) for number in range(self.mode.sources)],
            aggregations=aggregations,
            accuracy=self.mode.accuracy,
            name=f"random.{self.table}",
        )

    def _source(self, number: int) -> EventSource:
        """The second source of a union declares no second clock."""
        names = [*KEYS[self.key][0], *self.columns]
        query = Query(
            select={name: name for name in names},
            time="t",
            known_at="known" if self.mode.known and number == 0 else None,
            event_id="id" if self.mode.event_id else None,
        )
        return EventSource(f"{self.table}_{number}", query=query)

    def cases(self, count: int) -> list[AggregateCase]:
        group_by = self.group_by()
        return [self._case(group_by, number) for number in range(count)]

    def _case(self, group_by: GroupBy, number: int) -> AggregateCase:
        draw = Draw(f"{SEED} {self.name} {number}")
        base = draw.one(BASES)
        times = [draw.query_time(base) for _ in range(draw.number(1, 6))]
        tables = self.tables(draw, group_by, times, base, number * 1000)
        return AggregateCase(group_by, self._queries(draw, times), tables)

    def tables(self, draw: Draw, group_by: GroupBy, times: list[int], base: str, first_id: int) -> dict[str, Table]:
        """The tables of every source of the definition; ids are unique over all cases."""
        windows = [span(str(window)) if window else None for one in group_by.aggregations for window in one.windows]
        return {
            f"{self.table}_{number}": self._events(draw, number, times, windows, base, first_id + number * 500)
            for number in range(len(group_by.sources))
        }

    def draw_key(self, draw: Draw) -> Row:
        """A key of the pool, at times with a part missing."""
        kinds, pool = KEYS[self.key]
        key = dict(zip(kinds, draw.one(pool), strict=True))
        return key | ({draw.one(list(key)): None} if key and draw.chance(0.12) else {})

    def _queries(self, draw: Draw, times: list[int]) -> Table:
        """The queries in no order, some of unknown keys or null times, some twice."""
        kinds = KEYS[self.key][0]
        schema = {name: NARROW.get(kind, kind) for name, kind in kinds.items()} | {"ts": "TIMESTAMP"}
        rows: list[Row] = []
        for _ in range(draw.number(1, 8)):
            time = None if draw.chance(0.03) else instant(draw.one(times))
            rows.append(self.draw_key(draw) | {"ts": time})
        if draw.chance(0.2):
            rows.append(dict(draw.one(rows)))
        return Table(schema, tuple(rows))

    def _events(
        self, draw: Draw, source: int, times: list[int], windows: list[int | None], base: str, first_id: int
    ) -> Table:
        kinds = KEYS[self.key][0]
        schema = {**kinds, **{column: COLUMNS[column][0] for column in self.columns}, "t": "TIMESTAMP"}
        schema |= {"known": "TIMESTAMP"} if self.mode.known and source == 0 else {}
        schema |= {"id": "BIGINT"} if self.mode.event_id else {}
        rows: list[Row] = []
        for number in range(0 if draw.chance(0.04) else draw.number(1, 40)):
            tied = draw.one(rows)["t"] if rows and draw.chance(0.15) else None
            drawn = instant(draw.event_time(times, windows, base))
            time = tied or (None if draw.chance(0.03) else drawn)
            row = self.draw_key(draw)
            row |= {column: draw.value(*COLUMNS[column]) for column in self.columns}
            row["t"] = time
            if "known" in schema:
                row["known"] = _instant(draw.known_time(micros(time or drawn), times))
            if self.mode.event_id:
                row["id"] = first_id + number
            rows.append(row)
            if draw.chance(0.08):
                rows.append(self._again(draw, row))
        draw.random.shuffle(rows)
        return Table(schema, tuple(rows))

    def _again(self, draw: Draw, row: Row) -> Row:
        """The same row once more; of one event id, delivered later half of the time."""
        if not self.mode.event_id or row["t"] is None or row["known"] is None or draw.chance(0.5):
            return dict(row)
        return row | {"known": max(row["t"], row["known"]) + dt.timedelta(minutes=draw.number(1, 3000))}


def _instant(time: int | None) -> dt.datetime | None:
    return None if time is None else instant(time)


def scenarios() -> list[Scenario]:
    """Every theme in every mode, the kinds of keys in turn."""
    keys = [key for key in KEYS if key != "none"]
    pairs = [(theme, mode) for theme in THEMES for mode in MODES]
    made = [Scenario(theme, mode, keys[number % len(keys)]) for number, (theme, mode) in enumerate(pairs)]
    return [*made, Scenario("totals", MODES[1], "none"), Scenario("order", MODES[2], "none")]
