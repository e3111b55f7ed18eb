"""Partitions that vanish below a parent join: the days of its children that were made from them are kept and said."""

import shutil
from pathlib import Path

import pytest

from tests.unit.orchestration.warehouse import LAST, WEEK, Warehouse, logins, spending, week_of
from zipline import Aggregation, EntitySource, EventSource, GroupBy, Join, JoinPart, JoinSource, Operation, Query
from zipline.clock import days

DAY1 = "spend_amount_sum_1d"
ORDERS = EventSource("orders", Query(["order", "customer"], time="at"))


def parent(*parts: GroupBy, left: EventSource | JoinSource = ORDERS, name: str = "priced") -> Join:
    return Join(left, [JoinPart(part) for part in parts], name=name)


def chained(source: Join, column: str = DAY1, window: str = "1d", name: str = "chained") -> GroupBy:
    return GroupBy(
        ["customer"],
        [JoinSource(source, Query({"customer": "customer", "value": column}))],
        [Aggregation("value", Operation.SUM, windows=[window])],
        name=name,
    )


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    """An order a day at nine, from two days before the first login; it sees the payment at noon of the day before."""
    made = week_of(tmp_path)
    for n, day in enumerate(days("2024-04-29", LAST)):
        made.write("orders", day, [{"order": n, "customer": "ann", "at": f"{day}T09:00:00Z"}])
    return made


def lose(warehouse: Warehouse, table: str, day: str) -> None:
    shutil.rmtree(warehouse.root / table / f"ds={day}")


def lost(warehouse: Warehouse, join: Join) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    """(days kept, what vanished) of a run that must leave them as they are; force makes them from what is left."""
    before = warehouse.output().read()
    report = warehouse.run(join)
    assert report.published == ()
    assert warehouse.output().read().equals(before)
    forced = warehouse.run(join, force=True)
    assert (forced.kept, len(forced.published)) == ((), 6)
    clean = warehouse.output("clean")
    warehouse.run(join, output=clean, known=None)
    assert warehouse.output().read().equals(clean.read())
    assert warehouse.run(join).kept == (), "what is gone is no longer part of it"
    return report.kept, dict(report.vanished)


def test_a_lost_partition_of_the_parents_source_keeps_the_days_that_see_it(warehouse: Warehouse) -> None:
    join = logins(chained(parent(spending(["1d"]))))
    warehouse.run(join)
    lose(warehouse, "payments", "2024-05-02")
    # The order of the 3rd at nine sees the payment of the 2nd; logins see it from then on, for a day: 3rd and 4th.
    assert lost(warehouse, join) == (("2024-05-03", "2024-05-04"), {"payments": ("2024-05-02",)})


def test_a_lost_partition_of_the_parents_left_keeps_the_days_that_see_its_rows(warehouse: Warehouse) -> None:
    join = logins(chained(parent(spending(["1d"]))))
    warehouse.run(join)
    lose(warehouse, "orders", "2024-05-03")
    assert lost(warehouse, join) == (("2024-05-03", "2024-05-04"), {"orders": ("2024-05-03",)})


def test_two_parents_down_the_reaches_add_up(warehouse: Warehouse) -> None:
    middle = parent(chained(parent(spending(["1d"])), name="inner"), name="middle")
    join = logins(chained(middle, "inner_value_sum_1d"))
    warehouse.run(join)
    lose(warehouse, "payments", "2024-05-01")
    # Order of the 2nd; the middle's of the 3rd sees that; logins see the middle's on the 3rd and 4th.
    assert lost(warehouse, join) == (("2024-05-03", "2024-05-04"), {"payments": ("2024-05-01",)})


def test_a_parents_column_that_nobody_reads_protects_nothing(warehouse: Warehouse) -> None:
    source = parent(spending(["1d"]))
    count = GroupBy(
        ["customer"],
        [JoinSource(source, Query(["customer", "order"]))],
        [Aggregation("order", Operation.COUNT, windows=["1d"])],
        name="chained",
    )
    warehouse.run(join := logins(count))
    lose(warehouse, "payments", "2024-05-02")
    report = warehouse.run(join)
    assert (report.published, report.kept) == ((), ())


def test_a_snapshot_lost_below_the_parent(warehouse: Warehouse) -> None:
    for n, day in enumerate(days("2024-04-28", LAST)):
        warehouse.write("tiers", day, [{"customer": "ann", "tier": n}])
    tiers = GroupBy(["customer"], [EntitySource("tiers", Query(["customer", "tier"]))], name="tiers")
    join = logins(chained(parent(tiers), "tiers_tier"))
    warehouse.run(join)
    lose(warehouse, "tiers", "2024-05-02")
    assert lost(warehouse, join) == (("2024-05-03", "2024-05-04"), {"tiers": ("2024-05-02",)})


@pytest.fixture
def child(warehouse: Warehouse) -> Join:
    """Its left rows are the parent's."""
    seen = GroupBy(
        ["customer"],
        [EventSource("logins", Query(["customer", "login"], time="at"))],
        [Aggregation("login", Operation.COUNT, windows=["1d"])],
        name="seen",
    )
    left = JoinSource(parent(spending(["1d"])), Query({"customer": "customer", "spent": DAY1}))
    join = logins(seen, left=left)
    warehouse.run(join)
    return join


def test_a_left_that_is_a_parent_loses_its_rows(warehouse: Warehouse, child: Join) -> None:
    lose(warehouse, "orders", "2024-05-03")
    assert lost(warehouse, child) == (("2024-05-03",), {"orders": ("2024-05-03",)})


def test_a_left_that_is_a_parent_loses_what_its_columns_are_made_of(warehouse: Warehouse, child: Join) -> None:
    lose(warehouse, "payments", "2024-05-05")
    # The order of the 6th is the first to see it, and the only one.
    assert lost(warehouse, child) == (("2024-05-06",), {"payments": ("2024-05-05",)})


def test_what_a_correction_took_away_below_is_not_lost(warehouse: Warehouse) -> None:
    join = logins(chained(parent(spending(["1d"]))))
    warehouse.run(join)
    [path] = (warehouse.root / "payments" / "ds=2024-05-02").glob("*.parquet")
    path.unlink()
    warehouse.write("payments", "2024-05-02", [{"customer": "bob", "amount": 1, "paid_at": "2024-05-02T12:00:00Z"}])
    report = warehouse.run(join)
    assert (report.kept, [day.day for day in report.published]) == ((), WEEK[2:4])
