"""Values computed before: which rows take them, and that only what is missing is computed."""

import pyarrow as pa
import pytest

from zipline import (
    Aggregation,
    BootstrapPart,
    Derivation,
    EventSource,
    GroupBy,
    Join,
    JoinPart,
    JoinSource,
    LabelPart,
    Operation,
    Query,
    backfill,
)
from zipline.engines.frames import run
from zipline.engines.local.run import run_join
from zipline.errors import DataError, DefinitionError
from zipline.plan.build import plan_join
from zipline.tables.catalog import open_catalog

EVENTS = [
    {"user": "ann", "amount": 1, "t": "2024-01-01T01:00:00"},
    {"user": "ann", "amount": 2, "t": "2024-01-01T02:00:00"},
    {"user": "bob", "amount": 5, "t": "2024-01-01T03:00:00"},
]
LEFT = [  # sums before: 3, 5, 3, 0
    {"id": 1, "user": "ann", "t": "2024-01-02"},
    {"id": 2, "user": "bob", "t": "2024-01-02"},
    {"id": 3, "user": "ann", "t": "2024-01-02"},
    {"id": None, "user": "eve", "t": "2024-01-02"},
]
TABLES = {"events": EVENTS, "left": LEFT}
SUM, COUNT, TWICE = "paid_amount_sum", "paid_amount_count", "paid_twice"

paid = GroupBy(
    keys=["user"],
    sources=[EventSource("events", query=Query(select=["user", "amount"], time="t"))],
    aggregations=[Aggregation("amount", Operation.SUM), Aggregation("amount", Operation.COUNT)],
    derivations=[Derivation("twice", "amount_sum * 2")],
    name="paid",
)


def join(*bootstrap: BootstrapPart, **options) -> Join:
    left = EventSource("left", query=Query(select=["id", "user"], time="t"))
    return Join(left, [JoinPart(paid)], **({"row_id": ["id"], "bootstrap": bootstrap, "name": "joined"} | options))


def column(table: pa.Table, name: str) -> list:
    return table.column(name).to_pylist()


def test_rows_take_given_values_nulls_too_and_only_what_is_not_given_is_computed():
    given = [{"id": 1, SUM: 100}, {"id": 2, SUM: None}, {"id": 9, SUM: 9}, {"id": None, SUM: 7}]
    table = backfill(join(BootstrapPart("given", [SUM])), TABLES | {"given": given})
    assert column(table, SUM) == [100, None, 3, None]
    assert column(table, COUNT) == [2, 1, 2, 0]
    assert table.column_names == ["id", "user", "ts", SUM, COUNT, TWICE]


def test_the_derivations_of_a_group_by_see_what_is_given_and_keep_what_is_given_to_them():
    given = [{"id": 1, SUM: 100, TWICE: 7}, {"id": 2, SUM: 50, TWICE: None}]
    part = BootstrapPart("given", [SUM])
    assert column(backfill(join(part), TABLES | {"given": given}), TWICE) == [200, 100, 6, None]
    part = BootstrapPart("given", [TWICE])
    table = backfill(join(part), TABLES | {"given": given})
    assert (column(table, SUM), column(table, TWICE)) == ([3, 5, 3, None], [7, None, 6, None])


def test_derivations_of_the_join_see_what_is_given_and_keep_what_is_given_to_them():
    derived = [Derivation("plus", f"{SUM} + {COUNT}"), Derivation("more", "plus + 1")]
    given = [{"id": 1, SUM: 100, "plus": None}, {"id": 2, SUM: 50, "plus": 0}]
    table = backfill(join(BootstrapPart("given", [SUM]), derivations=derived), TABLES | {"given": given})
    assert (column(table, "plus"), column(table, "more")) == ([102, 51, 5, None], [103, 52, 6, None])
    table = backfill(join(BootstrapPart("given", ["plus"]), derivations=derived), TABLES | {"given": given})
    assert (column(table, "plus"), column(table, "more")) == ([None, 0, 5, None], [None, 1, 6, None])


def test_a_derivation_that_would_fail_is_not_computed_where_it_is_given():
    derived = [Derivation("number", "CAST(user AS INT)")]
    tables = TABLES | {"given": [{"id": n, "number": n} for n in (1, 2, 3)], "left": LEFT[:3]}
    given_all = BootstrapPart("given", ["number"], query=Query(select={"id": "id", "number": "CAST(number AS INT)"}))
    assert column(backfill(join(given_all, derivations=derived), tables), "number") == [1, 2, 3]
    some = BootstrapPart(
        "given", ["number"], query=Query(select={"id": "id", "number": "CAST(number AS INT)"}, where=["id < 3"])
    )
    with pytest.raises(DataError, match="number"):
        backfill(join(some, derivations=derived), tables)


def test_the_first_table_that_has_a_row_gives_it_column_by_column():
    tables = TABLES | {
        "best": [{"id": 1, SUM: None}],
        "good": [{"id": 1, SUM: 10, COUNT: 11}, {"id": 2, SUM: 20, COUNT: 21}],
        "log": [{"id": n, SUM: 1000 + n, COUNT: 2000 + n, TWICE: 3000 + n} for n in (1, 2, 3)],
    }
    parts = [BootstrapPart("best", [SUM]), BootstrapPart("good", [SUM, COUNT]), BootstrapPart("log", [SUM, TWICE])]
    found = run(join(*parts), tables)
    assert column(found.table, SUM) == [None, 20, 1003, None]
    assert column(found.table, COUNT) == [11, 21, 2, 0]
    assert column(found.table, TWICE) == [3001, 3002, 3003, None]
    assert found.report.bootstrapped == {"best": 1, "good": 2, "log": 3}


def test_a_table_used_twice_is_counted_twice():
    parts = [
        BootstrapPart("given", [SUM], query=Query(where=["good"])),
        BootstrapPart("given", [SUM], query=Query(where=["NOT good"])),
    ]
    given = [{"id": 1, SUM: 7, "good": True}, {"id": 2, SUM: 8, "good": False}, {"id": 3, SUM: 9, "good": False}]
    found = run(join(*parts), TABLES | {"given": given})
    assert column(found.table, SUM) == [7, 8, 9, None]
    assert found.report.bootstrapped == {"given": 1, "given (2)": 2}


def test_a_part_that_is_given_whole_is_not_read_at_all():
    events = [{"user": "ann", "amount": "no number", "t": "2024-01-01"}]
    broken = GroupBy(
        keys=["user"],
        sources=[
            EventSource("events", query=Query(select={"user": "user", "amount": "CAST(amount AS BIGINT)"}, time="t"))
        ],
        aggregations=[Aggregation("amount", Operation.SUM)],
        derivations=[Derivation("twice", "amount_sum * 2")],
        name="paid",
    )
    left = EventSource("left", query=Query(select=["id", "user"], time="t", where=["id IS NOT NULL"]))
    part = BootstrapPart("given", [SUM])
    joined = Join(left, [JoinPart(broken)], row_id=["id"], bootstrap=[part], name="joined")
    given = [{"id": n, SUM: n} for n in (1, 2, 3)]
    found = run(joined, {"events": events, "left": LEFT, "given": given})
    assert (column(found.table, SUM), column(found.table, TWICE)) == ([1, 2, 3], [2, 4, 6])
    assert found.report.rows_read == {}
    with pytest.raises(DataError, match="no number"):
        run(joined, {"events": events, "left": LEFT, "given": given[:2]})


def test_only_the_rows_that_need_it_are_aggregated():
    big = 2**62
    events = [{"user": "ann", "amount": big, "t": "2024-01-01"}] * 3 + EVENTS[2:]
    given = [{"id": 1, SUM: 1}, {"id": 3, SUM: 3}]
    table = backfill(join(BootstrapPart("given", [SUM])), {"events": events, "left": LEFT, "given": given})
    assert column(table, SUM) == [1, 5, 3, None], "the total that overflows is of no row that needs it"
    with pytest.raises(DataError, match="beyond the range"):
        backfill(join(BootstrapPart("given", [SUM])), {"events": events, "left": LEFT, "given": given[:1]})


def test_a_parent_that_no_row_needs_is_not_computed():
    parent = Join(EventSource("events", query=Query(select=["user", "amount"], time="t")), [], name="parent")
    chained = GroupBy(["user"], [JoinSource(parent)], [Aggregation("amount", Operation.SUM)], name="paid")
    left = EventSource("left", query=Query(select=["id", "user"], time="t"))
    joined = Join(left, [JoinPart(chained)], row_id=["id"], bootstrap=[BootstrapPart("given", [SUM])], name="joined")
    rows = LEFT[:3]
    some = run(joined, {"events": EVENTS, "left": rows, "given": [{"id": 1, SUM: 50}]})
    assert column(some.table, SUM) == [50, 5, 3]
    assert len(some.report.rows_read) == 1
    every = run(joined, {"events": EVENTS, "left": rows, "given": [{"id": n, SUM: 50} for n in (1, 2, 3)]})
    assert column(every.table, SUM) == [50, 50, 50]
    assert every.report.rows_read == {}


def test_parts_with_other_rows_covered_are_each_computed_for_their_own():
    other = GroupBy(
        keys=["user"],
        sources=[EventSource("events", query=Query(select=["user", "amount"], time="t"))],
        aggregations=[Aggregation("amount", Operation.MAX), Aggregation("amount", Operation.LAST_K, k=2)],
        name="other",
    )
    latest = GroupBy(["user"], [EventSource("events", query=Query(select=["user", "amount"], time="t"))], name="latest")
    left = EventSource("left", query=Query(select=["id", "user"], time="t"))
    parts = [
        BootstrapPart("given", [SUM, COUNT, TWICE]),
        BootstrapPart("more", ["other_amount_max", "other_amount_last_k2"]),
        BootstrapPart("last", ["latest_amount"]),
    ]
    joined = Join(
        left, [JoinPart(paid), JoinPart(other), JoinPart(latest)], row_id=["id"], bootstrap=parts, name="joined"
    )
    tables = TABLES | {
        "given": [{"id": 1, SUM: 10, COUNT: 20, TWICE: 30}],
        "more": [{"id": 2, "other_amount_max": 40, "other_amount_last_k2": [8, 9]}],
        "last": [{"id": 3, "latest_amount": 70}],
    }
    table = backfill(joined, tables)
    assert column(table, SUM) == [10, 5, 3, None]
    assert column(table, COUNT) == [20, 1, 2, 0]
    assert column(table, TWICE) == [30, 10, 6, None]
    assert column(table, "other_amount_max") == [2, 40, 2, None]
    assert column(table, "other_amount_last_k2") == [[2, 1], [8, 9], [2, 1], None]
    assert column(table, "latest_amount") == [2, 5, 70, None]


def test_labels_are_computed_for_bootstrapped_rows_too():
    labels = GroupBy(
        keys=["user"],
        sources=[EventSource("events", query=Query(select=["user", "amount"], time="t"))],
        aggregations=[Aggregation("amount", Operation.SUM, windows=["1d"])],
        name="next",
    )
    left = [row | {"t": "2024-01-01T01:30:00"} for row in LEFT[:3]]
    joined = join(BootstrapPart("given", [SUM]), labels=LabelPart([JoinPart(labels)], offset="1d"))
    given = [{"id": n, SUM: 9} for n in (1, 2, 3)]
    tables = {"events": EVENTS, "left": left, "given": given}
    table = backfill(joined, tables, as_of="2024-01-03")
    assert column(table, SUM) == [9, 9, 9]
    assert column(table, "label_next_amount_sum_1d") == [2, 5, 2]
    assert backfill(joined, tables).num_rows == 0, "the label's data end too early"


def test_several_columns_are_one_row_id_and_never_one_text():
    left = [
        {"a": "x", "b": "yz", "user": "ann", "t": "2024-01-02"},
        {"a": "xy", "b": "z", "user": "ann", "t": "2024-01-02"},
    ]
    source = EventSource("left", query=Query(select=["a", "b", "user"], time="t"))
    joined = Join(source, [JoinPart(paid)], row_id=["a", "b"], bootstrap=[BootstrapPart("given", [SUM])], name="joined")
    given = [{"a": "x", "b": "yz", SUM: 8}, {"a": "xy", "b": None, SUM: 9}]
    assert column(backfill(joined, {"events": EVENTS, "left": left, "given": given}), SUM) == [8, 3]


def test_narrower_types_of_the_same_kind_are_cast_to_the_columns_type():
    given = pa.table({"id": pa.array([1], pa.int8()), SUM: pa.array([100], pa.int16())})
    table = backfill(join(BootstrapPart("given", [SUM])), TABLES | {"given": given})
    assert table.schema.field(SUM).type == pa.int64()
    assert column(table, SUM) == [100, 5, 3, None]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (pa.table({"id": [1], SUM: [1.5]}), "gives 'paid_amount_sum' as DOUBLE, but the column is BIGINT"),
        (pa.table({"id": [1], SUM: ["1"]}), "as STRING, but the column is BIGINT"),
        (pa.table({"id": ["1"], SUM: [1]}), "left column 'id' is BIGINT, but the key 'given.id' is STRING"),
        (pa.table({"row": [1], SUM: [1]}), "column 'id' is missing in 'given'"),
        (pa.table({"id": [1], "sum": [1]}), f"column '{SUM}' is missing in 'given'"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_before_anything_is_read(given, message):
    catalog = open_catalog(TABLES | {"given": given})
    with pytest.raises(DefinitionError, match=message):
        plan_join(join(BootstrapPart("given", [SUM])), lambda name: catalog.table(name).schema)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("paid_amount_summ", "no column of the output"),
        ("user", "a column of the left"),
        ("ts", "a column of the left"),
        ("id", "of the row_id"),
    ],
)
def test_only_columns_beyond_the_left_can_be_given(name, message):
    given = [{"id": 1, "user": "ann", "ts": "2024-01-01", "paid_amount_summ": 1}]
    with pytest.raises(DefinitionError, match=message) as failed:
        backfill(join(BootstrapPart("given", [name])), TABLES | {"given": given})
    assert failed.value.suggestion == (SUM if name == "paid_amount_summ" else None)


def test_labels_cannot_be_given():
    labels = GroupBy(
        keys=["user"],
        sources=[EventSource("events", query=Query(select=["user", "amount"], time="t"))],
        aggregations=[Aggregation("amount", Operation.SUM, windows=["1d"])],
        name="next",
    )
    part = BootstrapPart("given", ["label_next_amount_sum_1d"])
    given = [{"id": 1, "label_next_amount_sum_1d": 1}]
    with pytest.raises(DefinitionError, match="gives the label"):
        backfill(join(part, labels=LabelPart([JoinPart(labels)], offset="1d")), TABLES | {"given": given})


def test_clocks_of_a_bootstrap_table_are_refused():
    part = BootstrapPart("given", [SUM], query=Query(time="at"))
    with pytest.raises(DefinitionError, match="found by row_id"):
        backfill(join(part), TABLES | {"given": [{"id": 1, SUM: 1, "at": "2024-01-01"}]})


def test_a_row_id_that_is_twice_in_a_table_is_named():
    given = [{"id": 1, SUM: 1}, {"id": 8, SUM: 1}, {"id": None, SUM: 1}, {"id": None, SUM: 2}, {"id": 8, SUM: 1}]
    with pytest.raises(DataError, match="two rows with the row_id id=8") as failed:
        backfill(join(BootstrapPart("given", [SUM])), TABLES | {"given": given})
    assert "given" in str(failed.value)


def test_a_row_id_that_is_twice_on_the_left_is_named_and_null_ids_are_nobodys_double():
    tables = TABLES | {"left": [*LEFT, LEFT[3], LEFT[1]], "given": [{"id": 1, SUM: 1}]}
    with pytest.raises(DataError, match="two rows of the left have the row_id id=2"):
        backfill(join(BootstrapPart("given", [SUM])), tables)
    tables["left"] = [*LEFT, LEFT[3]]
    assert backfill(join(BootstrapPart("given", [SUM])), tables).num_rows == 5


def test_rows_of_one_event_id_in_a_log_are_one_the_earliest():
    log = [
        {"request": "r1", "id": 1, SUM: 10, "at": "2024-01-05"},
        {"request": "r1", "id": 1, SUM: 11, "at": "2024-01-04"},
        {"request": "r2", "id": 2, SUM: 20, "at": "2024-01-05"},
    ]
    query = Query(select=["id", SUM], event_id="request", time="at")
    table = backfill(join(BootstrapPart("log", [SUM], query=query)), TABLES | {"log": log})
    assert column(table, SUM) == [11, 20, 3, None]


def test_partitions_of_a_bootstrap_table_are_bounded_by_its_query():
    given = [{"id": 1, SUM: 10, "ds": "2024-01-01"}, {"id": 2, SUM: 20, "ds": "2024-01-02"}]
    part = BootstrapPart("given", [SUM], query=Query(start="2024-01-02"))
    assert column(backfill(join(part), TABLES | {"given": given}), SUM) == [3, 20, 3, None]


def test_an_empty_table_gives_nothing_and_an_empty_source_takes_the_type_that_is_given():
    found = run(join(BootstrapPart("given", [SUM])), TABLES | {"given": []})
    assert column(found.table, SUM) == [3, 5, 3, None]
    assert found.report.bootstrapped == {"given": 0}
    given = [{"id": 1, SUM: 2.5}]
    table = backfill(join(BootstrapPart("given", [SUM])), TABLES | {"events": [], "given": given})
    assert table.schema.field(SUM).type == pa.float64()
    assert column(table, SUM) == [2.5, None, None, None]


def test_not_a_number_is_null_at_the_door():
    average = GroupBy(
        keys=["user"],
        sources=[EventSource("events", query=Query(select=["user", "amount"], time="t"))],
        aggregations=[Aggregation("amount", Operation.AVERAGE)],
        name="average",
    )
    left = EventSource("left", query=Query(select=["id", "user"], time="t"))
    part = BootstrapPart("given", ["average_amount_average"])
    joined = Join(left, [JoinPart(average)], row_id=["id"], bootstrap=[part], name="joined")
    given = [{"id": 1, "average_amount_average": float("nan")}]
    assert column(backfill(joined, TABLES | {"given": given}), "average_amount_average") == [None, 5, 1.5, None]


def test_days_in_steps_take_the_same_values_as_at_once():
    left = [row | {"t": f"2024-01-0{n}T05:00:00"} for n, row in enumerate(LEFT[:3], start=2)]
    catalog = open_catalog({"events": EVENTS, "left": left, "given": [{"id": 2, SUM: 50}, {"id": 9, SUM: 1}]})
    plan = plan_join(join(BootstrapPart("given", [SUM])), lambda name: catalog.table(name).schema)
    at_once = run_join(plan, catalog, start="2024-01-02", end="2024-01-04").table
    days = [run_join(plan, catalog, start=f"2024-01-0{n}", end=f"2024-01-0{n}").table for n in (2, 3, 4)]
    assert column(at_once, SUM) == [3, 50, 3]
    assert pa.concat_tables(days).to_pylist() == at_once.to_pylist()


def test_the_steps_say_what_is_given():
    catalog = open_catalog(TABLES | {"given": [{"id": 1, SUM: 1}], "log": [{"id": 1, SUM: 1, COUNT: 1}]})
    parts = [BootstrapPart("given", [SUM]), BootstrapPart("log", [SUM, COUNT])]
    plan = plan_join(join(*parts), lambda name: catalog.table(name).schema)
    steps = [(step.title, step.detail) for step in plan.steps()]
    assert steps[:2] == [
        ("read left", "left: 2 columns"),
        ("bootstrap", "by id: 1 columns of given, then 2 columns of log"),
    ]
