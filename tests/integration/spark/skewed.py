"""Tables of which one key has half of all rows, and a join with a feature of every kind over them."""

from __future__ import annotations

import datetime as dt
import random
from typing import Any

import pyarrow as pa

from zipline import (
    Accuracy,
    Aggregation,
    EntitySource,
    EventSource,
    GroupBy,
    Join,
    JoinPart,
    LabelPart,
    Operation,
    Query,
)

FIRST = dt.datetime(2024, 3, 1, tzinfo=dt.timezone.utc)
DAYS = 20
HOT = "hot"
MOMENTS = ("variance", "skew", "kurtosis")
"""What is within a tolerance and not the same to the bit."""
INSTANT = pa.timestamp("us", tz="UTC")
EVENTS = pa.schema(
    [
        ("user", pa.string()),
        ("item", pa.int64()),
        ("amount", pa.float64()),
        ("n", pa.int64()),
        ("word", pa.string()),
        ("tags", pa.list_(pa.int64())),
        ("t", INSTANT),
        ("known", INSTANT),
    ]
)
STATES = pa.schema([("user", pa.string()), ("n", pa.int64()), ("word", pa.string()), ("t", INSTANT)])


class World:
    """Random tables; the same seed gives the same."""

    def __init__(self, seed: int, rows: int = 400) -> None:
        self.draw, self.rows = random.Random(seed), rows

    def tables(self) -> dict[str, pa.Table]:
        return {
            "events": pa.Table.from_pylist([self._event() for _ in range(self.rows)], EVENTS),
            "more": pa.Table.from_pylist([self._event() for _ in range(self.rows // 4)], EVENTS),
            "dumps": pa.Table.from_pylist(
                [{**self._state(day), "ds": day.date().isoformat()} for day in self._dumped() for _ in range(6)],
                STATES.append(pa.field("ds", pa.string())),
            ),
            "changes": pa.Table.from_pylist(
                [{**self._state(FIRST), "m": self._time(), "b": self.draw.random() < 0.4} for _ in range(self.rows)],
                pa.schema([*STATES, ("m", INSTANT), ("b", pa.bool_())]),
            ),
            "left": pa.Table.from_pylist([self._query(number) for number in range(self.rows // 4)]),
        }

    def _user(self) -> Any:
        return HOT if self.draw.random() < 0.5 else self.draw.choice(["ann", "bob", "cem", "dan", "é", "", None])

    def _time(self) -> dt.datetime:
        if self.draw.random() < 0.1:
            return FIRST + dt.timedelta(days=self.draw.randrange(DAYS))
        return FIRST + dt.timedelta(seconds=self.draw.randrange(DAYS * 86_400))

    def _event(self) -> dict[str, Any]:
        draw, t = self.draw, self._time()
        known = t + dt.timedelta(hours=draw.choice([-1, 0, 0, 1, 30, 100]))
        return {
            "user": self._user(),
            "item": draw.choice([1, 2, 3, None]),
            "amount": draw.choice([None, float("nan"), float("inf"), *(draw.uniform(-9, 9) for _ in range(40))]),
            "n": draw.choice([None, *range(-4, 5)]),
            "word": draw.choice([None, "", "a", "ab", "b", "é"]),
            "tags": draw.choice([None, [], [1], [2, None, 3], [1, 1]]),
            "t": None if draw.random() < 0.02 else t,
            "known": None if draw.random() < 0.02 else known,
        }

    def _dumped(self) -> list[dt.datetime]:
        return [FIRST + dt.timedelta(days=day) for day in range(DAYS) if self.draw.random() < 0.6]

    def _state(self, until: dt.datetime) -> dict[str, Any]:
        hours = self.draw.randrange(48)
        own = {"user": self._user(), "n": self.draw.randrange(3), "word": self.draw.choice(["x", "y"])}
        return {**own, "t": until - dt.timedelta(hours=hours)}

    def _query(self, number: int) -> dict[str, Any]:
        asked = None if self.draw.random() < 0.03 else self._time()
        return {"number": number, "user": self._user(), "item": self.draw.choice([1, 2, 3]), "asked": asked}


def events(table: str = "events", *, known: bool = True, **fields: Any) -> EventSource:
    select = ["user", "item", "amount", "n", "word", "tags"]
    query = Query(**{"select": select, "time": "t", "known_at": "known" if known else None, **fields})
    return EventSource(table, query=query)


def every_operation(*windows: str | None) -> list[Aggregation]:
    """Each over values that it takes."""
    found = []
    for operation in Operation:
        more: dict[str, Any] = {"k": 3} if operation.takes_k else {}
        more |= {"percentiles": [0.5, 0.9]} if operation is Operation.APPROX_PERCENTILE else {}
        column = "word" if "UNIQUE" in operation.name or "HISTOGRAM" in operation.name else "amount"
        found.append(Aggregation(column, operation, windows=list(windows), **more))
    return found


def over(column: str, operations: str, *windows: str | None, **more: Any) -> list[Aggregation]:
    return [Aggregation(column, Operation[name], windows=list(windows), **more) for name in operations.split()]


def entity(name: str, aggregations: list[Aggregation], accuracy: Accuracy = Accuracy.TEMPORAL) -> GroupBy:
    query = Query(select=["user", "n", "word"], time="t", mutation_time="m", is_before="b")
    source = EntitySource("dumps", mutations="changes", query=query)
    return GroupBy(["user"], [source], aggregations, accuracy=accuracy, name=name)


def join() -> Join:
    some = over("n", "SUM LAST COUNT", "3d", None)
    by_word = over("n", "SUM AVERAGE MAX", "5h", "4d", None, buckets=["word"])
    by_list = over("tags", "SUM HISTOGRAM UNIQUE_COUNT", "2d", None)
    plain, late = events(known=False), [events(), events("more", where=["n > -3"])]
    parts = {
        "plain": GroupBy(["user"], [plain], every_operation("5h", "13d", None), name="plain"),
        "late": GroupBy(["user"], late, every_operation("1d", None), name="late"),
        "daily": GroupBy(["user"], [events()], every_operation("2d", None), accuracy=Accuracy.SNAPSHOT, name="daily"),
        "short": GroupBy(["user"], [events("more")], some[::2], name="short"),
        "buckets": GroupBy(["user"], [events()], by_word, name="buckets"),
        "lists": GroupBy(["user"], [events()], by_list, name="lists"),
        "latest": GroupBy(["user"], [events()], name="latest"),
        "state": entity("state", some),
        "state_daily": entity("state_daily", some, Accuracy.SNAPSHOT),
        "row": entity("row", []),
        "item": GroupBy(["item"], [events()], some, name="by_item"),
        "all": GroupBy([], [events("more")], some, name="everything"),
    }
    labels = [
        JoinPart(GroupBy(["user"], [events()], [Aggregation("n", Operation.SUM, windows=["1d"])], name="outcome")),
        JoinPart(entity("becomes", [Aggregation("n", Operation.COUNT, windows=["1d"])])),
    ]
    return Join(
        left=EventSource("left", query=Query(select=["number", "user", "item"], time="asked")),
        parts=[JoinPart(group_by, prefix=prefix) for prefix, group_by in parts.items()],
        labels=LabelPart(labels, offset="36h"),
        name="skewed",
    )
