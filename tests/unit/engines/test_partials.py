"""A day computed from stored partials has the bits of one computed from rows, whatever happened to files and store."""

from __future__ import annotations

import datetime as dt
import math
import os
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from zipline import Accuracy, Aggregation, EventSource, GroupBy, Join, JoinPart, LabelPart, Query
from zipline.engines.contract import Result
from zipline.engines.local import partials
from zipline.engines.local.run import run_join
from zipline.errors import DataError
from zipline.plan.build import plan_group_by, plan_join
from zipline.plan.condensed import describe
from zipline.plan.steps import PartPlan
from zipline.tables.catalog import Catalog, open_catalog
from zipline.tables.partials import PartialStore

TODAY = dt.datetime(2024, 3, 31, tzinfo=dt.timezone.utc)
DAY, HOUR = dt.timedelta(days=1), dt.timedelta(hours=1)
ARGUMENTS: dict[str, dict[str, Any]] = {
    "FIRST_K": {"k": 3},
    "LAST_K": {"k": 2},
    "TOP_K": {"k": 3},
    "BOTTOM_K": {"k": 2},
    "BOUNDED_UNIQUE_COUNT": {"k": 3},
    "APPROX_HISTOGRAM_K": {"k": 3},
    "APPROX_PERCENTILE": {"percentiles": [0.5]},
}
ON_NUMBERS = ("SUM", "AVERAGE", "VARIANCE", "SKEW", "KURTOSIS", "APPROX_PERCENTILE")
OPERATIONS = (*ON_NUMBERS[:5], "COUNT", "MIN", "MAX", "FIRST", "LAST", "UNIQUE_COUNT", "HISTOGRAM", *ARGUMENTS)
WINDOWS = {"days": ["12d", "20d"], "hours": ["12h", "1d", "7d"], "minutes": ["30m", "6h"], "lifetime": [None]}
SCHEMA = pa.schema(
    [
        ("k", pa.string()),
        ("n", pa.int64()),
        ("t", pa.timestamp("us", tz="UTC")),
        ("known", pa.timestamp("us", tz="UTC")),
        ("x", pa.float64()),
        ("i", pa.int64()),
        ("s", pa.string()),
        ("d", pa.date32()),
    ]
)
Row = Mapping[str, Any]


@pytest.fixture(autouse=True)
def _few_rows_are_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Partials are taken however small the tables are."""
    monkeypatch.setattr(partials, "MOST_ROWS", 1.0)


class World:
    """A folder of events in files, a file of queries, a store of partials."""

    def __init__(self, folder: Path) -> None:
        self.events, self.queries, self.folder = folder / "events", folder / "queries.parquet", folder
        self.events.mkdir()
        self.store = PartialStore(str(folder / "partials"))

    def write(self, name: str, rows: Sequence[Row]) -> None:
        columns = {field.name: [row.get(field.name) for row in rows] for field in SCHEMA}
        table = pa.table({n: pa.array(v, SCHEMA.field(n).type, from_pandas=False) for n, v in columns.items()})
        pq.write_table(table, self.events / f"{name}.parquet")

    def ask(self, *queries: tuple[Any, ...]) -> None:
        rows = [(*query, *[None] * (3 - len(query))) for query in queries]
        keys, times, numbers = (list(column) for column in zip(*rows, strict=True))
        instants = pa.array(times, pa.timestamp("us", tz="UTC"))
        pq.write_table(pa.table({"k": keys, "t": instants, "n": pa.array(numbers, pa.int64())}), self.queries)

    def source(self, **query: Any) -> EventSource:
        return EventSource(str(self.events), query=Query(**{"time": "t", **query}))

    def join(self, *group_bys: GroupBy) -> Join:
        left = EventSource(str(self.queries), query=Query(time="t"))
        return Join(left, [JoinPart(group_by) for group_by in group_bys], name="daily")

    def run(self, join: Join, *, stored: bool = True) -> Result:
        catalog = open_catalog({})
        plan = plan_join(join, lambda name: catalog.table(name).schema)
        return run_join(plan, catalog, partials=self.store if stored else None)

    def agrees(self, *group_bys: GroupBy, runs: int = 3) -> Result:
        """The result from partials, the same to the bit as from rows in every run."""
        expected = bits(self.run(self.join(*group_bys), stored=False))
        for _ in range(runs):
            found = self.run(self.join(*group_bys))
            assert expected == bits(found)
        return found

    @property
    def stored(self) -> list[Path]:
        return sorted((self.folder / "partials").glob("*/*.parquet"))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def bits(result: Result) -> list[str]:
    """`repr` tells every double, 0.0 from -0.0 too."""
    return [repr(row) for row in result.table.to_pylist()]


def values(result: Result, column: str) -> list[Any]:
    return list(result.table.column(column).to_pylist())


def event(days: float, x: float | None = None, **others: Any) -> Row:
    """An event so many days before today."""
    return {"k": "a", "n": 1, "t": TODAY - days * DAY, "x": x, **others}


def aggregated(world: World, *aggregations: Aggregation, keys: Sequence[str] = ("k",), **query: Any) -> GroupBy:
    accuracy = query.pop("accuracy", Accuracy.TEMPORAL)
    return GroupBy(list(keys), [world.source(**query)], list(aggregations), accuracy=accuracy, name="g")


def random_days(world: World, seed: int, days: int = 25, *, spread: float = 0.0) -> None:
    """A file a day (`spread` days wide at most), some days without rows, values of every awkward kind."""
    draw = random.Random(seed)
    numbers = [0.1, 0.2, -0.0, 1e16, 1e-3, -1e16, 2.5, math.nan, None, 1e-300]
    for day in range(days, -1, -1):
        rows = []
        for _ in range(0 if draw.random() < 0.2 else draw.randint(1, 12)):
            t = TODAY - day * DAY + dt.timedelta(seconds=draw.randrange(86400)) - draw.random() * spread * DAY
            t = t.replace(minute=0, second=0, microsecond=0) if draw.random() < 0.2 else t
            rows.append(
                {
                    "k": draw.choice(["a", "b", "", None]),
                    "n": draw.choice([1, 2]),
                    "t": None if draw.random() < 0.03 else t,
                    "known": None if draw.random() < 0.03 else t + draw.choice([-1, 0, 0, 1, 7, 30, 80]) * HOUR,
                    "x": draw.choice(numbers) if draw.random() < 0.6 else draw.uniform(-9, 9),
                    "i": draw.choice([None, 1, 2, 2, -5, 2**53 + 1]),
                    "s": draw.choice([None, "u", "v", "w"]),
                    "d": draw.choice([None, TODAY.date(), dt.date(1969, 12, 31)]),
                }
            )
        rows += rows[:1]
        draw.shuffle(rows)
        world.write(f"day_{days - day:02}", rows)
    hours = [0, 0.5, 1, 6, 13, 23.99]
    world.ask(*((draw.choice(["a", "b", "", None, "z"]), TODAY + hour * HOUR, 1) for hour in hours for _ in range(3)))


@pytest.mark.parametrize("known_at", [None, "known"])
@pytest.mark.parametrize("kind", WINDOWS)
def test_every_operation_in_every_class_of_window(world: World, kind: str, known_at: str | None) -> None:
    random_days(world, 1)
    group_by = aggregated(world, *every_operation(WINDOWS[kind]), known_at=known_at)
    assert world.agrees(group_by, runs=2).report.partials["g"].startswith("partials of")


@pytest.mark.parametrize("known_at", [None, "known"])
def test_every_operation_over_whole_days(world: World, known_at: str | None) -> None:
    random_days(world, 2)
    aggregations = every_operation(["1d", "7d", None])
    found = world.agrees(aggregated(world, *aggregations, known_at=known_at, accuracy=Accuracy.SNAPSHOT))
    assert found.report.partials["g"].startswith("partials of")


@pytest.mark.parametrize("known_at", [None, "known"])
def test_every_operation_by_bucket(world: World, known_at: str | None) -> None:
    random_days(world, 3)
    bucketed = [
        Aggregation(column, operation, windows=["2d", "20d"], buckets=[bucket], **ARGUMENTS.get(operation, {}))
        for column, bucket in (("x", "s"), ("i", "d"))
        for operation in OPERATIONS
    ]
    found = world.agrees(aggregated(world, *bucketed, known_at=known_at))
    assert found.report.partials["g"].startswith("partials of")


@pytest.mark.parametrize("keys", [["k", "n"], ["n"], []])
def test_keys_of_several_parts_and_none(world: World, keys: list[str]) -> None:
    random_days(world, 4)
    world.agrees(aggregated(world, *every_operation(["7d", None])[:8], keys=keys))


@pytest.mark.parametrize("known_at", [None, "known"])
def test_the_latest_row_of_a_key(world: World, known_at: str | None) -> None:
    random_days(world, 5)
    world.agrees(GroupBy(["k"], [world.source(known_at=known_at)], name="g"))


def test_files_whose_rows_span_several_days(world: World) -> None:
    random_days(world, 6, spread=3.0)
    world.agrees(aggregated(world, *every_operation(["1d", "14d"]), known_at="known"))


def test_two_sources_with_other_clocks_and_other_conditions(world: World) -> None:
    random_days(world, 7)
    select = {"k": "k", "x": "x", "i": "i", "s": "s"}
    sources = [
        world.source(select=select, known_at="known", where=["i IS NOT NULL"]),
        world.source(select={**select, "x": "x * 2"}, where=["s = 'u'"]),
    ]
    operations = [Aggregation("x", name, windows=["2d", "20d"]) for name in ("SUM", "LAST", "AVERAGE", "MAX")]
    world.agrees(GroupBy(["k"], sources, operations, name="g"))


def test_days_in_any_order_share_one_store(world: World) -> None:
    random_days(world, 8, days=40)
    group_by = aggregated(world, *every_operation(["1d", "14d"])[:6])
    for days in (0, 9, 3, 4, 20, 1):
        world.ask(*(("a", TODAY - days * DAY + hour * HOUR, 1) for hour in (0, 5, 23)))
        world.agrees(group_by, runs=1)


def every_operation(windows: Sequence[str | None]) -> list[Aggregation]:
    numbers = [Aggregation("x", name, windows=windows, **ARGUMENTS.get(name, {})) for name in OPERATIONS]
    integers = [Aggregation("i", name, windows=windows, **ARGUMENTS.get(name, {})) for name in OPERATIONS]
    words = [n for n in OPERATIONS if n not in ON_NUMBERS]
    return [*numbers, *integers, *(Aggregation("s", n, windows=windows, **ARGUMENTS.get(n, {})) for n in words)]


def test_a_sum_of_sums_is_the_sum_of_all_values_rounded_once(world: World) -> None:
    numbers = {5: [1e16, 1e-3, 0.1], 4: [-1e16, 1e-20], 3: [0.1] * 10, 2: [5e-324, 1e308, -1e308]}
    for day, xs in numbers.items():
        world.write(f"d{day}", [event(day - 0.001 * n, x) for n, x in enumerate(xs)])
    world.ask(("a", TODAY))
    found = world.agrees(aggregated(world, Aggregation("x", "SUM", windows=["20d"]), Aggregation("x", "AVERAGE")))
    exact = math.fsum(x for xs in numbers.values() for x in xs)
    assert values(found, "g_x_sum_20d") == [exact]
    assert values(found, "g_x_average") == [exact / 18]
    assert found.report.partials == {"g": "partials of 4 files, rows of 0"}


def test_infinities_and_what_they_make_undefined(world: World) -> None:
    world.write("d3", [event(3, math.inf), event(2.9, 7.0)])
    world.write("d2", [event(2, 1.0)])
    world.ask(("a", TODAY), ("a", TODAY - 1.5 * DAY))
    both = [Aggregation("x", name, windows=["20d", "2d"], default=-1.0) for name in ("SUM", "AVERAGE")]
    found = world.agrees(aggregated(world, *both))
    assert values(found, "g_x_average_20d") == [math.inf, math.inf]
    assert values(found, "g_x_average_2d") == [1.0, math.inf]
    world.write("d2", [event(2, -math.inf)])
    assert values(world.agrees(aggregated(world, *both)), "g_x_sum_20d") == [None, None]


def test_an_average_whose_total_is_beyond_doubles_is_computed_from_rows(world: World) -> None:
    world.write("d3", [event(3, 2.0**1023), event(2.9, 2.0**1023)])
    world.write("d2", [event(2, 2.0**1023), event(2, 2.0**1023)])
    world.ask(("a", TODAY))
    found = world.agrees(aggregated(world, Aggregation("x", "AVERAGE", windows=["20d"]), Aggregation("x", "SUM")))
    assert values(found, "g_x_average_20d") == [2.0**1023]
    assert values(found, "g_x_sum") == [math.inf]


def test_an_hour_whose_total_is_beyond_int64_in_a_window_whose_total_is_not(world: World) -> None:
    world.write("d3", [event(3, i=2**63 - 1), event(3, i=2**63 - 1), event(3, i=5)])
    world.write("d2", [event(2, i=-(2**63)), event(2, i=-(2**63)), event(2, i=1)])
    world.ask(("a", TODAY))
    group_by = aggregated(world, Aggregation("i", "SUM", windows=["20d"]), Aggregation("i", "AVERAGE", windows=["20d"]))
    found = world.agrees(group_by)
    assert values(found, "g_i_sum_20d") == [4]
    assert values(found, "g_i_average_20d") == [4 / 6]


def test_a_total_beyond_int64_is_the_same_error_as_from_rows(world: World) -> None:
    world.write("d3", [event(3, i=2**63 - 1)])
    world.write("d2", [event(2, i=1)])
    world.ask(("a", TODAY))
    join = world.join(aggregated(world, Aggregation("i", "SUM", windows=["20d"])))
    messages = []
    for stored in (False, True):
        with pytest.raises(DataError) as refused:
            world.run(join, stored=stored)
        messages.append(str(refused.value))
    assert messages[0] == messages[1]
    assert "g" in messages[0]


def test_a_row_counts_from_the_day_on_which_it_became_known(world: World) -> None:
    late = event(10, 1.0, known=TODAY - 1 * DAY)
    later = event(10, 10.0, known=TODAY + 2 * HOUR)
    never = event(10, 100.0, known=None)
    world.write("d10", [late, later, never, event(10, 1000.0, known=TODAY - 10 * DAY)])
    world.write("d8", [event(8, 10000.0, known=TODAY - 8 * DAY)])
    group_by = aggregated(world, Aggregation("x", "SUM", windows=["20d"]), known_at="known")
    expected = {-2: 11000.0, -1: 11000.0, 0: 11001.0, 1: 11011.0}
    for day, total in expected.items():
        world.ask(("a", TODAY + day * DAY))
        assert values(world.agrees(group_by), "g_x_sum_20d") == [total]


def test_a_replaced_file_is_read_anew(world: World) -> None:
    group_by = aggregated(world, Aggregation("x", "SUM", windows=["20d"]))
    for day in range(2, 15):
        world.write(f"d{day:02}", [event(day, 1.0)])
    world.ask(("a", TODAY))
    assert values(world.agrees(group_by), "g_x_sum_20d") == [13.0]
    world.write("d09", [event(9, 5.0), event(9.1, 5.0)])
    assert values(world.agrees(group_by), "g_x_sum_20d") == [22.0]


def test_a_file_that_is_added_to_a_past_day_and_one_that_is_taken_away(world: World) -> None:
    group_by = aggregated(world, Aggregation("x", "SUM", windows=["20d"]))
    for day in range(2, 15):
        world.write(f"d{day:02}", [event(day, 1.0)])
    world.ask(("a", TODAY))
    world.agrees(group_by)
    world.write("d09_late", [event(9, 5.0)])
    assert values(world.agrees(group_by), "g_x_sum_20d") == [18.0]
    (world.events / "d05.parquet").unlink()
    assert values(world.agrees(group_by), "g_x_sum_20d") == [17.0]


def test_a_writer_that_dies_leaves_nothing_that_is_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.write("d3", [event(3, 1.0)])
    world.write("d2", [event(2, 2.0)])
    world.ask(("a", TODAY))
    join = world.join(aggregated(world, Aggregation("x", "SUM", windows=["20d"])))

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(os, "replace", die)
        with pytest.raises(KeyboardInterrupt):
            world.run(join)
    assert world.stored == []
    (world.folder / "partials").mkdir(exist_ok=True)
    world.agrees(aggregated(world, Aggregation("x", "SUM", windows=["20d"])))


def test_a_damaged_partial_is_as_one_that_is_missing(world: World) -> None:
    random_days(world, 9)
    group_by = aggregated(world, Aggregation("x", "SUM", windows=["14d"]), Aggregation("s", "HISTOGRAM"))
    world.agrees(group_by)
    assert world.agrees(group_by).report.partials["g"].startswith("partials of")
    damaged = {path: path.stat().st_size // 2 for path in world.stored}
    for path, size in damaged.items():
        path.write_bytes(path.read_bytes()[:size])
    world.agrees(group_by, runs=1)
    assert any(path.stat().st_size != size for path, size in damaged.items())


def test_the_second_run_reads_no_rows_of_past_days(world: World) -> None:
    for day in range(14, 0, -1):
        world.write(f"d{14 - day:02}", [event(day - 0.001 * n, 1.0) for n in range(100)])
    world.write("today", [event(-0.01, 1.0)])
    world.ask(("a", TODAY + 5 * HOUR))
    join = world.join(aggregated(world, Aggregation("x", "SUM", windows=["12d"])))
    first, second, third = (world.run(join) for _ in range(3))
    table = str(world.events)
    assert first.report.partials == second.report.partials == {"g": "partials of 12 files, rows of 1"}
    assert second.report.rows_read[table] <= 13 < 1200 < first.report.rows_read[table] + 1200
    assert third.report.rows_read[table] < second.report.rows_read[table]


def test_partials_are_shared_by_definitions_that_condense_alike_and_by_no_others(world: World) -> None:
    random_days(world, 10)
    world.agrees(aggregated(world, Aggregation("x", "SUM", windows=["14d"])))
    world.agrees(aggregated(world, Aggregation("x", "SUM", windows=["13d"]), Aggregation("x", "SUM", windows=["20d"])))
    assert len({path.parent for path in world.stored}) == 1
    world.agrees(aggregated(world, Aggregation("x", "SUM", windows=["14d"]), where=["x > 0"]))
    assert len({path.parent for path in world.stored}) == 2


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda world: {"event_id": "i"}, "rows of one event_id may lie in several files"),
        (lambda world: {"operation": "VARIANCE"}, "x_variance_20d (moments)"),
        (lambda world: {"operation": "APPROX_UNIQUE_COUNT"}, "x_approx_unique_count_20d (a sketch)"),
    ],
)
def test_what_has_no_condensed_form_says_why_and_is_computed_from_rows(
    world: World, change: Callable[[World], dict[str, Any]], reason: str
) -> None:
    random_days(world, 11)
    changed = change(world)
    operation = changed.pop("operation", "SUM")
    group_by = aggregated(world, Aggregation("x", operation, windows=["20d"]), **changed)
    assert reason in described(group_by)
    assert "rows: " in world.agrees(group_by).report.partials["g"]


def described(group_by: GroupBy) -> str:
    catalog = open_catalog({})
    plan = plan_group_by(group_by, lambda name: catalog.table(name).schema)
    names = tuple(name for name, _ in plan.columns)
    return describe(PartPlan(plan, tuple(key for key, _ in plan.keys), "", names))


def test_a_part_of_both_kinds_reads_rows_for_one_and_partials_for_the_other(world: World) -> None:
    random_days(world, 12)
    group_by = aggregated(world, Aggregation("x", "SUM", windows=["20d"]), Aggregation("x", "VARIANCE", windows=["1d"]))
    assert described(group_by) == "partials: 1 features; rows: x_variance_1d (moments)"
    assert "partials of" in world.agrees(group_by).report.partials["g"]


def test_labels_and_tables_in_memory_are_computed_from_rows(world: World) -> None:
    random_days(world, 13)
    group_by = aggregated(world, Aggregation("x", "SUM", windows=["1d"]))
    left = EventSource(str(world.queries), query=Query(time="t"))
    memory = pa.table({"k": ["a"], "t": pa.array([TODAY - DAY], pa.timestamp("us", tz="UTC")), "x": [1.0]})
    held = GroupBy(["k"], [EventSource("held", Query(time="t"))], [Aggregation("x", "SUM", windows=["20d"])], name="h")
    join = Join(left, [JoinPart(held)], labels=LabelPart([JoinPart(group_by)], offset="1d"), name="daily")
    catalog = open_catalog({"held": memory})
    plan = plan_join(join, lambda name: catalog.table(name).schema)
    runs = [_run(plan, catalog, store) for store in (None, world.store)]
    assert bits(runs[0]) == bits(runs[1])
    assert runs[1].report.partials == {
        "h": "rows: held is not made of files",
        "g": "rows: a label sees times that no hop bounds",
    }


def _run(plan: Any, catalog: Catalog, store: PartialStore | None) -> Result:
    return run_join(plan, catalog, partials=store, as_of=int(TODAY.timestamp() * 1_000_000))


def test_where_most_is_of_the_queries_own_days_everything_is_read_as_rows(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partials, "MOST_ROWS", 0.3)
    world.write("d1", [event(1, 1.0)])
    world.write("today", [event(-0.01, 1.0), event(-0.02, 1.0)])
    world.ask(("a", TODAY + 5 * HOUR))
    found = world.agrees(aggregated(world, Aggregation("x", "SUM", windows=["20d"])))
    assert found.report.partials == {"g": "rows: most that the queries see must be read as rows"}
    assert world.stored == []


def test_a_value_beyond_the_queries_reach_that_cannot_be_read_stops_nothing(world: World) -> None:
    world.write("d9", [event(9, s="no number")])
    world.write("d2", [event(2, s="1.5")])
    world.ask(("a", TODAY))
    group_by = aggregated(
        world, Aggregation("y", "SUM", windows=["3d"]), select={"k": "k", "y": "CAST(s AS DOUBLE)", "t": "t"}
    )
    assert values(world.run(world.join(group_by)), "g_y_sum_3d") == [1.5]


def test_rows_without_a_clock_are_counted_as_ever(world: World) -> None:
    world.write("d3", [event(3, 1.0), event(3, 1.0) | {"t": None}])
    world.write("d2", [event(2, 2.0)])
    world.ask(("a", TODAY))
    found = world.agrees(aggregated(world, Aggregation("x", "SUM", windows=["20d"])))
    assert found.report.without_time == {str(world.events): 1}
