"""One aggregation for several group-bys: which share one, and that each finds its own in what is sent."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import pytest

from tests.integration.flink import drawn
from tests.integration.flink.conftest import Replay
from zipline import Aggregation, EventSource, GroupBy, Operation, Query, Topic
from zipline.algebra.codec import encode
from zipline.byte_strings import of_values
from zipline.engines.flink.messages import PLACE_SUFFIX, Message
from zipline.engines.flink.partials import opened
from zipline.engines.flink.sharing import Shared, shared
from zipline.plan.build import plan_group_by
from zipline.plan.online import Kept
from zipline.types import BIGINT, DOUBLE, STRING, TIMESTAMP, DataType

SCHEMA: dict[str, DataType] = {"k": BIGINT, "s": STRING, "x": DOUBLE, "y": DOUBLE, "ds": STRING}
SCHEMA |= {"t": TIMESTAMP, "known": TIMESTAMP}
PLACE = b"key" + PLACE_SUFFIX.pack(1, 2)


def tile(content: str) -> Message:
    return Message(0, of_values([PLACE]), of_values([bytes.fromhex(content)]))


@pytest.mark.parametrize("kind", ["events", "changes"])
@pytest.mark.parametrize("seed", range(3))
def test_each_finds_its_own_in_the_tiles_of_all(replay: Replay, kind: str, seed: int) -> None:
    draw = random.Random(f"{kind} {seed}")
    lines, cases = [], []
    for _ in range(6):
        members, types = drawn.group_bys(draw, kind, 4)
        rows = drawn.rows(draw, types, 8)
        for of in shared(members):
            for events in drawn.by_place(of.first, rows).values():
                parts = (of, *(Shared((kept,)) for kept in of.members))
                lines += [drawn.told(part, events, 2) for part in parts]
                cases.append(of)
    assert sum(len(of.members) > 1 for of in cases) > len(cases) // 2
    answers = iter(replay(lines))
    compared = 0
    for of in cases:
        whole = next(answers)
        for kept in of.members:
            alone = next(answers)
            for one, other in zip(whole, alone, strict=True):
                found = opened(of, [tile(one)]).of(kept)
                wanted = opened(Shared((kept,)), [tile(other)])
                assert found.words.tolist() == wanted.words.tolist()
                pairs = zip(found.irs, wanted.irs, strict=True)
                for got, own in pairs:
                    for aggregator, a, b in zip(kept.aggregators, got, own, strict=True):
                        assert encode(aggregator.stored(a)) == encode(aggregator.stored(b))
                compared += 1
    assert compared > 300


def kept(name: str, column: str = "x", window: str = "7d", keys: list[str] | None = None, **query: Any) -> Kept:
    given: Mapping[str, Any] = {"select": ["k", "s", "x", "y"], "time": "t"} | query
    source = EventSource("events", topic=Topic("t"), query=Query(**given))
    wanted = [Aggregation(column, Operation.SUM, windows=[window])]
    return Kept(plan_group_by(GroupBy(keys or ["k"], [source], wanted, name=name), lambda _: SCHEMA))


def test_group_bys_that_take_the_same_rows_share_an_aggregation() -> None:
    first, same = kept("first"), [kept("column", "y"), kept("window", window="30d"), kept("both", "y", "1h")]
    others = [
        kept("narrower", window="30m"),
        kept("keys", keys=["s"]),
        kept("where", where=["x > 1"]),
        kept("clock", known_at="known"),
        kept("days", start="2024-01-01"),
        kept("id", event_id="s"),
        kept("computed", select={"k": "k", "x": "x * 2"}),
        kept("key", select={"k": "k + 1", "x": "x"}),
    ]
    found = shared([first, *others, *same])
    assert [[each.group_by.name for each in of.members] for of in found] == [
        ["first", "column", "window", "both"],
        *([each.group_by.name] for each in others),
    ]
    assert found[0].name == "first, column and 2 more"
    assert len({of.tag for of in found}) == len(found)
    assert list(found[0].columns) == ["x", "y"]
