"""Names, types, times and emptiness at their ends."""

import datetime as dt
import math
from decimal import Decimal

import pyarrow as pa
import pytest

from zipline import (
    Aggregation,
    Derivation,
    EntitySource,
    EventSource,
    GroupBy,
    Join,
    JoinPart,
    LabelPart,
    Operation,
    Query,
    aggregate,
    backfill,
    training_set,
)
from zipline.errors import DataError, DefinitionError, TableError, UsageError


def at(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.timezone.utc)


def of(*aggregations: Aggregation) -> GroupBy:
    return GroupBy(["k"], [EventSource("events", query=Query(time="t"))], aggregations, name="part")


def joined(part: GroupBy) -> Join:
    return Join(EventSource("left", query=Query(time="t")), [JoinPart(part)], name="joined")


TOTAL = Aggregation("v", Operation.SUM)
EVENTS = [{"k": "a", "v": 1, "t": at("2024-01-01")}]


@pytest.mark.parametrize("column", ["__ts", "__ds", "__row", "value", "c0", "ds"])
@pytest.mark.parametrize("value", [7, "text"])
def test_left_columns_of_any_name_stand_untouched(column, value):
    left = [{"k": "a", "t": at("2024-01-02"), column: value}]
    row = backfill(joined(of(TOTAL)), {"events": EVENTS, "left": left}).to_pylist()[0]
    assert row == {"k": "a", "t": at("2024-01-02"), column: value, "ts": at("2024-01-02"), "part_v_sum": 1}


def test_decimal_keys_of_different_scales_are_equal_by_value():
    noon = pa.array([at("2024-01-01T12:00")] * 2)
    events = pa.table({"k": pa.array([Decimal("1.2345"), Decimal("1.2300")], pa.decimal128(10, 4)), "v": [1, 10]})
    left = pa.table({"k": pa.array([Decimal("1.23"), Decimal("1.24")], pa.decimal128(5, 2))})
    later = pa.array([at("2024-01-02")] * 2)
    tables = {"events": events.append_column("t", noon), "left": left.append_column("t", later)}
    assert backfill(joined(of(TOTAL)), tables)["part_v_sum"].to_pylist() == [10, None]


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        ("1m", [None, None, None]),
        ("1d", [None, 10, None]),
        ("100000d", [None, 10, None]),
        ("9999999999999d", [None, 10, 11]),
    ],
)
def test_windows_may_reach_beyond_the_calendar(window, expected):
    events = [*EVENTS, {"k": "a", "v": 10, "t": at("0001-01-01")}]
    left = [{"k": "a", "t": at(time)} for time in ("0001-01-01", "0001-01-02", "9999-12-31T23:59")]
    part = of(Aggregation("v", Operation.SUM, windows=[window]))
    assert backfill(joined(part), {"events": events, "left": left}).columns[-1].to_pylist() == expected


@pytest.mark.parametrize("offset", ["1d", "5000d", "9999999999999d"])
def test_a_label_beyond_the_calendar_is_never_complete(offset):
    labels = LabelPart([JoinPart(of(Aggregation("v", Operation.SUM, windows=["1d"])))], offset=offset)
    join = Join(EventSource("left", query=Query(time="t")), [], labels=labels, name="joined")
    left = [{"k": "a", "t": at("9999-12-31T23:59")}]
    assert backfill(join, {"events": EVENTS, "left": left}, as_of="9999-12-31").num_rows == 0


@pytest.mark.parametrize("events", [[], [{"k": "a", "v": None, "b": None, "t": at("2024-01-01")}]])
def test_of_columns_in_which_nothing_is_known_every_operation_is_empty(events):
    made = [Aggregation("v", Operation.COUNT), Aggregation("v", Operation.HISTOGRAM)]
    made += [Aggregation("v", Operation.LAST_K, k=2), Aggregation("v", Operation.SUM, buckets=["b"])]
    made += [
        Aggregation("v", Operation.HISTOGRAM, buckets=["b"]),
        Aggregation("v", Operation.LAST, default=at("2024-01-01")),
    ]
    left = [{"k": "a", "t": at("2024-01-02")}]
    row = list(backfill(joined(of(*made)), {"events": events, "left": left}).to_pylist()[0].values())
    assert row[3:] == [0, None, None, None, None, at("2024-01-01")]


def test_no_rows_at_all_give_no_rows():
    assert backfill(joined(of(TOTAL)), {"events": EVENTS, "left": []}).column_names == ["k", "t", "ts", "part_v_sum"]
    assert training_set([], [of(TOTAL)], {"events": EVENTS}).column_names == ["k", "ts", "part_v_sum"]


def test_a_k_beyond_int64_keeps_every_value():
    made = [Aggregation("v", Operation.LAST_K, k=2**70), Aggregation("v", Operation.BOUNDED_UNIQUE_COUNT, k=2**70)]
    left = [{"k": "a", "t": at("2024-01-02")}]
    row = list(backfill(joined(of(*made)), {"events": EVENTS, "left": left}).to_pylist()[0].values())
    assert row[3:] == [[1], 1]


def test_structs_are_counted():
    events = [{"k": "a", "v": value, "t": at("2024-01-01")} for value in ({"x": 1}, None, {"x": 2})]
    left = [{"k": "a", "t": at("2024-01-02")}]
    part = of(Aggregation("v", Operation.COUNT))
    assert backfill(joined(part), {"events": events, "left": left})["part_v_count"].to_pylist() == [2]


def test_of_tied_rows_the_greatest_list_is_looked_up_by_its_elements_not_by_their_text():
    events = [{"k": "a", "v": value, "t": at("2024-01-01")} for value in ([9], [10], None, [9, 9])]
    source = EventSource("events", query=Query(select={"k": "k", "v": "v"}, time="t"))
    left = [{"k": "a", "t": at("2024-01-02")}]
    part = GroupBy(["k"], [source], name="part")
    assert backfill(joined(part), {"events": events, "left": left})["part_v"].to_pylist() == [[10]]


def test_a_query_time_that_the_left_holds_as_text_or_date_comes_out_as_an_instant() -> None:
    sums = GroupBy(
        keys=["user"],
        sources=[EventSource("sales", Query(select=["user", "amount"], time="at"))],
        aggregations=[Aggregation("amount", Operation.SUM)],
        name="sums",
    )
    join = Join(EventSource("left", Query(time="ts")), [JoinPart(sums)], name="j")
    sales = [{"user": "ann", "amount": 3, "at": "2024-03-01T10:00:00Z"}]
    for midnight in ("2024-03-02", dt.date(2024, 3, 2)):
        table = backfill(join, {"left": [{"user": "ann", "ts": midnight}], "sales": sales})
        assert table.column_names == ["user", "ts", "sums_amount_sum"]
        assert table.column("ts").to_pylist() == [dt.datetime(2024, 3, 2, tzinfo=dt.timezone.utc)]
        assert table.column("sums_amount_sum").to_pylist() == [3]


def test_a_global_key_without_left_rows_has_no_rows():
    everyone = GroupBy(
        [], [EventSource("events", query=Query(time="t"))], [Aggregation("x", Operation.SUM)], name="everyone"
    )
    joined = Join(
        EventSource("left", query=Query(select=["k"], time="t", where=["k > 9"])), [JoinPart(everyone)], name="joined"
    )
    rows = [{"k": 1, "x": 2, "t": "2024-01-01"}]
    assert backfill(joined, {"left": rows, "events": rows}).num_rows == 0


@pytest.mark.parametrize(
    "aggregation",
    [
        Aggregation("v", Operation.SUM, default=1.5),
        Aggregation("v", Operation.COUNT, default=Decimal("0.5")),
        Aggregation("v", Operation.LAST_K, k=2, default=[1, 1.5]),
        Aggregation("v", Operation.AVERAGE, default=float("nan")),
        Aggregation("v", Operation.SUM, default=Decimal("NaN")),
        Aggregation("v", Operation.APPROX_PERCENTILE, percentiles=[0.5], default=[float("nan")]),
        Aggregation("v", Operation.SUM, default=True),
        Aggregation("v", Operation.AVERAGE, default=True),
    ],
)
def test_a_default_of_which_another_value_would_be_made_is_refused(aggregation):
    with pytest.raises(DefinitionError, match=r"the default .* is no "):
        backfill(joined(of(aggregation)), {"events": EVENTS, "left": [{"k": "b", "t": at("2024-01-02")}]})


def test_a_default_that_is_a_whole_number_is_one():
    part = of(Aggregation("v", Operation.SUM, default=2.0))
    row = backfill(joined(part), {"events": EVENTS, "left": [{"k": "b", "t": at("2024-01-02")}]}).to_pylist()[0]
    assert row["part_v_sum"] == 2


@pytest.mark.parametrize(("select", "expected"), [(["k", "a", "b"], (10, 2)), (["k", "b", "a"], (20, 1))])
def test_of_rows_with_one_event_id_the_least_in_the_order_of_the_select_is_the_event(select, expected):
    noon = at("2024-01-01T12:00")
    events = [{"k": "x", "b": 1, "a": 20, "id": 7, "t": noon}, {"k": "x", "b": 2, "a": 10, "id": 7, "t": noon}]
    source = EventSource("events", query=Query(select, time="t", event_id="id"))
    parts = [GroupBy(["k"], [source], [Aggregation(name, Operation.SUM)], name=name) for name in "ba"]
    join = Join(EventSource("left", query=Query(time="t")), list(map(JoinPart, parts)), name="joined")
    row = backfill(join, {"events": events, "left": [{"k": "x", "t": at("2024-01-02")}]}).to_pylist()[0]
    assert (row["a_a_sum"], row["b_b_sum"]) == expected


@pytest.mark.parametrize("days", [["2024-01-01", "20240102"], ["2024-01-01", "2024-1-2"], ["Jan", "Jan"]])
@pytest.mark.parametrize("bounds", [{"start": "2024-01-01"}, {"end": "2024-06-01"}])
def test_bounds_of_partitions_are_not_compared_with_texts_that_are_no_days(days, bounds):
    events = [{"k": "a", "v": 1, "t": at("2024-01-02"), "ds": day} for day in days]
    of_days = GroupBy(["k"], [EventSource("events", query=Query(time="t", **bounds))], [TOTAL], name="part")
    left = [{"k": "a", "t": at("2024-02-02")}]
    for calls in (
        lambda: backfill(joined(of_days), {"events": events, "left": left}),
        lambda: aggregate(of_days, [{"k": "a", "ts": at("2024-02-02")}], {"events": events}),
        lambda: training_set([{"k": "a", "ts": at("2024-02-02")}], [of_days], {"events": events}),
    ):
        with pytest.raises(TableError, match=f"the partition column 'ds' holds {days[1]!r}, which is not a day"):
            calls()


@pytest.mark.parametrize(
    ("one", "other"),
    [(1, 1.0), (1, Decimal("1.0")), (1.0, Decimal("1.0")), (dt.date(2024, 1, 1), at("2024-01-01")), (1, "1")],
)
def test_keys_of_two_sources_are_of_one_kind(one, other):
    sources = [EventSource(name, query=Query(time="t")) for name in ("a", "b")]
    both = GroupBy(["k"], sources, [TOTAL], name="both")
    tables = {name: [{"k": k, "v": 1, "t": at("2024-01-01")}] for name, k in (("a", one), ("b", other))}
    with pytest.raises(DefinitionError, match=r"column 'k' is .* in 'a' but .* in 'b'"):
        aggregate(both, [{"k": one, "ts": at("2024-02-01")}], tables)
    snapshots = EntitySource("a", mutations="b", query=Query(["k", "v"], mutation_time="t", is_before="before"))
    changing = GroupBy(["k"], [snapshots], [TOTAL], name="changing")
    tables = {"a": [tables["a"][0] | {"ds": "2024-01-01"}], "b": [tables["b"][0] | {"before": False}]}
    with pytest.raises(DefinitionError, match=r"column 'k' is .* in the snapshots 'a' but .* in the mutations 'b'"):
        aggregate(changing, [{"k": one, "ts": at("2024-02-01")}], tables)


def test_integers_beside_floats_of_another_source_are_the_nearest_floats():
    sources = [EventSource(name, query=Query(time="t")) for name in ("a", "b")]
    most = GroupBy(["k"], sources, [Aggregation("v", Operation.MAX), Aggregation("l", Operation.MAX)], name="most")
    rows = [{"k": 1, "v": 2**53 + 1, "l": [2**53 + 1], "t": at("2024-01-01")}]
    others = [{"k": 1, "v": 0.5, "l": [0.5], "t": at("2024-01-01")}]
    found = aggregate(most, [{"k": 1, "ts": at("2024-02-01")}], {"a": rows, "b": others}).to_pylist()[0]
    assert (found["v_max"], found["l_max"]) == (float(2**53), float(2**53))


def test_decimals_that_no_type_of_both_sources_holds_are_told():
    sources = [EventSource(name, query=Query(time="t")) for name in ("a", "b")]
    most = GroupBy(["k"], sources, [Aggregation("v", Operation.MAX)], name="most")
    when = pa.array([at("2024-01-01")])
    wide = pa.table({"k": [1], "v": pa.array([Decimal("123.5")], pa.decimal128(38, 1)), "t": when})
    fine = pa.table({"k": [1], "v": pa.array([Decimal("1.5")], pa.decimal128(38, 37)), "t": when})
    with pytest.raises(DataError, match=r"reading 'a': a value of 'v' is no DECIMAL\(38, 37\), its type over all"):
        aggregate(most, [{"k": 1, "ts": at("2024-02-01")}], {"a": wide, "b": fine})


def test_nan_within_a_left_column_is_null_in_what_is_derived_of_it():
    left = [{"k": 1, "l": [float("nan"), 2.0], "s": {"a": float("nan")}, "t": at("2024-01-02")}]
    derivations = [Derivation("l2", "l"), Derivation("l3", "coalesce(l, l)"), Derivation("s2", "s")]
    join = Join(EventSource("left", query=Query(time="t")), [], derivations=derivations, name="joined")
    row = backfill(join, {"left": left}).to_pylist()[0]
    assert (row["l2"], row["l3"], row["s2"]) == ([None, 2.0], [None, 2.0], {"a": None})
    assert math.isnan(row["l"][0])  # a left column stands as it is


def test_definitions_that_are_none_are_refused():
    with pytest.raises(UsageError, match=r"definitions is what zipline.load gives, not list"):
        training_set([{"k": 1, "ts": "2024-01-01"}], ["a.b.part.v_sum"], {"events": EVENTS}, definitions=[of(TOTAL)])
