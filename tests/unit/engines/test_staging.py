"""Staging queries run: rows by day, types, order, and what the data make impossible."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from zipline import (
    Aggregation,
    EventSource,
    GroupBy,
    Join,
    JoinPart,
    Operation,
    Query,
    StagingQuery,
    aggregate,
    backfill,
    fingerprint,
)
from zipline.engines.local.staging import run_staging, staging_schema, with_staging
from zipline.errors import DataError, DefinitionError, TableError, UsageError
from zipline.plan.staging import plan_staging
from zipline.tables.catalog import open_catalog
from zipline.types import BIGINT, STRING

RAW = [
    {"k": "a", "t": "2013-01-01T10:00:00", "ds": "2013-01-01", "x": 1},
    {"k": "a", "t": "2013-01-02T10:00:00", "ds": "2013-01-02", "x": 2},
    {"k": "b", "t": "2013-01-02T11:00:00", "ds": "2013-01-02", "x": 5},
    {"k": "b", "t": "2013-01-02T12:00:00", "ds": "2013-01-02", "x": 4},
]
DAILY = """SELECT k, max(t) AS t, sum(x) AS x, ds FROM flights.raw
           WHERE ds BETWEEN {{ start_date }} AND {{ end_date }} GROUP BY k, ds"""


def staged(sql: str, name: str = "daily") -> StagingQuery:
    return StagingQuery(sql=sql, name=name)


def run(sql: str, *days: str, tables: dict[str, Any] | None = None) -> pa.Table:
    return run_staging(plan_staging(staged(sql)), open_catalog(tables or {"flights.raw": RAW}), *days)


def test_a_daily_query_gives_the_rows_of_the_days_asked_for_in_an_order_of_their_own() -> None:
    assert run(DAILY, "2013-01-02", "2013-01-02").to_pylist() == [
        {"k": "a", "t": "2013-01-02T10:00:00", "x": 2, "ds": "2013-01-02"},
        {"k": "b", "t": "2013-01-02T12:00:00", "x": 9, "ds": "2013-01-02"},
    ]


def test_a_sum_of_integers_is_a_bigint() -> None:
    schema = staging_schema(plan_staging(staged(DAILY)), open_catalog({"flights.raw": RAW}))
    assert (schema["x"], schema["k"]) == (BIGINT, STRING)
    assert run(DAILY).schema.field("x").type == pa.int64()


def test_days_come_out_the_same_however_they_are_grouped() -> None:
    only_its_own_day = "SELECT k, x, ds FROM flights.raw WHERE ds = {{ end_date }}"
    together = run(only_its_own_day, "2013-01-01", "2013-01-02")
    apart = [run(only_its_own_day, day, day) for day in ("2013-01-01", "2013-01-02")]
    assert together.num_rows == 4
    assert together.equals(pa.concat_tables(apart))


def test_a_query_without_days_gives_everything() -> None:
    assert run("SELECT count(*) AS n FROM flights.raw").to_pylist() == [{"n": 4}]


def test_latest_date_is_the_newest_day_of_the_table() -> None:
    found = run("SELECT k FROM flights.raw WHERE ds = {{ latest_date(flights.raw) }} AND x = 5")
    assert found.to_pylist() == [{"k": "b"}]


def test_the_authors_order_is_kept() -> None:
    found = run("SELECT x FROM flights.raw ORDER BY x DESC")
    assert found.column("x").to_pylist() == [5, 4, 2, 1]


def test_a_group_by_over_a_staging_query_needs_only_the_tables_below_it() -> None:
    source = EventSource(staged(DAILY), Query(time="t"))
    sums = GroupBy(["k"], [source], [Aggregation("x", Operation.SUM, windows=["7d"])], name="g")
    found = aggregate(sums, [{"k": "b", "ts": "2013-01-03"}, {"k": "a", "ts": "2013-01-02"}], {"flights.raw": RAW})
    assert found.column("x_sum_7d").to_pylist() == [9, 1]


def test_a_join_reads_one_on_the_left_and_one_in_a_part_and_one_over_another() -> None:
    daily = staged(DAILY)
    over = staged('SELECT k, CAST(t AS TIMESTAMP) + INTERVAL 1 DAY AS at FROM "daily" WHERE x > 1', "over")
    sums = GroupBy(["k"], [EventSource(daily, Query(time="t"))], [Aggregation("x", Operation.SUM)], name="sums")
    join = Join(EventSource(over, Query(time="at")), [JoinPart(sums)], name="j")
    found = backfill(join, {"flights.raw": RAW, "daily": daily})
    assert [(row["k"], row["sums_x_sum"]) for row in found.to_pylist()] == [("a", 3), ("b", 9)]


def test_a_table_given_under_the_querys_name_stands_for_it() -> None:
    daily = staged(DAILY)
    sums = GroupBy(["k"], [EventSource(daily, Query(time="t"))], [Aggregation("x", Operation.SUM)], name="sums")
    given = [{"k": "a", "t": "2013-01-01", "x": 100}]
    assert aggregate(sums, [{"k": "a", "ts": "2014-01-01"}], {"daily": given}).column("x_sum").to_pylist() == [100]


def test_queries_that_read_each_other_are_refused() -> None:
    with pytest.raises(DefinitionError, match="p -> q -> p"):
        with_staging({"p": staged("SELECT * FROM q", "p"), "q": staged("SELECT * FROM p", "q")})


def test_a_query_without_a_name_is_refused() -> None:
    nameless = StagingQuery(sql="SELECT k, t FROM flights.raw")
    last = GroupBy(["k"], [EventSource(nameless, Query(time="t"))], [Aggregation("t", Operation.COUNT)], name="g")
    with pytest.raises(DefinitionError, match="has no name"):
        aggregate(last, [{"k": "a", "ts": "2014-01-01"}], {"flights.raw": RAW})


@pytest.mark.parametrize(
    ("sql", "error", "said"),
    [
        ("SELECT * FROM nowhere", TableError, "nowhere"),
        ("SELECT missing FROM flights.raw", DefinitionError, "missing"),
        ("SELECT k, K FROM flights.raw", DefinitionError, "two columns"),
        ("SELECT k FROM flights.raw WHERE ds = {{ end_date }}", DefinitionError, "no column 'ds'"),
        ("SELECT k, ds FROM flights.raw WHERE ds >= {{ start_date }}", DataError, "outside the days asked for"),
        ("SELECT k, x AS ds FROM flights.raw WHERE ds = {{ end_date }}", DataError, "outside|not a day"),
        ("SELECT k, NULL AS ds FROM flights.raw WHERE ds = {{ end_date }}", DataError, "None"),
        ("SELECT CAST(k AS INT) AS k FROM flights.raw", DataError, "'a'"),
        ("SELECT sum(9223372036854775807) AS s FROM flights.raw", DataError, "range|INT64"),
        ("SELECT {{ latest_date(flights.raw, nothing) }} AS d", DataError, "no day in a column 'nothing'"),
    ],
)
def test_what_cannot_be_done_names_the_query(sql: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said) as failed:
        run(sql, "2013-01-01", "2013-01-01")
    assert "daily" in str(failed.value)


def test_the_fingerprint_of_a_join_holds_that_of_a_query_below_it() -> None:
    def join(sql: str) -> Join:
        return Join(EventSource(staged(sql), Query(time="t")), [], name="j")

    assert fingerprint(join(DAILY)) != fingerprint(join(DAILY + " HAVING sum(x) > 1"))


def test_tables_that_are_no_mapping_are_refused() -> None:
    with pytest.raises(UsageError, match="maps names"):
        aggregate(GroupBy(["k"], [EventSource("a", Query(time="t"))], [], name="g"), [], tables=["a"])  # type: ignore[arg-type]
