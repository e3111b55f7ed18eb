"""Evaluates the checks of an output: on one partition, before it is published.

Each check that concerns rows is one or two aggregates; all of them are answered by one DuckDB query over the Arrow
table. NaN is null, and null passes every check but `not_null` and `sql` (a condition that is null does not hold).
Validation builds the same query over no rows, so that whatever it refuses is found before any work.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import duckdb
import pyarrow as pa

from zipline.api import Check
from zipline.api.fields import duration_micros
from zipline.arrow import schema_of
from zipline.clock import SECOND, to_text
from zipline.engines.local.session import connect
from zipline.errors import DefinitionError, UnsupportedError
from zipline.expressions import parse, referenced_columns
from zipline.tables.columns import duckdb_type, empty_relation, exposed, quoted
from zipline.types import BOOLEAN, STRING, TIMESTAMP, DataType
from zipline.values import dataclass

QUERY_TIME = "ts"
Observed = int | float | str | None
_VIEW = "output"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The outcome of one check: what was found, and a sentence that says it."""

    check: Check
    passed: bool
    observed: Observed
    message: str

    @property
    def is_critical(self) -> bool:
        """True where the partition must not be published."""
        return not self.passed and self.check.severity == "critical"


@dataclass(frozen=True, slots=True)
class _Measure:
    """A check's aggregates, with their parameters, and how the answers are judged."""

    sql: tuple[str, ...]
    parameters: tuple[Any, ...]
    judge: Callable[[int, Sequence[Any]], tuple[bool, Observed, str]]


def validate_checks(checks: Sequence[Check], schema: Mapping[str, DataType]) -> None:
    """DefinitionError where a check names a column that the output lacks, or cannot be evaluated on its type."""
    for check in checks:
        if check.kind == "drift":
            raise UnsupportedError(
                "drift needs a baseline of profiles, which are not kept yet",
                subject=check.title,
                where=check.location,
                hint="use between or row_count_change, or leave the check out",
            )
        _check_columns(check, schema)
        _check_arguments(check, schema)
        if (measure := _measure(check, schema)) is not None:
            _try_out(check, measure, schema)


def run_checks(checks: Sequence[Check], rows: pa.Table, *, previous_rows: int | None, as_of: int) -> list[CheckResult]:
    """The result of every check, in their order.

    `rows` is the whole partition, `previous_rows` the count of the partition before it (None: there is none), `as_of`
    the end of what was asked for, in microseconds.
    """
    schema = schema_of(rows.schema)
    measures = {place: measure for place, check in enumerate(checks) if (measure := _measure(check, schema))}
    mentioned = frozenset[str]().union(*(mentions(check) for check in checks))
    read = [column for column in rows.column_names if column in mentioned] or rows.column_names[:1]
    answers = _answer(list(measures.values()), rows.select(read))
    by_place = dict(zip(measures, answers, strict=True))
    return [
        _result(check, measures[place].judge(rows.num_rows, by_place[place]))
        if place in measures
        else _result(check, _judge_whole(check, rows, previous_rows, as_of))
        for place, check in enumerate(checks)
    ]


def mentions(check: Check) -> frozenset[str]:
    """The columns that a check is about."""
    named = frozenset(check.columns)
    return named | referenced_columns(check.arguments["condition"]) if check.kind == "sql" else named


def _result(check: Check, judged: tuple[bool, Observed, str]) -> CheckResult:
    passed, observed, message = judged
    return CheckResult(check, passed, observed, message)


def _measure(check: Check, schema: Mapping[str, DataType]) -> _Measure | None:
    """The aggregates of a check on rows; None for those on the partition as a whole."""
    arguments = check.arguments
    match check.kind:
        case "not_null":
            return _rate_of_nulls(check.columns[0], schema, arguments["max_rate"])
        case "between":
            column = check.columns[0]
            bound = f"CAST(? AS {duckdb_type(schema[column])})"
            return _misfits(column, schema, f"BETWEEN {bound} AND {bound}", (arguments["low"], arguments["high"]))
        case "in_set":
            column = check.columns[0]
            values = ", ".join(f"CAST(? AS {duckdb_type(schema[column])})" for _ in arguments["values"])
            return _misfits(column, schema, f"IN ({values or 'NULL'})", tuple(arguments["values"]))
        case "matches":
            return _misfits(check.columns[0], schema, None, (arguments["regex"],))
        case "unique":
            return _repeats(check.columns)
        case "sql":
            return _violations(check, schema)
    return None


def _value(column: str, schema: Mapping[str, DataType]) -> str:
    name = quoted(column)
    return f"(CASE WHEN isnan({name}) THEN NULL ELSE {name} END)" if schema[column].is_float else name


def _rate_of_nulls(column: str, schema: Mapping[str, DataType], most: float) -> _Measure:
    def judge(rows: int, answer: Sequence[Any]) -> tuple[bool, Observed, str]:
        rate = answer[0] / rows if rows else 0.0
        return rate <= most, rate, f"{answer[0]} of {rows} rows are null, at most {most:.2%} may be"

    return _Measure((f"count(*) - count({_value(column, schema)})",), (), judge)


def _misfits(
    column: str, schema: Mapping[str, DataType], predicate: str | None, parameters: tuple[Any, ...]
) -> _Measure:
    value = _value(column, schema)
    fits = f"regexp_full_match({value}, ?)" if predicate is None else f"{value} {predicate}"
    misfit = f"FILTER ({value} IS NOT NULL AND ({fits}) IS DISTINCT FROM TRUE)"

    def judge(rows: int, answer: Sequence[Any]) -> tuple[bool, Observed, str]:
        example = f", such as {answer[1]!r}" if answer[0] else ""
        return not answer[0], answer[0], f"{answer[0]} of {rows} values do not fit{example}"

    return _Measure((f"count(*) {misfit}", f"min({value}) {misfit}"), (*parameters, *parameters), judge)


def _repeats(columns: Sequence[str]) -> _Measure:
    packed = ", ".join(f"{quoted(column)} := {quoted(column)}" for column in columns)

    def judge(rows: int, answer: Sequence[Any]) -> tuple[bool, Observed, str]:
        repeats = rows - answer[0]
        return not repeats, repeats, f"{repeats} of {rows} rows repeat another in {', '.join(columns)}"

    return _Measure((f"count(DISTINCT struct_pack({packed}))",), (), judge)


def _violations(check: Check, schema: Mapping[str, DataType]) -> _Measure:
    condition = parse(check.arguments["condition"], schema, subject=check.title, where=check.location)

    def judge(rows: int, answer: Sequence[Any]) -> tuple[bool, Observed, str]:
        return not answer[0], answer[0], f"{check.arguments['condition']} does not hold for {answer[0]} of {rows} rows"

    return _Measure((f"count(*) FILTER (({condition.sql('duckdb')}) IS DISTINCT FROM TRUE)",), (), judge)


def _answer(measures: Sequence[_Measure], rows: pa.Table) -> list[Sequence[Any]]:
    if not measures:
        return []
    with connect() as connection:
        connection.register(_VIEW, rows)
        items = ", ".join(exposed(field.name, field.type) for field in rows.schema)
        return _ask(connection, measures, f"(SELECT {items} FROM {_VIEW})")


def _ask(connection: duckdb.DuckDBPyConnection, measures: Sequence[_Measure], relation: str) -> list[Sequence[Any]]:
    items = [item for measure in measures for item in measure.sql]
    parameters = [parameter for measure in measures for parameter in measure.parameters]
    found = connection.execute(f"SELECT {', '.join(items)} FROM {relation}", parameters).fetchone()
    remaining = iter(found or ())
    return [[next(remaining) for _ in measure.sql] for measure in measures]


def _judge_whole(check: Check, rows: pa.Table, previous_rows: int | None, as_of: int) -> tuple[bool, Observed, str]:
    if check.kind == "row_count_change":
        return _judge_count(rows.num_rows, previous_rows, check.arguments["max_ratio"])
    return _judge_freshness(rows.column(QUERY_TIME), as_of, duration_micros(check.arguments["within"]))


def _judge_count(rows: int, before: int | None, most: float) -> tuple[bool, Observed, str]:
    if before is None:
        return True, None, f"{rows} rows, and no partition before to compare with"
    factor = _factor(rows, before)
    return factor <= most, factor, f"{rows} rows after {before}: a factor of {factor:.2f}, at most {most:g} is allowed"


def _factor(rows: int, before: int) -> float:
    if rows == before:
        return 1.0
    return max(rows, before) / min(rows, before) if min(rows, before) else math.inf


def _judge_freshness(times: pa.ChunkedArray, as_of: int, within: int) -> tuple[bool, Observed, str]:
    # It takes a while to import, and checks are validated by runs that find all done.
    import pyarrow.compute as pc

    newest = pc.max(times.cast(pa.timestamp("us", "UTC"), safe=False)).cast(pa.int64()).as_py()
    if newest is None:
        return False, None, "there is no query time"
    age = (as_of - newest) / SECOND
    return age <= within / SECOND, age, f"the newest query time {to_text(newest)} is {age:g} s before {to_text(as_of)}"


def _check_columns(check: Check, schema: Mapping[str, DataType]) -> None:
    needed = (*check.columns, QUERY_TIME) if check.kind == "freshness" else check.columns
    for column in needed:
        if column not in schema:
            raise check.wrong(f"the output has no column {column!r}", asked=column, valid=list(schema))


def _check_arguments(check: Check, schema: Mapping[str, DataType]) -> None:
    if check.kind == "row_count_change" and check.arguments["max_ratio"] < 1:
        raise check.wrong("max_ratio is a factor of at least 1: 1.5 allows half as many rows more, or a third fewer")
    if check.kind == "freshness" and schema[QUERY_TIME] != TIMESTAMP:
        raise check.wrong(f"{QUERY_TIME} is {schema[QUERY_TIME]}, not TIMESTAMP")
    if check.kind == "matches" and schema[check.columns[0]] != STRING:
        raise check.wrong(f"{check.columns[0]} is {schema[check.columns[0]]}, a regular expression needs STRING")
    if check.kind in ("between", "in_set") and not schema[check.columns[0]].is_ordered:
        raise check.wrong(f"{check.columns[0]} is {schema[check.columns[0]]}, which has no single values to compare")
    if check.kind == "sql" and (dtype := _condition_type(check, schema)) != BOOLEAN:
        raise check.wrong(f"the condition {check.arguments['condition']!r} is {dtype}, not BOOLEAN")


def _condition_type(check: Check, schema: Mapping[str, DataType]) -> DataType:
    return parse(check.arguments["condition"], schema, subject=check.title, where=check.location).type


def _try_out(check: Check, measure: _Measure, schema: Mapping[str, DataType]) -> None:
    """Evaluates the check on no rows, and casts its parameters to the column's type."""
    with connect() as connection:
        try:
            _ask(connection, [measure], empty_relation(schema))
            if check.kind in ("between", "in_set"):
                wanted = duckdb_type(schema[check.columns[0]])
                for parameter in measure.parameters:
                    connection.execute(f"SELECT CAST(? AS {wanted})", [parameter])
            if check.kind == "matches":
                connection.execute("SELECT regexp_full_match('', ?)", list(measure.parameters[:1]))
        except duckdb.Error as wrong:
            raise DefinitionError(
                str(wrong).splitlines()[0], subject=check.title, where=check.location, hint="mend the check's arguments"
            ) from None
