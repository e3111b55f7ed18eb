"""What a plan reads for a range of days: partitions present and missing, rows and bytes."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from zipline import (
    Aggregation,
    BootstrapPart,
    EntitySource,
    EventSource,
    GroupBy,
    Join,
    JoinPart,
    JoinSource,
    Operation,
    Query,
)
from zipline.clock import DAY
from zipline.orchestration.coverage import Coverage, as_ranges, survey
from zipline.plan.build import plan_join
from zipline.plan.steps import BootstrapRead, JoinPlan, Projection, SourceRead
from zipline.tables.catalog import open_catalog
from zipline.tables.contract import Partition, Statistics


@dataclass(frozen=True)
class Table:
    days: dict[str, int | None] = field(default_factory=dict)

    def partitions(self, column: str) -> list[Partition]:
        return [Partition(day, rows, rows and rows * 10) for day, rows in sorted(self.days.items())]

    def statistics(self) -> Statistics:
        return Statistics(1000, 9000, 1)


@dataclass(frozen=True)
class Catalog:
    tables: dict[str, Table]

    def table(self, name: str) -> Table:
        return self.tables[name]


@dataclass(frozen=True)
class Plan:
    left: Projection
    read: tuple[SourceRead, ...] = ()
    bootstrap: tuple[BootstrapRead, ...] = ()

    def reads(self, *, training: bool = True) -> tuple[SourceRead, ...]:
        return self.read


def projection(table: str, kind: Any = "events", **bounds: Any) -> Projection:
    fields = {"partition": "ds", "start": None, "end": None} | bounds
    return Projection(
        table=table, kind=kind, select=(), types=(), where=(), time=None, known_at=None, event_id=None, **fields
    )


def surveyed(tables: dict[str, Table], left: Projection, *reads: SourceRead) -> list[Coverage]:
    plan: Any = Plan(left, reads)
    catalog: Any = Catalog(tables)
    assert not isinstance(plan, JoinPlan)
    return list(survey(plan, catalog, "2013-07-03", "2013-07-04"))


def july(*days: int) -> dict[str, int | None]:
    return {f"2013-07-{day:02}": 100 + day for day in days}


def test_the_left_needs_exactly_the_days_asked_for() -> None:
    [left] = surveyed({"flights": Table(july(1, 2, 3, 5))}, projection("flights", "left"))
    assert (left.first, left.last) == ("2013-07-03", "2013-07-04")
    assert left.present == ("2013-07-03",)
    assert left.missing == ("2013-07-04",)
    assert (left.rows, left.bytes) == (103, 1030)


def test_events_are_needed_from_the_lookback_to_the_last_query() -> None:
    read = SourceRead((projection("events"),), ("arrivals",), lookback=2 * DAY, lookahead=0)
    found = surveyed({"flights": Table(), "events": Table(july(*range(1, 10)))}, projection("flights", "left"), read)
    assert (found[1].first, found[1].last) == ("2013-07-01", "2013-07-04")
    assert found[1].present == ("2013-07-01", "2013-07-02", "2013-07-03", "2013-07-04")
    assert found[1].missing == ()
    assert found[1].rows == 101 + 102 + 103 + 104
    assert found[1].used_by == ("arrivals",)


def test_labels_are_needed_after_the_last_query() -> None:
    read = SourceRead((projection("events"),), ("outcome",), lookback=0, lookahead=2 * DAY)
    found = surveyed({"flights": Table(), "events": Table(july(3, 4, 5))}, projection("flights", "left"), read)
    assert found[1].last == "2013-07-06"
    assert found[1].missing == ("2013-07-06",)


def test_a_lifetime_window_reads_from_the_beginning() -> None:
    read = SourceRead((projection("events"),), ("arrivals",), lookback=None, lookahead=0)
    found = surveyed({"flights": Table(), "events": Table(july(1, 3, 4, 8))}, projection("flights", "left"), read)
    assert found[1].first is None
    assert found[1].present == ("2013-07-01", "2013-07-03", "2013-07-04")
    assert found[1].missing == ("2013-07-02",)


def test_the_bounds_of_a_query_bound_what_is_needed() -> None:
    bounded = projection("events", start="2013-07-02", end="2013-07-03")
    read = SourceRead((bounded,), ("arrivals",), lookback=9 * DAY, lookahead=0)
    found = surveyed({"flights": Table(), "events": Table(july(*range(1, 9)))}, projection("flights", "left"), read)
    assert (found[1].first, found[1].last) == ("2013-07-02", "2013-07-03")
    assert found[1].present == ("2013-07-02", "2013-07-03")


@pytest.mark.parametrize(
    ("days", "present", "missing"),
    [
        ((1, 2, 3, 4), ("2013-07-02", "2013-07-03"), ()),
        ((1,), ("2013-07-01",), ()),
        ((3, 4), ("2013-07-03",), ("2013-07-02",)),
        ((9,), (), ("2013-07-02", "2013-07-03")),
    ],
)
def test_of_snapshots_each_day_needs_the_newest_before_it(
    days: tuple[int, ...], present: tuple[str, ...], missing: tuple[str, ...]
) -> None:
    read = SourceRead((projection("planes", "snapshots"),), ("planes",), lookback=0, lookahead=0)
    found = surveyed({"flights": Table(), "planes": Table(july(*days))}, projection("flights", "left"), read)
    assert (found[1].present, found[1].missing) == (present, missing)


def test_a_table_without_partitions_is_read_whole() -> None:
    [left] = surveyed({"flights": Table()}, projection("flights", "left", partition=None))
    assert (left.partition, left.present, left.missing) == (None, (), ())
    assert (left.rows, left.bytes) == (1000, 9000)


def test_sizes_that_nobody_knows_are_none() -> None:
    [left] = surveyed({"flights": Table({"2013-07-03": None, "2013-07-04": 4})}, projection("flights", "left"))
    assert (left.rows, left.bytes) == (None, None)


def test_days_are_shown_as_ranges() -> None:
    listed = ["2013-06-30", "2013-07-01", "2013-07-03"]
    assert as_ranges(listed) == [("2013-06-30", "2013-07-01"), ("2013-07-03", "2013-07-03")]


def test_changes_are_read_from_the_end_of_the_snapshot_that_the_first_day_sees() -> None:
    query = Query(select=["k", "v"], mutation_time="m", is_before="b")
    state = GroupBy(["k"], [EntitySource("dumps", mutations="changes", query=query)], name="state")
    join = Join(EventSource("left", query=Query(time="q")), [JoinPart(state)], name="joined")
    dumps = [{"k": "a", "v": 1, "ds": f"2013-07-{day:02}"} for day in (1, 4, 9)]
    changes = [{"k": "a", "v": 1, "m": "2013-07-02T05:00:00Z", "b": True, "ds": "2013-07-02"}]
    catalog = open_catalog({"left": [{"k": "a", "q": "2013-07-03"}], "dumps": dumps, "changes": changes})
    plan = plan_join(join, lambda name: catalog.table(name).schema)

    def read(start: str) -> tuple[str | None, str | None, int | None]:
        (found,) = [each for each in survey(plan, catalog, start, "2013-07-06") if each.kind == "mutations"]
        assert (found.table, found.used_by, found.present, found.missing) == ("changes", ("state",), (), ())
        return found.first, found.last, found.rows

    assert read("2013-07-03") == ("2013-07-02", "2013-07-06", 1)
    assert read("2013-07-05") == ("2013-07-05", "2013-07-06", 1)
    assert read("2013-07-01") == (None, "2013-07-06", 1)


def test_a_chained_source_is_computed_and_what_it_is_made_from_is_surveyed_for_its_longer_range():
    paid = GroupBy(
        ["user"],
        [EventSource("payments", query=Query(time="t"))],
        [Aggregation("amount", Operation.SUM, windows=["2d"])],
        name="paid",
    )
    orders = Join(EventSource("orders", query=Query(time="t")), [JoinPart(paid)], name="orders_paid")
    spent = GroupBy(
        ["user"],
        [JoinSource(orders)],
        [Aggregation("paid_amount_sum_2d", Operation.SUM, windows=["3d"])],
        name="spent",
    )
    left = EventSource("visits", query=Query(select=["user"], time="t"))
    given = BootstrapPart("given", ["spent_paid_amount_sum_2d_sum_3d"], query=Query(select={"user": "user", **GIVEN}))
    joined = Join(left, [JoinPart(spent)], row_id=["user"], bootstrap=[given], name="joined")
    days = [f"2024-01-{day:02}" for day in range(1, 11)]
    rows = [{"user": "ann", "amount": 1, "t": f"{day}T12:00:00", "ds": day} for day in days]
    catalog = open_catalog(dict.fromkeys(("payments", "orders", "visits", "given"), rows))
    plan = plan_join(joined, lambda name: catalog.table(name).schema)
    found = [(c.table, c.kind, c.used_by, c.first, c.last) for c in survey(plan, catalog, "2024-01-09", "2024-01-10")]
    assert found == [
        ("visits", "left", ("left",), "2024-01-09", "2024-01-10"),
        ("given", "bootstrap", ("bootstrap",), None, "2024-01-10"),
        ("orders_paid", "computed", ("spent",), "2024-01-05", "2024-01-10"),
        ("orders", "left", ("orders_paid: left",), "2024-01-05", "2024-01-10"),
        ("payments", "events", ("orders_paid: paid",), "2024-01-02", "2024-01-10"),
    ]


GIVEN = {"spent_paid_amount_sum_2d_sum_3d": "amount"}
