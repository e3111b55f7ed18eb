"""What is kept online of a group-by: whether partials, which of its features are words, and under which fingerprint."""

from __future__ import annotations

from typing import Any

import pytest

from zipline import Accuracy, Aggregation, EntitySource, EventSource, GroupBy, Operation, Query, Topic, fingerprint
from zipline.plan.build import plan_group_by
from zipline.plan.online import Kept
from zipline.types import BIGINT, BOOLEAN, DOUBLE, STRING, TIMESTAMP

SCHEMA = {"key": STRING, "n": BIGINT, "x": DOUBLE, "t": TIMESTAMP, "changed": TIMESTAMP, "old": BOOLEAN, "ds": STRING}
SELECTED = ["key", "n", "x"]
TOPIC = Topic("changes")
EVERY = [Aggregation(column, operation) for column in ("n", "x") for operation in (Operation.SUM, Operation.AVERAGE)]
EVERY += [Aggregation("n", Operation.COUNT), Aggregation("n", Operation.COUNT, buckets=["key"])]
EVERY += [Aggregation("n", Operation.MIN), Aggregation("n", Operation.VARIANCE), Aggregation("x", Operation.LAST)]
EVENTS = EventSource("events", topic=TOPIC, query=Query(SELECTED, time="t"))


def entity(*, topic: Topic | None = TOPIC, mutations: str | None = "log") -> EntitySource:
    clocks = {"mutation_time": "changed", "is_before": "old"} if mutations else {}
    return EntitySource("dump", mutations=mutations, topic=topic, query=Query(SELECTED, time="t", **clocks))


def group_by(*sources: Any, aggregations: Any = EVERY, **more: Any) -> GroupBy:
    return GroupBy(["key"], sources, aggregations, name="g", **more)


def kept(*sources: Any, **more: Any) -> Kept:
    return Kept(plan_group_by(group_by(*sources, **more), lambda _: SCHEMA))


@pytest.mark.parametrize(
    ("found", "has_tiles", "is_signed"),
    [
        (kept(EVENTS), True, False),
        (kept(EVENTS, aggregations=()), True, False),
        (kept(entity()), True, True),
        (kept(entity(), aggregations=()), True, True),
        (kept(entity(), entity()), True, True),
        (kept(entity(topic=None)), False, False),
        (kept(entity(topic=None), aggregations=()), False, False),
        (kept(entity(topic=None, mutations=None)), False, False),
        (kept(entity(), entity(topic=None)), False, False),
        (kept(entity(), accuracy=Accuracy.SNAPSHOT), False, False),
        (kept(EVENTS, accuracy=Accuracy.SNAPSHOT), False, False),
        (kept(EVENTS, aggregations=(), accuracy=Accuracy.SNAPSHOT), False, False),
    ],
)
def test_partials_are_kept_where_all_that_changes_comes_as_a_stream(
    found: Kept, has_tiles: bool, is_signed: bool
) -> None:
    assert (found.has_tiles, found.is_signed) == (has_tiles, is_signed)


def test_over_entities_words_are_what_takes_rows_back_without_a_trace() -> None:
    words = [feature.name for feature in kept(entity()).fixed]
    assert words == ["n_sum", "n_average", "n_count"]
    assert [feature.name for feature in kept(EVENTS).others] == ["n_count_by_key"]


@pytest.mark.parametrize("source", [EVENTS, entity()], ids=["events", "entity"])
def test_of_a_lookup_the_row_is_kept_whole(source: Any) -> None:
    found = kept(source, aggregations=())
    assert [feature.name for feature in found.others] == ["n", "x"]
    assert [reduction.columns for reduction in found.reductions] == [("n", "x")]
    assert [aggregator.invertible for aggregator in found.aggregators] == [found.is_signed]


def test_what_is_stored_has_the_definitions_fingerprint_but_where_values_were_stored_under_it_before() -> None:
    for wanted in (group_by(EVENTS), group_by(entity(topic=None)), group_by(entity(topic=None), aggregations=())):
        found = Kept(plan_group_by(wanted, lambda _: SCHEMA))
        assert found.fingerprint == fingerprint(wanted)
        assert found.tag == int.from_bytes(bytes.fromhex(fingerprint(wanted))[:8], "little", signed=True)
    for wanted in (group_by(entity()), group_by(entity(), aggregations=()), group_by(EVENTS, aggregations=())):
        found, again = (Kept(plan_group_by(wanted, lambda _: SCHEMA)) for _ in range(2))
        assert found.fingerprint == again.fingerprint != fingerprint(wanted)
        assert found.tag != int.from_bytes(bytes.fromhex(fingerprint(wanted))[:8], "little", signed=True)
