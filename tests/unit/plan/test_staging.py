"""Staging queries: what they read, what stands for the templates, what is refused."""

from __future__ import annotations

import pytest

from zipline import StagingQuery
from zipline.errors import DefinitionError
from zipline.plan.staging import plan_staging, tables_of


def staged(sql: str) -> StagingQuery:
    return StagingQuery(sql=sql, name="daily")


def text(sql: str) -> str:
    return plan_staging(staged(sql)).text("2013-01-01", "2013-01-31", lambda table, column: f"{table}/{column}")


def test_the_tables_are_those_read_and_not_those_that_with_defines() -> None:
    sql = 'WITH a AS (SELECT * FROM flights.raw.events) SELECT * FROM a JOIN "odd name" USING (k) WHERE x IN (FROM b)'
    assert tables_of(sql) == ("b", "flights.raw.events", "odd name")


def test_a_name_of_with_that_hides_a_table_still_reads_the_table_inside() -> None:
    assert tables_of("WITH flights AS (SELECT * FROM flights) SELECT * FROM flights") == ("flights",)


def test_a_table_named_in_latest_date_is_read() -> None:
    assert tables_of("SELECT * FROM a WHERE ds = {{ latest_date(team.b) }}") == ("a", "team.b")


def test_templates_become_quoted_text_with_or_without_the_authors_quotes() -> None:
    assert (
        text("SELECT 1 WHERE ds BETWEEN {{ start_date }} AND '{{ end_date }}'")
        == "SELECT 1 WHERE ds BETWEEN '2013-01-01' AND '2013-01-31'"
    )


def test_latest_date_is_asked_of_its_table_and_column() -> None:
    assert text("SELECT {{ latest_date('a') }}, {{latest_date(b, day)}}") == "SELECT 'a/ds', 'b/day'"


def test_only_the_references_to_tables_change_in_the_text() -> None:
    sql = "SELECT f.ds /* from flights.raw */, 'flights.raw' FROM flights.raw  AS f, (SELECT 1) x"
    assert text(sql) == "SELECT f.ds /* from flights.raw */, 'flights.raw' FROM \"flights.raw\"  AS f, (SELECT 1) x"


def test_a_query_is_daily_where_it_asks_for_days() -> None:
    assert plan_staging(staged("SELECT * FROM a WHERE ds <= {{ end_date }}")).is_daily
    assert not plan_staging(staged("SELECT * FROM a WHERE ds = {{ latest_date(a) }}")).is_daily


def test_the_fingerprint_of_what_reads_it_changes_with_its_sql() -> None:
    from zipline import Aggregation, EventSource, GroupBy, Operation, Query, fingerprint

    def group_by(sql: str) -> GroupBy:
        source = EventSource(staged(sql), Query(time="t"))
        return GroupBy(keys=["k"], sources=[source], aggregations=[Aggregation("x", Operation.SUM)], name="g")

    assert fingerprint(group_by("SELECT * FROM a")) == fingerprint(group_by("SELECT * FROM a"))
    assert fingerprint(group_by("SELECT * FROM a")) != fingerprint(group_by("SELECT * FROM b"))


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("SELECT 1; SELECT 2", "one SELECT"),
        ("DROP TABLE a", "one SELECT"),
        ("COPY a TO 'b'", "one SELECT"),
        ("SELECT * FROM (", "does not parse"),
        ("SELECT {{ today }}", "stands for nothing"),
        ("SELECT now() AS t", "another answer each time"),
        ("SELECT current_date", "another answer each time"),
        ("SELECT random() AS r FROM a", "another answer each time"),
        ("SELECT * FROM a TABLESAMPLE 10%", "another one each time"),
        ("SELECT * FROM 'a.parquet'", "reads files by itself"),
        ("SELECT * FROM read_csv('a.csv')", "reads files by itself"),
        ("SELECT * FROM a, parquet_scan('b')", "reads files by itself"),
    ],
)
def test_what_cannot_be_run_or_tracked_is_refused_at_the_authors_line(sql: str, said: str) -> None:
    with pytest.raises(DefinitionError, match=said) as refused:
        plan_staging(staged(sql))
    assert "test_staging.py" in str(refused.value)


@pytest.mark.parametrize(
    ("where", "is_bounded"),
    [
        ("ds BETWEEN {{ start_date }} AND {{ end_date }}", True),
        ("x > 1 AND a.ds = {{ end_date }} AND y", True),
        ("ds >= '{{ start_date }}' AND ds <= '{{ end_date }}'", True),
        ("ds <= {{ end_date }}", False),
        ("ds BETWEEN '2013-01-01' AND {{ end_date }}", False),
        ("ds = {{ end_date }} OR x", False),
        ("NOT ds = {{ end_date }}", False),
        ("ds = {{ latest_date(a) }}", False),
        ("other = {{ end_date }}", False),
        ("b.ds = {{ end_date }}", False),
        ("CAST(ds AS DATE) = {{ end_date }}", False),
    ],
)
def test_a_table_is_bounded_where_only_its_day_is_read(where: str, is_bounded: bool) -> None:
    assert plan_staging(staged(f"SELECT * FROM a WHERE {where}")).bounded == ({"a"} if is_bounded else set())


def test_a_table_is_not_bounded_where_one_of_its_references_is_not() -> None:
    day = "ds = {{ end_date }}"
    assert plan_staging(staged(f"SELECT * FROM a WHERE {day} AND k IN (SELECT k FROM a)")).bounded == set()
    assert plan_staging(staged(f"SELECT * FROM a, b WHERE a.{day}")).bounded == {"a"}
    assert plan_staging(staged(f"WITH c AS (SELECT * FROM a WHERE {day}) SELECT * FROM c JOIN b ON {day}")).bounded == {
        "a"
    }
