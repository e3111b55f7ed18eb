"""A join's output as the source of group-bys and as the left of joins, at any depth."""

import datetime as dt

import pyarrow as pa
import pytest

import zipline.engines.local.run as engine
from zipline import (
    Accuracy,
    Aggregation,
    Derivation,
    EntitySource,
    EventSource,
    GroupBy,
    Join,
    JoinPart,
    JoinSource,
    LabelPart,
    Operation,
    Query,
    aggregate,
    backfill,
    training_set,
)
from zipline.engines.frames import run
from zipline.engines.local.run import run_group_by, run_join
from zipline.errors import DefinitionError
from zipline.plan.build import plan_group_by, plan_join
from zipline.plan.chaining import parent_table
from zipline.tables.catalog import open_catalog

PAYMENTS = [
    {"user": "ann", "amount": 1, "t": "2024-01-01T00:00:00"},
    {"user": "ann", "amount": 2, "t": "2024-01-01T06:00:00"},
    {"user": "bob", "amount": 5, "t": "2024-01-01T07:00:00"},
    {"user": "ann", "amount": 10, "t": "2024-01-03T00:00:00"},
]
ORDERS = [  # spent before: 1, 1 + 2, 5, 10 (of a day: the first two payments are too old)
    {"user": "ann", "shop": "north", "t": "2024-01-01T05:00:00"},
    {"user": "ann", "shop": "north", "t": "2024-01-01T08:00:00"},
    {"user": "bob", "shop": "south", "t": "2024-01-01T09:00:00"},
    {"user": "ann", "shop": "south", "t": "2024-01-03T12:00:00"},
]
VISITS = [  # the most spent at the shop before: 1, 3, 5, 10
    {"shop": "north", "city": "york", "t": "2024-01-01T06:00:00"},
    {"shop": "north", "city": "york", "t": "2024-01-01T09:00:00"},
    {"shop": "south", "city": "york", "t": "2024-01-02T00:00:00"},
    {"shop": "south", "city": "bath", "t": "2024-01-04T00:00:00"},
]
TABLES = {"payments": PAYMENTS, "orders": ORDERS, "visits": VISITS}

spending = GroupBy(
    keys=["user"],
    sources=[EventSource("payments", query=Query(select=["user", "amount"], time="t"))],
    aggregations=[Aggregation("amount", Operation.SUM, windows=["1d"])],
    name="spending",
)
orders = Join(
    EventSource("orders", query=Query(select=["user", "shop"], time="t")), [JoinPart(spending)], name="shops.orders"
)
SPENT = "spending_amount_sum_1d"


def by_shop(**options):
    """The most spent at a shop before, over the orders' own output."""
    return GroupBy(
        keys=["shop"],
        sources=[JoinSource(orders, query=Query(select={"shop": "shop", "spent": SPENT}, **options))],
        aggregations=[Aggregation("spent", Operation.MAX)],
        name="by_shop",
    )


visits = Join(
    EventSource("visits", query=Query(select=["shop", "city"], time="t")), [JoinPart(by_shop())], name="visits"
)
by_city = GroupBy(
    keys=["city"],
    sources=[JoinSource(visits, query=Query(select={"city": "city", "most": "by_shop_spent_max"}))],
    aggregations=[Aggregation("most", Operation.SUM, windows=["2d", None])],
    name="by_city",
)


def at(*times: str) -> list[dict]:
    return [{"city": "york", "shop": "north", "user": "ann", "ts": time} for time in times]


def column(table: pa.Table, name: str) -> list:
    return table.column(name).to_pylist()


def planned(join: Join, tables=TABLES):
    catalog = open_catalog(tables)
    return plan_join(join, lambda name: catalog.table(name).schema), catalog


def runs_of(monkeypatch) -> list[str]:
    """The names of the joins that are computed from now on for others to read, in order."""
    ran = []
    original = engine.run_join

    def counted(plan, *arguments, **options):
        if options.get("span") is not None:
            ran.append(plan.name)
        return original(plan, *arguments, **options)

    monkeypatch.setattr(engine, "run_join", counted)
    return ran


def test_a_chain_of_three_joins_has_the_values_computed_by_hand():
    assert column(backfill(orders, TABLES), SPENT) == [1, 3, 5, 10]
    assert column(backfill(visits, TABLES), "by_shop_spent_max") == [1, 3, 5, 10]
    found = aggregate(by_city, at("2024-01-02T00:00:00", "2024-01-02T00:00:01", "2024-01-09T00:00:00"), TABLES)
    assert column(found, "most_sum") == [4, 9, 9]
    assert column(found, "most_sum_2d") == [4, 9, None]


def test_a_parent_row_at_exactly_the_query_is_not_seen_and_one_at_the_start_of_the_window_is():
    shop = GroupBy(
        keys=["shop"],
        sources=[JoinSource(orders, query=Query(select={"shop": "shop", "spent": SPENT}))],
        aggregations=[Aggregation("spent", Operation.COUNT, windows=["3h"])],
        name="counts",
    )
    times = ["2024-01-01T05:00:00", "2024-01-01T05:00:00.000001", "2024-01-01T08:00:00", "2024-01-01T08:05:00"]
    assert column(aggregate(shop, at(*times), TABLES), "spent_count_3h") == [0, 1, 1, 1]


def test_with_snapshot_accuracy_whole_days_of_parent_rows_are_seen():
    shop = GroupBy(
        keys=["shop"],
        sources=[JoinSource(orders)],
        aggregations=[Aggregation(SPENT, Operation.SUM, windows=["1d"])],
        accuracy=Accuracy.SNAPSHOT,
        name="daily",
    )
    found = aggregate(shop, at("2024-01-01T23:00:00", "2024-01-02T00:00:00", "2024-01-03T00:00:00"), TABLES)
    assert column(found, f"{SPENT}_sum_1d") == [None, 4, None]


def test_select_where_and_both_clocks_are_expressions_over_the_parents_columns():
    shop = by_shop(where=[f"{SPENT} > 1", "user = 'ann'"], time="ts", known_at="ts + INTERVAL 1 HOUR")
    times = ["2024-01-01T09:00:00", "2024-01-01T09:00:00.000001", "2024-01-01T10:00:00"]
    assert column(aggregate(shop, at(*times), TABLES), "spent_max") == [None, 3, 3]
    moved = by_shop(time="ts + INTERVAL 1 DAY")
    assert column(aggregate(moved, at("2024-01-02T08:00:00", "2024-01-02T08:00:01"), TABLES), "spent_max") == [1, 3]


def test_a_lookup_over_a_join_gives_its_latest_row():
    latest = GroupBy(keys=["user"], sources=[JoinSource(orders)], name="latest")
    joined = Join(EventSource("asked", query=Query(select=["user"], time="t")), [JoinPart(latest)], name="asked")
    rows = [{"user": "ann", "t": "2024-01-01T08:00:01"}, {"user": "bob", "t": "2024-01-01T08:00:01"}]
    table = backfill(joined, TABLES | {"asked": rows})
    assert table.column_names == ["user", "ts", "latest_shop", "latest_ts", f"latest_{SPENT}"]
    assert column(table, f"latest_{SPENT}") == [3, None]
    assert column(table, "latest_ts") == [dt.datetime(2024, 1, 1, 8, tzinfo=dt.timezone.utc), None]


def test_a_join_as_left_gives_one_row_for_each_of_its_rows_in_its_order():
    onwards = Join(JoinSource(visits), [JoinPart(by_city)], name="onwards")
    table = backfill(onwards, TABLES)
    assert table.column_names[:4] == ["shop", "city", "ts", "by_shop_spent_max"]
    assert column(table, "by_shop_spent_max") == [1, 3, 5, 10]
    assert column(table, "by_city_most_sum") == [None, 1, 4, None]
    later = Join(
        JoinSource(visits, query=Query(select=["city"], where=["city = 'york'"], time="ts + INTERVAL 1 SECOND")),
        [JoinPart(by_city)],
        name="later",
    )
    table = backfill(later, TABLES)
    assert table.column_names == ["city", "ts", "by_city_most_sum_2d", "by_city_most_sum"]
    assert column(table, "by_city_most_sum") == [1, 4, 9]


def test_a_parent_is_computed_once_for_all_who_read_it(monkeypatch):
    ran = runs_of(monkeypatch)
    twin = GroupBy(
        keys=["user"],
        sources=[JoinSource(orders)],
        aggregations=[Aggregation(SPENT, Operation.LAST, windows=["1d"])],
        name="by_user",
    )
    onwards = Join(
        JoinSource(orders), [JoinPart(by_shop()), JoinPart(twin), JoinPart(by_shop(), prefix="again")], name="onwards"
    )
    table = backfill(onwards, TABLES)
    assert ran == ["shops.orders"]
    assert column(table, "by_shop_spent_max") == [None, 1, None, 5]
    assert column(table, "again_by_shop_spent_max") == [None, 1, None, 5]
    assert column(table, f"by_user_{SPENT}_last_1d") == [None, 1, None, None]


def test_parents_are_computed_deepest_first_and_once_in_a_diamond(monkeypatch):
    ran = runs_of(monkeypatch)
    diamond = Join(JoinSource(visits), [JoinPart(by_shop(), prefix="own"), JoinPart(by_city)], name="diamond")
    plan, catalog = planned(diamond)
    assert [parent.name for parent in plan.parents] == ["shops.orders", "visits"]
    titles = [step.title for step in plan.steps()]
    assert titles[:3] == ["compute parent", "compute parent", "read left"]
    assert run_join(plan, catalog).table.num_rows == 4
    assert ran == ["shops.orders", "visits"]


def test_equal_definitions_made_twice_are_one_parent(monkeypatch):
    def made():
        return Join(EventSource("orders", query=Query(select=["user", "shop"], time="t")), [], name="bare")

    def over(join, name):
        return GroupBy(
            keys=["shop"],
            sources=[JoinSource(join)],
            aggregations=[Aggregation("user", Operation.UNIQUE_COUNT)],
            name=name,
        )

    ran = runs_of(monkeypatch)
    both = Join(
        EventSource("visits", query=Query(select=["shop"], time="t")),
        [JoinPart(over(made(), "one")), JoinPart(over(made(), "two"))],
        name="both",
    )
    table = backfill(both, TABLES)
    assert ran == ["bare"]
    assert column(table, "one_user_unique_count") == column(table, "two_user_unique_count") == [1, 1, 1, 2]


def test_a_stored_table_of_the_parents_name_is_not_read_instead():
    stored = [{"user": "ann", "shop": "north", SPENT: 77, "ts": "2024-01-01T00:00:00"}]
    found = aggregate(by_shop(), at("2024-01-02T00:00:00"), TABLES | {"shops.orders": stored})
    assert column(found, "spent_max") == [3]


def test_a_catalog_that_is_given_the_parents_output_reads_it_and_computes_neither_it_nor_what_only_it_needs(
    monkeypatch,
):
    catalog = open_catalog({"visits": VISITS})
    whole = open_catalog(TABLES)
    plan = plan_group_by(by_city, lambda name: whole.table(name).schema)
    ran = runs_of(monkeypatch)
    parent = plan.sources[0].parent
    assert parent is not None
    output = run_join(parent, whole, training=False).table
    ran.clear()
    queries = pa.table({"city": ["york"], "ts": pa.array([dt.datetime(2024, 1, 9)], pa.timestamp("us", "UTC"))})
    found = run_group_by(plan, queries, catalog.with_tables({parent_table(parent): output})).table
    assert column(found, "most_sum") == [9]
    assert ran == []


def test_labels_are_the_future_and_cannot_be_read():
    outcome = GroupBy(
        keys=["user"],
        sources=[EventSource("payments", query=Query(select=["user", "amount"], time="t"))],
        aggregations=[Aggregation("amount", Operation.SUM, windows=["1d"])],
        name="outcome",
    )
    labelled = Join(
        EventSource("orders", query=Query(select=["user", "shop"], time="t")),
        [JoinPart(spending)],
        labels=LabelPart([JoinPart(outcome)], offset="1d"),
        name="labelled",
    )
    label = "label_outcome_amount_sum_1d"
    for query in (Query(select={"shop": "shop", "x": label}), Query(select={"shop": "shop", "x": f"{label} + 1"})):
        reader = GroupBy(
            ["shop"], [JoinSource(labelled, query=query)], [Aggregation("x", Operation.SUM)], name="reader"
        )
        with pytest.raises(DefinitionError, match="labels are the future"):
            aggregate(reader, at("2024-01-02"), TABLES)
    reader = GroupBy(["shop"], [JoinSource(labelled)], [Aggregation(label, Operation.SUM)], name="reader")
    with pytest.raises(DefinitionError, match=f"'{label}'.*which is a label"):
        aggregate(reader, at("2024-01-02"), TABLES)
    seen = GroupBy(["shop"], [JoinSource(labelled)], [Aggregation(SPENT, Operation.COUNT)], name="seen")
    assert column(aggregate(seen, at("2024-01-05"), TABLES), f"{SPENT}_count") == [2], "immature rows are seen too"


def test_a_missing_column_of_a_parent_is_named_with_a_suggestion():
    reader = GroupBy(["shop"], [JoinSource(orders)], [Aggregation("spending_amount_sum", Operation.SUM)], name="reader")
    with pytest.raises(DefinitionError, match=r"is missing in 'shops\.orders'") as failed:
        aggregate(reader, at("2024-01-02"), TABLES)
    assert failed.value.suggestion == SPENT


def test_a_parents_derivations_and_prefixes_are_seen_by_name():
    enriched = Join(
        EventSource("orders", query=Query(select=["user", "shop"], time="t")),
        [JoinPart(spending, prefix="by_user")],
        derivations=[Derivation("twice", f"by_user_{SPENT} * 2")],
        name="enriched",
    )
    reader = GroupBy(["shop"], [JoinSource(enriched)], [Aggregation("twice", Operation.MAX)], name="reader")
    assert column(aggregate(reader, at("2024-01-05"), TABLES), "twice_max") == [6]


def test_a_label_over_a_join_matures_with_the_joins_own_rows():
    outcome = GroupBy(
        keys=["shop"],
        sources=[JoinSource(orders, query=Query(select={"shop": "shop", "spent": SPENT}))],
        aggregations=[Aggregation("spent", Operation.SUM, windows=["1d"])],
        name="outcome",
    )
    asked = Join(
        EventSource("asked", query=Query(select=["shop"], time="t")),
        [],
        labels=LabelPart([JoinPart(outcome)], offset="1d"),
        name="asked",
    )
    times = ["2024-01-01T05:00:00", "2024-01-01T05:00:01", "2024-01-02T12:00:00", "2024-01-02T12:00:01"]
    tables = TABLES | {"asked": [{"shop": "north", "t": time} for time in times]}
    table = backfill(asked, tables)
    assert column(table, "label_outcome_spent_sum_1d") == [4, 3, None], "the newest order ends what is known"
    table = backfill(asked, tables, as_of="2024-01-02T05:00:00")
    assert column(table, "label_outcome_spent_sum_1d") == [4]


def test_a_label_over_a_join_of_joins_matures_as_if_all_of_it_were_computed():
    outcome = GroupBy(
        keys=["city"],
        sources=[JoinSource(Join(JoinSource(visits), [], name="copy"), query=Query(where=["by_shop_spent_max < 5"]))],
        aggregations=[Aggregation("by_shop_spent_max", Operation.COUNT, windows=["1d"])],
        name="outcome",
    )
    asked = Join(
        EventSource("asked", query=Query(select=["city"], time="t")),
        [],
        labels=LabelPart([JoinPart(outcome)], offset="1d"),
        name="asked",
    )
    tables = TABLES | {"asked": [{"city": "york", "t": t} for t in ("2024-01-01", "2024-01-03", "2024-01-03T00:00:01")]}
    table = backfill(asked, tables)
    assert column(table, "label_outcome_by_shop_spent_max_count_1d") == [2, 0]


def test_days_in_steps_are_the_same_as_in_one_where_the_lookback_is_longer_than_the_step():
    days = [f"2024-01-{day:02}" for day in range(1, 13)]
    payments = [
        {"user": f"u{n % 3}", "amount": n, "t": f"{day}T{n % 24:02}:00:00"} for n, day in enumerate(days * 4, start=1)
    ]
    orders_made = [
        {"user": f"u{n % 3}", "shop": f"s{n % 2}", "t": f"{day}T{n * 5 % 24:02}:30:00"}
        for n, day in enumerate(days * 5, start=1)
    ]
    seen = [
        {"shop": f"s{n % 2}", "city": "york", "t": f"{day}T{n * 7 % 24:02}:15:00"}
        for n, day in enumerate(days * 3, start=1)
    ]
    tables = {"payments": payments, "orders": orders_made, "visits": seen}
    weekly = GroupBy(
        keys=["shop"],
        sources=[JoinSource(orders)],
        aggregations=[Aggregation(SPENT, Operation.SUM, windows=["5d"]), Aggregation("user", Operation.LAST_K, k=4)],
        name="weekly",
    )
    middle = Join(EventSource("visits", query=Query(select=["shop", "city"], time="t")), [JoinPart(weekly)], name="mid")
    final_part = GroupBy(
        keys=["city"],
        sources=[JoinSource(middle)],
        aggregations=[Aggregation(f"weekly_{SPENT}_sum_5d", Operation.AVERAGE, windows=["3d"])],
        name="final_part",
    )
    final = Join(JoinSource(middle), [JoinPart(final_part), JoinPart(weekly, prefix="own")], name="final")
    plan, catalog = planned(final, tables)
    at_once = run_join(plan, catalog, start=days[0], end=days[-1]).table
    stepwise = [run_join(plan, catalog, start=day, end=day).table for day in days]
    in_twos = [run_join(plan, catalog, start=days[n], end=days[n + 1]).table for n in range(0, 12, 2)]
    assert at_once.num_rows == 36
    assert at_once.column(f"final_part_weekly_{SPENT}_sum_5d_average_3d").null_count < 3
    assert by_place(at_once) == by_place(pa.concat_tables(stepwise)) == by_place(pa.concat_tables(in_twos))


def by_place(table: pa.Table) -> list[dict]:
    return sorted(table.to_pylist(), key=lambda row: (row["ts"], row["shop"]))


def test_only_the_parent_rows_that_a_range_can_see_are_computed(monkeypatch):
    spans = {}
    original = engine.run_join

    def spied(plan, *arguments, span=None, **options):
        result = original(plan, *arguments, span=span, **options)
        spans[plan.name] = (result.table.num_rows, span)
        return result

    monkeypatch.setattr(engine, "run_join", spied)
    daily = GroupBy(
        keys=["shop"],
        sources=[JoinSource(orders)],
        aggregations=[Aggregation(SPENT, Operation.SUM, windows=["1d"])],
        name="daily",
    )
    final = Join(EventSource("visits", query=Query(select=["shop"], time="t")), [JoinPart(daily)], name="final")
    plan, catalog = planned(final)
    run_join(plan, catalog, start="2024-01-04", end="2024-01-04")
    assert spans["shops.orders"][0] == 1
    run_join(plan, catalog)
    assert spans["shops.orders"][0] == 4
    assert "rows from 25h before the queries" in next(s.detail for s in plan.steps() if s.title == "compute parent")


def test_start_and_end_bound_the_day_of_the_parents_rows():
    reader = GroupBy(
        keys=["user"],
        sources=[JoinSource(orders, query=Query(start="2024-01-02", end="2024-01-03"))],
        aggregations=[Aggregation(SPENT, Operation.SUM)],
        name="reader",
    )
    assert column(aggregate(reader, at("2024-01-09"), TABLES), f"{SPENT}_sum") == [10]
    left = Join(JoinSource(orders, query=Query(end="2024-01-01")), [], name="left")
    assert column(backfill(left, TABLES), SPENT) == [1, 3, 5]


def test_the_day_of_a_parents_row_is_its_partition_where_its_left_has_one():
    rows = [row | {"ds": "2024-02-01" if n else "2024-01-31"} for n, row in enumerate(ORDERS)]
    reader = GroupBy(
        keys=["user"],
        sources=[JoinSource(orders, query=Query(start="2024-02-01"))],
        aggregations=[Aggregation(SPENT, Operation.SUM)],
        name="reader",
    )
    assert column(aggregate(reader, at("2024-01-09"), TABLES | {"orders": rows}), f"{SPENT}_sum") == [13]


def test_bounds_by_a_column_that_the_parent_does_not_have_are_refused():
    reader = GroupBy(
        keys=["user"],
        sources=[JoinSource(orders, query=Query(partition="day", start="2024-01-02"))],
        aggregations=[Aggregation(SPENT, Operation.SUM)],
        name="reader",
    )
    with pytest.raises(DefinitionError, match="no column 'day'"):
        aggregate(reader, at("2024-01-09"), TABLES)


def test_an_event_id_chooses_among_all_rows_of_the_parent_whatever_the_range():
    rows = [
        {"user": "ann", "id": 1, "t": "2024-01-01T00:00:00"},
        {"user": "ann", "id": 1, "t": "2024-01-09T00:00:00"},
        {"user": "ann", "id": 2, "t": "2024-01-09T00:00:00"},
    ]
    parent = Join(EventSource("rows", query=Query(select=["user", "id"], time="t")), [], name="parent")
    reader = GroupBy(
        keys=["user"],
        sources=[JoinSource(parent, query=Query(event_id="id"))],
        aggregations=[Aggregation("id", Operation.COUNT, windows=["1d"])],
        name="reader",
    )
    assert column(aggregate(reader, at("2024-01-09T01:00:00"), {"rows": rows}), "id_count_1d") == [1]


def test_events_of_tables_and_of_joins_are_sources_of_one_group_by():
    either = GroupBy(
        keys=["shop"],
        sources=[
            JoinSource(orders, query=Query(select={"shop": "shop", "n": SPENT})),
            EventSource("visits", query=Query(select={"shop": "shop", "n": "100"}, time="t")),
        ],
        aggregations=[Aggregation("n", Operation.SUM)],
        name="either",
    )
    assert column(aggregate(either, at("2024-01-05"), TABLES), "n_sum") == [204]


def test_a_parent_whose_left_is_an_entity_happens_at_the_end_of_each_snapshots_day():
    accounts = [
        {"user": "ann", "tier": 1, "ds": "2024-01-01"},
        {"user": "ann", "tier": 2, "ds": "2024-01-02"},
    ]
    parent = Join(EntitySource("accounts", query=Query(select=["user", "tier"])), [JoinPart(spending)], name="states")
    reader = GroupBy(
        keys=["user"],
        sources=[JoinSource(parent)],
        aggregations=[Aggregation("tier", Operation.LAST), Aggregation(SPENT, Operation.SUM)],
        name="reader",
    )
    times = ["2024-01-02T00:00:00", "2024-01-02T00:00:01", "2024-01-03T00:00:01"]
    found = aggregate(reader, at(*times), TABLES | {"accounts": accounts})
    assert column(found, "tier_last") == [None, 1, 2]
    assert column(found, f"{SPENT}_sum") == [None, 3, 3]


def test_a_training_set_takes_features_over_joins():
    table = training_set(at("2024-01-02T00:00:01"), [by_city], TABLES)
    assert column(table, "by_city_most_sum") == [9]


def test_a_chain_of_a_hundred_joins_is_planned_and_computed():
    join = Join(EventSource("orders", query=Query(select=["user"], time="t")), [], name="j0")
    for depth in range(1, 101):
        count = GroupBy(["user"], [JoinSource(join)], [Aggregation("user", Operation.COUNT)], name=f"g{depth}")
        join = Join(JoinSource(join, query=Query(select=["user"])), [JoinPart(count)], name=f"j{depth}")
    assert column(backfill(join, TABLES), "g100_user_count") == [0, 1, 0, 2]


def test_rows_without_a_time_are_in_the_parents_output_and_never_seen():
    rows = [*ORDERS, {"user": "ann", "shop": "north", "t": None}]
    found = run(
        Join(EventSource("visits", query=Query(select=["shop"], time="t")), [JoinPart(by_shop())], name="final"),
        TABLES | {"orders": rows},
    )
    assert column(found.table, "by_shop_spent_max") == [1, 3, 5, 10]
    assert sum(found.report.without_time.values()) == 1
    assert found.report.rows_read["payments"] == 4


def test_a_join_whose_left_becomes_known_later_is_no_source_until_the_query_says_when():
    left = EventSource("late", Query(["user", "n"], time="at", known_at="reported"))
    told = EventSource("late", Query(["user", "n", "reported"], time="at", known_at="reported"))
    rows = [
        {"user": "u", "n": 1, "at": "2024-01-02T00:00:00", "reported": "2024-01-09T00:00:00"},
        {"user": "u", "n": 2, "at": "2024-01-03T00:00:00", "reported": "2024-01-03T01:00:00"},
    ]
    asked = [{"user": "u", "ts": t} for t in ("2024-01-03T00:30:00", "2024-01-04", "2024-01-10")]

    def counted(source) -> list[int]:
        counts = GroupBy(["user"], [source], [Aggregation("n", Operation.COUNT)], name="counts")
        return aggregate(counts, asked, {"late": rows}).column("n_count").to_pylist()

    plain, known = Join(left, [], name="plain"), Join(told, [], name="known")
    above = Join(JoinSource(plain, Query(["user", "n"])), [], name="above")
    assert counted(told) == [0, 1, 2]
    assert counted(JoinSource(known, Query(time="ts", known_at="reported"))) == [0, 1, 2]
    assert counted(JoinSource(plain, Query(["user", "n"], time="ts", known_at="ts"))) == [2, 2, 2]
    for join in (plain, above):
        with pytest.raises(DefinitionError, match="come of late, whose rows become known later than they happen"):
            counted(JoinSource(join, Query(["user", "n"])))
