"""Instants and spans as the suite writes them: plain integers of microseconds, worked out with the standard library.

Nothing here is imported from the platform, so that a mistake in its clock cannot hide itself.
"""

from __future__ import annotations

import datetime as dt

MINUTE = 60_000_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
UNITS = {"d": DAY, "h": HOUR, "m": MINUTE}
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)


def at(text: str) -> dt.datetime:
    """The UTC datetime that ISO text names: `at("2024-03-05 12:00")`."""
    parsed = dt.datetime.fromisoformat(text)
    return parsed.replace(tzinfo=dt.timezone.utc) if parsed.tzinfo is None else parsed.astimezone(dt.timezone.utc)


def micros(instant: dt.datetime | dt.date | str) -> int:
    """Microseconds since 1970 UTC; naive datetimes are UTC, dates are midnight."""
    if isinstance(instant, str):
        return micros(at(instant))
    if not isinstance(instant, dt.datetime):
        return (instant - dt.date(1970, 1, 1)).days * DAY
    if instant.tzinfo is None:
        instant = instant.replace(tzinfo=dt.timezone.utc)
    return (instant - EPOCH) // dt.timedelta(microseconds=1)


def instant(micros_since_1970: int) -> dt.datetime:
    return EPOCH + dt.timedelta(microseconds=micros_since_1970)


def span(window: object) -> int:
    """The length of a window or offset: `span("90m")`; anything whose text reads so will do."""
    text = str(window)
    return int(text[:-1]) * UNITS[text[-1]]


def span_text(length: int) -> str:
    """A length in its largest whole unit."""
    unit = next(name for name, size in UNITS.items() if length % size == 0)
    return f"{length // UNITS[unit]}{unit}"


def day_of(time: int) -> int:
    """Midnight of the instant's UTC day, before 1970 too."""
    return time // DAY * DAY


def hop_of(window: int) -> int:
    """The step to which the start of a TEMPORAL window is floored."""
    if window >= 12 * DAY:
        return DAY
    if window >= 12 * HOUR:
        return HOUR
    return 5 * MINUTE if window >= HOUR else MINUTE


def floored_start(query: int, window: int) -> int:
    return (query - window) // hop_of(window) * hop_of(window)
