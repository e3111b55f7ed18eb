"""Predictions of a plan over small tables, by hand, and what past runs change."""

import dataclasses

import pytest

from zipline import (
    Aggregation,
    BootstrapPart,
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
)
from zipline.orchestration import cost
from zipline.orchestration.cost import PROCESS_BYTES, predict, width
from zipline.plan.build import plan_join
from zipline.registry import Measures, Outcome, Run
from zipline.registry.process import Process
from zipline.tables.catalog import open_catalog
from zipline.types import BIGINT, DOUBLE, INT, STRING, array, map_of

MAY = tuple(f"2024-05-{day:02d}" for day in range(1, 11))
VISITS = [{"visit": f"{day}-{n}", "user": n, "at": f"{day}T08:00:00Z", "ds": day} for day in MAY for n in range(3)]
PURCHASES = [
    {"user": n, "amount": 1.0, "kind": "a", "at": f"{day}T07:00:00Z", "ds": day} for day in MAY for n in range(20)
]
CATALOG = open_catalog({"visits": VISITS, "purchases": PURCHASES})


def visits(**query):
    return EventSource("visits", Query(select=["visit", "user"], time="at", **query))


def spending(name="spending", window="2d", operation=Operation.SUM, **arguments):
    purchases = EventSource("purchases", Query(select=["user", "amount", "kind"], time="at"))
    return GroupBy(
        name=name,
        keys=["user"],
        sources=[purchases],
        aggregations=[Aggregation("amount", operation, windows=[window], **arguments)],
    )


def planned(catalog=CATALOG, **given):
    definition = Join(name="visits", left=visits(), **{"parts": [JoinPart(spending())], **given})
    return plan_join(definition, lambda table: catalog.table(table).schema)


def test_rows_and_bytes_are_those_of_the_left_and_of_the_columns_types():
    found = predict(planned(), CATALOG, "2024-05-03", "2024-05-06")
    assert found.rows == 12
    assert found.bytes == 12 * (12 + 8 + 8 + 8)


def test_what_is_read_reaches_back_as_far_as_the_windows():
    found = predict(planned(), CATALOG, "2024-05-05", "2024-05-06")
    left, days_of_purchases = 6, 5
    assert found.rows_read == left + 20 * days_of_purchases


def test_each_step_reads_its_own_days_and_the_largest_is_the_peak():
    found = predict(planned(), CATALOG, "2024-05-01", "2024-05-10", step_days=4)
    assert [(step.first, step.last, step.rows) for step in found.steps] == [
        ("2024-05-01", "2024-05-04", 12),
        ("2024-05-05", "2024-05-08", 12),
        ("2024-05-09", "2024-05-10", 6),
    ]
    assert found.rows == 30
    assert found.peak_bytes == max(step.peak_bytes for step in found.steps) > PROCESS_BYTES
    assert found.rows_read == sum(step.rows_read for step in found.steps)


def test_only_the_days_that_are_left_to_do_cost_anything():
    found = predict(planned(), CATALOG, "2024-05-01", "2024-05-10", days=["2024-05-02", "2024-05-08", "2024-05-09"])
    assert [(step.first, step.last) for step in found.steps] == [
        ("2024-05-02", "2024-05-02"),
        ("2024-05-08", "2024-05-09"),
    ]
    assert found.rows == 9


def test_nothing_to_do_costs_next_to_nothing():
    found = predict(planned(), CATALOG, "2024-05-01", "2024-05-10", days=[])
    assert (found.rows, found.bytes, found.rows_read, found.steps) == (0, 0, 0, ())
    assert found.seconds < 1
    assert found.peak_bytes == PROCESS_BYTES


def test_rows_whose_labels_cannot_be_complete_are_not_expected_in_training():
    labels = LabelPart([JoinPart(spending(name="later"))], offset="2d")
    plan = planned(labels=labels)
    assert predict(plan, CATALOG, "2024-05-07", "2024-05-10").rows == 6
    assert predict(plan, CATALOG, "2024-05-09", "2024-05-10").rows == 0
    assert predict(plan, CATALOG, "2024-05-07", "2024-05-10", training=False).rows == 12
    assert predict(plan, CATALOG, "2024-05-01", "2024-05-10", as_of=1714867200_000_000).rows == 9


def test_lists_and_maps_are_as_long_as_their_definition_says():
    long = predict(planned(parts=[JoinPart(spending(operation=Operation.LAST_K, k=100))]), CATALOG, *MAY[:2])
    short = predict(planned(parts=[JoinPart(spending(operation=Operation.LAST_K, k=2))]), CATALOG, *MAY[:2])
    assert long.bytes - short.bytes == 6 * 98 * 8


@pytest.mark.parametrize(
    ("dtype", "entries", "expected"),
    [(BIGINT, 4, 8), (INT, 4, 4), (STRING, 4, 12), (array(DOUBLE), 3, 28), (map_of(STRING, BIGINT), 2, 44)],
)
def test_the_width_of_a_value(dtype, entries, expected):
    assert width(dtype, entries) == expected


def test_of_an_entity_only_the_snapshots_that_are_seen_are_read():
    users = [{"user": n, "city": "x", "ds": day} for day in MAY for n in range(7)]
    catalog = open_catalog({"visits": VISITS, "users": users})
    lookup = GroupBy(name="users", keys=["user"], sources=[EntitySource("users", Query(select=["user", "city"]))])
    plan = planned(catalog, parts=[JoinPart(lookup)])
    assert predict(plan, catalog, "2024-05-05", "2024-05-05").rows_read == 3 + 7
    assert predict(plan, catalog, "2024-05-05", "2024-05-07").rows_read == 9 + 3 * 7


def test_a_parent_is_computed_first_for_as_long_as_it_is_seen():
    parent = Join(name="parent", left=visits(), parts=[JoinPart(spending())])
    counted = GroupBy(
        name="counted",
        keys=["user"],
        sources=[JoinSource(parent, Query(select=["user", "spending_amount_sum_2d"], time="ts"))],
        aggregations=[Aggregation("spending_amount_sum_2d", Operation.AVERAGE, windows=["1d"])],
    )
    plan = planned(parts=[JoinPart(counted)])
    found = predict(plan, CATALOG, "2024-05-08", "2024-05-08")
    own, parents_rows, parents_purchases = 3, 3 * 3, 6 * 20
    assert found.rows == 3
    assert found.rows_read == own + parents_rows + (parents_rows + parents_purchases)


def test_bootstrap_tables_are_read_too():
    given = [{"visit": f"v{n}", "spending_amount_sum_2d": 1.0} for n in range(50)]
    catalog = open_catalog({"visits": VISITS, "purchases": PURCHASES, "given": given})
    part = BootstrapPart("given", columns=["spending_amount_sum_2d"])
    plan = planned(catalog, row_id=["visit"], bootstrap=[part], derivations=[Derivation("twice", "user * 2")])
    without = predict(planned(catalog), catalog, "2024-05-08", "2024-05-08")
    assert predict(plan, catalog, "2024-05-08", "2024-05-08").rows_read == without.rows_read + 50


def test_a_table_that_is_not_there_yet_is_named_and_not_counted():
    found = predict(planned(), open_catalog({"visits": VISITS}), "2024-05-03", "2024-05-06")
    assert found.unknown == ("purchases",)
    assert (found.rows, found.rows_read) == (12, 12)


def past(subject="visits", seconds=2.0, peak=2.0, rows=12, outcome=Outcome.DONE):
    """A run of twelve rows, of which one second and one megabyte were predicted."""
    return Run(
        id=1,
        what="backfill",
        subject=subject,
        arguments={},
        fingerprint=None,
        first_day=None,
        last_day=None,
        days=4,
        measures=Measures(rows=rows, peak_bytes=round(peak * cost.MEGABYTE)),
        seconds=seconds,
        outcome=outcome,
        error=None,
        started=0,
        ended=1,
        process=Process("host", 1),
        predicted={"rows": 12.0, "seconds": 1.0, "peak_bytes": float(cost.MEGABYTE)},
    )


def test_past_runs_of_the_join_correct_seconds_and_memory_by_their_median():
    plan = planned()
    first = predict(plan, CATALOG, "2024-05-03", "2024-05-06")
    history = [past(seconds=2.0, peak=1.5), past(seconds=3.0, peak=1.25), past(seconds=2.5, peak=1.75)]
    found = predict(plan, CATALOG, "2024-05-03", "2024-05-06", history=history)
    assert found.seconds == pytest.approx(2.5 * first.seconds)
    assert found.peak_bytes == pytest.approx(1.5 * first.peak_bytes, abs=2)
    assert (found.rows, found.bytes, found.rows_read) == (first.rows, first.bytes, first.rows_read)
    assert (first.basis, found.basis) == ("constants measured on the demo", "3 past runs of this join")


def test_what_is_kept_with_a_run_is_not_corrected_so_that_corrections_do_not_add_up():
    plan = planned()
    first = predict(plan, CATALOG, "2024-05-03", "2024-05-06")
    again = predict(plan, CATALOG, "2024-05-03", "2024-05-06", history=[past(seconds=3.0)])
    assert again.measures == first.measures == {"rows": 12.0, "seconds": first.seconds, "peak_bytes": first.peak_bytes}


def test_runs_of_other_joins_tell_how_fast_the_machine_is_and_nothing_of_memory():
    first = predict(planned(), CATALOG, "2024-05-03", "2024-05-06")
    found = predict(planned(), CATALOG, "2024-05-03", "2024-05-06", history=[past("other", seconds=3.0, peak=4.0)])
    assert found.seconds == pytest.approx(3 * first.seconds)
    assert found.peak_bytes == first.peak_bytes
    assert found.basis == "seconds: 1 past run of other joins; memory: constants"


@pytest.mark.parametrize(
    "run",
    [
        past(outcome=Outcome.FAILED),
        past(outcome=Outcome.LOST),
        past(rows=3),
        dataclasses.replace(past(), predicted={}),
    ],
    ids=["failed", "lost", "did less", "nothing predicted"],
)
def test_a_run_that_did_something_else_than_predicted_tells_nothing(run):
    first = predict(planned(), CATALOG, "2024-05-03", "2024-05-06")
    assert predict(planned(), CATALOG, "2024-05-03", "2024-05-06", history=[run]) == first


def test_one_strange_run_does_not_make_a_prediction_absurd():
    first = predict(planned(), CATALOG, "2024-05-03", "2024-05-06")
    found = predict(planned(), CATALOG, "2024-05-03", "2024-05-06", history=[past(seconds=1000.0, peak=0.001)])
    assert found.seconds == pytest.approx(5 * first.seconds)
    assert found.peak_bytes == pytest.approx(first.peak_bytes / 5, abs=2)
