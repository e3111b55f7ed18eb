"""The state of an entity with mutations at a query: the newest snapshot, and what has changed since."""

import datetime as dt
import math
import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pyarrow as pa
import pytest

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
    aggregate,
)
from zipline.clock import to_micros
from zipline.engines.frames import run
from zipline.engines.local.run import run_join
from zipline.errors import DataError, DefinitionError, TableError
from zipline.plan.build import plan_join
from zipline.tables.catalog import open_catalog

Row = dict[str, Any]


def at(day: int, hour: int = 0, minute: int = 0, micro: int = 0) -> dt.datetime:
    return dt.datetime(2024, 1, 1, hour, minute, 0, micro, dt.timezone.utc) + dt.timedelta(days=day - 1)


def row(v: Any, t: dt.datetime | None = None, k: Any = "a", **more: Any) -> Row:
    return {"k": k, "v": v, "t": t or at(1, 1), **more}


def dump(day: int, *rows: Row) -> list[Row]:
    return [{**each, "ds": f"2024-01-{day:02}"} for each in rows]


def insert(when: dt.datetime | None, *rows: Row) -> list[Row]:
    return [{**each, "m": when, "b": False} for each in rows]


def reverse(when: dt.datetime | None, *rows: Row) -> list[Row]:
    return [{**each, "m": when, "b": True} for each in rows]


def query(**fields: Any) -> Query:
    select = fields.pop("select", ["k", "v"])
    return Query(**{"select": select, "time": "t", "mutation_time": "m", "is_before": "b", **fields})


def entity(*aggregations: Aggregation, keys: Sequence[str] = ("k",), name: str = "state", **fields: Any) -> GroupBy:
    accuracy = fields.pop("accuracy", Accuracy.TEMPORAL)
    source = EntitySource("dumps", mutations="changes", query=query(**fields))
    return GroupBy(list(keys), [source], aggregations, accuracy=accuracy, name=name)


def total(**fields: Any) -> GroupBy:
    return entity(Aggregation("v", Operation.SUM), **fields)


def values(group_by: GroupBy, when: Iterable[dt.datetime], dumps: list[Row], changes: list[Row], k: Any = "a") -> Any:
    """The first feature of one key at each time."""
    queries = [{"k": k, "ts": ts} for ts in when]
    found = aggregate(group_by, queries, {"dumps": dumps, "changes": changes})
    return found.column(2).to_pylist()


def joined(*parts: GroupBy, **fields: Any) -> Join:
    left = EventSource("left", query=Query(select=["k"], time="q"))
    return Join(left, [JoinPart(part) for part in parts], name="joined", **fields)


UPDATE = [*reverse(at(2, 10), row(1)), *insert(at(2, 10), row(5))]


@pytest.mark.parametrize("changes", [UPDATE, UPDATE[::-1]])
def test_an_update_is_a_reversal_and_a_new_row_in_either_order(changes: list[Row]) -> None:
    dumps = dump(1, row(1), row(2))
    assert values(total(), [at(2, 9), at(2, 11)], dumps, changes) == [3, 7]


def test_a_change_is_seen_after_its_time_and_not_at_it() -> None:
    dumps, changes = dump(1, row(1), row(2)), [*reverse(at(2, 10), row(1)), *insert(at(2, 12), row(4))]
    times = [at(2, 10), at(2, 10, 0, 1), at(2, 12), at(2, 12, 0, 1)]
    assert values(total(), times, dumps, changes) == [3, 2, 2, 6]


def test_a_deleted_row_may_be_inserted_again() -> None:
    changes = [*reverse(at(2, 1), row(1)), *insert(at(2, 3), row(1)), *reverse(at(2, 5), row(1))]
    assert values(total(), [at(2, h) for h in (1, 2, 4, 6)], dump(1, row(1)), changes) == [1, None, 1, None]


def test_changes_from_the_midnight_after_the_snapshot_on_are_seen() -> None:
    changes = [*insert(at(2), row(10)), *insert(at(1, 23, 59), row(100))]
    assert values(total(), [at(2), at(2, 0, 1), at(2, 9)], dump(1, row(1)), changes) == [1, 11, 11]


def test_changes_of_a_snapshots_own_day_are_in_it_and_not_counted_again() -> None:
    dumps = [*dump(1, row(1)), *dump(2, row(1), row(10))]
    changes = insert(at(2, 5), row(10))
    assert values(total(), [at(2, 4), at(2, 6), at(3, 1)], dumps, changes) == [1, 11, 11]


def test_where_snapshots_are_missing_changes_of_all_days_since_count() -> None:
    dumps = [*dump(1, row(1)), *dump(5, row(1000))]
    changes = [*insert(at(2, 5), row(10)), *insert(at(4, 5), row(100)), *reverse(at(5, 5), row(10))]
    changes += insert(at(6, 1), row(1))
    times = [at(2, 6), at(4), at(5), at(5, 6), at(6), at(6, 2), at(9)]
    assert values(total(), times, dumps, changes) == [11, 11, 111, 101, 1000, 1001, 1001]


def test_before_the_first_snapshot_the_changes_alone_count() -> None:
    changes = [*insert(at(1, 5), row(10)), *insert(at(3, 5), row(100)), *reverse(at(4, 5), row(10))]
    dumps = dump(4, row(7))
    assert values(total(), [at(1, 6), at(3, 6), at(4, 6), at(5)], dumps, changes) == [10, 110, 100, 7]


@pytest.mark.parametrize("dumps", [[], dump(9, row(7))])
def test_without_a_snapshot_before_the_query_the_changes_alone_count(dumps: list[Row]) -> None:
    assert values(total(), [at(2), at(3)], dumps, insert(at(2, 5), row(10))) == [None, 10]


def test_without_changes_the_snapshots_alone_count() -> None:
    assert values(total(), [at(1, 5), at(2), at(7)], dump(1, row(1), row(2)), []) == [None, 3, 3]


def test_a_table_of_changes_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(TableError, match="no table 'changes'"):
        aggregate(total(), [{"k": "a", "ts": at(2)}], {"dumps": dump(1, row(1))})


def test_windows_are_over_the_rows_own_time() -> None:
    counted = entity(Aggregation("v", Operation.COUNT, windows=["2d"]))
    dumps = dump(3, row(1, at(1, 1)), row(2, at(2, 12)))
    changes = [*insert(at(4, 6), row(3, at(1, 5)), row(4, at(4, 5))), *reverse(at(4, 9), row(2, at(2, 12)))]
    assert values(counted, [at(4), at(4, 7), at(4, 10), at(6, 6)], dumps, changes) == [1, 2, 1, 0]


def test_a_row_of_a_later_time_is_seen_when_its_time_has_come() -> None:
    changes = [*insert(at(2, 5), row(4, at(2, 8))), *reverse(at(2, 10), row(4, at(2, 8)))]
    assert values(total(), [at(2, h) for h in (6, 8, 9, 11)], dump(1, row(1)), changes) == [1, 1, 5, 1]


def test_of_equal_rows_one_reversal_removes_one() -> None:
    dumps, changes = dump(1, row(5), row(5), row(5)), [*reverse(at(2, 3), row(5)), *reverse(at(2, 3), row(5))]
    counts = entity(Aggregation("v", Operation.COUNT))
    assert values(counts, [at(2, 3), at(2, 4)], dumps, changes) == [3, 1]


@pytest.mark.parametrize("other", [row(1, at(1, 2)), row(2), row(1, k="b"), row(None)])
def test_a_reversal_needs_an_equal_row(other: Row) -> None:
    assert values(total(), [at(2, 4)], dump(1, row(1)), reverse(at(2, 3), other)) == [1]


def test_rows_are_equal_in_all_selected_columns_and_in_no_others() -> None:
    dumps = dump(1, row(1, w="x", z="p"), row(1, w="y", z="p"))
    selected, other = {"k": "k", "v": "v", "w": "w"}, {"k": "k", "v": "v"}
    last = (Aggregation("v", Operation.COUNT),)
    changes = reverse(at(2, 3), row(1, w="x", z="q"), row(1, w="z", z="p"))
    assert values(entity(*last, select=selected), [at(2, 4)], dumps, changes) == [1]
    assert values(entity(*last, select=other), [at(2, 4)], dumps, changes) == [0]


def test_select_may_be_left_out_and_takes_the_columns_of_the_snapshots_but_their_partition() -> None:
    plan = entity(select=None, time=None)
    dumps = dump(1, row(1))
    found = aggregate(plan, [{"k": "a", "ts": at(2, 11)}], {"dumps": dumps, "changes": UPDATE})
    assert found.drop_columns(["ts"]).to_pylist() == [{"k": "a", "v": 5, "t": at(1, 1)}]


EQUAL = [
    (None, None),
    (None, math.nan),
    (0.0, -0.0),
    (math.inf, math.inf),
    ("é", "é"),
    ([1, None], [1, None]),
    ([], []),
    ({"x": 1.5, "y": None}, {"x": 1.5, "y": None}),
    (dt.date(2024, 1, 1), dt.date(2024, 1, 1)),
]


@pytest.mark.parametrize(("one", "other"), EQUAL)
def test_values_that_are_equal_are_taken_back(one: Any, other: Any) -> None:
    kind = 1.0 if isinstance(one, float) or one is None else one
    counts = entity(Aggregation("n", Operation.COUNT), select=["k", "v", "n"])
    dumps = dump(1, row(one, n=1), row(kind, n=1, k="other"))
    changes = reverse(at(2, 3), row(other, n=1), row(kind, n=1, k="none"))
    assert values(counts, [at(2, 3), at(2, 4)], dumps, changes) == [1, 0]


@pytest.mark.parametrize(("one", "other"), [([1, 2], [2, 1]), ([1], [1, None]), ([None], []), ([], None)])
def test_lists_that_differ_are_not_taken_back(one: Any, other: Any) -> None:
    counts = entity(Aggregation("n", Operation.COUNT), select=["k", "v", "n"])
    dumps = dump(1, row(one, n=1), row([1], n=1, k="other"))
    changes = reverse(at(2, 3), row(other, n=1), row([1], n=1, k="none"))
    assert values(counts, [at(2, 4)], dumps, changes) == [1]


def test_whole_numbers_of_two_widths_are_equal() -> None:
    narrow = pa.Table.from_pylist(dump(1, row(1))).cast(
        pa.schema([("k", "string"), ("v", "int32"), ("t", pa.timestamp("us", "UTC")), ("ds", "string")])
    )
    wide = pa.Table.from_pylist([*UPDATE, *insert(at(2, 10), row(2**40))])
    found = aggregate(total(), [{"k": "a", "ts": at(2, 11)}], {"dumps": narrow, "changes": wide})
    assert found.column("v_sum").to_pylist() == [5 + 2**40]


def test_where_holds_for_snapshots_and_changes_before_rows_are_counted() -> None:
    dumps = dump(1, row(1, on=True), row(2, on=False))
    changes = [*reverse(at(2, 3), row(1, on=False), row(2, on=True)), *insert(at(2, 5), row(1, on=False))]
    changes += insert(at(2, 6), row(4, on=True))
    assert values(total(where=["on"]), [at(2, 4), at(2, 7)], dumps, changes) == [1, 5]


def test_a_snapshot_exists_where_no_row_of_it_meets_the_conditions() -> None:
    dumps = [*dump(1, row(1)), *dump(2, row(-1))]
    changes = [*insert(at(2, 3), row(10)), *insert(at(3, 3), row(100))]
    assert values(total(where=["v > 0"]), [at(2, 4), at(3, 2), at(3, 4)], dumps, changes) == [11, None, 100]


def test_snapshot_accuracy_sees_no_changes() -> None:
    daily = total(accuracy=Accuracy.SNAPSHOT)
    dumps = [*dump(1, row(1, at(1, 1))), *dump(3, row(3, at(1, 1)))]
    assert values(daily, [at(2, 11), at(3, 11), at(4, 11)], dumps, [*UPDATE, *insert(at(4, 1), row(9))]) == [1, 1, 3]


def test_an_orphan_reversal_takes_the_next_equal_insert_with_it() -> None:
    changes = [*reverse(at(2, 1), row(7)), *insert(at(2, 3), row(7)), *insert(at(2, 5), row(7))]
    assert values(total(), [at(2, h) for h in (2, 4, 6)], dump(1, row(1)), changes) == [1, 1, 8]


def test_orphan_reversals_are_counted() -> None:
    dumps = [*dump(1, row(1)), *dump(2, row(1))]
    changes = [*reverse(at(2, 1), row(7)), *insert(at(2, 1), row(7)), *reverse(at(2, 2), row(7), row(8))]
    changes += [*insert(at(2, 3), row(8)), *reverse(at(2, 4), row(8)), *reverse(at(3, 1), row(1), row(1))]
    changes += reverse(at(2, 5), row(7, k="not asked for"))
    left = [{"k": "a", "q": at(2, 6)}, {"k": "a", "q": at(3, 6)}]
    report = run(joined(total()), {"left": left, "dumps": dumps, "changes": changes}).report
    assert report.orphan_reversals == {"changes": 4}


def test_rows_that_are_there_again_are_no_orphans() -> None:
    changes = [*UPDATE, *reverse(at(2, 11), row(5)), *insert(at(2, 12), row(1)), *reverse(at(2, 13), row(1))]
    left = [{"k": "a", "q": at(2, 14)}]
    report = run(joined(total()), {"left": left, "dumps": dump(1, row(1)), "changes": changes}).report
    assert report.orphan_reversals == {}


def test_changes_without_a_mutation_time_or_own_time_are_never_seen_and_counted() -> None:
    changes = [*insert(None, row(10)), *insert(at(2, 1), {"k": "a", "v": 100, "t": None}), *insert(at(2, 1), row(4))]
    changes += [{**row(50), "m": None, "b": None}]
    left = [{"k": "a", "q": at(2, 6)}]
    found = run(joined(total()), {"left": left, "dumps": dump(1, row(1)), "changes": changes})
    assert found.table.column("state_v_sum").to_pylist() == [5]
    assert found.report.without_time == {"changes": 3}


def test_a_change_that_does_not_say_its_direction_is_an_error_that_names_the_row() -> None:
    changes = [*UPDATE, {**row(50), "m": at(2, 7), "b": None}]
    with pytest.raises(DataError) as raised:
        values(total(), [at(2, 8)], dump(1, row(1)), changes)
    assert "reading 'changes', b: null in the change at 2024-01-02T07:00:00Z of k='a', v=50\n" in str(raised.value)
    assert values(total(where=["v < 50"]), [at(2, 8)], dump(1, row(1)), changes) == [1]
    assert values(total(is_before="coalesce(b, FALSE)"), [at(2, 8)], dump(1, row(1)), changes) == [51]


def test_all_rows_under_no_key_and_null_keys_under_none() -> None:
    dumps = dump(1, row(1), row(2, k="b"), row(4, k=None))
    changes = [*reverse(at(2, 3), row(2, k="b")), *insert(at(2, 5), row(8, k=None), row(16, k="c"))]
    everything = total(keys=())
    queries = [{"ts": at(2, hour)} for hour in (1, 4, 6)]
    found = aggregate(everything, queries, {"dumps": dumps, "changes": changes})
    assert found.column("v_sum").to_pylist() == [7, 5, 29]
    assert values(total(), [at(2, 6)], dumps, changes, k=None) == [None]


def test_a_null_query_time_has_no_state() -> None:
    queries = [{"k": "a", "ts": at(2, 1)}, {"k": "a", "ts": None}]
    found = aggregate(total(), queries, {"dumps": dump(1, row(1)), "changes": []})
    assert found.column("v_sum").to_pylist() == [1, None]


def test_buckets_lose_and_gain_rows() -> None:
    by_kind = entity(Aggregation("v", Operation.SUM, buckets=["kind"]), select=["k", "v", "kind"])
    dumps = dump(1, row(1, kind="x"), row(2, kind="y"), row(4, kind=None))
    changes = [*reverse(at(2, 3), row(1, kind="x")), *insert(at(2, 5), row(8, kind="z"), row(16, kind="y"))]
    found = values(by_kind, [at(2, 1), at(2, 4), at(2, 6)], dumps, changes)
    assert found == [[("x", 1), ("y", 2)], [("y", 2)], [("y", 18), ("z", 8)]]


def test_lists_lose_and_gain_their_elements() -> None:
    listed = entity(Aggregation("v", Operation.HISTOGRAM))
    dumps = dump(1, row([1, 2, None]), row([2]), row([]))
    changes = [*reverse(at(2, 3), row([1, 2, None])), *insert(at(2, 5), row([2, 3])), *reverse(at(2, 5), row([]))]
    found = values(listed, [at(2, 1), at(2, 4), at(2, 6)], dumps, changes)
    assert found == [[(1, 1), (2, 2)], [(2, 1)], [(2, 2), (3, 1)]]


def test_when_a_change_was_made_orders_no_ties() -> None:
    dumps = dump(1, row(5), row(3))
    changes = [*insert(at(2, 1), row(9)), *insert(at(2, 2), row(1)), *reverse(at(2, 4), row(9))]
    times = [at(2, 1), at(2, 3), at(2, 5)]
    assert values(entity(Aggregation("v", Operation.LAST)), times, dumps, changes) == [5, 9, 5]
    assert values(entity(Aggregation("v", Operation.FIRST)), times, dumps, changes) == [3, 1, 1]
    listed = entity(Aggregation("v", Operation.LAST_K, k=3))
    assert values(listed, times, dumps, changes) == [[5, 3], [9, 5, 3], [5, 3, 1]]


def test_ties_within_buckets_are_ordered_by_value() -> None:
    last = entity(Aggregation("v", Operation.LAST, buckets=["kind"]), select=["k", "v", "kind"])
    changes = [*insert(at(2, 1), row(9, kind="x")), *insert(at(2, 2), row(1, kind="x"), row(2, kind="y"))]
    changes += reverse(at(2, 4), row(9, kind="x"))
    found = values(last, [at(2, 3), at(2, 5)], dump(1, row(5, kind="x")), changes)
    assert found == [[("x", 9), ("y", 2)], [("x", 5), ("y", 2)]]


def test_a_lookup_is_the_latest_row_that_is_there() -> None:
    dumps = dump(1, row(1, at(1, 1)), row(2, at(1, 3)))
    changes = [*reverse(at(2, 2), row(2, at(1, 3))), *insert(at(2, 4), row(3, at(1, 2))), *insert(at(2, 5), row(0))]
    changes += reverse(at(2, 7), row(3, at(1, 2)), row(1, at(1, 1)), row(0))
    times = [at(2, hour) for hour in (1, 3, 5, 6, 8)]
    assert values(entity(), times, dumps, changes) == [2, 1, 3, 3, None]


def test_ties_of_a_lookup_are_ordered_by_its_columns_in_turn() -> None:
    both = entity(select=["k", "v", "w"])
    dumps = dump(1, row(2, w="b"), row(1, w="z"))
    changes = [*insert(at(2, 2), row(2, w="a")), *insert(at(2, 4), row(None, w="x"), row(2, w=None))]
    changes += reverse(at(2, 6), row(2, w="b"))
    queries = [{"k": "a", "ts": at(2, hour)} for hour in (3, 5, 7)]
    found = aggregate(both, queries, {"dumps": dumps, "changes": changes})
    assert list(zip(found["v"].to_pylist(), found["w"].to_pylist(), strict=True)) == [(2, "b"), (2, "b"), (2, "a")]


def test_a_lookup_without_a_time_is_of_the_rows_that_are_there() -> None:
    dumps = dump(1, row("red"))
    changes = [*reverse(at(2, 3), row("red")), *insert(at(2, 3), row("blue")), *reverse(at(3, 3), row("blue"))]
    times = [at(2, 3), at(2, 4), at(3, 4)]
    assert values(entity(time=None), times, dumps, changes) == ["red", "blue", None]


def labelled(part: GroupBy, times: list[dt.datetime], dumps: list[Row], changes: list[Row]) -> list[Any]:
    join = joined(labels=LabelPart([JoinPart(part)], offset="1d"))
    tables = {"left": [{"k": "a", "q": time} for time in times], "dumps": dumps, "changes": changes}
    return run(join, tables).table.columns[-1].to_pylist()


@pytest.mark.parametrize("accuracy", [Accuracy.TEMPORAL, Accuracy.SNAPSHOT])
def test_a_label_is_the_state_as_of_its_time_at_any_accuracy(accuracy: Accuracy) -> None:
    dumps = [*dump(1, row(1)), *dump(3, row(100))]
    changes = [*insert(at(2, 5), row(2, at(1, 2))), *insert(at(3, 5), row(4, at(1, 3)))]
    changes += [*insert(at(4, 5), row(8, at(1, 4))), *insert(at(9), row(0))]
    times = [at(1, 5), at(1, 6), at(2, 6), at(3, 3), at(3, 6)]
    assert labelled(entity(accuracy=accuracy), times, dumps, changes) == [1, 2, 4, 100, 8]


def test_a_labels_window_is_over_the_rows_own_time() -> None:
    part = entity(Aggregation("v", Operation.SUM, windows=["6h"]))
    dumps = dump(1, row(1, at(1, 23)), row(2, at(2, 0)), row(4, at(2, 5, 59)), row(8, at(2, 6)))
    changes = [*reverse(at(2, 5), row(4, at(2, 5, 59))), *insert(at(2, 5), row(16, at(2, 1)), row(32, at(1, 1)))]
    changes += [*reverse(at(2, 6), row(2, at(2, 0))), *insert(at(9), row(0))]
    assert labelled(part, [at(1, 5), at(1, 6), at(1, 7)], dumps, changes) == [3, 18, 24]


def test_features_and_labels_of_one_group_by_see_different_states() -> None:
    part = entity()
    join = joined(part, labels=LabelPart([JoinPart(part)], offset="1d"))
    changes = [*insert(at(3, 5), row(2, at(2))), *insert(at(9), row(0))]
    tables = {"left": [{"k": "a", "q": at(2, 6)}], "dumps": dump(1, row(1)), "changes": changes}
    found = run(join, tables).table
    assert found.select(["state_v", "label_state_v"]).to_pylist() == [{"state_v": 1, "label_state_v": 2}]


@pytest.mark.parametrize(
    ("dumped", "changed", "mature"), [(1, at(2, 6), 1), (1, at(2, 5, 59), 0), (2, at(1, 3), 1), (1, None, 0)]
)
def test_label_data_end_with_the_newest_change_or_snapshot_whichever_is_later(
    dumped: int, changed: dt.datetime | None, mature: int
) -> None:
    changes = insert(changed, row(2)) if changed else []
    assert len(labelled(entity(where=["v > 5"]), [at(1, 6)], dump(dumped, row(1)), changes)) == mature


def test_each_source_has_its_own_snapshots_and_changes() -> None:
    one = EntitySource("dumps", mutations="changes", query=query())
    two = EntitySource("weekly", mutations="others", query=query(select={"v": "v", "k": "k", "more": "more"}))
    three = EntitySource("plain", query=Query(select=["k", "v"], time="t"))
    group_by = GroupBy(["k"], [one, two, three], [Aggregation("v", Operation.SUM)], name="state")
    tables = {
        "dumps": [*dump(1, row(1)), *dump(2, row(2)), *dump(4, row(4))],
        "changes": [*reverse(at(3, 5), row(2)), *insert(at(4, 5), row(8)), *insert(at(5, 5), row(16))],
        "weekly": dump(3, row(100, more=1)),
        "others": [*insert(at(2, 5), row(200, more=1)), *insert(at(4, 5), row(100, more=2), row(400, more=1))],
        "plain": [*dump(2, row(10_000)), *dump(3, row(20_000))],
    }
    tables["others"] += reverse(at(4, 6), row(400, more=1))
    times = [at(1, 5), at(2, 4), at(2, 6), at(3, 6), at(4, 5, 30), at(5, 4), at(5, 6)]
    found = aggregate(group_by, [{"k": "a", "ts": ts} for ts in times], tables).column("v_sum").to_pylist()
    assert found == [None, 1, 201, 10_200, 20_608, 20_204, 20_220]


def test_rows_of_two_sources_are_counted_apart() -> None:
    sources = [EntitySource("dumps", mutations=table, query=query()) for table in ("changes", "others")]
    group_by = GroupBy(["k"], sources, [Aggregation("v", Operation.COUNT)], name="state")
    tables = {"dumps": dump(1, row(1)), "changes": reverse(at(2, 3), row(1), row(1)), "others": []}
    assert aggregate(group_by, [{"k": "a", "ts": at(2, 4)}], tables).column("v_count").to_pylist() == [1]


def test_group_bys_over_one_entity_share_its_readings_and_keep_their_conditions_and_columns() -> None:
    big = total(where=["v > 1"], name="big")
    wide = entity(Aggregation("v", Operation.COUNT), select=["k", "v", "w"], name="wide")
    dumps = dump(1, row(1, w=1), row(2, w=1), row(2, w=2))
    changes = [*reverse(at(2, 3), row(1, w=9), row(2, w=9)), *insert(at(2, 4), row(5, w=1))]
    parts = [total(name="all"), big, wide, total(name="daily", accuracy=Accuracy.SNAPSHOT)]
    tables = {"left": [{"k": "a", "q": at(2, 5)}], "dumps": dumps, "changes": changes}
    together = run(joined(*parts), tables).table
    assert together.drop_columns(["k", "ts"]).to_pylist() == [
        {"all_v_sum": 7, "big_v_sum": 7, "wide_v_count": 4, "daily_v_sum": 5}
    ]
    for part in parts:
        alone = run(joined(part), tables).table
        assert alone.column(2).to_pylist() == together.column(alone.column_names[2]).to_pylist()


def test_a_left_of_an_entity_with_mutations_is_its_snapshots() -> None:
    left = EntitySource("dumps", mutations="changes", query=query())
    join = Join(left, [JoinPart(total())], name="joined")
    found = run(join, {"dumps": dump(1, row(1)), "changes": UPDATE}).table
    assert found.to_pylist() == [{"k": "a", "v": 1, "ts": at(2), "state_v_sum": 1}]


def test_bounds_of_partitions_hold_for_each_table_that_has_them() -> None:
    dumps = [*dump(1, row(1)), *dump(2, row(10)), *dump(3, row(1000))]
    changes = [*insert(at(2, 3), row(2)), *insert(at(3, 3), row(20)), *insert(at(4, 3), row(2000))]
    bounded = total(start="2024-01-02", end="2024-01-02")
    times = [at(2, 6), at(3, 6), at(4, 6)]
    assert values(bounded, times, dumps, changes) == [2, 30, 2030]
    days = [{**each, "ds": f"2024-01-0{day}"} for day, each in enumerate(changes, 1)]
    assert values(bounded, times, dumps, days) == [None, 30, 30]


REFUSED = [
    (lambda: total(select={"k": "k", "v": "v", "w": "w"}), "w"),
    (lambda: total(where=["w = 1"]), "w"),
    (lambda: total(select=None), "the mutations 'changes' have no column 'w'"),
    (lambda: total(select={"k": "k", "v": "b2"}), "'v' is BIGINT in the snapshots 'dumps' but STRING"),
    (lambda: total(is_before="v"), "is_before .* is BIGINT, not a condition"),
    (lambda: total(mutation_time="nosuch"), "nosuch"),
    (lambda: total(event_id="v"), "event_id"),
    (lambda: entity(Aggregation("v", Operation.APPROX_UNIQUE_COUNT)), "cannot take a row back"),
]


@pytest.mark.parametrize(("made", "message"), REFUSED)
def test_what_cannot_be_computed_is_refused_before_any_work(made: Callable[[], GroupBy], message: str) -> None:
    dumps = dump(1, row(1, w=1, b2=1))
    changes = [{**each, "b2": "x"} for each in UPDATE]
    with pytest.raises(DefinitionError, match=message):
        values(made(), [at(2)], dumps, changes)


def test_a_range_of_days_in_steps_is_the_range_at_once() -> None:
    dumps = [*dump(1, row(1), row(2, k="b")), *dump(3, row(3)), *dump(6, row(9))]
    changes = [*UPDATE, *insert(at(3, 4), row(7, k="b")), *reverse(at(4, 5), row(3)), *insert(at(6, 6), row(11))]
    left = [{"k": k, "q": at(day, hour)} for day in range(1, 9) for hour in (0, 5, 12) for k in ("a", "b")]
    tables = {"left": left, "dumps": dumps, "changes": changes}
    catalog = open_catalog(tables)
    plan = plan_join(joined(total(), entity(name="row")), lambda name: catalog.table(name).schema)
    whole = run_join(plan, catalog, start="2024-01-01", end="2024-01-08").table.to_pylist()
    for size in (1, 2, 3):
        steps: list[Row] = []
        for day in range(1, 9, size):
            last = min(day + size - 1, 8)
            steps += run_join(plan, catalog, start=f"2024-01-0{day}", end=f"2024-01-0{last}").table.to_pylist()
        assert steps == whole


def test_changes_before_the_first_querys_snapshot_are_not_read() -> None:
    dumps = [*dump(1, row(1)), *dump(4, row(1)), *dump(5, row(1))]
    changes = [each for day in range(1, 8) for each in insert(at(day, 6), row(day))]
    left = [{"k": "a", "q": at(5, 3)}, {"k": "a", "q": at(6, 3)}]
    report = run(joined(total()), {"left": left, "dumps": dumps, "changes": changes}).report
    assert report.rows_read == {"dumps": 2, "changes": 1}


def test_moments_are_the_same_to_the_bit_in_every_order_of_the_rows() -> None:
    chance = random.Random(5)
    rows = [row(chance.choice([0.1, 0.2, 0.7]), at(1, chance.randint(0, 2)), w=number) for number in range(60)]
    dumps = dump(1, *rows[:40])
    changes = [each for one in rows[20:40] for each in reverse(at(2, chance.randint(1, 20)), one)]
    changes += [each for one in rows[40:] for each in insert(at(2, chance.randint(1, 20)), one)]
    part = entity(Aggregation("v", Operation.VARIANCE), Aggregation("v", Operation.SKEW), select=["k", "v", "w"])
    queries = [{"k": "a", "ts": at(2, hour, 30)} for hour in range(22)]
    once = aggregate(part, queries, {"dumps": dumps, "changes": changes})
    for _ in range(3):
        chance.shuffle(dumps)
        chance.shuffle(changes)
        assert aggregate(part, queries, {"dumps": dumps, "changes": changes}).equals(once)


HOUR, DAY = 3_600_000_000, 86_400_000_000
OPERATIONS: dict[str, Callable[[list[int]], Any]] = {
    "COUNT": len,
    "SUM": lambda seen: sum(seen) if seen else None,
    "AVERAGE": lambda seen: sum(seen) / len(seen) if seen else None,
    "VARIANCE": lambda seen: sum((v - sum(seen) / len(seen)) ** 2 for v in seen) / len(seen) if seen else None,
    "MIN": lambda seen: min(seen, default=None),
    "MAX": lambda seen: max(seen, default=None),
    "FIRST": lambda seen: seen[0] if seen else None,
    "LAST": lambda seen: seen[-1] if seen else None,
    "FIRST_K": lambda seen: seen[:3] or None,
    "LAST_K": lambda seen: seen[::-1][:3] or None,
    "TOP_K": lambda seen: sorted(seen, reverse=True)[:3] or None,
    "BOTTOM_K": lambda seen: sorted(seen)[:3] or None,
    "UNIQUE_COUNT": lambda seen: len(set(seen)),
    "HISTOGRAM": lambda seen: [(v, seen.count(v)) for v in sorted(set(seen))] or None,
}
"""Each operation over the values seen, in the order of (time, value)."""
WINDOWS = {"": None, "_1d": (DAY, HOUR), "_2h": (2 * HOUR, HOUR // 12)}


def state_at(q: int, dumps: list[Row], changes: list[Row]) -> list[Row]:
    """The rows that are there, by the definition: each as often as it was put in and not taken out."""
    days = [to_micros(each["ds"]) for each in dumps if to_micros(each["ds"]) + DAY <= q // DAY * DAY]
    since = max(days) + DAY if days else 0
    there = [each for each in dumps if days and to_micros(each["ds"]) == max(days)]
    made = [each for each in changes if since <= to_micros(each["m"]) < q]
    counts: dict[Any, int] = {}
    for each in (*there, *made):
        identity = (each["k"], each["v"], each["t"], each["kind"])
        counts[identity] = counts.get(identity, 0) + (-1 if each.get("b") else 1)
    return [dict(zip(("k", "v", "t", "kind"), each, strict=True)) for each, n in counts.items() for _ in range(n)]


def expected_of(rows: list[Row], operation: str, window: str, q: int) -> Any:
    times = [(to_micros(each["t"]), each["v"]) for each in rows]
    start = None
    if WINDOWS[window]:
        span, hop = WINDOWS[window]
        start = (q - span) // hop * hop
    seen = sorted((t, v) for t, v in times if v is not None and t < q and (start is None or t >= start))
    return OPERATIONS[operation]([v for _, v in seen])


def expected_lookup(rows: list[Row], q: int) -> Any:
    order = [
        (to_micros(each["t"]), each["v"] is not None, each["v"] or 0, each["kind"] or "", each)
        for each in rows
        if to_micros(each["t"]) < q
    ]
    best = max(order, key=lambda each: each[:4], default=None)
    return (None, None) if best is None else (best[4]["v"], best[4]["kind"])


def random_world(chance: random.Random) -> tuple[list[Row], list[Row], list[Row]]:
    """(dumps, changes, queries): few rows and few instants, so that many are equal, over five days of some dumps."""

    def instant() -> dt.datetime:
        return at(chance.randint(1, 5), chance.choice([0, 6, 12]), chance.choice([0, 0, 0, 7]))

    def one() -> Row:
        when = chance.choice([at(1, 1), at(2, 6), instant()])
        return row(chance.choice([None, 1, 2, 2, -4]), when, chance.choice("aab"), kind=chance.choice(["x", "x", None]))

    pool = [one() for _ in range(chance.randint(2, 8))]
    days = [day for day in range(1, 6) if chance.random() < 0.4]
    dumps = [each for day in days for each in dump(day, *chance.choices(pool, k=chance.randint(1, 6)))]
    changes: list[Row] = []
    for _ in range(chance.randint(3, 12)):
        when = instant()
        changes += chance.choice([insert, reverse])(when, chance.choice(pool))
        if chance.random() < 0.5:
            changes += [*reverse(when, chance.choice(pool)), *insert(when, chance.choice(pool))]
    chance.shuffle(changes)
    queries = [{"k": chance.choice("aaab"), "ts": chance.choice([*changes, {"m": instant()}])["m"]} for _ in range(20)]
    return dumps, changes, queries


def random_group_by(chance: random.Random) -> GroupBy:
    aggregations = [
        Aggregation(
            "v",
            Operation[name],
            windows=[None, "1d", "2h"],
            k=3 if name.endswith("_K") else None,
            buckets=["kind"] if chance.random() < 0.3 else [],
        )
        for name in chance.sample(list(OPERATIONS), 4)
    ]
    return entity(*aggregations, select=["k", "v", "kind"])


@pytest.mark.parametrize("seed", range(25))
def test_random_states_are_those_of_the_definition(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(2):
        dumps, changes, queries = random_world(chance)
        group_by = random_group_by(chance)
        tables = {"dumps": typed(dumps, ds="string"), "changes": typed(changes, m=INSTANT, b="bool")}
        found = aggregate(group_by, queries, tables).to_pylist()
        rows = aggregate(entity(select=["k", "v", "kind"]), queries, tables).to_pylist()
        for query_, features, latest in zip(queries, found, rows, strict=True):
            q = to_micros(query_["ts"])
            state = [each for each in state_at(q, dumps, changes) if each["k"] == query_["k"]]
            assert (latest["v"], latest["kind"]) == expected_lookup(state, q)
            for name, value in features.items():
                if name not in query_:
                    assert rounded(value) == rounded(expected_feature(name, state, q)), (seed, name, query_)


def expected_feature(name: str, state: list[Row], q: int) -> Any:
    stem, _, bucket = name.partition("_by_")
    window = next(each for each in ("_1d", "_2h", "") if stem.endswith(each))
    operation = stem.removesuffix(window).removeprefix("v_").upper().replace("_K3", "_K")
    if not bucket:
        return expected_of(state, operation, window, q)
    kinds = sorted({each["kind"] for each in state if each["kind"]})
    parts = [
        (kind, expected_of([each for each in state if each["kind"] == kind], operation, window, q)) for kind in kinds
    ]
    empty = OPERATIONS[operation]([])
    return [(kind, value) for kind, value in parts if value != empty] or None


def rounded(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [rounded(each) for each in value]
    return round(value, 9) if isinstance(value, float) else value


INSTANT = pa.timestamp("us", "UTC")


def typed(rows: list[Row], **more: Any) -> pa.Table:
    """A table that has its types even where it has no rows."""
    fields = {"k": "string", "v": "int64", "t": INSTANT, "kind": "string", **more}
    return pa.Table.from_pylist(rows, pa.schema(list(fields.items())))
