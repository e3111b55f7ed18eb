"""String functions: declarations. Places and lengths count code points, from 1."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from zipline.expressions import texts
from zipline.expressions.declarations import Constant, Function, Printer, function, overload
from zipline.expressions.dialects import Dialect, text_literal, type_name
from zipline.expressions.patterns import Regex, read_like, read_path, read_regex
from zipline.types import BIGINT, BOOLEAN, INT, STRING

PATTERN = Constant("regular expression", read_regex)
LIKE_PATTERN = Constant("LIKE pattern", read_like)
PATH = Constant("JSON path", read_path)


def _read_group(text: str) -> int:
    if not text.isdigit() or int(text) > 9:
        raise ValueError(f"the group of regexp_extract is a literal from 0 to 9, not {text}")
    return int(text)


GROUP = Constant("group number", _read_group)


def _no_such_group(pattern: Regex, group: int) -> str | None:
    if group <= pattern.groups:
        return None
    return f"the pattern {pattern.text!r} has {pattern.groups} groups, and no group {group}"


@cache
def _long_upper() -> dict[str, str]:
    """Letters whose upper case is several letters; none lies beyond the first plane."""
    letters = map(chr, range(0x10000))
    return {letter: letter.upper() for letter in letters if len(letter.upper()) > 1}


def _duckdb_upper(text: str) -> str:
    """DuckDB maps one code point to one; those whose upper case is longer (ß) are looked up."""
    letters = _long_upper()
    keys, words = (", ".join(text_literal("duckdb", word) for word in side) for side in (letters, letters.values()))
    each = f"list_transform(string_split({text}, ''), lambda c: coalesce(map([{keys}], [{words}])[c], upper(c)))"
    found = f"regexp_matches({text}, {text_literal('duckdb', '[' + ''.join(letters) + ']')})"
    return f"(CASE WHEN {found} THEN array_to_string({each}, '') ELSE upper({text}) END)"


_FARTHEST = 1_000_000_000
"""No text is longer, and every engine takes it as a place."""

_WRITTEN = re.compile(r"(?:CAST\()?([0-9]{1,9})(?:L| AS BIGINT\))?")


def _substring(dialect: Dialect) -> Printer:
    def printed(text: str, *places: str) -> str:
        written = [_WRITTEN.fullmatch(place) for place in places]
        if all(written) and written[0] and int(written[0][1]) >= 1:
            return _cut(dialect, text, *(found[1] for found in written if found))
        known = " AND ".join(f"{place} IS NOT NULL" for place in places)
        return f"(CASE WHEN {known} THEN {_cut(dialect, text, *_places(dialect, *places))} END)"

    return printed


def _places(dialect: Dialect, start: str, length: str | None = None) -> list[str]:
    """First place and count of a substring whose start may lie before the text."""
    first = f"greatest(least({start}, {_FARTHEST}), {-_FARTHEST})"
    places = [f"greatest({first}, 1)"]
    if length is not None:
        count = f"greatest(least({length}, {_FARTHEST}), 0)"
        places.append(f"greatest({first} + {count} - greatest({first}, 1), 0)")
    name = type_name(dialect, INT)
    return [f"CAST({place} AS {name})" for place in places]


def _cut(dialect: Dialect, text: str, first: str, count: str | None = None) -> str:
    if dialect == "flink":
        return f"SUBSTRING({text} FROM {first}{f' FOR {count}' if count else ''})"
    return f"substring({text}, {first}{f', {count}' if count else ''})"


SUBSTRING = function(
    "substring",
    *(
        overload(
            STRING,
            *counts,
            to=STRING,
            duckdb=_substring("duckdb"),
            spark=_substring("spark"),
            flink=_substring("flink"),
            python=texts.substring,
        )
        for counts in ((BIGINT,), (BIGINT, BIGINT))
    ),
)


def _trim(name: str, side: str, python: str) -> Function:
    standard = f"TRIM({side} ' ' FROM {{0}})"
    return function(
        name, overload(STRING, to=STRING, duckdb=f"{name}({{0}}, ' ')", spark=standard, flink=standard, python=python)
    )


def _matcher(name: str) -> Function:
    """`regexp_matches` and its names elsewhere."""
    return function(
        name,
        overload(
            STRING,
            PATTERN,
            to=BOOLEAN,
            duckdb="regexp_matches({0}, {1.duckdb})",
            spark="({0} RLIKE {1.spark})",
            flink="REGEXP({0}, {1.flink})",
            python=texts.matches,
        ),
    )


def _length(name: str) -> Function:
    return function(
        name,
        overload(
            STRING,
            to=INT,
            duckdb="CAST(length({0}) AS INTEGER)",
            spark="char_length({0})",
            flink="CHAR_LENGTH({0})",
            python="len({0})",
        ),
    )


def _concat(*parts: str) -> str:
    return f"({' || '.join(parts)})"


def _simple_letters(text: str) -> str:
    return f"lower(replace(replace({text}, 'Σ', 'σ'), 'İ', 'i'))"


CONCAT = overload(STRING, to=STRING, sql=_concat, python="''.join(({all},))", variadic=True)
_LENIENT = "'(,\\s*[\\]}]|[nN][aA][nN]|[iI][nN][fF])'"
_QUOTED = '\'"(?:[^"\\\\]|\\\\.)*"\''


def _duckdb_json(text: str, path: Any) -> str:
    """DuckDB reads a comma before a bracket and NaN as JSON; where text looks like it, it is looked for outside of
    quotes."""
    outside = f"regexp_replace({text}, {_QUOTED}, '0', 'g')"
    strict = f"(NOT regexp_matches({text}, {_LENIENT}) OR NOT regexp_matches({outside}, {_LENIENT}))"
    return f"(CASE WHEN json_valid({text}) AND {strict} THEN json_extract_string({text}, {path.duckdb}) END)"


JSON_GET = overload(
    STRING,
    PATH,
    to=STRING,
    duckdb=_duckdb_json,
    spark="get_json_object({0}, {1.spark})",
    flink="COALESCE(JSON_VALUE({0}, {1.flink}), JSON_QUERY({0}, {1.flink}))",
    python=texts.json_get,
)

STRINGS = (
    function("lower", overload(STRING, to=STRING, sql=_simple_letters, python=texts.lower)),
    function("upper", overload(STRING, to=STRING, sql="upper({0})", duckdb=_duckdb_upper, python="{0}.upper()")),
    _trim("trim", "BOTH", "{0}.strip(' ')"),
    _trim("ltrim", "LEADING", "{0}.lstrip(' ')"),
    _trim("rtrim", "TRAILING", "{0}.rstrip(' ')"),
    SUBSTRING,
    function("concat", CONCAT),
    function("||", CONCAT),
    _length("length"),
    _length("char_length"),
    function(
        "replace",
        overload(
            STRING,
            STRING,
            STRING,
            to=STRING,
            sql="replace({0}, {1}, {2})",
            flink="(CASE WHEN {1} = '' AND {2} IS NOT NULL THEN {0} ELSE REPLACE({0}, {1}, {2}) END)",
            python=texts.replace,
        ),
    ),
    function(
        "starts_with",
        overload(
            STRING,
            STRING,
            to=BOOLEAN,
            duckdb="starts_with({0}, {1})",
            spark="startswith({0}, {1})",
            flink="STARTSWITH({0}, {1})",
            python="{0}.startswith({1})",
        ),
    ),
    function(
        "ends_with",
        overload(
            STRING,
            STRING,
            to=BOOLEAN,
            duckdb="ends_with({0}, {1})",
            spark="endswith({0}, {1})",
            flink="ENDSWITH({0}, {1})",
            python="{0}.endswith({1})",
        ),
    ),
    function(
        "contains",
        overload(
            STRING,
            STRING,
            to=BOOLEAN,
            sql="contains({0}, {1})",
            flink="(POSITION({1} IN {0}) > 0)",
            python="{1} in {0}",
        ),
    ),
    _matcher("regexp_matches"),
    _matcher("regexp_like"),
    _matcher("rlike"),
    function(
        "regexp_extract",
        overload(
            STRING,
            PATTERN,
            GROUP,
            to=STRING,
            disagree=_no_such_group,
            duckdb="(CASE WHEN regexp_matches({0}, {1.duckdb}) THEN regexp_extract({0}, {1.duckdb}, {2}) END)",
            spark="(CASE WHEN {0} RLIKE {1.spark} THEN regexp_extract({0}, {1.spark}, {2}) END)",
            flink="(CASE WHEN REGEXP({0}, {1.flink}) THEN COALESCE(REGEXP_EXTRACT({0}, {1.flink}, {2}), '') END)",
            python=texts.extract,
        ),
    ),
    function(
        "LIKE",
        overload(
            STRING,
            LIKE_PATTERN,
            to=BOOLEAN,
            duckdb="({0} LIKE {1.duckdb})",
            spark="({0} LIKE {1.spark})",
            flink="REGEXP({0}, {1.flink})",
            python=texts.like,
        ),
    ),
    function("json_get", JSON_GET),
    function("get_json_object", JSON_GET),
)
