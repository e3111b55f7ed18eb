"""Time in compiled expressions: the Python side of the rules of the package.

An instant is an int of microseconds UTC, a date is a datetime.date.
"""

from __future__ import annotations

import datetime as dt
import re
from functools import lru_cache
from zoneinfo import ZoneInfo

from zipline import clock
from zipline.errors import DataError
from zipline.expressions.values import int64

EPOCH_ORDINAL = dt.date(1970, 1, 1).toordinal()

FIXED: dict[str, int] = {
    "microsecond": 1,
    "millisecond": 1_000,
    "second": clock.SECOND,
    "minute": clock.MINUTE,
    "hour": clock.HOUR,
    "day": clock.DAY,
    "week": 7 * clock.DAY,
}
"""Units of one length, in microseconds."""

MONTHS: dict[str, int] = {"month": 1, "quarter": 3, "year": 12}
"""Units of the calendar, in months."""

YEAR = r"(?:[1-9][0-9]{3}|0[1-9][0-9][0-9]|00[1-9][0-9]|000[1-9])"
DATE_TEXT = YEAR + r"-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
TIME_TEXT = r"(?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:\.[0-9]{1,9})?)?"
ZONE_TEXT = r"(?:Z|[+-](?:0[0-9]|1[0-4])(?::?[0-5][0-9])?)"
"""The accepted ISO 8601, in a form that every engine's regular expressions read alike."""

_DATE = re.compile(DATE_TEXT, re.ASCII)
_TIMESTAMP = re.compile(rf"({DATE_TEXT})(?:[T ]({TIME_TEXT})({ZONE_TEXT})?)?", re.ASCII)


def date_from_text(text: str) -> dt.date:
    """YYYY-MM-DD, spaces around it ignored."""
    stripped = text.strip(" ")
    if not _DATE.fullmatch(stripped):
        raise DataError(f"{text!r} is not a DATE; YYYY-MM-DD is")
    try:
        return dt.date.fromisoformat(stripped)
    except ValueError:
        raise DataError(f"{text!r} is not a DATE: the calendar has no such day") from None


def instant_from_text(text: str) -> int:
    """ISO 8601 date, or date and time with or without an offset; spaces around it ignored, no offset is UTC."""
    found = _TIMESTAMP.fullmatch(text.strip(" "))
    if found is None:
        raise DataError(
            f"{text!r} is not a TIMESTAMP; ISO 8601 is, such as 2013-07-01 06:30:00 or 2013-07-01T06:30:00Z"
        )
    date, time, zone = found.groups()
    return midnight(date_from_text(date)) + (_time_of_day(time) if time else 0) - (_offset(zone) if zone else 0)


def _time_of_day(text: str) -> int:
    fraction = text[9:15].ljust(6, "0")
    return (
        int(text[:2]) * clock.HOUR + int(text[3:5]) * clock.MINUTE + int(text[6:8] or 0) * clock.SECOND + int(fraction)
    )


def _offset(text: str) -> int:
    if text == "Z":
        return 0
    digits = text[1:].replace(":", "")
    size = int(digits[:2]) * clock.HOUR + int(digits[2:] or 0) * clock.MINUTE
    return -size if text[0] == "-" else size


def text_from_instant(instant: int) -> str:
    return clock.to_text(_known(instant))


def midnight(date: dt.date) -> int:
    return (date.toordinal() - EPOCH_ORDINAL) * clock.DAY


def date_of(instant: int) -> dt.date:
    """The UTC day of an instant."""
    try:
        return dt.date.fromordinal(instant // clock.DAY + EPOCH_ORDINAL)
    except (ValueError, OverflowError):
        raise _beyond(instant) from None


def _known(instant: int) -> int:
    date_of(instant)
    return instant


def _beyond(instant: int) -> DataError:
    return DataError(f"the instant {instant} (microseconds) is outside the years 1 to 9999")


def from_epoch(count: int, unit: int) -> int:
    """The instant `count` units of `unit` microseconds after 1970."""
    return _known(int64(count * unit))


def year(instant: int) -> int:
    return date_of(instant).year


def quarter(instant: int) -> int:
    return (date_of(instant).month + 2) // 3


def month(instant: int) -> int:
    return date_of(instant).month


def week(instant: int) -> int:
    """ISO 8601 week."""
    return date_of(instant).isocalendar().week


def day(instant: int) -> int:
    return date_of(instant).day


def day_of_year(instant: int) -> int:
    date = date_of(instant)
    return date.toordinal() - dt.date(date.year, 1, 1).toordinal() + 1


def truncate(unit: str, instant: int) -> int:
    """The start of the UTC unit that holds the instant; weeks start on Monday."""
    if unit == "week":
        return instant - (instant + 3 * clock.DAY) % (7 * clock.DAY)
    if unit in FIXED:
        return instant - instant % FIXED[unit]
    date = date_of(instant)
    return midnight(dt.date(date.year, date.month - (date.month - 1) % MONTHS[unit], 1))


def add(unit: str, count: int, instant: int) -> int:
    """`count` units later. Months keep the day of the month, or take the last one there is."""
    if unit in FIXED:
        return _known(int64(instant + int64(count * FIXED[unit])))
    date, rest = date_of(instant), instant % clock.DAY
    months = date.year * 12 + date.month - 1 + count * MONTHS[unit]
    if not 12 <= months < 120_000:
        raise DataError(f"{count} {unit}s from {clock.to_text(instant)} is outside the years 1 to 9999")
    first = dt.date(months // 12, months % 12 + 1, 1)
    return midnight(first.replace(day=min(date.day, _length(first)))) + rest


def _length(first: dt.date) -> int:
    if first.month == 12:
        return 31
    return (first.replace(month=first.month + 1) - first).days


def difference(unit: str, start: int, end: int) -> int:
    """Whole units from start to end, towards zero."""
    elapsed = end - start
    return -(-elapsed // FIXED[unit]) if elapsed < 0 else elapsed // FIXED[unit]


@lru_cache(maxsize=1024)
def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        raise DataError(f"{name!r} is not a time zone; IANA names are, such as America/New_York") from None


_EPOCH = dt.datetime(1970, 1, 1)
_MICROSECOND = dt.timedelta(microseconds=1)


def _wall(instant: int) -> dt.datetime:
    return _EPOCH + dt.timedelta(microseconds=_known(instant))


def to_utc(local: int, zone: str) -> int:
    """The instant at which clocks of the zone show `local`: the first of two; skipped times move on by the gap."""
    offset = _wall(local).replace(tzinfo=_zone(zone)).utcoffset()
    assert offset is not None
    return _known(local - offset // _MICROSECOND)


def from_utc(instant: int, zone: str) -> int:
    """What clocks of the zone show at the instant, as if it were UTC."""
    try:
        offset = _wall(instant).replace(tzinfo=dt.timezone.utc).astimezone(_zone(zone)).utcoffset()
    except OverflowError:
        raise _beyond(instant) from None
    assert offset is not None
    return _known(instant + offset // _MICROSECOND)
