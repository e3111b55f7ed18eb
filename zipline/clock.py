"""The only module that reads a clock, and the arithmetic of instants.

Inside the platform an instant is an int of microseconds since 1970-01-01 UTC. Zoned datetimes are converted, naive
ones are UTC, dates are midnight.
"""

from __future__ import annotations

import datetime as dt
import time

from zipline.errors import UsageError

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

_LENGTHS = (("d", DAY), ("h", HOUR), ("m", MINUTE), ("s", SECOND), ("us", 1))
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)
_MICROSECOND = dt.timedelta(microseconds=1)
FIRST_INSTANT = (dt.datetime.min.replace(tzinfo=dt.timezone.utc) - _EPOCH) // _MICROSECOND
LAST_INSTANT = (dt.datetime.max.replace(tzinfo=dt.timezone.utc) - _EPOCH) // _MICROSECOND


def now() -> int:
    """The present, in microseconds UTC."""
    return time.time_ns() // 1000


def monotonic() -> float:
    """Seconds on a clock that never goes back, for durations."""
    return time.perf_counter()


def to_micros(instant: dt.datetime | dt.date | str | int) -> int:
    """Microseconds UTC of a datetime, a date, ISO 8601 text, or microseconds themselves."""
    if isinstance(instant, bool):
        raise UsageError(f"{instant!r} is not an instant", hint="give a datetime, a date or ISO 8601 text")
    if isinstance(instant, int):
        return _checked(instant)
    if isinstance(instant, str):
        try:
            instant = dt.datetime.fromisoformat(instant)
        except ValueError:
            hint = "write 2013-07-01 or 2013-07-01T06:30:00Z"
            raise UsageError(f"{instant!r} is not an ISO 8601 date or time", hint=hint) from None
    if not isinstance(instant, dt.datetime):
        if not isinstance(instant, dt.date):
            raise UsageError(f"{instant!r} is not an instant", hint="give a datetime, a date or ISO 8601 text")
        instant = dt.datetime(instant.year, instant.month, instant.day)
    if instant.tzinfo is None:
        instant = instant.replace(tzinfo=dt.timezone.utc)
    return _checked((instant - _EPOCH) // _MICROSECOND)


def _checked(micros: int) -> int:
    if not FIRST_INSTANT <= micros <= LAST_INSTANT:
        raise UsageError(f"{micros} microseconds are outside the years 1 to 9999")
    return micros


def to_datetime(micros: int) -> dt.datetime:
    """The zoned (UTC) datetime of an instant."""
    return _EPOCH + dt.timedelta(microseconds=micros)


def to_text(micros: int) -> str:
    """ISO 8601 text, without needless zeros: 2013-07-01T06:30:00Z."""
    return to_datetime(micros).isoformat().replace("+00:00", "Z")


def day_of(micros: int) -> int:
    """Midnight UTC of the instant's day."""
    return micros - micros % DAY


def day_text(micros: int) -> str:
    """The UTC day of an instant as YYYY-MM-DD."""
    return to_datetime(micros).date().isoformat()


def days(start: str, end: str) -> list[str]:
    """Every day from `start` to `end`, both inclusive, as YYYY-MM-DD."""
    first, last = dt.date.fromisoformat(start), dt.date.fromisoformat(end)
    return [(first + dt.timedelta(days=n)).isoformat() for n in range((last - first).days + 1)]


def duration_text(micros: int) -> str:
    """A length of time in its largest whole unit: 8d, 25h, 90m."""
    unit, size = next((u, s) for u, s in _LENGTHS if micros % s == 0)
    return f"{micros // size}{unit}"
