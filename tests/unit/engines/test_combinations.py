"""Everything a join can be made of, together: entities on the left, global keys, labels of several kinds."""

import pyarrow as pa
import pytest

from zipline import (
    Accuracy,
    Aggregation,
    BootstrapPart,
    Contextual,
    Derivation,
    EntitySource,
    EventSource,
    ExternalSource,
    GroupBy,
    Join,
    JoinPart,
    JoinSource,
    LabelPart,
    Operation,
    Query,
    aggregate,
    backfill,
)
from zipline.engines.local.run import run_join
from zipline.plan.build import plan_join
from zipline.tables.catalog import open_catalog

ACCOUNTS = [
    {"user": "ann", "limit": 10, "ds": "2024-01-01"},
    {"user": "bob", "limit": 20, "ds": "2024-01-01"},
    {"user": "ann", "limit": 15, "ds": "2024-01-02"},
    {"user": "bob", "limit": 25, "ds": "2024-01-03"},
]
PAYMENTS = [
    {"user": "ann", "amount": 1, "t": "2024-01-01T10:00:00"},
    {"user": "bob", "amount": 2, "t": "2024-01-01T12:00:00"},
    {"user": "ann", "amount": 4, "t": "2024-01-02T10:00:00"},
    {"user": "ann", "amount": 8, "t": "2024-01-03T10:00:00"},
    {"user": "bob", "amount": 16, "t": "2024-01-04T10:00:00"},
]
TABLES = {"accounts": ACCOUNTS, "payments": PAYMENTS}

payments = EventSource("payments", query=Query(select=["user", "amount"], time="t"))
paid = GroupBy(["user"], [payments], [Aggregation("amount", Operation.SUM)], name="paid")
everyone = GroupBy([], [payments], [Aggregation("amount", Operation.SUM, windows=["1d", None])], name="everyone")
state = GroupBy(["user"], [EntitySource("accounts", query=Query(select=["user", "limit"]))], name="state")
next_day = GroupBy(["user"], [payments], [Aggregation("amount", Operation.SUM, windows=["1d"])], name="next_day")
all_next = GroupBy([], [payments], [Aggregation("amount", Operation.COUNT, windows=["1d"])], name="all_next")


def score(keys):
    raise AssertionError("a handler is called online only")


def column(table: pa.Table, name: str) -> list:
    return table.column(name).to_pylist()


def joined(**options) -> Join:
    left = EntitySource("accounts", query=Query(select=["user", "limit", "ds"]))
    parts = [
        JoinPart(paid),
        JoinPart(everyone),
        JoinPart(state),
        JoinPart(ExternalSource({"user": "STRING"}, {"score": "DOUBLE"}, score, name="risk")),
    ]
    derived = [
        Derivation("share", "paid_amount_sum / everyone_amount_sum"),
        Derivation("left_over", '"limit" - paid_amount_sum'),
        Derivation("known", "risk_score IS NOT NULL OR device IS NOT NULL"),
        Derivation("day", "CAST(ts AS DATE)"),
    ]
    return Join(left, parts, derivations=derived, contextual=Contextual({"device": "STRING"}), name="joined", **options)


LABELS = LabelPart([JoinPart(next_day), JoinPart(state), JoinPart(all_next)], offset="1d")


def test_an_entity_left_with_global_keys_lookups_externals_contextual_columns_and_derivations_over_all():
    table = backfill(joined(), TABLES)
    assert column(table, "user") == ["ann", "bob", "ann", "bob"]
    assert [str(ts.date()) for ts in column(table, "ts")] == ["2024-01-02", "2024-01-02", "2024-01-03", "2024-01-04"]
    assert column(table, "paid_amount_sum") == [1, 2, 5, 2]
    assert column(table, "everyone_amount_sum") == [3, 3, 7, 15]
    assert column(table, "everyone_amount_sum_1d") == [3, 3, 4, 8]
    assert column(table, "state_limit") == [10, 20, 15, 25], "the newest snapshot before the end of its own day"
    assert column(table, "share") == pytest.approx([1 / 3, 2 / 3, 5 / 7, 2 / 15])
    assert column(table, "left_over") == [9, 18, 10, 23]
    assert column(table, "known") == [False] * 4
    assert [str(day) for day in column(table, "day")] == ["2024-01-02", "2024-01-02", "2024-01-03", "2024-01-04"]


def test_labels_over_events_entities_and_all_rows_together():
    table = backfill(joined(labels=LABELS), TABLES)
    assert table.column_names[-3:] == [
        "label_next_day_amount_sum_1d",
        "label_state_limit",
        "label_all_next_amount_count_1d",
    ]
    assert column(table, "user") == ["ann", "bob", "ann"], "snapshots end the label's data at the end of the third"
    assert column(table, "label_next_day_amount_sum_1d") == [4, None, 8]
    assert column(table, "label_state_limit") == [15, None, None], "no row of the key in the newest snapshot then"
    assert column(table, "label_all_next_amount_count_1d") == [1, 1, 1]


def test_given_values_beside_labels_and_an_entity_left():
    given = [
        {"user": "ann", "ds": "2024-01-01", "everyone_amount_sum": 100, "device": "phone", "share": None},
        {"user": "bob", "ds": "2024-01-03", "everyone_amount_sum": None, "device": None, "share": 0.5},
    ]
    part = BootstrapPart("given", ["everyone_amount_sum", "device", "share"])
    table = backfill(joined(labels=LABELS, row_id=["user", "ds"], bootstrap=[part]), TABLES | {"given": given})
    assert column(table, "everyone_amount_sum") == [100, 3, 7]
    assert column(table, "known") == [True, False, False]
    assert column(table, "share") == [None, pytest.approx(2 / 3), pytest.approx(5 / 7)]
    scored = backfill(joined(row_id=["user", "ds"], bootstrap=[part]), TABLES | {"given": given}, training=False)
    assert column(scored, "share") == [None, pytest.approx(2 / 3), pytest.approx(5 / 7), 0.5]


def test_one_global_key_over_a_join_of_entities_at_any_accuracy():
    parent = joined(labels=LABELS)
    for accuracy, expected in ((Accuracy.TEMPORAL, [None, 3, 8]), (Accuracy.SNAPSHOT, [None, None, 3])):
        total = GroupBy(
            [], [JoinSource(parent)], [Aggregation("paid_amount_sum", Operation.SUM)], name="total", accuracy=accuracy
        )
        asked = [{"ts": "2024-01-02"}, {"ts": "2024-01-02T12:00:00"}, {"ts": "2024-01-03T12:00:00"}]
        assert column(aggregate(total, asked, TABLES), "paid_amount_sum_sum") == expected


def test_a_chain_over_given_values_sees_them():
    given = [{"user": "ann", "ds": "2024-01-01", "paid_amount_sum": 50}]
    parent = joined(row_id=["user", "ds"], bootstrap=[BootstrapPart("given", ["paid_amount_sum"])])
    total = GroupBy(["user"], [JoinSource(parent)], [Aggregation("left_over", Operation.MIN)], name="total")
    found = aggregate(total, [{"user": "ann", "ts": "2024-01-05"}], TABLES | {"given": given})
    assert column(found, "left_over_min") == [-40]


def test_days_in_steps_are_the_same_as_at_once():
    parent = joined()
    total = GroupBy([], [JoinSource(parent)], [Aggregation("left_over", Operation.SUM, windows=["2d"])], name="total")
    left = EntitySource("accounts", query=Query(select=["user"]))
    final = Join(left, [JoinPart(total)], labels=LabelPart([JoinPart(next_day)], offset="1d"), name="final")
    catalog = open_catalog(TABLES)
    plan = plan_join(final, lambda name: catalog.table(name).schema)
    at_once = run_join(plan, catalog, start="2024-01-01", end="2024-01-03").table
    days = [run_join(plan, catalog, start=f"2024-01-0{n}", end=f"2024-01-0{n}").table for n in (1, 2, 3)]
    assert column(at_once, "total_left_over_sum_2d") == [None, None, 27], "the last label is not complete"
    assert pa.concat_tables(days).to_pylist() == at_once.to_pylist()
