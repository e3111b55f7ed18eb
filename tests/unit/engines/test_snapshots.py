"""Which snapshot partition a query sees."""

import datetime as dt

from zipline import (
    Aggregation,
    EntitySource,
    EventSource,
    GroupBy,
    Join,
    JoinPart,
    Operation,
    Query,
    aggregate,
    backfill,
)
from zipline import explain_value as explain


def at(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.timezone.utc)


def state(*tables: str, where: tuple[str, ...] = (), aggregations: tuple[Aggregation, ...] = ()) -> GroupBy:
    query = Query(select={"k": "k", "s": "s"}, where=where)
    return GroupBy(["k"], [EntitySource(table, query=query) for table in tables], aggregations, name="state")


def seen(part: GroupBy, queries: list[tuple[str, str]], **tables: list[dict]) -> list[object]:
    left = [{"k": key, "t": at(time)} for key, time in queries]
    join = Join(EventSource("left", query=Query(time="t")), [JoinPart(part)], name="joined")
    return backfill(join, {"left": left, **tables}).columns[-1].to_pylist()


def test_a_partition_exists_even_where_no_row_of_it_meets_the_conditions():
    rows = [{"k": "a", "s": 1, "ds": "2024-01-01"}, {"k": "a", "s": -1, "ds": "2024-01-02"}]
    queries = [("a", "2024-01-02T05:00"), ("a", "2024-01-03T05:00")]
    assert seen(state("days", where=("s > 0",)), queries, days=rows) == [1, None]


def test_each_source_shows_its_own_newest_partition():
    daily = [{"k": "a", "s": day, "ds": f"2024-01-0{day}"} for day in (1, 2, 4)]
    weekly = [{"k": "b", "s": 10, "ds": "2024-01-01"}, {"k": "b", "s": 30, "ds": "2024-01-03"}]
    queries = [("a", "2024-01-03"), ("b", "2024-01-03"), ("a", "2024-01-04"), ("b", "2024-01-04"), ("b", "2024-01-06")]
    assert seen(state("daily", "weekly"), queries, daily=daily, weekly=weekly) == [2, 10, 2, 30, 30]


def test_partitions_before_1970_are_seen():
    rows = [{"k": "a", "s": 3, "ds": "1969-12-30"}, {"k": "a", "s": 4, "ds": "1969-12-31"}]
    queries = [("a", "1969-12-30T05:00"), ("a", "1969-12-31T05:00"), ("a", "1970-01-01"), ("a", "1970-01-02")]
    total = (Aggregation("s", Operation.SUM),)
    assert seen(state("days"), queries, days=rows) == [None, 3, 4, 4]
    assert seen(state("days", aggregations=total), queries, days=rows) == [None, 3, 4, 4]


def test_a_partition_column_may_have_any_name():
    query = Query(select={"k": "k", "s": "s"}, partition='the "day"')
    part = GroupBy(["k"], [EntitySource("days", query=query)], name="state")
    assert seen(part, [("a", "2024-01-02")], days=[{"k": "a", "s": 1, 'the "day"': "2024-01-01"}]) == [1]


def test_an_explanation_sees_the_partition_that_the_value_does():
    rows = [{"k": "a", "s": 1, "ds": "2024-01-01"}, {"k": "b", "s": 2, "ds": "2024-01-02"}]
    found = explain(state("days"), "s", {"k": "a", "ts": at("2024-01-03")}, {"days": rows})
    assert (found.value, found.counts) == (None, {"of another snapshot": 1})


def test_a_lookup_takes_no_row_whose_own_time_is_not_before_the_query() -> None:
    rows = [
        {"ds": "2024-03-01", "user": "ann", "tier": "tin", "since": "2024-02-01T00:00:00Z"},
        {"ds": "2024-03-01", "user": "ann", "tier": "gold", "since": "2024-03-02T12:00:00Z"},
    ]
    tiers = GroupBy(
        keys=["user"],
        sources=[EntitySource("tiers", Query(select=["user", "tier"], time="since"))],
        name="tiers",
    )
    queries = [{"user": "ann", "ts": "2024-03-02T12:00:00Z"}, {"user": "ann", "ts": "2024-03-02T12:00:01Z"}]
    assert aggregate(tiers, queries, {"tiers": rows}).column("tier").to_pylist() == ["tin", "gold"]
