"""Window: a length of time that ends at the query."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from zipline.api.base import Definition, Wrong, checked, definition
from zipline.api.fields import duration_micros, duration_text

DAY = 86_400_000_000
_WINDOW = re.compile(r"([1-9][0-9]*)([mhd])")


def _window_text(value: Any) -> str:
    match = _WINDOW.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise Wrong(
            f"{value!r} is not a window",
            hint="write a whole number of minutes, hours or days, such as 30m, 6h, 7d; None is lifetime",
        )
    return duration_text(duration_micros(value))


@definition
class Window(Definition):
    """A window such as `Window("7d")`, kept in its largest whole unit: `Window("24h") == Window("1d")`."""

    text: str = checked(_window_text)

    @property
    def micros(self) -> int:
        return duration_micros(self.text)

    @property
    def is_whole_days(self) -> bool:
        return self.micros % DAY == 0

    def __str__(self) -> str:
        return self.text


def window(value: Any) -> Window | None:
    """The field check: a Window, its text, or None for lifetime."""
    if value is None or isinstance(value, Window):
        return value
    return _made(value) if isinstance(value, str) else _made(_window_text(value))


@lru_cache(maxsize=1024)
def _made(text: str) -> Window:
    """The window of a text that stands in a list of windows: a value without a line, the same for all who write it."""
    made = object.__new__(Window)
    object.__setattr__(made, "text", _window_text(text))
    return made
