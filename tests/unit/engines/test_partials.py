"""A day computed from stored partials has the bits of one computed from rows, whatever happened to files and store."""

from __future__ import annotations

import datetime as dt
import math
import os
import random
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from zipline import Accuracy, Aggregation, EventSource, GroupBy, Join, JoinPart, LabelPart, Query
from zipline.engines.contract import Result
from zipline.engines.local import choice
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
MOMENTS = re.compile("_(variance|skew|kurtosis)")
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
        ("xs", pa.list_(pa.float64())),
        ("ws", pa.list_(pa.string())),
    ]
)
Row = Mapping[str, Any]


@pytest.fixture(autouse=True)
def _few_rows_are_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Partials are taken however small the tables are."""
    monkeypatch.setattr(choice, "MOST_ROWS", 1.0)


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
        """The result from partials, the same to the bit as from rows in every run; moments within their tolerance."""
        expected = self.run(self.join(*group_bys), stored=False)
        for _ in range(runs):
            found = self.run(self.join(*group_bys))
            assert bits(expected) == bits(found)
            assert all(map(are_near, *(moments(each) for each in (expected, found))))
        return found

    @property
    def stored(self) -> list[Path]:
        return sorted((self.folder / "partials").glob("*/*.parquet"))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def bits(result: Result) -> list[str]:
    """All but moments; `repr` tells every double, 0.0 from -0.0 too."""
    exact = [name for name in result.table.column_names if not MOMENTS.search(name)]
    return [repr(row) for row in result.table.select(exact).to_pylist()]


def moments(result: Result) -> list[tuple[str, Any]]:
    """(column, value) of all moments."""
    names = [name for name in result.table.column_names if MOMENTS.search(name)]
    return [(name, value) for name in names for value in result.table.column(name).to_pylist()]


def are_near(first: tuple[str, Any], second: tuple[str, Any]) -> bool:
    """Within 1e-9 for a variance, 1e-6 for the others; of maps bucket by bucket."""
    (column, expected), (_, found) = first, second
    if isinstance(expected, list):
        same = [bucket for bucket, _ in expected] == [bucket for bucket, _ in found]
        return same and all(are_near((column, a), (column, b)) for (_, a), (_, b) in zip(expected, found, strict=True))
    if expected is None or found is None:
        return expected is found
    if "_variance" in column:
        return math.isclose(expected, found, rel_tol=1e-9)
    return math.isclose(expected, found, rel_tol=1e-6, abs_tol=1e-6)


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
    lists = random.Random(seed + 1000)
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
                    "xs": lists.choice([None, lists.choices(numbers, k=lists.randrange(4))]),
                    "ws": lists.choice([None, [], ["u"], ["u", None, "v", "u"]]),
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


def test_a_source_that_is_bounded_inside_its_files(world: World) -> None:
    random_days(world, 15)
    bounds = {"partition": "d", "start": "2000-01-01", "end": str(TODAY.date())}
    operations = [Aggregation(column, "SUM", windows=["2d", "20d"]) for column in ("x", "i")]
    found = world.agrees(aggregated(world, *operations, known_at="known", **bounds))
    assert found.report.partials["g"].startswith("partials of")


def test_a_source_that_is_bounded_by_folders(world: World) -> None:
    for day in range(1, 15):
        (world.events / f"ds={(TODAY - day * DAY).date()}").mkdir()
        world.write(f"ds={(TODAY - day * DAY).date()}/rows", [event(day - 0.5, 1.0)])
    world.ask(("a", TODAY))
    bounds = {"start": str((TODAY - 10 * DAY).date()), "end": str((TODAY - 3 * DAY).date())}
    found = world.agrees(aggregated(world, Aggregation("x", "SUM", windows=["20d"]), **bounds))
    assert values(found, "g_x_sum_20d") == [8.0]
    assert found.report.partials == {"g": "partials of 8 files, rows of 0"}


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


ELEMENTS = ("SUM", "AVERAGE", "COUNT", "VARIANCE", "MIN", "LAST_K", "UNIQUE_COUNT", "HISTOGRAM", "APPROX_PERCENTILE")


@pytest.mark.parametrize("buckets", [[], ["s"]])
@pytest.mark.parametrize("known_at", [None, "known"])
def test_elements_of_lists_count_at_the_time_of_their_row(
    world: World, known_at: str | None, buckets: list[str]
) -> None:
    random_days(world, 14)
    arguments = {"windows": ["2d", "20d"], "buckets": buckets}
    lists = [Aggregation("xs", name, **arguments, **ARGUMENTS.get(name, {})) for name in ELEMENTS]
    others = [Aggregation("ws", "TOP_K", k=3, **arguments), Aggregation("i", "SUM", **arguments)]
    found = world.agrees(aggregated(world, *lists, *others, known_at=known_at), runs=2)
    assert found.report.partials["g"].startswith("partials of")


def test_what_is_kept_of_values_is_of_each_hop_and_key_how_often_they_occur(world: World) -> None:
    world.write("d3", [event(3, 1.0), event(3, 2.0), event(2.9, 1.0), event(3, 1.0, k="b")])
    world.write("d2", [event(2, 5.0)])
    world.ask(("a", TODAY), ("b", TODAY))
    percentile = Aggregation("x", "APPROX_PERCENTILE", percentiles=[0.5, 0.75], windows=["20d"])
    most = Aggregation("x", "APPROX_HISTOGRAM_K", k=1, windows=["20d"])
    found = world.agrees(aggregated(world, percentile, most))
    assert values(found, "g_x_approx_percentile_p50_p75_20d") == [[1.0, 2.0], [1.0, 1.0]]
    assert values(found, "g_x_approx_histogram_k1_20d") == [[(1.0, 2)], [(1.0, 1)]]
    assert found.report.partials == {"g": "partials of 2 files, rows of 0"}


def test_moments_of_a_window_are_merged_from_hops_and_of_nothing_else(world: World) -> None:
    world.write("d19", [event(19.5, 1e200), event(19.4, -1e200)])
    world.write("d3", [event(3, 10.0), event(2.9, 14.0)])
    world.write("d2", [event(2, 18.0)])
    world.ask(("a", TODAY), ("z", TODAY))
    found = world.agrees(aggregated(world, Aggregation("x", "VARIANCE", windows=["14d"])))
    variance, nothing = values(found, "g_x_variance_14d")
    assert variance == pytest.approx(32 / 3, rel=1e-12)
    assert nothing is None
    assert found.report.partials == {"g": "partials of 2 files, rows of 0"}


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


def days_of_one(world: World, days: range) -> GroupBy:
    for day in days:
        world.write(f"d{day:02}", [event(day - 0.001 * n, 1.0) for n in range(3)])
    world.ask(("a", TODAY))
    return aggregated(world, Aggregation("x", "SUM", windows=["20d"]))


def test_partials_of_files_that_are_gone_or_replaced_are_removed(world: World) -> None:
    group_by = days_of_one(world, range(2, 15))
    world.agrees(group_by)
    assert len(world.stored) == 16, "13 files, 2 blocks of 6 days that are past, their extents"
    (world.events / "d05.parquet").unlink()
    world.write("d09", [event(9, 5.0)])
    world.agrees(group_by)
    left = {path.name for path in world.stored}
    assert world.store.removed >= 4
    world.store = PartialStore(str(world.folder / "fresh"))
    world.agrees(group_by)
    assert left == {path.name for path in (world.folder / "fresh").glob("*/*")}


def test_partials_that_runs_of_other_days_and_windows_use_are_left(world: World) -> None:
    group_by = days_of_one(world, range(2, 40))
    shorter = aggregated(world, Aggregation("x", "SUM", windows=["7d"]))
    for days in (0, 9, 3, 20, 0, 3):
        world.ask(("a", TODAY - days * DAY))
        for each in (group_by, shorter):
            world.agrees(each, runs=1)
    assert world.store.removed == 0


def test_partials_removed_while_they_are_read_are_as_missing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    group_by = days_of_one(world, range(2, 15))
    world.agrees(group_by)
    read = PartialStore.read

    def swept(store: PartialStore, group: str, name: str, columns: Sequence[str] | None = None) -> pa.Table | None:
        if name != "extents":
            store.remove(group, [name])
        return read(store, group, name, columns)

    monkeypatch.setattr(PartialStore, "read", swept)
    found = world.agrees(group_by, runs=1)
    assert values(found, "g_x_sum_20d") == [39.0]


def test_a_group_that_begins_ends_those_that_are_out_of_use(world: World) -> None:
    world.agrees(days_of_one(world, range(2, 5)))
    for path in world.stored:
        os.utime(path, times=(0, 0))
    old = set(world.stored)
    world.agrees(aggregated(world, Aggregation("x", "MAX", windows=["20d"])))
    assert old.isdisjoint(world.stored)
    assert len({path.parent for path in world.stored}) == 1


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
        ({"event_id": "i"}, "another row of an event_id may lie in any file"),
        ({"select": {"k": "k", "x": "NULL"}, "operation": "COUNT"}, "x_count_20d (nothing but null)"),
    ],
)
def test_what_has_no_condensed_form_says_why_and_is_computed_from_rows(
    world: World, change: dict[str, Any], reason: str
) -> None:
    random_days(world, 11)
    query = {name: value for name, value in change.items() if name != "operation"}
    group_by = aggregated(world, Aggregation("x", change.get("operation", "SUM"), windows=["20d"]), **query)
    assert reason in described(group_by)
    assert "rows: " in world.agrees(group_by).report.partials["g"]


def described(group_by: GroupBy) -> str:
    catalog = open_catalog({})
    plan = plan_group_by(group_by, lambda name: catalog.table(name).schema)
    names = tuple(name for name, _ in plan.columns)
    return describe(PartPlan(plan, tuple(key for key, _ in plan.keys), "", names))


def test_a_part_of_both_kinds_reads_rows_for_one_and_partials_for_the_other(world: World) -> None:
    random_days(world, 12)
    operations = [Aggregation("x", "SUM", windows=["20d"]), Aggregation("y", "COUNT", windows=["1d"])]
    group_by = aggregated(world, *operations, select={"k": "k", "x": "x", "y": "NULL"})
    assert described(group_by) == "partials: 1 feature; rows: y_count_1d (nothing but null)"
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
        "g": "rows: a label sees times that no hop bounds, few enough to read",
    }


def _run(plan: Any, catalog: Catalog, store: PartialStore | None) -> Result:
    return run_join(plan, catalog, partials=store, as_of=int(TODAY.timestamp() * 1_000_000))


def test_where_most_is_of_the_queries_own_days_everything_is_read_as_rows(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "MOST_ROWS", 0.3)
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
