"""Strings of compiled expressions: the Python side of the rules of the package."""

from __future__ import annotations

import json
import math
import re
from decimal import Decimal
from itertools import chain
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
        value = _JSON.decode(text)
        if "\\u" in text:
            _written(value).encode()  # half of a pair of surrogates is no text
    except (ValueError, RecursionError):
        return None
    for step in path.steps:
        value = _step(value, step)
    return value if value is None or type(value) is str else _written(value)


class _Json(str):
    """Text that is JSON as it stands, such as a number: an integer as it is written, a fraction as its double is."""


class _Object(list[tuple[str, Any]]):
    """The pairs of an object. Of those with one name the first is found."""


def _integer(text: str) -> _Json:
    return _Json("0" if text == "-0" else text)


def _fraction(text: str) -> _Json:
    """As DuckDB writes it, with an exponent from 1e21 on and below 1e-6. What no double holds is as it is written."""
    value = float(text)
    if math.isinf(value) or value == 0:
        return _Json(text if value else str(value))
    sign, places, exponent = Decimal(repr(value)).normalize().as_tuple()
    digits, minus = "".join(map(str, places)), "-" if sign else ""
    point = len(digits) + int(exponent)
    if not -6 < point <= 21:
        more = f".{digits[1:]}" if digits[1:] else ""
        return _Json(f"{minus}{digits[0]}{more}e{point - 1}")
    if point <= 0:
        return _Json(f"{minus}0.{'0' * -point}{digits}")
    return _Json(f"{minus}{digits[:point].ljust(point, '0')}.{digits[point:] or '0'}")


def _no_number(word: str) -> None:
    raise ValueError(f"{word} is not JSON")


_JSON = json.JSONDecoder(
    object_pairs_hook=_Object, parse_int=_integer, parse_float=_fraction, parse_constant=_no_number
)


def _step(value: Any, step: str | int) -> Any:
    if isinstance(step, str):
        pairs = value if isinstance(value, _Object) else ()
        return next((found for name, found in pairs if name == step), None)
    is_list = isinstance(value, list) and not isinstance(value, _Object)
    return value[step] if is_list and step < len(value) else None


def _written(value: Any) -> str:
    """Compact JSON, of however many levels."""
    pieces, pending = [], [value]
    while pending:
        each = pending.pop()
        if isinstance(each, _Object):
            pairs = [(_Json(f"{',' if place else ''}{_quoted(name)}:"), of) for place, (name, of) in enumerate(each)]
            pending += reversed([_Json("{"), *chain.from_iterable(pairs), _Json("}")])
        elif isinstance(each, list):
            commas = [(_Json("," if place else ""), of) for place, of in enumerate(each)]
            pending += reversed([_Json("["), *chain.from_iterable(commas), _Json("]")])
        else:
            pieces.append(each if isinstance(each, _Json) else _quoted(each))
    return "".join(pieces)


def _quoted(value: str | bool | None) -> str:
    return _ESCAPED.sub(_capital, json.dumps(value, ensure_ascii=False))


_ESCAPED = re.compile(r"\\(?:u[0-9a-f]{4}|.)")


def _capital(found: re.Match[str]) -> str:
    return found[0][:2] + found[0][2:].upper()
