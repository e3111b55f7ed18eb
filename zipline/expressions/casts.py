"""CAST and TRY_CAST printed so that every engine accepts the same texts and rounds the same way.

What an engine would read too generously is guarded: a value outside the rule is replaced by a text that no engine can
convert and that names it, so the engine's own CAST fails, or its TRY_CAST gives null.
"""

from __future__ import annotations

from collections.abc import Callable

from zipline.expressions.conversions import DECIMAL_TEXT, FALSE_WORDS, NUMBER_TEXT, TRUE_WORDS, WHOLE_TEXT
from zipline.expressions.dialects import Dialect, text_literal, type_name
from zipline.expressions.instants import DATE_TEXT, TIME_TEXT, ZONE_TEXT
from zipline.types import BOOLEAN, DATE, FLOAT, NULL, STRING, TIMESTAMP, DataType, DecimalType

Print = Callable[[str], str]


def print_cast(dialect: Dialect, sql: str, source: DataType, target: DataType, *, safe: bool) -> str:
    """`sql`, of type `source`, as a `target`; failures are null where `safe`."""
    if source == target:
        return sql
    if source == STRING:
        return _from_text(dialect, sql, target, safe)
    if target == STRING:
        return _to_text(dialect, sql, source)
    if source != NULL and target.is_integer and not source.is_integer and source != BOOLEAN:
        return _truncated(dialect, sql, target, safe)
    if target == FLOAT and source not in (NULL, BOOLEAN) and not source.is_integer:
        return _single(dialect, sql, safe)
    if source.is_integer and target == BOOLEAN:
        return f"({sql} <> 0)"
    if source.is_integer and target.is_integer and dialect == "flink":
        return _flink_narrowed(sql, source, target, safe)
    if isinstance(target, DecimalType) and dialect == "flink" and source != NULL:
        return _flink_decimal(sql, target, safe)
    return f"{_verb(safe)}({sql} AS {type_name(dialect, target)})"


def _verb(safe: bool) -> str:
    return "TRY_CAST" if safe else "CAST"


def full_match(dialect: Dialect, sql: str, pattern: str) -> str:
    """A condition: the whole text matches. The pattern is a portable one, without anchors."""
    if dialect == "duckdb":
        return f"regexp_full_match({sql}, {text_literal(dialect, pattern)})"
    quoted = text_literal(dialect, rf"^(?:{pattern})\z")
    return f"({sql} RLIKE {quoted})" if dialect == "spark" else f"REGEXP({sql}, {quoted})"


def _guarded(dialect: Dialect, sql: str, accepted: str, target: DataType, safe: bool, value: str | None = None) -> str:
    """`value` where the condition holds, else a text no CAST accepts; null stays null."""
    refusal = "" if safe else f" ELSE {text_literal(dialect, f'not a {target}: ')} || {sql}"
    return f"CASE WHEN {accepted} THEN {value or sql}{refusal} END"


def _from_text(dialect: Dialect, sql: str, target: DataType, safe: bool) -> str:
    if target == BOOLEAN:
        return _truth(dialect, sql, safe)
    if target == TIMESTAMP:
        return {"duckdb": _duckdb_instant, "spark": _spark_instant, "flink": _flink_instant}[dialect](sql, safe)
    if target == DATE:
        accepted = full_match(dialect, sql, f" *{DATE_TEXT} *")
    elif isinstance(target, DecimalType):
        accepted = full_match(dialect, sql, DECIMAL_TEXT)
    else:
        accepted = full_match(dialect, sql, WHOLE_TEXT if target.is_integer else NUMBER_TEXT)
    if isinstance(target, DecimalType) and dialect == "flink":
        return _flink_decimal(_flink_digits(sql, accepted, target, safe), target, safe)
    guarded = _guarded(dialect, sql, accepted, target, safe, trimmed(dialect, sql))
    if target == FLOAT:
        double = f"{_verb(safe)}({guarded} AS DOUBLE)"
        return _single(dialect, double, safe)
    return f"{_verb(safe)}({guarded} AS {type_name(dialect, target)})"


def trimmed(dialect: Dialect, sql: str) -> str:
    return f"trim({sql}, ' ')" if dialect == "duckdb" else f"TRIM(BOTH ' ' FROM {sql})"


def _truth(dialect: Dialect, sql: str, safe: bool) -> str:
    word = f"lower({trimmed(dialect, sql)})"
    words = [", ".join(text_literal(dialect, word) for word in group) for group in (TRUE_WORDS, FALSE_WORDS)]
    refusal = "" if safe else f" ELSE {text_literal(dialect, 'not a BOOLEAN: ')} || {sql}"
    chosen = f"CASE WHEN {word} IN ({words[0]}) THEN 'true' WHEN {word} IN ({words[1]}) THEN 'false'{refusal} END"
    return f"{_verb(safe)}({chosen} AS BOOLEAN)"


def _duckdb_instant(sql: str, safe: bool) -> str:
    text = trimmed("duckdb", sql)
    chosen = _zoned("duckdb", sql, text, text, safe)
    return f"make_timestamp(epoch_us({_verb(safe)}({chosen} AS TIMESTAMPTZ)))"


def _spark_instant(sql: str, safe: bool) -> str:
    """Spark wants seconds, and offsets written +05:30."""
    text = f"regexp_replace({trimmed('spark', sql)}, '^([^:]*:[0-9]{{2}})(?![0-9:])', '$1:00')"
    colon = f"regexp_replace({text}, '([+-][0-9]{{2}})([0-9]{{2}})$', '$1:$2')"
    full = f"regexp_replace({colon}, '([+-][0-9]{{2}})$', '$1:00')"
    return f"{_verb(safe)}({_zoned('spark', sql, text, full, safe)} AS TIMESTAMP)"


def _zoned(dialect: Dialect, sql: str, text: str, with_zone: str, safe: bool) -> str:
    """The accepted texts, each with an offset, so that no session's zone is ever asked."""
    refusal = "" if safe else f" ELSE {text_literal(dialect, 'not a TIMESTAMP: ')} || {sql}"
    moment = f" *{DATE_TEXT}[T ]{TIME_TEXT}"
    return (
        f"CASE WHEN {full_match(dialect, sql, f'{moment}{ZONE_TEXT} *')} THEN {with_zone}"
        f" WHEN {full_match(dialect, sql, f'{moment} *')} THEN {text} || 'Z'"
        f" WHEN {full_match(dialect, sql, f' *{DATE_TEXT} *')} THEN {text} || ' 00:00:00Z'{refusal} END"
    )


def _flink_instant(sql: str, safe: bool) -> str:
    """Flink reads no offsets and any 30th of February: the date is cast alone, the offset's minutes are added."""
    text = trimmed("flink", sql)
    accepted = full_match("flink", sql, f" *{DATE_TEXT}(?:[T ]{TIME_TEXT}{ZONE_TEXT}?)? *")
    date = _guarded("flink", sql, accepted, TIMESTAMP, safe, f"SUBSTRING({text} FROM 1 FOR 10)")
    local = f"REPLACE(REGEXP_REPLACE({text}, '(?<=:[0-9.]{{2,13}})(Z|[+-][0-9:]+)$', ''), 'T', ' ')"
    time = f"SUBSTRING({local} FROM 11) || CASE WHEN CHAR_LENGTH({local}) = 16 THEN ':00' ELSE '' END"
    moment = f"CAST({_verb(safe)}({date} AS DATE) AS STRING) || {time}"
    instant = f"CAST(CAST({moment} AS TIMESTAMP(6)) AS TIMESTAMP_LTZ(6))"
    zoned = full_match("flink", sql, ".*:.*[+-][0-9:]+ *")
    return f"CASE WHEN {zoned} THEN TIMESTAMPADD(MINUTE, {_flink_minutes(text)}, {instant}) ELSE {instant} END"


def _flink_minutes(text: str) -> str:
    """The minutes to add for the offset at the end of a text that has one."""
    sign, hours, minutes = (
        f"REGEXP_EXTRACT({text}, '([+-])([0-9]{{2}}):?([0-9]{{2}})?$', {group})" for group in (1, 2, 3)
    )
    size = f"(CAST({hours} AS INT) * 60 + COALESCE(TRY_CAST({minutes} AS INT), 0))"
    return f"CASE {sign} WHEN '-' THEN {size} ELSE -{size} END"


def _to_text(dialect: Dialect, sql: str, source: DataType) -> str:
    if source == BOOLEAN:
        return f"CASE {sql} WHEN TRUE THEN 'true' WHEN FALSE THEN 'false' END"
    if source != TIMESTAMP:
        return f"CAST({sql} AS {type_name(dialect, STRING)})"
    written = {
        "duckdb": f"strftime({sql}, '%Y-%m-%dT%H:%M:%S.%fZ')",
        "spark": f"date_format({sql}, {text_literal(dialect, _JAVA_INSTANT)})",
        "flink": f"DATE_FORMAT({sql}, {text_literal(dialect, _JAVA_INSTANT)})",
    }[dialect]
    return f"replace({written}, '.000000Z', 'Z')"


_JAVA_INSTANT = "yyyy-MM-dd'T'HH:mm:ss.SSSSSS'Z'"


def _truncated(dialect: Dialect, sql: str, target: DataType, safe: bool) -> str:
    """Towards zero. The JVM's engines let some values beyond the range through, so they are compared first."""
    if dialect == "duckdb":
        return f"{_verb(safe)}(trunc({sql}) AS {type_name(dialect, target)})"
    low, high = target.bounds
    inside = (
        f"{sql} > {low - 1}e0 AND {sql} < {high + 1}e0"
        if target.name != "BIGINT"
        else f"{sql} >= {low}e0 AND {sql} < {high + 1}e0"
    )
    name = type_name(dialect, target)
    refusal = "" if safe else f" ELSE CAST('not a {target}: ' || CAST({sql} AS STRING) AS {name})"
    return f"CASE WHEN {inside} THEN CAST({sql} AS {name}){refusal} END"


_LARGEST_SINGLE = "3.4028235677973362e38"
"""Where rounding to single precision overflows."""


def _single(dialect: Dialect, sql: str, safe: bool) -> str:
    if dialect == "duckdb":
        return f"{_verb(safe)}({sql} AS FLOAT)"
    refusal = "" if safe else f" ELSE CAST('not a FLOAT: ' || CAST({sql} AS STRING) AS FLOAT)"
    infinite = f"ABS({sql}) > 1.7976931348623157e308"
    return f"CASE WHEN ABS({sql}) < {_LARGEST_SINGLE} OR {infinite} THEN CAST({sql} AS FLOAT){refusal} END"


def _flink_narrowed(sql: str, source: DataType, target: DataType, safe: bool) -> str:
    low, high = target.bounds
    name = type_name("flink", target)
    if source.bounds[1] <= high:
        return f"CAST({sql} AS {name})"
    refusal = "" if safe else f" ELSE CAST('not a {target}: ' || CAST({sql} AS STRING) AS {name})"
    return f"CASE WHEN {sql} BETWEEN {low} AND {high} THEN CAST({sql} AS {name}){refusal} END"


def _flink_digits(sql: str, accepted: str, target: DecimalType, safe: bool) -> str:
    """A text as a DECIMAL of all digits and the target's scale. Flink's CAST to DECIMAL would not name the text."""
    wide = f"DECIMAL(38, {target.scale})"
    value = f"{_verb(safe)}({trimmed('flink', sql)} AS {wide})"
    refusal = "" if safe else f" ELSE CAST(CAST('not a {target}: ' || {sql} AS BIGINT) AS {wide})"
    return f"CASE WHEN {accepted} THEN {value}{refusal} END"


def _flink_decimal(sql: str, target: DecimalType, safe: bool) -> str:
    """Flink gives null, or a value of more digits, where a DECIMAL is too small."""
    limit = f"CAST('{10 ** (target.precision - target.scale)}' AS DECIMAL(38, 0))"
    refusal = "" if safe else f" ELSE CAST(CAST('not a {target}: ' || CAST({sql} AS STRING) AS BIGINT) AS {target})"
    return f"CASE WHEN ABS(ROUND({sql}, {target.scale})) < {limit} THEN CAST({sql} AS {target}){refusal} END"
