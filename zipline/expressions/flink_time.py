"""Time printed for Flink, which has no microseconds since 1970, wraps around, and errs before 1970 and on zones.

Instants are TIMESTAMP_LTZ(6) in a session whose zone is UTC. What Flink gets wrong is done over dates and over text.
"""

from __future__ import annotations

from zipline.clock import DAY
from zipline.expressions.instants import FIXED, MONTHS

_SPAN = 315_537_897_600_000_000
"""Microseconds between the first instant of year 1 and the last of year 9999."""

_TEXT = "yyyy-MM-dd HH:mm:ss"


def flink_micros(moment: str) -> str:
    """Microseconds since 1970 of an instant."""
    day = f"CAST(TIMESTAMPDIFF(DAY, DATE '1970-01-01', CAST({moment} AS DATE)) AS BIGINT) * {DAY}"
    parts = (("HH", 3600 * 10**6), ("mm", 60 * 10**6), ("ss", 10**6), ("SSSSSS", 1))
    time = " + ".join(f"CAST(DATE_FORMAT({moment}, '{part}') AS BIGINT) * {size}" for part, size in parts)
    return f"({day} + {time})"


def flink_instant(count: str) -> str:
    """The instant of a count of microseconds since 1970."""
    rest = f"MOD(MOD({count}, 1000) + 1000, 1000)"
    millis = f"CAST(TO_TIMESTAMP_LTZ(({count} - {rest}) / 1000, 3) AS TIMESTAMP(6))"
    return _from_text(f"DATE_FORMAT({millis}, '{_TEXT}.SSS') || LPAD(CAST({rest} AS STRING), 3, '0')")


def flink_epoch(count: str, size: int) -> str:
    """The instant `count` times `size` microseconds after 1970."""
    return flink_instant(_scaled(count, size))


def flink_rounded_down(moment: str, size: int) -> str:
    """Whole units of `size` microseconds since 1970, downwards."""
    count = flink_micros(moment)
    return count if size == 1 else f"(({count} - MOD(MOD({count}, {size}) + {size}, {size})) / {size})"


def flink_add(unit: str, count: str, moment: str) -> str:
    """`count` units later."""
    if unit in MONTHS:
        return f"TIMESTAMPADD(MONTH, CAST({count} * {MONTHS[unit]} AS INT), {moment})"
    return flink_instant(f"({flink_micros(moment)} + {_scaled(count, FIXED[unit])})")


def _scaled(count: str, size: int) -> str:
    """The product in microseconds, failing where it is longer than all of time."""
    refusal = f"CAST('not an instant: ' || CAST({count} AS STRING) AS BIGINT)"
    limit = _SPAN // size
    return f"(CASE WHEN {count} BETWEEN -{limit} AND {limit} THEN {count} * {size} ELSE {refusal} END)"


def flink_truncate(unit: str, moment: str) -> str:
    """The start of the unit that holds the instant."""
    date = f"CAST({moment} AS DATE)"
    if unit in ("hour", "minute", "second"):
        pattern = {"hour": "yyyy-MM-dd HH:00:00", "minute": "yyyy-MM-dd HH:mm:00", "second": _TEXT}[unit]
        return _from_text(f"DATE_FORMAT({moment}, '{pattern}')")
    if unit == "week":
        return f"TIMESTAMPADD(DAY, -MOD(CAST(DAYOFWEEK({date}) AS INT) + 5, 7), {_midnight(date)})"
    if unit == "day":
        return _midnight(date)
    month = f"CAST(MONTH({date}) AS INT)"
    back = {"month": "0", "quarter": f"MOD({month} - 1, 3)", "year": f"({month} - 1)"}[unit]
    first = f"DATE_FORMAT({moment}, 'yyyy-MM-01 00:00:00')"
    return f"TIMESTAMPADD(MONTH, -{back}, {_from_text(first)})"


def flink_to_utc(local: str, zone: str) -> str:
    """The instant of a local time; Flink gives null for a zone it does not know."""
    seconds = f"TO_TIMESTAMP_LTZ(DATE_FORMAT({local}, '{_TEXT}'), '{_TEXT}', {zone})"
    instant = _from_text(f"DATE_FORMAT({seconds}, '{_TEXT}') || DATE_FORMAT({local}, '.SSSSSS')")
    return _known_zone(seconds, local, zone, instant)


def flink_from_utc(moment: str, zone: str) -> str:
    """The local time of an instant."""
    text = f"CONVERT_TZ(DATE_FORMAT({moment}, '{_TEXT}'), 'UTC', {zone})"
    return _known_zone(text, moment, zone, _from_text(f"{text} || DATE_FORMAT({moment}, '.SSSSSS')"))


def _known_zone(converted: str, moment: str, zone: str, result: str) -> str:
    unknown = f"{converted} IS NULL AND {moment} IS NOT NULL AND {zone} IS NOT NULL"
    return f"(CASE WHEN {unknown} THEN {_from_text(f'CAST({zone} AS STRING)')} ELSE {result} END)"


def _midnight(date: str) -> str:
    return f"CAST(CAST({date} AS TIMESTAMP(6)) AS TIMESTAMP_LTZ(6))"


def _from_text(text: str) -> str:
    return f"CAST(CAST({text} AS TIMESTAMP(6)) AS TIMESTAMP_LTZ(6))"
