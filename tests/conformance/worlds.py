"""The tables that whole random definitions are about, filled for one case.

`asked` and `visits` are lefts, `orders`, `views` and `outcomes` events, `people` states that change, `stock` states of
days, and `served...` what was computed before. All stand around the queries of the case.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from .generate import SEED
from .generate_definitions import LEFT_COLUMNS, OFFSET, STATE_INPUTS, STOCK_COLUMNS, Author, Drawn
from .histories import DUMP_COLUMNS, LOG_COLUMNS, History
from .instants import DAY, instant, micros, span
from .streams import Draw
from .tables import BackfillCase, Row, Table

BASE = "2024-03-01"
AS_OF = "2024-03-03T18:00:00"
"""Some labels of queries around the base are mature by then, some are not."""
USERS = ["ann", "bob", "é", ""]
ITEMS = [1, 2, -1]
POOLS: dict[str, Sequence[Any]] = {
    "BIGINT": [0, 1, 2, 3, 7, -5, 100],
    "DOUBLE": [0.0, 0.25, -0.5, 1.75, 100.5, -3.0],
    "STRING": ["a", "b", "ab", "", "é", "B"],
}
EVENT_SCHEMA = {
    "user": "STRING",
    "item": "BIGINT",
    "amount": "DOUBLE",
    "n": "BIGINT",
    "word": "STRING",
    "tags": "ARRAY<BIGINT>",
    "t": "TIMESTAMP",
    "known": "TIMESTAMP",
}
PEOPLE_SCHEMA = {"user": "STRING", **STATE_INPUTS}
LEFT_ROWS = 8


@dataclass(frozen=True)
class Definition:
    """One random join by its number; `keyless` ones cannot share a job."""

    number: int

    @property
    def name(self) -> str:
        return f"definition {self.number}"

    @property
    def training(self) -> bool:
        return self.number % 3 != 2

    @cached_property
    def author(self) -> Author:
        return Author(Draw(f"{SEED} {self.name}"), keyless=self.number % 10 == 9)

    @cached_property
    def drawn(self) -> Drawn:
        return self.author.join(self.number % 4, top=True)

    @cached_property
    def days(self) -> list[int]:
        """The days that have snapshots, of any table of states."""
        draw = Draw(f"{SEED} {self.name} days")
        week = [micros(BASE) + number * DAY for number in range(-4, 3)]
        return sorted({draw.one(week[:3]), *draw.random.sample(week, draw.number(1, 4))})

    def cases(self, count: int) -> list[BackfillCase]:
        join = self.drawn.definition
        return [self._case(join, number) for number in range(count)]

    def _case(self, join: Any, number: int) -> BackfillCase:
        world = World(Draw(f"{SEED} {self.name} {number}"), self)
        return BackfillCase(join, world.tables(), self.training, AS_OF, self.author.functions)


class World:
    """The tables of one case."""

    def __init__(self, draw: Draw, definition: Definition) -> None:
        self.draw, self.definition = draw, definition
        self.windows = [span(window) if window else None for window in sorted(definition.author.windows, key=str)]
        self.queries = [self._query_time() for _ in range(draw.number(2, 5))]
        self.visited = [draw.event_time(self.queries, self.windows, BASE) for _ in range(LEFT_ROWS)]

    def _query_time(self) -> int:
        ends = [day + DAY for day in self.definition.days]
        return self.draw.one(ends) if self.draw.chance(0.15) else self.draw.query_time(BASE)

    def tables(self) -> dict[str, Table]:
        after = [query + span(OFFSET) for query in self.queries]
        around = [*self.queries, *self.queries, *self.visited, *(day + DAY for day in self.definition.days)]
        history = History(self.draw, lambda: self._person(around), ["user"], self.definition.days, self.queries)
        dumped, log = history.play(self.draw.number(5, 30))
        return {
            "asked": self._left(self.queries),
            "visits": self._left(self.visited),
            "orders": self._events(around),
            "views": self._events(around),
            "outcomes": self._events(after),
            "people": Table(PEOPLE_SCHEMA | DUMP_COLUMNS, tuple(dumped)),
            "people_log": Table(PEOPLE_SCHEMA | LOG_COLUMNS, tuple(log)),
            "stock": self._stock(),
            **{name: self._served(columns) for name, columns in self.definition.author.served.items()},
        }

    def _value(self, kind: str) -> Any:
        if kind.startswith("ARRAY<"):
            return None if self.draw.chance(0.1) else [self._value("BIGINT") for _ in range(self.draw.number(0, 3))]
        return None if self.draw.chance(0.07) else self.draw.one(POOLS[kind])

    def _user(self) -> str | None:
        return None if self.draw.chance(0.06) else self.draw.one(USERS)

    def _item(self) -> int | None:
        return None if self.draw.chance(0.06) else self.draw.one(ITEMS)

    def _left(self, times: Sequence[int]) -> Table:
        rows: list[Row] = [
            {
                "id": number,
                "user": self._user(),
                "friend": self._user(),
                "item": self._item(),
                "n": self._value("BIGINT"),
                "asked": None if self.draw.chance(0.04) else instant(self.draw.one(times)),
            }
            for number in range(self.draw.number(0, LEFT_ROWS))
        ]
        self.draw.random.shuffle(rows)
        return Table({**LEFT_COLUMNS, "asked": "TIMESTAMP"}, tuple(rows))

    def _events(self, times: Sequence[int]) -> Table:
        rows: list[Row] = []
        for _ in range(self.draw.number(0, 25)):
            row: Row = {"user": self._user(), "item": self._item()}
            row |= {name: self._value(EVENT_SCHEMA[name]) for name in ("amount", "n", "word", "tags")}
            time = self.draw.event_time(times, self.windows, BASE)
            known = self.draw.known_time(time, times)
            row["t"] = None if self.draw.chance(0.02) else instant(time)
            if rows and self.draw.chance(0.1):
                row |= {name: self.draw.one(rows)[name] for name in ("t", "user", "item")}
            rows.append(row | {"known": None if known is None else instant(known)})
            if self.draw.chance(0.05):
                rows.append(dict(rows[-1]))
        self.draw.random.shuffle(rows)
        return Table(EVENT_SCHEMA, tuple(rows))

    def _person(self, times: Sequence[int]) -> Row:
        row = {"user": self._user(), **{name: self._value(kind) for name, kind in STATE_INPUTS.items()}}
        time = None if self.draw.chance(0.02) else instant(self.draw.event_time(times, self.windows, BASE))
        return row | {"t": time, "kept": self.draw.one([True] * 6 + [False, None])}

    def _stock(self) -> Table:
        """Some rows of every day, at least one."""
        rows = [
            {
                "user": self._user(),
                "item": self._item(),
                "level": self._value("BIGINT"),
                "t": instant(day + self.draw.number(-3 * DAY, DAY - 1)),
                "ds": instant(day).date().isoformat(),
            }
            for day in self.definition.days
            for _ in range(self.draw.number(1, 3))
        ]
        self.draw.random.shuffle(rows)
        return Table({**STOCK_COLUMNS, "t": "TIMESTAMP", "ds": "STRING"}, tuple(rows))

    def _served(self, columns: dict[str, str]) -> Table:
        """Rows of some ids, of which some are of no left row."""
        ids = self.draw.random.sample(range(LEFT_ROWS + 2), self.draw.number(0, LEFT_ROWS))
        rows = [{"id": number, **{name: self._value(kind) for name, kind in columns.items()}} for number in ids]
        return Table({"id": "BIGINT", **columns}, tuple(rows))


def definitions(count: int) -> list[Definition]:
    return [Definition(number) for number in range(count)]
