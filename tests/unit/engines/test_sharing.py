"""Parts that share a reading, a stream or a series do not change each other's values."""

import datetime as dt

import pytest

from zipline import Aggregation, EventSource, GroupBy, Join, JoinPart, Operation, Query, backfill
from zipline.errors import DataError


def at(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.timezone.utc)


def counted(name: str, select: dict[str, str], where: list[str], operation: Operation = Operation.SUM) -> GroupBy:
    source = EventSource("events", query=Query(select=select, where=where, time="t"))
    return GroupBy(["k"], [source], [Aggregation("v", operation)], name=name)


def joined(*parts: GroupBy) -> Join:
    return Join(EventSource("left", query=Query(time="t")), [JoinPart(part) for part in parts], name="joined")


LEFT = [{"k": "a", "t": at("2024-01-02")}]


def test_a_computed_key_is_that_of_each_group_by_whatever_the_conditions_of_the_others():
    events = [
        {"k": "A", "v": 1, "x": "u", "t": at("2024-01-01T00:00")},
        {"k": "a", "v": 10, "x": "w", "t": at("2024-01-01T01:00")},
        {"k": "A", "v": 100, "x": "w", "t": at("2024-01-01T02:00")},
    ]
    select = {"k": "lower(k)", "v": "v"}
    parts = (counted("u", select, ["x = 'u'"]), counted("w", select, ["x = 'w'"]), counted("every", select, []))
    row = backfill(joined(*parts), {"events": events, "left": LEFT}).to_pylist()[0]
    assert (row["u_v_sum"], row["w_v_sum"], row["every_v_sum"]) == (1, 110, 111)


@pytest.mark.parametrize("where", [["x = 'n'", "CAST(v AS INT) > 0"], ["CAST(v AS INT) > 0", "x = 'n'"]])
def test_a_condition_that_fails_only_on_rows_that_another_leaves_out_does_not_fail_beside_other_group_bys(where):
    events = [
        {"k": "a", "v": "1", "x": "n", "t": at("2024-01-01")},
        {"k": "a", "v": "zz", "x": "text", "t": at("2024-01-01")},
    ]
    select = {"k": "k", "v": "v"}
    parts = (counted("numbers", select, where, Operation.COUNT), counted("every", select, [], Operation.COUNT))
    row = backfill(joined(*parts), {"events": events, "left": LEFT}).to_pylist()[0]
    assert (row["numbers_v_count"], row["every_v_count"]) == (1, 2)


def test_a_total_beyond_int64_names_the_group_by_and_key_that_it_belongs_to():
    events = [{"k": "a", "v": 2**63 - 1, "t": at("2024-01-01")}, {"k": "a", "v": 1, "t": at("2024-01-01")}]
    source = EventSource("events", query=Query(select={"kk": "k", "v": "v"}, time="t"))
    totals = GroupBy(["kk"], [source], [Aggregation("v", Operation.SUM)], name="totals")
    averages = counted("averages", {"k": "k", "v": "v"}, [], Operation.AVERAGE)
    left = EventSource("left", query=Query(time="t"))
    join = Join(left, [JoinPart(averages), JoinPart(totals, key_map={"k": "kk"})], name="joined")
    with pytest.raises(DataError) as caught:
        backfill(join, {"events": events, "left": LEFT})
    assert caught.value.subject == "totals"
    assert "kk='a'" in str(caught.value)


def test_of_rows_of_one_event_id_one_without_known_at_gives_way_to_one_that_can_be_seen():
    events = [
        {"id": 1, "k": "a", "v": 1, "t": at("2024-01-01"), "r": None},
        {"id": 1, "k": "a", "v": 2, "t": at("2024-01-01"), "r": at("2024-01-01T01:00")},
    ]
    query = Query(select={"k": "k", "v": "v"}, time="t", known_at="r", event_id="id")
    part = GroupBy(["k"], [EventSource("events", query=query)], [Aggregation("v", Operation.SUM)], name="part")
    assert backfill(joined(part), {"events": events, "left": LEFT})["part_v_sum"].to_pylist() == [2]
