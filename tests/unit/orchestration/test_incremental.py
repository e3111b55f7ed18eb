"""What a backfill does again, and what not: by inputs, by definition, by label, day by day and column by column.

Logins are at 08:00 and 20:00 of each day, payments at 12:00. A window of 1 day at 20:00 sees from 20:00 the day before,
one of 3 days from 20:00 three days before (both floored to the hour).
"""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.unit.orchestration.warehouse import (
    FIRST,
    LAST,
    WEEK,
    Warehouse,
    computed,
    kinds,
    logins,
    spending,
    week_of,
)
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
from zipline.clock import DAY, to_micros
from zipline.errors import DataError
from zipline.tables.succession import successors_of

HOUR = DAY // 24
DAY1, DAY3 = "spend_amount_sum_1d", "spend_amount_sum_3d"
JOIN = logins(spending())


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    return week_of(tmp_path)


def equals_clean(warehouse: Warehouse, join: Join, **given: Any) -> bool:
    """Whether the output is what a backfill of everything gives."""
    clean = warehouse.output("clean")
    shutil.rmtree(clean.uri, ignore_errors=True)
    warehouse.run(join, sorted(warehouse.output().days()), output=clean, known=None, **given)
    return bool(warehouse.output().read().equals(clean.read()))


def test_a_run_with_nothing_to_do_does_nothing(warehouse: Warehouse) -> None:
    warehouse.run(JOIN)
    versions = len(warehouse.output().versions())
    report = warehouse.run(JOIN)
    assert (report.published, report.steps, report.skipped) == ((), 0, tuple(WEEK))
    assert len(warehouse.output().versions()) == versions


def test_losing_what_is_known_of_the_units_costs_only_time(warehouse: Warehouse) -> None:
    warehouse.run(JOIN)
    shutil.rmtree(warehouse.root / "known")
    assert warehouse.run(JOIN).published == ()
    for path in (warehouse.root / "known").iterdir():
        path.write_text("{ damaged")
    assert warehouse.run(JOIN).published == ()


def test_holes_are_filled(warehouse: Warehouse) -> None:
    warehouse.run(JOIN, [WEEK[1], WEEK[4]])
    report = warehouse.run(JOIN)
    assert [day.day for day in report.published] == [WEEK[0], WEEK[2], WEEK[3], WEEK[5]]
    assert kinds(report) == {"missing": (WEEK[0], WEEK[2], WEEK[3], WEEK[5])}
    assert equals_clean(warehouse, JOIN)


def test_a_late_file_triggers_the_days_and_the_columns_that_can_see_it(warehouse: Warehouse) -> None:
    warehouse.run(JOIN)
    warehouse.write("payments", "2024-05-05", [{"customer": "bob", "amount": 7, "paid_at": "2024-05-02T12:00:00Z"}])
    report = warehouse.run(JOIN)
    assert computed(report, [DAY1, DAY3]) == {
        ("2024-05-02", DAY1),
        ("2024-05-02", DAY3),
        ("2024-05-03", DAY1),
        ("2024-05-03", DAY3),
        ("2024-05-04", DAY3),
        ("2024-05-05", DAY3),
    }
    assert kinds(report) == {"sources": ("2024-05-02", "2024-05-03", "2024-05-04", "2024-05-05")}
    assert report.carried == {"2024-05-04": (DAY1,), "2024-05-05": (DAY1,)}
    assert equals_clean(warehouse, JOIN)


def test_a_corrected_file_triggers_what_saw_the_old_and_what_sees_the_new(warehouse: Warehouse) -> None:
    path = warehouse.write(
        "payments", "2024-05-01", [{"customer": "bob", "amount": 7, "paid_at": "2024-05-01T21:00:00Z"}]
    )
    warehouse.run(JOIN)
    warehouse.write(
        "payments", "2024-05-01", [{"customer": "bob", "amount": 8, "paid_at": "2024-05-05T21:00:00Z"}], path.stem
    )
    report = warehouse.run(JOIN)
    assert computed(report, [DAY1, DAY3]) == {
        ("2024-05-02", DAY1),
        ("2024-05-02", DAY3),
        ("2024-05-03", DAY3),
        ("2024-05-04", DAY3),
        ("2024-05-06", DAY1),
        ("2024-05-06", DAY3),
    }
    assert equals_clean(warehouse, JOIN)


def test_a_file_that_no_query_can_see_triggers_nothing(warehouse: Warehouse) -> None:
    warehouse.run(JOIN)
    unseen = [{"customer": "ann", "amount": 1, "paid_at": when} for when in ("2024-05-06T21:00:00Z", None)]
    warehouse.write("payments", "2024-05-06", unseen)
    assert warehouse.run(JOIN).published == ()


def test_a_file_of_two_days_triggers_nothing_between_them(warehouse: Warehouse) -> None:
    warehouse.run(JOIN)
    both = [{"customer": "ann", "amount": 1, "paid_at": f"{day}T21:00:00Z"} for day in ("2024-04-30", "2024-05-05")]
    warehouse.write("payments", "2024-05-06", both)
    assert [day.day for day in warehouse.run(logins(spending(["1d"]))).published] != []
    report = warehouse.run(logins(spending(["1d"])))
    assert report.published == ()


def test_what_is_known_later_triggers_no_day_before(tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path)
    for day in WEEK:
        warehouse.write("logins", day, [{"login": 1, "customer": "ann", "at": f"{day}T20:00:00Z"}])
    payment = {"customer": "ann", "amount": 1, "paid_at": "2024-05-01T12:00:00Z", "booked_at": "2024-05-01T12:00:00Z"}
    warehouse.write("payments", "2024-05-01", [payment])
    join = logins(spending(["7d"], known_at="booked_at"))
    warehouse.run(join)
    warehouse.write("payments", "2024-05-04", [payment | {"booked_at": "2024-05-04T09:00:00Z", "amount": 5}])
    report = warehouse.run(join)
    assert [day.day for day in report.published] == WEEK[3:]
    assert warehouse.output().read().column("spend_amount_sum_7d").to_pylist() == [1, 1, 1, 6, 6, 6]


def test_a_lifetime_reaches_to_the_beginning(warehouse: Warehouse) -> None:
    join = logins(spending([None]))
    warehouse.run(join)
    warehouse.write("payments", "2024-05-06", [{"customer": "bob", "amount": 7, "paid_at": "1999-01-01T00:00:00Z"}])
    assert [day.day for day in warehouse.run(join).published] == WEEK


def test_a_changed_left_makes_its_day_anew_and_no_other(warehouse: Warehouse) -> None:
    warehouse.run(JOIN)
    warehouse.write("logins", "2024-05-03", [{"login": 99, "customer": "ann", "at": "2024-05-03T09:00:00Z"}])
    report = warehouse.run(JOIN)
    assert [(day.day, day.computed) for day in report.published] == [("2024-05-03", None)]
    assert kinds(report) == {"left": ("2024-05-03",)}
    assert equals_clean(warehouse, JOIN)


def test_a_day_that_was_made_before_its_left_rows_came_is_made_anew(warehouse: Warehouse) -> None:
    later = "2024-05-07"
    warehouse.run(JOIN, [*WEEK, later])
    assert warehouse.output().read([later]).num_rows == 0
    assert warehouse.run(JOIN, [*WEEK, later]).published == ()
    warehouse.write("logins", later, [{"login": 70, "customer": "ann", "at": f"{later}T08:00:00Z"}])
    report = warehouse.run(JOIN, [*WEEK, later])
    assert [day.day for day in report.published] == [later]
    assert warehouse.output().read([later]).num_rows == 1


def test_left_rows_in_no_partition_are_counted(warehouse: Warehouse) -> None:
    warehouse.write(
        "logins", "__HIVE_DEFAULT_PARTITION__", [{"login": 5, "customer": "ann", "at": "2024-05-03T09:00:00Z"}]
    )
    report = warehouse.run(JOIN)
    assert (report.rows, report.undated) == (12, 1)


# Definitions


def test_a_new_feature_is_computed_and_the_others_are_carried_over(warehouse: Warehouse) -> None:
    warehouse.run(JOIN)
    before = warehouse.output().read()
    join = logins(spending(["1d", "2d", "3d"]))
    report = warehouse.run(join)
    assert computed(report, []) == {(day, "spend_amount_sum_2d") for day in WEEK}
    assert report.succeeded
    after = warehouse.output().read()
    assert after.column_names == ["login", "customer", "ts", DAY1, "spend_amount_sum_2d", DAY3, "ds"]
    assert after.select(before.column_names).equals(before)
    assert equals_clean(warehouse, join)


def test_a_column_that_is_gone_is_dropped_without_computing_anything(warehouse: Warehouse) -> None:
    warehouse.run(JOIN)
    report = warehouse.run(logins(spending(["3d"])))
    assert (computed(report, []), report.steps, report.succeeded) == (set(), 0, True)
    assert warehouse.output().read().column_names == ["login", "customer", "ts", DAY3, "ds"]
    assert equals_clean(warehouse, logins(spending(["3d"])))


def test_a_column_that_comes_back_is_computed(warehouse: Warehouse) -> None:
    warehouse.run(JOIN)
    warehouse.run(logins(spending(["3d"])))
    report = warehouse.run(JOIN)
    assert computed(report, []) == {(day, DAY1) for day in WEEK}
    assert equals_clean(warehouse, JOIN)


def test_carried_columns_are_bytes_of_before_not_computed_again(warehouse: Warehouse) -> None:
    """The old values are overwritten behind the platform's back: carried columns must show it."""
    warehouse.run(JOIN)
    output = warehouse.output()
    newest = output.versions()[0].metadata
    rows = output.read([FIRST])
    marked = rows.set_column(rows.column_names.index(DAY1), DAY1, [[41, 42]])
    output.replace(FIRST, marked, metadata={**newest, "ds": FIRST})
    warehouse.run(logins(spending(["1d", "2d", "3d"])))
    assert warehouse.output().read([FIRST]).column(DAY1).to_pylist() == [41, 42]


def test_left_rows_that_are_not_those_of_before_are_made_anew(warehouse: Warehouse) -> None:
    warehouse.run(JOIN)
    output = warehouse.output()
    newest = output.versions()[0].metadata
    output.replace(FIRST, output.read([FIRST]).take([1, 0]), metadata={**newest, "ds": FIRST})
    join = logins(spending(["1d", "2d", "3d"]))
    report = warehouse.run(join)
    assert [day.computed for day in report.published][:2] == [None, ("spend_amount_sum_2d",)]
    assert FIRST not in report.carried
    assert equals_clean(warehouse, join)


def test_derivations_are_evaluated_over_carried_and_computed_columns(warehouse: Warehouse) -> None:
    trend = Derivation("trend", f"{DAY3} - {DAY1}")
    double = Derivation("double", "trend * 2")
    warehouse.run(logins(spending(), derivations=[trend, double]))
    join = logins(spending(), derivations=[trend, Derivation("double", "trend * 2 + 1")])
    report = warehouse.run(join)
    assert computed(report, []) == {(day, "double") for day in WEEK}
    assert equals_clean(warehouse, join)
    join = logins(spending(where=["amount > 1"]), derivations=[trend, Derivation("double", "trend * 2 + 1")])
    report = warehouse.run(join)
    assert computed(report, []) == {(day, c) for day in WEEK for c in (DAY1, DAY3, "trend", "double")}
    assert equals_clean(warehouse, join)


def test_a_changed_row_makes_everything_anew(warehouse: Warehouse) -> None:
    warehouse.run(JOIN)
    left = EventSource("logins", Query(["login", "customer"], time="at", where=["customer = 'ann'"]))
    join = logins(spending(), left=left)
    report = warehouse.run(join)
    assert [day.computed for day in report.published] == [None] * 6
    assert kinds(report)["rows"] == tuple(WEEK)
    assert equals_clean(warehouse, join)


def test_a_description_changes_nothing(warehouse: Warehouse) -> None:
    warehouse.run(JOIN)
    assert warehouse.run(logins(spending(), description="what it is", owner="me")).published == ()


def test_the_old_output_is_read_until_the_new_one_is_complete(warehouse: Warehouse) -> None:
    warehouse.run(JOIN)
    old = warehouse.output().read()
    join = logins(spending(["2d"]))
    report = warehouse.run(join, WEEK[2:4])
    assert warehouse.output().read().equals(old)
    assert (report.pending, report.succeeded) == ((*WEEK[:2], *WEEK[4:]), False)
    assert [day.day for day in report.published] == WEEK[2:4]
    report = warehouse.run(join)
    assert [day.day for day in report.published] == [*WEEK[:2], *WEEK[4:]], "two were there already"
    assert (report.pending, report.succeeded) == ((), True)
    assert "spend_amount_sum_2d" in warehouse.output().schema()
    assert successors_of(warehouse.output()) == []
    assert equals_clean(warehouse, join)


def test_days_that_were_never_there_belong_to_the_new_generation_when_asked_for(warehouse: Warehouse) -> None:
    warehouse.run(JOIN, WEEK[:3])
    join = logins(spending(["2d"]))
    report = warehouse.run(join, WEEK[3:])
    assert report.pending == tuple(WEEK[:3])
    assert warehouse.output().days() == set(WEEK[:3])
    assert warehouse.run(join, WEEK[:3]).succeeded
    assert warehouse.output().days() == set(WEEK)
    assert equals_clean(warehouse, join)


def test_an_abandoned_generation_is_removed_when_a_newer_one_starts(warehouse: Warehouse) -> None:
    warehouse.run(JOIN)
    warehouse.run(logins(spending(["2d"])), WEEK[:1])
    [abandoned] = successors_of(warehouse.output())
    warehouse.run(logins(spending(["5d"])), WEEK[:1])
    [left] = successors_of(warehouse.output())
    assert left.uri != abandoned.uri
    report = warehouse.run(JOIN)
    assert (report.published, successors_of(warehouse.output())) == ((), [])


def test_input_that_changes_between_two_runs_of_a_new_generation(warehouse: Warehouse) -> None:
    warehouse.run(JOIN)
    join = logins(spending(["2d", "3d"]))
    warehouse.run(join, WEEK[:3])
    warehouse.write("payments", "2024-05-02", [{"customer": "bob", "amount": 3, "paid_at": "2024-05-02T07:00:00Z"}])
    warehouse.run(join)
    assert equals_clean(warehouse, join)


# What is gone


def test_a_partition_that_vanished_keeps_the_days_made_from_it(warehouse: Warehouse) -> None:
    warehouse.run(JOIN)
    before = warehouse.output().read()
    shutil.rmtree(warehouse.root / "payments" / "ds=2024-05-02")
    report = warehouse.run(JOIN)
    assert report.kept == ("2024-05-02", "2024-05-03", "2024-05-04", "2024-05-05")
    assert report.vanished == {"payments": ("2024-05-02",)}
    assert (report.published, report.skipped) == ((), ("2024-05-01", "2024-05-06"))
    assert warehouse.output().read().equals(before)
    forced = warehouse.run(JOIN, force=True)
    assert (forced.kept, len(forced.published)) == ((), 6)
    assert equals_clean(warehouse, JOIN)
    assert warehouse.run(JOIN).kept == (), "what is gone is no longer part of it"


def test_other_days_are_done_beside_those_that_are_kept(warehouse: Warehouse) -> None:
    warehouse.run(JOIN, WEEK[:5])
    shutil.rmtree(warehouse.root / "payments" / "ds=2024-05-05")
    report = warehouse.run(JOIN)
    assert report.kept == ("2024-05-05",)
    assert [day.day for day in report.published] == ["2024-05-06"]


def test_a_left_partition_that_vanished_keeps_its_day(warehouse: Warehouse) -> None:
    warehouse.run(JOIN)
    shutil.rmtree(warehouse.root / "logins" / "ds=2024-05-02")
    report = warehouse.run(JOIN)
    assert (report.kept, report.vanished) == (("2024-05-02",), {"logins": ("2024-05-02",)})
    assert warehouse.output().read(["2024-05-02"]).num_rows == 2


def test_a_new_generation_waits_for_days_whose_input_vanished(warehouse: Warehouse) -> None:
    warehouse.run(JOIN)
    shutil.rmtree(warehouse.root / "payments" / "ds=2024-05-06")
    join = logins(spending(["2d", "3d"]))
    report = warehouse.run(join)
    assert (report.kept, report.pending, report.succeeded) == ((LAST,), (LAST,), False)
    assert DAY1 in warehouse.output().schema()
    assert warehouse.run(join, [LAST], force=True).succeeded


def test_a_changed_window_does_not_hide_that_its_input_vanished(warehouse: Warehouse) -> None:
    """The whole window of May 1 is gone: with another reach it must not be taken for a day that sees nothing."""
    join = logins(spending(["1d"]))
    warehouse.run(join)
    for day in ("2024-04-28", "2024-04-29", "2024-04-30", "2024-05-01"):
        shutil.rmtree(warehouse.root / "payments" / f"ds={day}")
    report = warehouse.run(logins(spending(["2d"])))
    assert {"2024-05-01", "2024-05-02"} <= set(report.kept)
    assert not report.succeeded
    assert DAY1 in warehouse.output().schema()


def test_a_partition_whose_rows_a_correction_took_away_is_no_lost_one(warehouse: Warehouse) -> None:
    join = logins(spending(where=["amount > 0"]))
    warehouse.run(join)
    [path] = (warehouse.root / "payments" / "ds=2024-05-02").glob("*.parquet")
    path.unlink()
    warehouse.write("payments", "2024-05-02", [{"customer": "ann", "amount": -1, "paid_at": "2024-05-02T12:00:00Z"}])
    report = warehouse.run(join)
    assert report.kept == ()
    assert "2024-05-02" in {day.day for day in report.published}
    assert equals_clean(warehouse, join)


def test_a_left_partition_that_a_correction_left_without_rows_is_no_lost_one(warehouse: Warehouse) -> None:
    left = EventSource("logins", Query(["login", "customer"], time="at", where=["login >= 0"]))
    join = logins(spending(), left=left)
    warehouse.run(join)
    [path] = (warehouse.root / "logins" / "ds=2024-05-02").glob("*.parquet")
    path.unlink()
    warehouse.write("logins", "2024-05-02", [{"login": -1, "customer": "ann", "at": "2024-05-02T08:00:00Z"}])
    report = warehouse.run(join)
    assert report.kept == ()
    assert warehouse.output().read(["2024-05-02"]).num_rows == 0


def test_a_day_of_a_parent_that_loses_its_rows_is_no_lost_partition(warehouse: Warehouse) -> None:
    parent = Join(
        left=EventSource("payments", Query(["customer", "amount"], time="paid_at", where=["amount > 0"])),
        parts=[],
        name="paid",
    )
    children = GroupBy(
        keys=["customer"],
        sources=[JoinSource(parent, Query(["customer", "amount"]))],
        aggregations=[Aggregation("amount", Operation.SUM, windows=["1d", "3d"])],
        name="spend",
    )
    join = logins(children)
    warehouse.run(join)
    [path] = (warehouse.root / "payments" / "ds=2024-05-02").glob("*.parquet")
    path.unlink()
    warehouse.write("payments", "2024-05-02", [{"customer": "ann", "amount": -1, "paid_at": "2024-05-02T12:00:00Z"}])
    assert warehouse.run(join).kept == ()
    assert equals_clean(warehouse, join)


# Labels


def labelled(offset: str = "2d", window: str = "1d") -> Join:
    paid = GroupBy(
        keys=["customer"],
        sources=[EventSource("payments", Query(["customer", "amount"], time="paid_at"))],
        aggregations=[Aggregation("amount", Operation.SUM, windows=[window])],
        name="paid",
    )
    return logins(spending(["1d"]), labels=LabelPart([JoinPart(paid)], offset=offset))


def test_a_label_end_that_grows_opens_exactly_the_days_that_mature(warehouse: Warehouse) -> None:
    """The label data end on the 6th at 12:00: rows until the 4th at 12:00 are mature."""
    join = labelled()
    report = warehouse.run(join)
    assert (report.rows, report.immature) == (7, 5)
    assert warehouse.run(join).published == ()
    warehouse.write("payments", "2024-05-07", [{"customer": "ann", "amount": 1, "paid_at": "2024-05-07T12:00:00Z"}])
    report = warehouse.run(join)
    assert [day.day for day in report.published] == ["2024-05-04", "2024-05-05"]
    assert kinds(report) == {"labels": ("2024-05-04", "2024-05-05")}
    assert warehouse.output().read().num_rows == 9
    assert equals_clean(warehouse, join)


def test_as_of_matters_only_where_it_changes_which_labels_are_complete(warehouse: Warehouse) -> None:
    join = labelled()
    warehouse.run(join)
    noon = 1714996800_000000
    assert warehouse.run(join, as_of=noon).published == (), "the data end then anyway"
    report = warehouse.run(join, as_of=noon - 24 * 3600 * 1_000_000)
    assert [day.day for day in report.published] == ["2024-05-03", "2024-05-04"]
    assert equals_clean(warehouse, join, as_of=noon - 24 * 3600 * 1_000_000)


def test_features_are_added_to_mature_rows_alone(warehouse: Warehouse) -> None:
    warehouse.run(labelled())
    join = logins(spending(["1d", "3d"]), labels=labelled().labels)
    report = warehouse.run(join)
    assert computed(report, []) == {(day, DAY3) for day in WEEK}
    assert warehouse.output().read().num_rows == 7
    assert equals_clean(warehouse, join)


def test_a_label_is_computed_again_where_its_events_change(warehouse: Warehouse) -> None:
    join = labelled()
    warehouse.run(join)
    warehouse.write("payments", "2024-05-04", [{"customer": "bob", "amount": 9, "paid_at": "2024-05-04T10:00:00Z"}])
    report = warehouse.run(join)
    label = "label_paid_amount_sum_1d"
    # A label sees a day that begins a day after its login. The feature of the 4th sees it at 20:00.
    assert computed(report, []) == {("2024-05-02", label), ("2024-05-03", label), ("2024-05-04", DAY1)}
    assert equals_clean(warehouse, join)


# Entities, chains, events of several rows


def test_a_snapshot_triggers_the_days_that_use_it(warehouse: Warehouse) -> None:
    for day in ("2024-04-30", "2024-05-03"):
        warehouse.write("accounts", day, [{"customer": "ann", "tier": f"of {day}"}])
    state = GroupBy(keys=["customer"], sources=[EntitySource("accounts", Query(["customer", "tier"]))], name="state")
    join = logins(state)
    warehouse.run(join)
    warehouse.write("accounts", "2024-05-01", [{"customer": "ann", "tier": "new"}])
    report = warehouse.run(join)
    assert [day.day for day in report.published] == ["2024-05-02", "2024-05-03"]
    assert equals_clean(warehouse, join)


def test_a_change_of_an_entity_triggers_the_days_until_the_next_snapshot(warehouse: Warehouse) -> None:
    for day in ("2024-04-30", "2024-05-03"):
        warehouse.write("accounts", day, [{"customer": "ann", "balance": 1, "opened_at": "2024-01-01"}])
    change = {"customer": "ann", "balance": 5, "opened_at": "2024-01-02", "is_before": False}
    warehouse.write("changes", "2024-05-01", [change | {"changed_at": "2024-05-01T10:00:00Z"}])
    query = Query(["customer", "balance"], time="opened_at", mutation_time="changed_at", is_before="is_before")
    state = GroupBy(
        keys=["customer"],
        sources=[EntitySource("accounts", query, mutations="changes")],
        aggregations=[Aggregation("balance", Operation.SUM)],
        name="state",
    )
    join = logins(state)
    warehouse.run(join)
    assert warehouse.run(join).published == ()
    warehouse.write("changes", "2024-05-05", [change | {"changed_at": "2024-05-02T10:00:00Z"}])
    report = warehouse.run(join)
    assert [day.day for day in report.published] == ["2024-05-02", "2024-05-03"]
    assert equals_clean(warehouse, join)


def test_a_parents_input_triggers_the_days_of_the_child_that_see_it(warehouse: Warehouse) -> None:
    parent = Join(
        left=EventSource("orders", Query(["customer", "price"], time="at")),
        parts=[JoinPart(spending(["1d"]))],
        name="orders",
    )
    for day in WEEK:
        warehouse.write("orders", day, [{"customer": "ann", "price": 3, "at": f"{day}T13:00:00Z"}])
    chained = GroupBy(
        keys=["customer"],
        sources=[JoinSource(parent, Query({"customer": "customer", "spent": DAY1}))],
        aggregations=[Aggregation("spent", Operation.MAX, windows=["1d"])],
        name="chained",
    )
    join = logins(chained)
    warehouse.run(join)
    assert warehouse.run(join).published == ()
    warehouse.write("payments", "2024-05-02", [{"customer": "ann", "amount": 99, "paid_at": "2024-05-02T12:30:00Z"}])
    report = warehouse.run(join)
    # The order of the 2nd at 13:00 sees it, that of the 3rd at 13:00 no more (its day begins at 13:00 the day before).
    assert [day.day for day in report.published] == ["2024-05-02", "2024-05-03"]
    assert equals_clean(warehouse, join)


def test_one_event_of_several_rows_is_chosen_over_all_files(warehouse: Warehouse) -> None:
    for n, day in enumerate(WEEK):
        warehouse.write("clicks", day, [{"customer": "ann", "amount": 1, "id": n, "paid_at": f"{day}T01:00:00Z"}])
    source = EventSource("clicks", Query(["customer", "amount"], time="paid_at", event_id="id"))
    clicks = GroupBy(
        keys=["customer"],
        sources=[source],
        aggregations=[Aggregation("amount", Operation.SUM, windows=["1d"])],
        name="clicks",
    )
    join = logins(clicks)
    warehouse.run(join)
    earlier = [{"customer": "ann", "amount": 5, "id": 4, "paid_at": "2024-05-01T02:00:00Z"}]
    warehouse.write("clicks", "2024-05-06", earlier)
    warehouse.run(join)
    assert warehouse.output().read(["2024-05-05"]).column("clicks_amount_sum_1d").to_pylist() == [None, None]
    assert equals_clean(warehouse, join)


def test_a_left_event_of_several_rows_is_one_whatever_the_steps(tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path)
    warehouse.write("payments", "2024-05-01", [{"customer": "ann", "amount": 4, "paid_at": "2024-05-01T01:00:00Z"}])
    for n, day in enumerate(WEEK):
        warehouse.write("logins", day, [{"login": n // 2, "customer": "ann", "at": f"{day}T08:00:00Z"}])
    join = logins(spending(), left=EventSource("logins", Query(["login", "customer"], time="at", event_id="login")))
    warehouse.run(join, step_days=1)
    assert warehouse.output().read().column("ds").to_pylist() == WEEK[::2]
    assert equals_clean(warehouse, join)
    warehouse.write("logins", "2024-05-06", [{"login": 2, "customer": "bob", "at": "2024-05-02T08:00:00Z"}])
    warehouse.run(join)
    rows = warehouse.output().read().to_pydict()
    assert (rows["login"], rows["ds"]) == ([0, 1, 2], ["2024-05-01", "2024-05-03", "2024-05-06"])
    assert equals_clean(warehouse, join)


@pytest.mark.parametrize("seed", range(4))
def test_what_is_done_again_is_what_any_query_of_the_day_could_see(warehouse: Warehouse, seed: int) -> None:
    """Against the rule itself, query by query: seen is what is at or after q - W, floored to its hop, and before q."""
    chance = random.Random(seed)
    windows = {"12h": 12 * HOUR, "1d": DAY, "3d": 3 * DAY, "14d": 14 * DAY}
    join = logins(spending(list(windows)))
    warehouse.run(join)
    paid = [to_micros("2024-04-20") + chance.randrange(20 * 24) * HOUR // 2 for _ in range(2)]
    warehouse.write("payments", "2024-05-09", [{"customer": "eve", "amount": 1, "paid_at": at} for at in paid])

    def sees(query: int, window: int, at: int) -> bool:
        hop = DAY if window >= 12 * DAY else HOUR
        return (query - window) // hop * hop <= at < query

    expected = {
        (day, f"spend_amount_sum_{name}")
        for day in WEEK
        for name, window in windows.items()
        if any(sees(to_micros(f"{day}T{hour}:00:00Z"), window, at) for hour in ("08", "20") for at in paid)
    }
    assert computed(warehouse.run(join), []) == expected


# Steps


@pytest.mark.parametrize("step_days", [1, 2, 5])
def test_every_step_size_gives_the_same_table(warehouse: Warehouse, step_days: int) -> None:
    warehouse.run(JOIN, step_days=step_days)
    assert equals_clean(warehouse, JOIN)


def test_a_run_that_is_stopped_goes_on_where_it_was(warehouse: Warehouse) -> None:
    class Stopped(Exception):
        pass

    commits = iter([None, None])

    def stop() -> None:
        if next(commits, Stopped) is Stopped:
            raise Stopped

    with pytest.raises(Stopped):
        warehouse.run(JOIN, step_days=2, before_commit=stop)
    assert warehouse.output().days() == set(WEEK[:4])
    report = warehouse.run(JOIN)
    assert [day.day for day in report.published] == WEEK[4:]


def test_a_left_without_partitions_has_the_days_of_its_times(tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path)
    rows = [{"login": n, "customer": "ann", "at": f"{day}T08:00:00Z"} for n, day in enumerate(WEEK)]
    warehouse.write("logins", None, [*rows, {"login": 9, "customer": "ann", "at": None}])
    warehouse.write("payments", None, [{"customer": "ann", "amount": 4, "paid_at": "2024-05-02T12:00:00Z"}])
    report = warehouse.run(JOIN)
    assert (report.rows, report.undated) == (6, 1)
    warehouse.write("logins", None, [{"login": 10, "customer": "bob", "at": "2024-05-03T00:00:00Z"}])
    report = warehouse.run(JOIN)
    assert [(day.day, day.computed) for day in report.published] == [("2024-05-03", None)]
    assert equals_clean(warehouse, JOIN)


def test_a_table_that_cannot_be_read_is_an_error_before_any_work(warehouse: Warehouse) -> None:
    join = logins(spending(where=["CAST(customer AS INT) > 0"]))
    with pytest.raises(DataError):
        warehouse.run(join)
    assert not warehouse.output().exists()


# Values computed before, external twins, outputs of other joins as left


def bootstrapped(**given: Any) -> Join:
    columns = [DAY1, *given.pop("also", [])]
    return logins(spending(), row_id=["login"], bootstrap=[BootstrapPart("served", columns)], **given)


def test_bootstrapped_values_trigger_the_days_of_their_rows(warehouse: Warehouse) -> None:
    warehouse.write("served", "2024-05-01", [{"login": 10, DAY1: -1}])
    join = bootstrapped()
    warehouse.run(join)
    assert warehouse.output().read([WEEK[1]]).column(DAY1).to_pylist()[0] == -1
    assert warehouse.run(join).published == ()
    warehouse.write("served", "2024-05-02", [{"login": 41, DAY1: -2}, {"login": 999, DAY1: -3}])
    report = warehouse.run(join)
    assert computed(report, []) == {("2024-05-05", DAY1)}
    assert equals_clean(warehouse, join)


def test_a_bootstrapped_derivation_is_computed_beside_carried_columns(warehouse: Warehouse) -> None:
    warehouse.write("served", "2024-05-01", [{"login": 10, DAY1: -1, "double": -7}])
    first = bootstrapped(derivations=[Derivation("double", f"{DAY1} * 2")], also=["double"])
    warehouse.run(first)
    join = bootstrapped(derivations=[Derivation("double", f"{DAY1} * 2 + {DAY3}")], also=["double"])
    report = warehouse.run(join)
    assert computed(report, []) == {(day, "double") for day in WEEK}
    assert warehouse.output().read([WEEK[1]]).column("double").to_pylist()[0] == -7
    assert equals_clean(warehouse, join)


def test_new_bootstrap_rows_trigger_the_derivations_that_they_give(warehouse: Warehouse) -> None:
    warehouse.write("served", "2024-05-01", [{"login": 10, "double": -7}])
    derivations = [Derivation("double", f"{DAY1} * 2"), Derivation("more", "double + 1")]
    join = logins(
        spending(), row_id=["login"], bootstrap=[BootstrapPart("served", ["double"])], derivations=derivations
    )
    warehouse.run(join)
    warehouse.write("served", "2024-05-02", [{"login": 30, "double": -9}])
    report = warehouse.run(join)
    assert computed(report, []) == {("2024-05-04", "double"), ("2024-05-04", "more")}
    assert warehouse.output().read([WEEK[3]]).column("more").to_pylist()[0] == -8
    assert equals_clean(warehouse, join)


def test_the_output_of_another_join_as_left(warehouse: Warehouse) -> None:
    for day in WEEK:
        warehouse.write("orders", day, [{"customer": "ann", "price": 3, "at": f"{day}T13:00:00Z"}])
    parent = Join(
        left=EventSource("orders", Query(["customer", "price"], time="at")),
        parts=[JoinPart(spending(["1d"]))],
        name="orders",
    )
    left = JoinSource(parent, Query(["customer", DAY1]))
    other = GroupBy(
        keys=["customer"],
        sources=[EventSource("logins", Query(["customer", "login"], time="at"))],
        aggregations=[Aggregation("login", Operation.MAX, windows=["1d"])],
        name="visits",
    )
    join = logins(other, left=left)
    warehouse.run(join)
    assert warehouse.run(join).published == ()
    warehouse.write("payments", "2024-05-02", [{"customer": "ann", "amount": 99, "paid_at": "2024-05-02T12:30:00Z"}])
    report = warehouse.run(join)
    assert [(day.day, day.computed) for day in report.published] == [("2024-05-02", None)]
    assert equals_clean(warehouse, join)
