"""Time functions: declarations. Instants are UTC; local time enters and leaves through a named zone only."""

from __future__ import annotations

from zipline.clock import DAY
from zipline.expressions import formats, instants
from zipline.expressions.casts import full_match
from zipline.expressions.declarations import Constant, Function, Printer, Python, function, overload
from zipline.expressions.dialects import Dialect, InstantColumn, text_literal
from zipline.expressions.flink_time import (
    flink_add,
    flink_epoch,
    flink_from_utc,
    flink_micros,
    flink_rounded_down,
    flink_to_utc,
    flink_truncate,
)
from zipline.expressions.formats import FORMAT_LETTERS, Format
from zipline.types import BIGINT, INT, STRING, TIMESTAMP

_FIXED = tuple(instants.FIXED)
_CALENDAR = tuple(instants.MONTHS)
_TRUNCATED = tuple(unit for unit in (*_FIXED, *_CALENDAR) if unit not in ("microsecond", "millisecond"))


def _unit(name: str, valid: tuple[str, ...]) -> Constant:
    def read(text: str) -> str:
        unit = text.lower()
        unit = unit if unit in valid else unit.removesuffix("s")
        if unit not in valid:
            raise ValueError(f"{text!r} is not a unit here")
        return unit

    return Constant(name, read, valid=valid, bare=True)


ADDED_UNIT = _unit("unit", (*_FIXED, *_CALENDAR))
FIXED_UNIT = _unit("unit of fixed length", _FIXED)
TRUNCATED_UNIT = _unit("unit", _TRUNCATED)
FORMAT = Constant("format", formats.read_format, valid=FORMAT_LETTERS)


def micros(dialect: Dialect, moment: str) -> str:
    """Microseconds since 1970 of an instant."""
    if dialect == "duckdb":
        return moment.count_sql if isinstance(moment, InstantColumn) else f"epoch_us({moment})"
    return f"unix_micros({moment})" if dialect == "spark" else flink_micros(moment)


def _duckdb_add(unit: str, count: str, moment: str) -> str:
    if unit in instants.MONTHS:
        return f"({moment} + to_months(CAST({count} * {instants.MONTHS[unit]} AS INTEGER)))"
    return f"make_timestamp({micros('duckdb', moment)} + {count} * {instants.FIXED[unit]})"


def _spark_add(unit: str, count: str, moment: str) -> str:
    if unit in instants.MONTHS:
        return f"({moment} + make_ym_interval(0, CAST({count} * {instants.MONTHS[unit]} AS INT)))"
    return f"timestamp_micros(unix_micros({moment}) + {count} * {instants.FIXED[unit]}L)"


def _difference(dialect: Dialect) -> Printer:
    divide = {"duckdb": "//", "spark": "div", "flink": "/"}[dialect]

    def printed(unit: str, start: str, end: str) -> str:
        return f"(({micros(dialect, end)} - {micros(dialect, start)}) {divide} {instants.FIXED[unit]})"

    return printed


def _part(name: str, python: Python, *, duckdb: str, jvm: str | None = None) -> Function:
    """A part of the UTC calendar or clock. Flink's parts of an instant go wrong before 1970, its texts do not."""
    printer = f"CAST({jvm or f'{name}({{0}})'} AS INT)"
    return function(
        name,
        overload(
            TIMESTAMP,
            to=INT,
            duckdb=f"CAST({duckdb} AS INTEGER)",
            spark=printer,
            flink=_FLINK_PARTS[name],
            python=python,
        ),
    )


def _flink_text(pattern: str) -> str:
    return f"CAST(DATE_FORMAT({{0}}, '{pattern}') AS INT)"


def _flink_day(name: str) -> str:
    return f"CAST({name}(CAST({{0}} AS DATE)) AS INT)"


_FLINK_PARTS = {
    **{name: _flink_day(name.upper()) for name in ("year", "quarter", "month", "week", "dayofweek", "dayofyear")},
    "day": _flink_day("DAYOFMONTH"),
    "hour": _flink_text("HH"),
    "minute": _flink_text("mm"),
    "second": _flink_text("ss"),
}


def _duckdb_to_utc(local: str, zone: str) -> str:
    """DuckDB takes the later of two instants; try the offset in force a day before it, and keep that if it fits."""
    earlier = f"r.u - {DAY}"
    offset = f"(epoch_us(timezone(r.z, make_timestamptz({earlier}))) - ({earlier}))"
    later = "{'t': r.t, 'z': r.z, 'u': epoch_us(timezone(r.z, r.t))}"
    both = f"{{'t': r.t, 'z': r.z, 'u': r.u, 'e': epoch_us(r.t) - {offset}}}"
    chosen = "make_timestamp(CASE WHEN timezone(r.z, make_timestamptz(r.e)) = r.t THEN least(r.e, r.u) ELSE r.u END)"
    rows = f"[{{'t': {local}, 'z': {zone}}}]"
    for body in (later, both, chosen):
        rows = f"list_transform({rows}, lambda r: {body})"
    return f"{rows}[1]"


def _rewrite(dialect: Dialect) -> Printer:
    def printed(text: str, layout: Format) -> str:
        matched = full_match(dialect, text, f" *{layout.pattern} *")
        refusal = text_literal(dialect, f"not of the format {layout.text}: ")
        return f"CASE WHEN {matched} THEN {_iso(dialect, text, layout)} ELSE {refusal} || {text} END"

    return printed


def _iso(dialect: Dialect, text: str, layout: Format) -> str:
    """ISO 8601 from the groups of a text that matches. Flink's REGEXP_REPLACE knows no groups."""
    pattern = text_literal(dialect, rf"^ *{layout.pattern} *$")
    if dialect == "flink":
        return " || ".join(
            f"'{before}' || REGEXP_EXTRACT({text}, {pattern}, {group})" for before, group in layout.groups
        )
    sign = "\\" if dialect == "duckdb" else "$"
    return f"regexp_replace({text}, {pattern}, {text_literal(dialect, layout.replacement(sign))})"


REWRITE = overload(
    STRING,
    FORMAT,
    to=STRING,
    duckdb=_rewrite("duckdb"),
    spark=_rewrite("spark"),
    flink=_rewrite("flink"),
    python=formats.rewrite,
)
"""The first half of to_timestamp(text, format): ISO 8601, which the ordinary CAST then reads."""

TO_UTC = overload(
    TIMESTAMP,
    STRING,
    to=TIMESTAMP,
    duckdb=_duckdb_to_utc,
    spark="to_utc_timestamp({0}, {1})",
    flink=flink_to_utc,
    python=instants.to_utc,
)
FROM_UTC = overload(
    TIMESTAMP,
    STRING,
    to=TIMESTAMP,
    duckdb="timezone({1}, make_timestamptz(epoch_us({0})))",
    spark="from_utc_timestamp({0}, {1})",
    flink=flink_from_utc,
    python=instants.from_utc,
)
ADD = overload(
    ADDED_UNIT,
    BIGINT,
    TIMESTAMP,
    to=TIMESTAMP,
    duckdb=_duckdb_add,
    spark=_spark_add,
    flink=flink_add,
    python=instants.add,
)
DIFFERENCE = overload(
    FIXED_UNIT,
    TIMESTAMP,
    TIMESTAMP,
    to=BIGINT,
    duckdb=_difference("duckdb"),
    spark=_difference("spark"),
    flink=_difference("flink"),
    python=instants.difference,
)


def _from_epoch(name: str, unit: str) -> Function:
    """The instant so many units after 1970."""
    size = instants.FIXED[unit]
    return function(
        name,
        overload(
            BIGINT,
            to=TIMESTAMP,
            duckdb=f"make_timestamp({{0}} * {size})",
            spark=f"timestamp_micros({{0}} * {size}L)",
            flink=lambda count: flink_epoch(count, size),
            python=f"from_epoch({{0}}, {size})",
        ),
    )


def _to_epoch(name: str, unit: str) -> Function:
    """Whole units since 1970, downwards."""
    size = instants.FIXED[unit]

    def duckdb(moment: str) -> str:
        count = micros("duckdb", moment)
        return count if size == 1 else f"(({count} - (({count} % {size}) + {size}) % {size}) // {size})"

    return function(
        name,
        overload(
            TIMESTAMP,
            to=BIGINT,
            duckdb=duckdb,
            spark=f"{name}({{0}})",
            flink=lambda moment: flink_rounded_down(moment, size),
            python=f"{{0}} // {size}",
        ),
    )


TIMES = (
    _part("year", instants.year, duckdb="year({0})"),
    _part("quarter", instants.quarter, duckdb="quarter({0})"),
    _part("month", instants.month, duckdb="month({0})"),
    _part("week", instants.week, duckdb="week({0})", jvm="weekofyear({0})"),
    _part("day", instants.day, duckdb="day({0})"),
    _part("dayofweek", "({0} // 86400000000 + 4) % 7 + 1", duckdb="dayofweek({0}) + 1"),
    _part("dayofyear", instants.day_of_year, duckdb="dayofyear({0})"),
    _part("hour", "{0} // 3600000000 % 24", duckdb="hour({0})"),
    _part("minute", "{0} // 60000000 % 60", duckdb="minute({0})"),
    _part("second", "{0} // 1000000 % 60", duckdb="second({0})"),
    function(
        "date_trunc",
        overload(
            TRUNCATED_UNIT,
            TIMESTAMP,
            to=TIMESTAMP,
            sql="date_trunc('{0}', {1})",
            flink=flink_truncate,
            python=instants.truncate,
        ),
    ),
    function("timestampadd", ADD),
    function("date_add", ADD),
    function("timestampdiff", DIFFERENCE),
    function("date_diff", DIFFERENCE),
    _from_epoch("timestamp_seconds", "second"),
    _from_epoch("timestamp_millis", "millisecond"),
    _from_epoch("timestamp_micros", "microsecond"),
    _to_epoch("unix_seconds", "second"),
    _to_epoch("unix_millis", "millisecond"),
    _to_epoch("unix_micros", "microsecond"),
    function("to_utc_timestamp", TO_UTC),
    function("from_utc_timestamp", FROM_UTC),
)
