"""Instants in JSON, as msgspec reads them: what is finer than a microsecond is cut off, as it is of files and in SQL.

By itself msgspec rounds, and an event of the last half microsecond of a day would be one of the next. A field of type
`Instant` is read by a hook of its decoder, and is as strict otherwise as msgspec's own `datetime`.
"""

from __future__ import annotations

import datetime as dt
import re
from abc import ABCMeta
from typing import Annotated, Any

import msgspec

from zipline.clock import FIRST_INSTANT, LAST_INSTANT

_FRACTION, _ESCAPED = re.compile(rb"\.[0-9]{7}"), re.compile(rb"\\u00")
_FINER = re.compile(r"(.{19}\.[0-9]{6})[0-9]+(.*)", re.DOTALL)


class Instant(metaclass=ABCMeta):  # noqa: B024 (others are of it)
    """The type of a field that holds a datetime or, where its hook allows it, an int of microseconds UTC."""


class InstantKey(Instant):
    """That of a map's keys, which in JSON are text even if they are numbers."""


Instant.register(dt.datetime)
Instant.register(int)
InstantKey.register(dt.datetime)
InstantKey.register(int)


def may_be_finer(text: Any) -> bool:
    """Whether an instant within JSON text (bytes) could be finer than a microsecond: seldom, and quickly told."""
    return _FRACTION.search(text) is not None or _ESCAPED.search(text) is not None


def read_datetime(_: type, value: Any) -> dt.datetime:
    """The hook (`dec_hook`) for text in RFC 3339 alone."""
    found = _FINER.fullmatch(value) if type(value) is str else None
    instant: dt.datetime = _converted(value if found is None else found[1] + found[2], dt.datetime)
    return instant


def read_instant(kind: type, value: Any) -> dt.datetime | int:
    """The hook for text in RFC 3339, or microseconds UTC of the years 1 to 9999."""
    if type(value) is str:
        if kind is InstantKey and _NUMBER.fullmatch(value):
            return read_instant(kind, int(value))
        return read_datetime(kind, value)
    if isinstance(value, dt.datetime):
        return value
    micros: int = _converted(value, _EITHER)
    return micros


def schema_of_instant(kind: type) -> dict[str, Any]:
    """The hook (`schema_hook`) for the JSON schema of text in RFC 3339."""
    if not issubclass(kind, Instant):
        raise NotImplementedError
    return {"type": "string", "format": "date-time"}


def _converted(value: Any, kind: Any) -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as wrong:
        raise ValueError(str(wrong)) from None  # to which msgspec adds the place


_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,19})")
_EITHER = Annotated[int, msgspec.Meta(ge=FIRST_INSTANT, le=LAST_INSTANT)] | dt.datetime
