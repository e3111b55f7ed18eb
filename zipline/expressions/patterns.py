"""Patterns that mean the same to every regular expression engine, LIKE patterns and JSON paths.

A regular expression is read into pieces and printed again without the escapes that engines understand differently:
`.` is any character but newline, `\\d \\w \\s` are ASCII, `$` is the very end. What cannot be said portably
(look-around, back references, flags, `\\b`, possessive quantifiers, class intersections) is refused.
"""

from __future__ import annotations

import re
from dataclasses import field

from zipline.expressions.dialects import DIALECTS, text_literal
from zipline.values import dataclass

_CLASSES = {"d": "0-9", "w": "0-9A-Za-z_", "s": " \\t\\n\\r\\f"}
_CONTROLS = "tnrf"
_PUNCTUATION = set("\\^$.|?*+()[]{}-/ !\"#%&',:;<=>@_`~")


@dataclass(frozen=True, slots=True)
class Regex:
    """A portable pattern, quoted for each dialect (`regex.duckdb`) and compiled for Python."""

    text: str
    groups: int
    duckdb: str
    spark: str
    flink: str
    compiled: re.Pattern[str] = field(compare=False)


def read_regex(text: str) -> Regex:
    """The portable form of a pattern; ValueError says what is outside."""
    body = _portable(text)
    try:
        compiled = re.compile(body.replace(_END, r"\Z"))
    except re.error as problem:
        raise ValueError(f"the pattern {text!r} is not a regular expression: {problem}") from None
    printed = {dialect: text_literal(dialect, body.replace(_END, r"\z")) for dialect in DIALECTS}
    return Regex(text, compiled.groups, compiled=compiled, **printed)


_END = "\0"
"""Stands for the end of the text until the engine is known."""


def _portable(text: str) -> str:
    pieces: list[str] = []
    place = 0
    while place < len(text):
        piece, place = _piece(text, place)
        pieces.append(piece)
    return "".join(pieces)


def _piece(text: str, place: int) -> tuple[str, int]:
    character = text[place]
    if character == "\0":
        raise ValueError("a pattern cannot hold a NUL character")
    if character == "\\":
        return _escape(text, place, inside=False), place + 2
    if character == "[":
        return _class(text, place)
    if character == "(" and text[place + 1 : place + 2] == "?" and text[place : place + 3] != "(?:":
        raise ValueError(f"the pattern {text!r} uses {text[place : place + 3]!r}; only (...) and (?:...) are portable")
    if character == "{":
        return _repeat(text, place)
    if character in "*+?" and text[place + 1 : place + 2] == "+":
        raise ValueError(f"the pattern {text!r} uses the possessive quantifier {text[place : place + 2]!r}")
    return {".": "[^\\n]", "$": _END}.get(character, character), place + 1


def _repeat(text: str, place: int) -> tuple[str, int]:
    found = re.compile(r"\{(\d{1,3})(?:,(\d{0,3}))?\}(?!\+)").match(text, place)
    if found is None:
        raise ValueError(
            f"the pattern {text!r} has a '{{' that is not a repeat such as {{2,3}}; write \\{{ for the brace"
        )
    return found[0], found.end()


def _escape(text: str, place: int, *, inside: bool) -> str:
    letter = text[place + 1 : place + 2]
    if letter.lower() in _CLASSES and letter.isascii():
        if not inside:
            return f"[{'^' if letter.isupper() else ''}{_CLASSES[letter.lower()]}]"
        if letter.islower():
            return _CLASSES[letter]
    if letter and (letter in _CONTROLS or letter in _PUNCTUATION):
        return letter if letter in " !\"#%',:;<=>@_`~/&" else "\\" + letter
    raise ValueError(f"the pattern {text!r} uses '\\{letter}', which is not portable; \\d \\w \\s \\t \\n \\r are")


def _class(text: str, place: int) -> tuple[str, int]:
    start, place = place, place + 1
    pieces = ["["]
    if text[place : place + 1] == "^":
        pieces.append("^")
        place += 1
    while place < len(text) and text[place] != "]":
        if text[place] == "[" or text[place : place + 2] in ("&&", "--", "~~", "||"):
            raise ValueError(f"the pattern {text!r} has {text[place]!r} inside a class; write it with a backslash")
        if text[place] == "\\":
            pieces.append(_escape(text, place, inside=True))
            place += 2
        else:
            pieces.append(text[place])
            place += 1
    if place >= len(text) or len(pieces) == 1 + ("^" in pieces[1:2]):
        raise ValueError(f"the pattern {text!r} has a class that does not close or is empty: {text[start:]!r}")
    return "".join([*pieces, "]"]), place + 1


@dataclass(frozen=True, slots=True)
class Like:
    """A LIKE pattern as the operator's right side; for Flink, whose `_` stops at a newline, as a regular expression."""

    text: str
    duckdb: str
    spark: str
    flink: str
    compiled: re.Pattern[str] = field(compare=False)


def read_like(text: str, escape: str | None = None) -> Like:
    """`%` is any text, `_` any one code point, anything else itself; `escape` makes the next of them itself."""
    if escape is not None and len(escape) != 1:
        raise ValueError(f"ESCAPE takes one character, not {escape!r}")
    pieces = _like_pieces(text, escape)
    source = "".join({"%": ".*", "_": "."}[mark] if wild else re.escape(mark) for mark, wild in pieces)
    needs_escape = any(not wild and mark in "%_\\" for mark, wild in pieces)
    body = "".join(_like_mark(mark, wild, needs_escape) for mark, wild in pieces)
    tail = " ESCAPE '!'" if needs_escape else ""
    return Like(
        text,
        duckdb=text_literal("duckdb", body) + tail,
        spark=text_literal("spark", body) + tail,
        flink=text_literal("flink", rf"(?s)^{source}\z"),
        compiled=re.compile(source, re.DOTALL),
    )


def _like_mark(mark: str, wild: bool, needs_escape: bool) -> str:
    return f"!{mark}" if needs_escape and not wild and mark in "%_!" else mark


def _like_pieces(text: str, escape: str | None) -> list[tuple[str, bool]]:
    pieces: list[tuple[str, bool]] = []
    characters = iter(text)
    for character in characters:
        if character == escape:
            character = next(characters, "")
            if character not in ("%", "_", escape):
                raise ValueError(f"the pattern {text!r} escapes {character!r}; only %, _ and {escape} can be escaped")
            pieces.append((character, False))
        else:
            pieces.append((character, character in "%_"))
    return pieces


@dataclass(frozen=True, slots=True)
class Path:
    """A JSON path, quoted for each dialect."""

    steps: tuple[str | int, ...]
    duckdb: str
    spark: str
    flink: str


_STEP = re.compile(r"\.([A-Za-z_][A-Za-z0-9_]*)|\['([^'\"\\\[\]]+)'\]|\[(\d{1,9})\]")


def read_path(text: str) -> Path:
    """`$`, then any of `.name`, `['any name']`, `[0]`."""
    steps: list[str | int] = []
    place = 1
    while text.startswith("$") and place < len(text) and (found := _STEP.match(text, place)):
        steps.append(int(found[3]) if found[3] else found[1] or found[2])
        place = found.end()
    if not text.startswith("$") or place != len(text) or not steps:
        raise ValueError(f"{text!r} is not a JSON path; write $.name, $['any name'] or $.list[0]")
    bracketed = "$" + "".join(f"[{step}]" if isinstance(step, int) else f"['{step}']" for step in steps)
    quoted = "$" + "".join(f"[{step}]" if isinstance(step, int) else f'."{step}"' for step in steps)
    return Path(
        tuple(steps),
        duckdb=text_literal("duckdb", quoted),
        spark=text_literal("spark", bracketed),
        flink=text_literal("flink", bracketed),
    )
