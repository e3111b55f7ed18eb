"""Events with ids in a `LocalPlatform`: one that is published again is not counted again, online as offline."""

from __future__ import annotations

from typing import Any

import pytest

from zipline import Aggregation, EventSource, GroupBy, Join, JoinPart, LocalPlatform, Operation, Query, Topic
from zipline.errors import DataError, UsageError


def platform(**query: Any) -> LocalPlatform:
    rides = EventSource("rides", topic=Topic("rides"), query=Query(time="t", **query))
    taken = GroupBy(
        ["city"],
        [rides],
        [Aggregation("fare", Operation.SUM, windows=["7d"]), Aggregation("fare", Operation.COUNT, windows=["7d"])],
        name="taken",
        online=True,
    )
    left = EventSource("asked", query=Query(select=["city"], time="t"))
    tables = {
        "rides": [{"id": "r0", "city": "Rome", "fare": 1, "t": "2024-02-29T10:00:00Z"}],
        "asked": [{"city": "Rome", "t": "2024-03-02T00:00:00Z"}],
    }
    return LocalPlatform(Join(left, [JoinPart(taken)], name="x.asked", online=True), tables=tables)


RIDE = {"id": "r1", "city": "Rome", "fare": 10, "t": "2024-03-01T10:00:00Z"}


def total(local: LocalPlatform) -> tuple[int, int]:
    (row,) = local.fetch("x.asked", [{"city": "Rome"}]).rows()
    return row["taken_fare_sum_7d"], row["taken_fare_count_7d"]


def test_an_event_that_is_published_again_is_counted_once() -> None:
    local = platform(event_id="id")
    local.upload("2024-02-29")
    local.advance("2024-03-01T12:00:00Z")
    local.publish("rides", [RIDE, RIDE])
    assert total(local) == (11, 2)
    local.publish("rides", [RIDE, {**RIDE, "id": "r2"}, {**RIDE, "id": None}])
    assert total(local) == (31, 4)
    assert local.assert_online_equals_offline("x.asked") == 2
    local.advance("2024-03-02T00:30:00Z")
    local.publish("rides", [RIDE])
    assert total(local) == (31, 4)
    local.upload("2024-03-01")
    assert total(local) == (31, 4)
    assert local.assert_online_equals_offline("x.asked") == 2


def test_without_an_id_it_is_counted_as_often_as_it_comes() -> None:
    local = platform()
    local.upload("2024-02-29")
    local.advance("2024-03-01T12:00:00Z")
    local.publish("rides", [RIDE, RIDE])
    assert total(local) == (21, 3)
    assert local.assert_online_equals_offline("x.asked") == 2


def test_a_row_that_cannot_be_computed_is_told() -> None:
    local = platform(select={"city": "city", "fare": "CAST(replace(id, 'r', '') AS INT)"})
    local.upload("2024-02-29")
    local.advance("2024-03-01T12:00:00Z")
    with pytest.raises(DataError, match=r"row 1 of what is published to 'rides': .*x"):
        local.publish("rides", [RIDE, {**RIDE, "id": "x"}])


def test_published_rows_are_of_the_columns_of_their_table() -> None:
    local = platform(event_id="id")
    with pytest.raises(UsageError, match="the table 'rides' has no column 'far'"):
        local.publish("rides", [{"id": "r1", "city": "Rome", "far": 10, "t": "2024-03-01T10:00:00Z"}])
    with pytest.raises(UsageError, match="the column 'fare' of the table 'rides' is int64"):
        local.publish("rides", [RIDE | {"fare": "ten"}])
    local.publish("rides", [{name: RIDE[name] for name in ("id", "city", "t")}])
    local.upload("2024-03-01")
    local.advance("2024-03-02T00:00:00Z")
    assert total(local) == (1, 1)


def test_a_column_that_was_null_so_far_has_the_type_of_what_comes() -> None:
    rides = EventSource("rides", topic=Topic("rides"), query=Query(["city", "fare"], time="t"))
    fares = GroupBy(["city"], [rides], [Aggregation("fare", Operation.SUM)], name="taken", online=True)
    asked = EventSource("asked", query=Query(select=["city"], time="t"))
    join = Join(asked, [JoinPart(fares)], name="x.asked", online=True)
    rows = {"rides": [RIDE | {"fare": None}], "asked": [{"city": "Rome", "t": "2024-03-02T00:00:00Z"}]}
    local = LocalPlatform(join, tables=rows)
    local.publish("rides", [RIDE])
    local.advance("2024-03-02T00:00:00Z")
    local.upload("2024-03-01")
    assert local.fetch("x.asked", [{"city": "Rome"}]).rows() == [{"taken_fare_sum": 10}]
    assert local.assert_online_equals_offline("x.asked") == 1
    planned = LocalPlatform(join, tables=rows)
    planned.upload("2024-03-01")
    with pytest.raises(UsageError, match="the column 'fare' of the table 'rides' is null") as refused:
        planned.publish("rides", [RIDE])
    assert "Arrow" in str(refused.value.hint)


def test_keys_are_a_list_of_rows() -> None:
    with pytest.raises(UsageError, match="one row, not a list"):
        platform(event_id="id").fetch("x.asked", {"city": "Rome"})  # type: ignore[arg-type]
