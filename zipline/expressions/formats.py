"""Time formats: a strptime format read into a rewriting of text to ISO 8601, which every engine can do alike."""

from __future__ import annotations

import re
from dataclasses import field

from zipline.errors import DataError
from zipline.expressions.instants import ZONE_TEXT
from zipline.values import dataclass

_DIGITS = {"Y": 4, "m": 2, "d": 2, "H": 2, "M": 2, "S": 2}
_DIRECTIVES = {
    **{letter: f"([0-9]{{{count}}})" for letter, count in _DIGITS.items()},
    "f": "([0-9]{1,9})",
    "z": f"({ZONE_TEXT})",
}
_BEFORE = {"Y": "", "m": "-", "d": "-", "H": "T", "M": ":", "S": ":", "f": ".", "z": ""}
_NEEDS = {"m": "Y", "d": "m", "H": "d", "M": "H", "S": "M", "f": "S", "z": "M"}
FORMAT_LETTERS = tuple(f"%{letter}" for letter in _BEFORE)


@dataclass(frozen=True, slots=True)
class Format:
    """A format: the pattern of the whole text, and its groups in the order of ISO 8601."""

    text: str
    pattern: str
    groups: tuple[tuple[str, int], ...]
    compiled: re.Pattern[str] = field(compare=False)

    def replacement(self, sign: str) -> str:
        """The ISO 8601 text in terms of the groups, each written after `sign`."""
        return "".join(f"{before}{sign}{group}" for before, group in self.groups)


def read_format(text: str) -> Format:
    """The format in `text`; ValueError says what is missing or unknown."""
    pieces, letters = _pieces(text)
    _require(text, letters)
    pattern = "".join(pieces)
    groups = tuple((before, letters.index(letter) + 1) for letter, before in _BEFORE.items() if letter in letters)
    return Format(text, pattern, groups, re.compile(pattern))


def rewrite(text: str, layout: Format) -> str:
    """Text of the format as ISO 8601."""
    found = layout.compiled.fullmatch(text.strip(" "))
    if found is None:
        raise DataError(f"{text!r} does not match the format {layout.text!r}")
    return "".join(f"{before}{found[group]}" for before, group in layout.groups)


def _pieces(text: str) -> tuple[list[str], list[str]]:
    pieces: list[str] = []
    letters: list[str] = []
    characters = iter(text)
    for character in characters:
        if character != "%":
            pieces.append(f"\\{character}" if character in "\\^$.|?*+()[]{}" else character)
            continue
        letter = next(characters, "")
        if letter != "%" and (letter not in _DIRECTIVES or letter in letters):
            raise ValueError(f"the format {text!r} uses '%{letter}'; each of {' '.join(FORMAT_LETTERS)} may stand once")
        pieces.append(_DIRECTIVES.get(letter, letter))
        letters.append(letter)
    return pieces, [letter for letter in letters if letter != "%"]


def _require(text: str, letters: list[str]) -> None:
    wanted = {"d", *letters, *(["M"] if "H" in letters else [])}
    missing = {_NEEDS[letter] for letter in wanted if letter in _NEEDS} | wanted
    for letter in sorted(missing - set(letters)):
        raise ValueError(f"the format {text!r} lacks %{letter}; a date is %Y %m %d, a time at least %H %M")
