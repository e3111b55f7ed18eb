"""The checks of single fields: each takes the value given and returns the value stored, or raises `Wrong`."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from zipline.api.base import FrozenMap, Wrong

Check = Callable[[Any], Any]

_DURATION = re.compile(r"([1-9][0-9]*)(ms|s|m|h|d)")
_MICROS = {"ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}


def text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise Wrong(f"expected text, got {value!r}")
    return value


def any_text(value: Any) -> str:
    if not isinstance(value, str):
        raise Wrong(f"expected text, got {value!r}")
    return value


def boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise Wrong(f"expected True or False, got {value!r}")
    return value


def count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise Wrong(f"expected a whole number of at least 1, got {value!r}")
    return value


def amount(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
        raise Wrong(f"expected a number of at least 0, got {value!r}")
    return value


def optional(check: Check) -> Check:
    return lambda value: None if value is None else check(value)


def instance(*types: type) -> Check:
    names = " or ".join(t.__name__ for t in types)

    def check(value: Any) -> Any:
        if not isinstance(value, types):
            raise Wrong(f"expected {names}, got {_shown(value)}")
        return value

    return check


def several(item: Check, *, least: int = 0, distinct: bool = False) -> Check:
    """A list or tuple of items, stored as a tuple."""

    def check(value: Any) -> tuple[Any, ...]:
        if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
            raise Wrong(f"expected a list, got {_shown(value)}", hint="put it in [ ]")
        items = tuple(item(element) for element in value)
        if len(items) < least:
            raise Wrong(f"expected at least {least}, got {len(items)}")
        if distinct:
            _refuse_repeats(items)
        return items

    return check


def mapping(item: Check) -> Check:
    """Text -> item, stored frozen."""

    def check(value: Any) -> FrozenMap:
        if not isinstance(value, Mapping):
            raise Wrong(f"expected a mapping, got {_shown(value)}")
        return FrozenMap({text(key): item(element) for key, element in value.items()})

    return check


def one_of(*valid: str) -> Check:
    def check(value: Any) -> str:
        if value not in valid:
            raise Wrong(f"{value!r} is not valid here", asked=str(value), valid=valid)
        return str(value)

    return check


def day(value: Any) -> str:
    """A date, or its text; stored as YYYY-MM-DD."""
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        return value.isoformat()
    try:
        return dt.date.fromisoformat(value).isoformat()
    except (TypeError, ValueError):
        raise Wrong(f"{value!r} is not a day", hint="write it as 2013-07-01") from None


def duration(value: Any) -> str:
    """A positive length of time such as "50ms", "10s", "30m", "6h", "2d"; stored in its largest whole unit."""
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise Wrong(f"{value!r} is not a duration", valid=("50ms", "10s", "30m", "6h", "2d"))
    return duration_text(int(match[1]) * _MICROS[match[2]])


def duration_micros(value: str) -> int:
    match = _DURATION.fullmatch(value)
    if match is None:
        raise ValueError(value)
    return int(match[1]) * _MICROS[match[2]]


def duration_text(micros: int) -> str:
    unit = next(unit for unit in reversed(_MICROS) if micros % _MICROS[unit] == 0)
    return f"{micros // _MICROS[unit]}{unit}"


def _refuse_repeats(items: tuple[Any, ...]) -> None:
    if len(set(items)) == len(items):
        return
    seen: list[Any] = []
    for element in items:
        if element in seen:
            raise Wrong(f"{element!s} is given twice")
        seen.append(element)


def _shown(value: Any) -> str:
    return repr(value) if isinstance(value, (str, int, float, bool, type(None))) else type(value).__name__
