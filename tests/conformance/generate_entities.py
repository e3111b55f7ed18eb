"""Seeded group-bys over states that change: every exact operation, windows, buckets, lists and keys, and lookups.

The cases of one definition have the same days of snapshots, so they can run as one job.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from zipline import Accuracy, Aggregation, EntitySource, GroupBy, Operation, Query

from .generate import (
    ARGUMENTS,
    COLUMNS,
    KEYS,
    LOOKED_UP,
    LOOKUPS,
    NARROW,
    SEED,
    SNAPSHOT_WINDOWS,
    TEMPORAL_WINDOWS,
    THEMES,
    Choice,
)
from .histories import DUMP_COLUMNS, LOG_COLUMNS, History
from .instants import DAY, instant, micros, span
from .streams import BASES, Draw
from .tables import AggregateCase, Row, Table

STATE_THEMES: dict[str, list[Choice]] = {
    name: [choice for choice in choices if not choice[0].startswith("APPROX_")] for name, choices in THEMES.items()
}


@dataclass(frozen=True)
class StateMode:
    name: str
    accuracy: Accuracy = Accuracy.TEMPORAL
    sources: int = 1
    where: bool = False
    timed: bool = True


STATE_MODES = (
    StateMode("temporal"),
    StateMode("temporal where", where=True),
    StateMode("snapshot", Accuracy.SNAPSHOT, where=True),
    StateMode("union", sources=2),
)
UNTIMED = StateMode("untimed", timed=False)


@dataclass(frozen=True)
class StateScenario:
    """One definition, from which cases are drawn by number."""

    theme: str
    mode: StateMode
    key: str
    table: str = "state"

    @property
    def name(self) -> str:
        return f"states: {self.theme}, {self.mode.name}, {self.key} key"

    @property
    def keys(self) -> dict[str, str]:
        return KEYS[self.key][0]

    @property
    def columns(self) -> list[str]:
        chosen = STATE_THEMES[self.theme]
        used = {name for _, column, buckets in chosen for name in (column, *buckets)} or set(LOOKED_UP)
        return [column for column in COLUMNS if column in used]

    @property
    def base(self) -> str:
        return Draw(f"{SEED} {self.name} base").one(BASES)

    @property
    def days(self) -> list[int]:
        """The days that have a snapshot: some of a week, and one of its first three."""
        draw = Draw(f"{SEED} {self.name} days")
        week = [micros(self.base) + number * DAY for number in range(-3, 4)]
        return sorted({draw.one(week[:3]), *draw.random.sample(week, draw.number(1, 3))})

    def group_by(self) -> GroupBy:
        draw = Draw(f"{SEED} {self.name}")
        pool = TEMPORAL_WINDOWS if self.mode.accuracy is Accuracy.TEMPORAL else SNAPSHOT_WINDOWS
        aggregations = [
            Aggregation(
                column,
                Operation[operation],
                windows=self._windows(draw, pool),
                buckets=buckets,
                **ARGUMENTS.get(operation, {}),
            )
            for operation, column, buckets in STATE_THEMES[self.theme]
        ]
        return GroupBy(
            keys=list(self.keys),
            sources=[self._source(number) for number in range(self.mode.sources)],
            aggregations=aggregations,
            accuracy=self.mode.accuracy,
            name=f"random.{self.table}",
        )

    def _windows(self, draw: Draw, pool: Sequence[str | None]) -> list[str | None]:
        """A long one, which holds something, and any other."""
        long = draw.one(["7d", "30d", None]) if self.mode.timed else None
        return [long, draw.one([window for window in pool if window != long])] if self.mode.timed else [None]

    def _source(self, number: int) -> EntitySource:
        query = Query(
            select={name: name for name in (*self.keys, *self.columns)},
            where=["kept"] if self.mode.where else [],
            time="t" if self.mode.timed else None,
            mutation_time="changed",
            is_before="before",
        )
        return EntitySource(f"{self.table}_{number}", mutations=f"{self.table}_{number}_log", query=query)

    def cases(self, count: int) -> list[AggregateCase]:
        group_by = self.group_by()
        return [self._case(group_by, number) for number in range(count)]

    def _case(self, group_by: GroupBy, number: int) -> AggregateCase:
        draw = Draw(f"{SEED} {self.name} {number}")
        times = [self._query_time(draw) for _ in range(draw.number(1, 6))]
        return AggregateCase(group_by, self._queries(draw, times), self.tables(draw, group_by, times))

    def _query_time(self, draw: Draw) -> int:
        """At times exactly when a snapshot's day ends, else anywhere."""
        return draw.one(self.days) + DAY if draw.chance(0.15) else draw.query_time(self.base)

    def tables(self, draw: Draw, group_by: GroupBy, times: Sequence[int]) -> dict[str, Table]:
        windows = [span(str(window)) if window else None for one in group_by.aggregations for window in one.windows]
        kinds = {**self.keys, **{column: COLUMNS[column][0] for column in self.columns}}
        tables: dict[str, Table] = {}
        for number in range(self.mode.sources):
            history = History(draw, lambda: self._row(draw, times, windows), list(self.keys), self.days, times)
            dumped, log = history.play(draw.number(5, 40))
            tables[f"{self.table}_{number}"] = Table(kinds | DUMP_COLUMNS, tuple(dumped))
            tables[f"{self.table}_{number}_log"] = Table(kinds | LOG_COLUMNS, tuple(log))
        return tables

    def _row(self, draw: Draw, times: Sequence[int], windows: Sequence[int | None]) -> Row:
        row = self.draw_key(draw) | {column: draw.value(*COLUMNS[column]) for column in self.columns}
        time = None if draw.chance(0.02) else instant(draw.event_time(times, windows, self.base))
        return row | {"t": time, "kept": draw.one([True] * 6 + [False, None])}

    def draw_key(self, draw: Draw) -> Row:
        key = dict(zip(self.keys, draw.one(KEYS[self.key][1]), strict=True))
        return key | ({draw.one(list(key)): None} if key and draw.chance(0.06) else {})

    def _queries(self, draw: Draw, times: Sequence[int]) -> Table:
        schema = {name: NARROW.get(kind, kind) for name, kind in self.keys.items()} | {"ts": "TIMESTAMP"}
        rows: list[Row] = [
            self.draw_key(draw) | {"ts": None if draw.chance(0.03) else instant(draw.one(times))}
            for _ in range(draw.number(2, 10))
        ]
        return Table(schema, tuple(rows))


def state_scenarios() -> list[StateScenario]:
    """Every theme in every mode, the kinds of keys in turn."""
    keys = [key for key in KEYS if key != "none"]
    pairs: list[tuple[str, StateMode]] = [(theme, mode) for theme in STATE_THEMES for mode in STATE_MODES]
    made = [StateScenario(theme, mode, keys[number % len(keys)]) for number, (theme, mode) in enumerate(pairs)]
    others: list[Any] = [
        StateScenario(LOOKUPS, UNTIMED, "text"),
        StateScenario("ranks", UNTIMED, "pair"),
        StateScenario("totals", STATE_MODES[0], "none"),
        StateScenario(LOOKUPS, STATE_MODES[1], "none"),
    ]
    return [*made, *others]
