"""Every hand-written case, on real DuckDB and on the compiled Python."""

from __future__ import annotations

from typing import Any

import duckdb
import pyarrow as pa
import pytest

from tests.conformance.expression_cases import Case, Fails, Row, every_case
from zipline.arrow import to_arrow
from zipline.errors import DataError
from zipline.expressions import SESSIONS, parse
from zipline.types import TIMESTAMP

CASES = list(every_case())


def on_duckdb(case: Case, rows: list[Row], zone: str = SESSIONS["duckdb"]["TimeZone"]) -> list[Any]:
    sql = parse(case.expression, case.columns).sql("duckdb")
    with duckdb.connect() as connection:
        connection.execute(f"SET TimeZone = '{zone}'")
        connection.register("inputs", case.table(rows))
        result = connection.sql(f"SELECT {sql} AS result FROM inputs ORDER BY row").arrow()
        column = (result if isinstance(result, pa.Table) else result.read_all()).column("result")
    if case.type == TIMESTAMP:
        assert column.type == pa.timestamp("us", tz=zone)
        return column.cast(pa.int64()).to_pylist()  # type: ignore[no-any-return]
    assert column.type == to_arrow(case.type)
    return column.to_pylist()  # type: ignore[no-any-return]


def on_python(case: Case, row: Row) -> Any:
    return parse(case.expression, case.columns).python()(dict(zip(case.columns, row, strict=False)))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_type_is_known_before_any_engine_runs(case: Case) -> None:
    assert parse(case.expression, case.columns).type == case.type


@pytest.mark.parametrize("case", CASES, ids=str)
def test_duckdb_gives_the_expected_values(case: Case) -> None:
    expected = [row[-1] for row in case.values()]
    actual = on_duckdb(case, case.values())
    differing = [
        (row, value) for row, value in zip(case.values(), actual, strict=True) if not case.agrees(row[-1], value)
    ]
    assert not differing
    assert len(actual) == len(expected)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_python_gives_the_expected_values(case: Case) -> None:
    differing = [(row, on_python(case, row)) for row in case.values() if not case.agrees(row[-1], on_python(case, row))]
    assert not differing


FAILURES = [(case, row) for case in CASES for row in case.failures()]


@pytest.mark.parametrize(("case", "row"), FAILURES, ids=str)
def test_duckdb_fails_where_there_is_no_value(case: Case, row: Row) -> None:
    with pytest.raises(duckdb.Error) as failure:
        on_duckdb(case, [row])
    assert isinstance(row[-1], Fails)
    assert row[-1].word in str(failure.value)


@pytest.mark.parametrize(("case", "row"), FAILURES, ids=str)
def test_python_fails_where_there_is_no_value(case: Case, row: Row) -> None:
    with pytest.raises(DataError) as failure:
        on_python(case, row)
    assert isinstance(row[-1], Fails)
    assert row[-1].word in str(failure.value)
