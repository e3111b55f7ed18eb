"""Time functions: declarations. Instants are UTC; local time enters and leaves through a named zone only."""

from __future__ import annotations

from zipline.expressions import formats, instants
from zipline.expressions.casts import DAY_MICROS, full_match
from zipline.expressions.declarations import Constant, Function, Printer, Python, function, overload
from zipline.expressions.dialects import Dialect, InstantColumn, text_literal
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
    if dialect == "spark":
        return f"unix_micros({moment})"
    day = f"CAST(TIMESTAMPDIFF(DAY, DATE '1970-01-01', CAST({moment} AS DATE)) AS BIGINT) * {DAY_MICROS}"
    parts = (("HH", 3600 * 10**6), ("mm", 60 * 10**6), ("ss", 10**6), ("SSSSSS", 1))
    time = " + ".join(f"CAST(DATE_FORMAT({moment}, '{part}') AS BIGINT) * {size}" for part, size in parts)
    return f"({day} + {time})"


def instant(dialect: Dialect, count: str) -> str:
    """The instant of a count of microseconds since 1970."""
    if dialect != "flink":
        return f"{'make_timestamp' if dialect == 'duckdb' else 'timestamp_micros'}({count})"
    whole = f"(({count} - MOD(MOD({count}, 1000) + 1000, 1000)) / 1000)"
    millis = f"CAST(TO_TIMESTAMP_LTZ({whole}, 3) AS TIMESTAMP(6))"
    rest = f"LPAD(CAST(MOD(MOD({count}, 1000) + 1000, 1000) AS STRING), 3, '0')"
    text = f"DATE_FORMAT({millis}, 'yyyy-MM-dd HH:mm:ss.SSS') || {rest}"
    return f"CAST(CAST({text} AS TIMESTAMP(6)) AS TIMESTAMP_LTZ(6))"


def _add(dialect: Dialect) -> Printer:
    def printed(unit: str, count: str, moment: str) -> str:
        if unit in instants.FIXED:
            size = f"{instants.FIXED[unit]}{'L' if dialect == 'spark' else ''}"
            return instant(dialect, f"({micros(dialect, moment)} + {count} * {size})")
        months = f"CAST({count} * {instants.MONTHS[unit]} AS {'INTEGER' if dialect == 'duckdb' else 'INT'})"
        return {
            "duckdb": f"({moment} + to_months({months}))",
            "spark": f"({moment} + make_ym_interval(0, {months}))",
            "flink": f"TIMESTAMPADD(MONTH, {months}, {moment})",
        }[dialect]

    return printed


def _difference(dialect: Dialect) -> Printer:
    divide = {"duckdb": "//", "spark": "div", "flink": "/"}[dialect]

    def printed(unit: str, start: str, end: str) -> str:
        return f"(({micros(dialect, end)} - {micros(dialect, start)}) {divide} {instants.FIXED[unit]})"

    return printed


def _truncate(dialect: Dialect) -> Printer:
    def printed(unit: str, moment: str) -> str:
        if dialect != "flink":
            return f"date_trunc('{unit}', {moment})"
        start = f"CAST(FLOOR(CAST({moment} AS TIMESTAMP(6)) TO {unit.upper()}) AS TIMESTAMP_LTZ(6))"
        if unit != "week":
            return start
        day = f"CAST(CAST(CAST({moment} AS DATE) AS TIMESTAMP(6)) AS TIMESTAMP_LTZ(6))"
        return f"TIMESTAMPADD(DAY, -MOD(CAST(DAYOFWEEK(CAST({moment} AS DATE)) AS INT) + 5, 7), {day})"

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


def _to_utc(dialect: Dialect) -> Printer:
    def printed(local: str, zone: str) -> str:
        return {"duckdb": _duckdb_to_utc, "spark": _spark_to_utc, "flink": _flink_to_utc}[dialect](local, zone)

    return printed


def _duckdb_to_utc(local: str, zone: str) -> str:
    """DuckDB takes the later of two instants; try the offset in force a day before it, and keep that if it fits."""
    earlier = f"r.u - {DAY_MICROS}"
    offset = f"(epoch_us(timezone(r.z, make_timestamptz({earlier}))) - ({earlier}))"
    later = "{'t': r.t, 'z': r.z, 'u': epoch_us(timezone(r.z, r.t))}"
    both = f"{{'t': r.t, 'z': r.z, 'u': r.u, 'e': epoch_us(r.t) - {offset}}}"
    chosen = "make_timestamp(CASE WHEN timezone(r.z, make_timestamptz(r.e)) = r.t THEN least(r.e, r.u) ELSE r.u END)"
    rows = f"[{{'t': {local}, 'z': {zone}}}]"
    for body in (later, both, chosen):
        rows = f"list_transform({rows}, lambda r: {body})"
    return f"{rows}[1]"


def _spark_to_utc(local: str, zone: str) -> str:
    return f"to_utc_timestamp({local}, {zone})"


def _flink_to_utc(local: str, zone: str) -> str:
    text = f"DATE_FORMAT({local}, 'yyyy-MM-dd HH:mm:ss')"
    seconds = f"CAST(TO_TIMESTAMP_LTZ({text}, 'yyyy-MM-dd HH:mm:ss', {zone}) AS TIMESTAMP(6))"
    rest = f"DATE_FORMAT({local}, '.SSSSSS')"
    return f"CAST(CAST(DATE_FORMAT({seconds}, 'yyyy-MM-dd HH:mm:ss') || {rest} AS TIMESTAMP(6)) AS TIMESTAMP_LTZ(6))"


def _flink_from_utc(moment: str, zone: str) -> str:
    text = f"CONVERT_TZ(DATE_FORMAT({moment}, 'yyyy-MM-dd HH:mm:ss'), 'UTC', {zone})"
    return f"CAST(CAST({text} || DATE_FORMAT({moment}, '.SSSSSS') AS TIMESTAMP(6)) AS TIMESTAMP_LTZ(6))"


def _rewrite(dialect: Dialect) -> Printer:
    def printed(text: str, layout: Format) -> str:
        sign = "\\" if dialect == "duckdb" else "$"
        pattern = text_literal(dialect, rf"^ *{layout.pattern} *$")
        replaced = f"regexp_replace({text}, {pattern}, {text_literal(dialect, layout.replacement(sign))})"
        refusal = text_literal(dialect, f"not of the format {layout.text}: ")
        matched = full_match(dialect, text, f" *{layout.pattern} *")
        return f"CASE WHEN {matched} THEN {replaced} ELSE {refusal} || {text} END"

    return printed


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
    duckdb=_to_utc("duckdb"),
    spark=_to_utc("spark"),
    flink=_to_utc("flink"),
    python=instants.to_utc,
)
FROM_UTC = overload(
    TIMESTAMP,
    STRING,
    to=TIMESTAMP,
    duckdb="timezone({1}, make_timestamptz(epoch_us({0})))",
    spark="from_utc_timestamp({0}, {1})",
    flink=_flink_from_utc,
    python=instants.from_utc,
)
ADD = overload(
    ADDED_UNIT,
    BIGINT,
    TIMESTAMP,
    to=TIMESTAMP,
    duckdb=_add("duckdb"),
    spark=_add("spark"),
    flink=_add("flink"),
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
    size = instants.FIXED[unit]
    count = "{0}" if size == 1 else f"{{0}} * {size}"
    return function(
        name,
        overload(
            BIGINT,
            to=TIMESTAMP,
            duckdb=instant("duckdb", count),
            spark=instant("spark", count if size == 1 else f"{count}L"),
            flink=instant("flink", count if size == 1 else f"({count})"),
            python=f"from_epoch({{0}}, {size})",
        ),
    )


def _to_epoch(name: str, unit: str) -> Function:
    """Whole units since 1970, downwards."""
    size = instants.FIXED[unit]

    def duckdb(moment: str) -> str:
        count = micros("duckdb", moment)
        return count if size == 1 else f"(({count} - (({count} % {size}) + {size}) % {size}) // {size})"

    def flink(moment: str) -> str:
        count = micros("flink", moment)
        return count if size == 1 else f"(({count} - MOD(MOD({count}, {size}) + {size}, {size})) / {size})"

    return function(
        name,
        overload(TIMESTAMP, to=BIGINT, duckdb=duckdb, spark=f"{name}({{0}})", flink=flink, python=f"{{0}} // {size}"),
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
            duckdb=_truncate("duckdb"),
            spark=_truncate("spark"),
            flink=_truncate("flink"),
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
