"""What the engine counts about snapshots: keys with several rows, and keys that went back in time."""

import pyarrow as pa

from zipline import Aggregation, EntitySource, EventSource, GroupBy, Join, JoinPart, LabelPart, Operation, Query
from zipline.engines.contract import KeyCount, Report
from zipline.engines.local.run import run_join
from zipline.plan.build import plan_join
from zipline.tables.catalog import open_catalog

QUERY = Query(select=["user", "tier", "since"], time="since")
FULL = (Aggregation("tier", Operation.COUNT),)
EVERY_DAY = [(user, f"2024-01-0{day}T05:00:00Z") for user in ("ann", "bob") for day in (2, 3, 4)]


def state(*tables: str, aggregations=(), keys=("user",), query=QUERY, **given: str) -> GroupBy:
    return GroupBy(list(keys), [EntitySource(t, query=query, **given) for t in tables], aggregations, name="state")


def row(day: int, user: str | None, tier: int, since: str | None) -> dict:
    return {"user": user, "tier": tier, "since": since, "ds": f"2024-01-0{day}"}


def report(part: GroupBy, asked=EVERY_DAY, *, labels: GroupBy | None = None, **tables: list[dict]) -> Report:
    left = EventSource("left", Query(["user"], time="t"))
    of = LabelPart([JoinPart(labels)], offset="1d") if labels else None
    join = Join(left, [JoinPart(part)], name="joined", labels=of)
    rows = tables | {"left": [{"user": user, "t": t} for user, t in asked]}
    catalog = open_catalog({name: pa.Table.from_pylist(each) for name, each in rows.items()})
    return run_join(plan_join(join, lambda name: catalog.table(name).schema), catalog).report


TWO = [
    row(1, "ann", 1, "2024-01-01T01:00:00Z"),
    row(1, "ann", 2, "2024-01-01T02:00:00Z"),
    row(1, "bob", 1, "2024-01-01"),
]


def test_lookups_and_aggregations_count_keys_with_several_rows():
    for aggregations in ((), FULL):
        found = report(state("users", aggregations=aggregations), users=TWO)
        assert found.repeated_keys == {"users by user": KeyCount(1, 2, "user='ann' has 2 rows in that of 2024-01-01")}
        assert found.older_keys == {}


def test_rows_that_no_query_can_see_are_no_second_rows():
    untimed = [row(1, "ann", 1, "2024-01-01T01:00:00Z"), row(1, "ann", 2, None)]
    assert report(state("users"), users=untimed).repeated_keys == {}
    some = Query(select=["user", "tier", "since"], time="since", where=["tier < 2"])
    assert report(state("users", query=some), users=TWO).repeated_keys == {}
    other = [row(1, None, 1, "2024-01-01"), row(1, None, 2, "2024-01-01"), row(1, "ann", 2, "2024-01-01")]
    assert report(state("users"), users=other).repeated_keys == {}


def test_one_row_in_each_of_two_sources_is_no_repetition():
    one, other = [row(1, "ann", 1, "2024-01-01")], [row(2, "ann", 1, "2024-01-01")]
    assert report(state("one", "other", aggregations=FULL), one=one, other=other).repeated_keys == {}
    both = report(state("one", "other", aggregations=FULL), one=one * 2, other=other)
    assert both.repeated_keys == {"one by user": KeyCount(1, 1, "user='ann' has 2 rows in that of 2024-01-01")}


def test_a_group_by_without_keys_has_as_many_rows_as_it_likes():
    assert report(state("users", aggregations=FULL, keys=()), users=TWO).repeated_keys == {}


BACK = [
    row(1, "ann", 3, "2024-01-01T07:00:00Z"),
    row(1, "bob", 3, "2024-01-01T06:00:00Z"),
    row(2, "ann", 2, "2023-12-31T06:00:00Z"),
    row(2, "bob", 3, "2024-01-01T06:00:00Z"),
    row(3, "ann", 3, "2024-01-01T07:00:00Z"),
]


def test_a_key_whose_row_is_older_in_a_later_snapshot_went_back_in_time():
    example = (
        "user='ann' is of 2023-12-31T06:00:00Z in that of 2024-01-02, of 2024-01-01T07:00:00Z in that of 2024-01-01"
    )
    for aggregations in ((), FULL):
        found = report(state("users", aggregations=aggregations), users=BACK)
        assert found.older_keys == {"users by user": KeyCount(1, 2, example)}
        assert found.repeated_keys == {}


def test_keys_that_several_rows_share_are_not_compared():
    """Of the open orders of a shop the newest may be paid, and gone: that is no way back."""
    rows = [row(1, "ann", 3, "2024-01-01T07:00:00Z"), row(1, "ann", 3, "2023-12-01"), row(2, "ann", 2, "2023-12-01")]
    assert report(state("users", aggregations=FULL), users=rows).older_keys == {}


def test_the_rows_of_changes_are_not_those_of_snapshots():
    query = Query(["user", "tier", "since"], time="since", mutation_time="at", is_before="gone")
    part = state("users", aggregations=FULL, query=query, mutations="changes")
    newer = {"user": "ann", "tier": 9, "since": "2024-01-02T01:00:00Z", "at": "2024-01-02T02:00:00Z", "gone": False}
    found = report(part, users=[row(1, "ann", 1, "2024-01-01"), row(2, "ann", 1, "2024-01-01")], changes=[newer])
    assert (found.repeated_keys, found.older_keys) == ({}, {})
    back = report(part, users=BACK, changes=[newer])
    assert {name: keys.count for name, keys in back.older_keys.items()} == {"users by user": 1}
    twice = report(part, users=TWO, changes=[newer])
    assert {name: keys.count for name, keys in twice.repeated_keys.items()} == {"users by user": 1}


def test_labels_look_at_later_snapshots_and_the_most_counts():
    part = state("users")
    asked = [("ann", "2024-01-02T05:00:00Z")]
    rows = [*BACK, row(4, "ann", 3, "2024-01-04")]
    assert report(part, asked, users=rows).older_keys == {}
    assert report(part, [*asked, ("ann", "2024-01-03T05:00:00Z")], labels=part, users=rows).older_keys != {}
