"""Strings of compiled expressions: the Python side of the rules of the package."""

from __future__ import annotations

import json
from typing import Any

from zipline.expressions.patterns import Like, Path, Regex


def lower(text: str) -> str:
    """Each code point by itself: no final sigma, and the dotted capital I is i."""
    return text.lower() if text.isascii() else text.replace("Σ", "σ").replace("İ", "i").lower()


def substring(text: str, start: int, length: int | None = None) -> str:
    """The code points at places start to start + length - 1 that exist, from 1."""
    first = max(start, 1) - 1
    if length is None:
        return text[first:]
    return text[first : max(start + length - 1, first)]


def replace(text: str, old: str, new: str) -> str:
    return text.replace(old, new) if old else text


def matches(text: str, pattern: Regex) -> bool:
    return pattern.compiled.search(text) is not None


def extract(text: str, pattern: Regex, group: int) -> str | None:
    """The group of the first match, empty where it took no part; null without a match."""
    found = pattern.compiled.search(text)
    return None if found is None else found.group(group) or ""


def like(text: str, pattern: Like) -> bool:
    return pattern.compiled.fullmatch(text) is not None


def json_get(text: str, path: Path) -> str | None:
    """The value at a path as text; null where the text is not JSON or the path leads nowhere."""
    try:
        value = json.loads(text, object_pairs_hook=_first_wins, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return None
    for step in path.steps:
        value = _step(value, step)
    return _written(value)


def _first_wins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        found.setdefault(name, value)
    return found


def _no_number(word: str) -> None:
    raise ValueError(f"{word} is not JSON")


def _step(value: Any, step: str | int) -> Any:
    if isinstance(step, str):
        return value.get(step) if isinstance(value, dict) else None
    return value[step] if isinstance(value, list) and step < len(value) else None


def _written(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
