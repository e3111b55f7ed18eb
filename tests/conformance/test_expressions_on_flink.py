"""Every hand-written case of the expression subset, on a real Flink: all in one JVM, many kinds of columns in a job.

A row that has no value is asked of the form that never fails, which gives null, and of the condition beside it, which
says so; of all others the condition is false.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import math
import struct
from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from zipline.clock import to_micros, to_text
from zipline.engines.flink.launching import ended
from zipline.expressions import parse
from zipline.expressions.dialects import SESSIONS, identifier, type_name
from zipline.expressions.failures import attempted, failing
from zipline.types import DATE, FLOAT, TIMESTAMP, ArrayType, DataType, DecimalType, MapType, StructType

from .expression_cases import Fails, every_case

CASES = list(every_case())
SETTINGS = {**SESSIONS["flink"], "parallelism.default": "1", "pipeline.object-reuse": "true"}
FORMAT = "'connector' = 'filesystem', 'format' = 'json', 'json.timestamp-format.standard' = 'ISO-8601'"
MOST = 40
"""Cases of one INSERT: what is generated of more is slow to compile."""
TOGETHER = 16
"""INSERTs of one job."""


def written(value: Any, dtype: DataType) -> Any:
    """As Flink's JSON has it."""
    if value is None:
        return None
    if isinstance(dtype, ArrayType):
        return [written(each, dtype.element) for each in value]
    if isinstance(dtype, MapType):
        return {key: written(each, dtype.value) for key, each in dict(value).items()}
    if isinstance(dtype, StructType):
        return {name: written(value[name], kind) for name, kind in dtype.fields}
    if dtype == TIMESTAMP:
        return to_text(to_micros(value))
    if isinstance(value, (dt.date, Decimal)):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def read(text: Any, dtype: DataType) -> Any:
    """A value of a result, as the cases have it."""
    if text is None:
        return None
    if dtype == TIMESTAMP:
        return to_micros(text)
    if dtype == DATE:
        return dt.date.fromisoformat(text)
    if isinstance(dtype, DecimalType):
        return Decimal(str(text)).quantize(Decimal(1).scaleb(-dtype.scale))
    if dtype == FLOAT:
        return struct.unpack("f", struct.pack("f", float(text)))[0]
    return float(text) if dtype.is_float else text


def statements(folder: Path) -> list[str]:
    """Of a few jobs over all cases."""
    kinds: dict[tuple[DataType, ...], list[int]] = defaultdict(list)
    for number, case in enumerate(CASES):
        kinds[tuple(case.columns.values())].append(number)
    parts = [numbers[at : at + MOST] for numbers in kinds.values() for at in range(0, len(numbers), MOST)]
    found, inserts = [], []
    for place, numbers in enumerate(parts):
        *tables, insert = of_kind(folder, place, numbers)
        found += tables
        inserts.append(insert)
    for at in range(0, len(inserts), TOGETHER):
        body = ";\n".join(inserts[at : at + TOGETHER])
        found.append(f"EXECUTE STATEMENT SET BEGIN\n{body};\nEND")
    return found


def of_kind(folder: Path, place: int, numbers: Sequence[int]) -> list[str]:
    """The tables of the inputs and of the results, and what fills these."""
    types = list(CASES[numbers[0]].columns.values())
    given, found = folder / f"given{place}", folder / f"found{place}"
    given.mkdir()
    lines = [
        json.dumps({"n": number, "r": at} | {f"c{n}": written(row[n], types[n]) for n in range(len(types))})
        for number in numbers
        for at, row in enumerate(CASES[number].rows)
    ]
    (given / "rows").write_text("\n".join(lines))
    columns = "".join(f", c{n} {type_name('flink', dtype)}" for n, dtype in enumerate(types))
    results = "".join(f", v{n} {type_name('flink', CASES[n].type)}, f{n} BOOLEAN" for n in numbers)
    chosen = ", ".join(selected(number) for number in numbers)
    return [
        f"CREATE TABLE given{place} (n INT, r INT{columns}) WITH ({FORMAT}, 'path' = '{given.as_uri()}')",
        f"CREATE TABLE found{place} (n INT, r INT{results}) WITH ({FORMAT}, 'path' = '{found.as_uri()}', "
        "'json.encode.ignore-null-fields' = 'true')",
        f"INSERT INTO found{place} SELECT n, r, {chosen} FROM given{place}",
    ]


def selected(number: int) -> str:
    """Value and failure of a case, of its own rows."""
    case = CASES[number]
    node = parse(case.expression, case.columns).node
    places = {identifier("flink", name): f"c{place}" for place, name in enumerate(case.columns)}
    texts = [attempted(node), failing(node) or "FALSE"]
    for name, column in places.items():
        texts = [text.replace(name, f"`{column}`") for text in texts]
    return ", ".join(f"CASE WHEN n = {number} THEN {text} END" for text in texts)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[int, int], dict[str, Any]]:
    """By case and row what Flink wrote."""
    folder = tmp_path_factory.mktemp("expressions")
    ended(SETTINGS, statements(folder), folder)
    lines = [line for file in folder.glob("found*/*") for line in file.read_text().splitlines()]
    rows = [json.loads(line, parse_float=Decimal) for line in lines]
    return {(row["n"], row["r"]): row for row in rows}


@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda number: str(CASES[number]))
def test_flink_gives_the_expected_values_and_says_where_there_is_none(
    number: int, found: dict[tuple[int, int], dict[str, Any]]
) -> None:
    case = CASES[number]
    wrong = []
    for place, row in enumerate(case.rows):
        answer = found[number, place]
        value, failed = read(answer.get(f"v{number}"), case.type), answer[f"f{number}"]
        is_right = failed if isinstance(row[-1], Fails) else not failed and case.agrees(row[-1], value)
        if not is_right:
            wrong.append((row, value, failed))
    assert wrong == []
