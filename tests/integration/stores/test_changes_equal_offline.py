"""What is fetched of entities whose changes have a topic equals a backfill at that time: at random, on every store.

Rows are inserted, updated, moved to other keys and times, and taken away; changes arrive late and over midnights, some
snapshots are missing, and uploads come as late as they like. Nothing that a status permits to differ is compared.
"""

from __future__ import annotations

import datetime as dt
import random
from typing import Any

import pytest

from tests.integration.stores.changing import DAY, KINDS, START, Entity
from tests.integration.stores.opened import Opening
from tests.integration.stores.test_online_equals_offline import aggregations
from zipline import (
    Aggregation,
    Derivation,
    EntitySource,
    EventSource,
    GroupBy,
    Join,
    JoinPart,
    Operation,
    Query,
    Topic,
)
from zipline.orchestration.local_platform import LocalPlatform

SELECTED = ["key", "x", "n", "word", "at", "numbers"]
ASKED = (0, 1, 2, 3, 99, None)
FIRST, LAST = 12, 15
"""The days of which there is something to fetch."""


def source(number: int, **more: Any) -> EntitySource:
    asked = {"select": SELECTED, "time": "t", "mutation_time": "changed", "is_before": "before"}
    return EntitySource(f"dump{number}", mutations=f"log{number}", topic=Topic("log"), query=Query(**(asked | more)))


def joined(draw: random.Random) -> Join:
    one, other = source(0), source(1)
    of_lists = [Aggregation("numbers", operation) for operation in (Operation.SUM, Operation.MAX, Operation.HISTOGRAM)]
    everything = [Aggregation("n", Operation.COUNT, windows=["6h", None]), Aggregation("word", Operation.TOP_K, k=3)]
    totals = [Aggregation("x", Operation.AVERAGE, windows=["1d"]), Aggregation("n", Operation.SUM, windows=["1d"])]
    mean = Derivation("both", "x_average_1d + n_sum_1d")
    parts = [
        GroupBy(["key"], [one], [*aggregations(draw), *of_lists], online=True, name="plain"),
        GroupBy(["key"], [one, other], draw.sample(aggregations(draw), 12), online=True, name="two"),
        GroupBy(["key"], [source(1, where=["n < 3 OR n IS NULL"])], totals, [mean], online=True, name="some"),
        GroupBy(["key"], [one], online=True, name="row"),
        GroupBy(["key"], [one, other], online=True, name="rows"),
        GroupBy(["key"], [source(0, time=None)], [Aggregation("x", Operation.SUM)], online=True, name="untimed"),
    ]
    left = EventSource("asked", query=Query(select=["who"], time="t"))
    of_keys = [JoinPart(each, key_map={"who": "key"}) for each in parts]
    of_all = JoinPart(GroupBy([], [one], everything, online=True, name="all"))
    return Join(left=left, parts=[*of_keys, of_all], online=True, name="joined")


class World:
    """Two entities and a platform that is told of them."""

    def __init__(self, seed: int, store: Any) -> None:
        self.draw = random.Random(seed)
        self.entities = [Entity(self.draw), Entity(self.draw)]
        self.now, self.missing, self.uploads = 0.0, 0, 0
        asked = [{"who": who, "t": START} for who in ASKED]
        tables: dict[str, Any] = {"asked": asked}
        for number, entity in enumerate(self.entities):
            for at in sorted(self.draw.uniform(0, FIRST * DAY) for _ in range(80)):
                entity.change(at)
            tables[f"log{number}"] = entity.arrived(FIRST * DAY)
            tables[f"dump{number}"] = entity.snapshot(FIRST - 1)
        self.platform = LocalPlatform(joined(self.draw), tables=tables, store=store)
        self.now = FIRST * DAY + 0.0
        self._advance()
        self.upload(FIRST - 1)
        self.platform.join("joined")

    def upload(self, day: int) -> None:
        self.platform.upload((START + dt.timedelta(days=day)).date().isoformat())
        self.uploads += 1

    def step(self) -> None:
        """Some time passes, at most until midnight: then there are snapshots, most often."""
        midnight = self.now - self.now % DAY + DAY
        later = min(midnight, self.now + self.draw.choice([40, 200, 4_000, 30_000]))
        for number, entity in enumerate(self.entities):
            for at in sorted(self.draw.uniform(self.now, later) for _ in range(self.draw.randrange(5))):
                entity.change(at)
            if rows := entity.arrived(later):
                self.platform.publish(f"log{number}", rows)
            if later == midnight and self.draw.random() < 0.7:
                self.platform.publish(f"dump{number}", entity.snapshot(int(midnight // DAY) - 1))
            elif later == midnight:
                self.missing += 1
        self.now = later
        self._advance()

    def _advance(self) -> None:
        self.platform.advance(START + dt.timedelta(seconds=self.now))


@pytest.mark.parametrize("seed", range(1))
def test_fetches_of_changing_entities_at_random_times_equal_backfills(seed: int, opening: Opening) -> None:
    world = World(seed, opening())
    compared, uploaded, keys = 0, FIRST, [{"who": who} for who in ASKED]
    while world.now < LAST * DAY:
        world.step()
        # An upload comes as late as it likes, up to two days after its day.
        if world.now // DAY > uploaded and world.draw.random() < 0.2 + (world.now / DAY - uploaded - 1):
            uploaded = int(world.now // DAY)
            world.upload(uploaded - 1)
        if not any(entity.is_about_to_happen(world.now) for entity in world.entities):
            compared += world.platform.assert_online_equals_offline("joined", keys=keys)
    assert compared > 10_000
    assert world.uploads > 2
    for entity in world.entities:
        assert all(entity.kinds[kind] * 100 > sum(entity.kinds.values()) for kind in KINDS)
