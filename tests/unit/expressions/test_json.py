"""Text that is JSON, nearly JSON, or none: DuckDB and the compiled Python find the same in it."""

from __future__ import annotations

import random

import duckdb
import pyarrow as pa
import pytest

from zipline.expressions import parse
from zipline.types import STRING

READ = parse("json_get(s, '$.a')", {"s": STRING})


def by_duckdb(texts: list[str]) -> list[str | None]:
    with duckdb.connect() as connection:
        connection.register("t", pa.table({"s": texts}))
        return [value for (value,) in connection.sql(f"SELECT {READ.sql('duckdb')} FROM t").fetchall()]


def compiled(texts: list[str]) -> list[str | None]:
    function = READ.python()
    return [function({"s": text}) for text in texts]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a": 123456789012345678901234567890}', "123456789012345678901234567890"),
        ('{"a": ' + "7" * 5000 + "}", "7" * 5000),
        ('{"a": {"b": 1, "b": 2}, "a": 3}', '{"b":1,"b":2}'),
        ('{"a": [-0, true, null, "\\u00e9\\u001f"]}', '[0,true,null,"é\\u001F"]'),
        ('{"a": "\\ud83d\\ude00"}', "😀"),
        ('{"a": "inf, nan, ]"}', "inf, nan, ]"),
        (f'{{"a": {"[" * 700}{"]" * 700}}}', "[" * 700 + "]" * 700),
        (f'{{"b": "\\u00e9", "a": {"[" * 700}{"]" * 700}}}', "[" * 700 + "]" * 700),
        ('{"a": "\\ud800"}', None),
        ('{"b": ["\\ud800"], "a": 1}', None),
        ('{"a": NaN}', None),
        ('{"a": 1, "b": -Infinity}', None),
        ('{"a": [1, ]}', None),
        ('{"a": 1,}', None),
        ('{"a": 1} x', None),
        ("{'a': 1}", None),
        ('{"a": 01}', None),
    ],
    ids=lambda text: str(text)[:30],
)
def test_json_is_what_the_standard_says(text: str, expected: str | None) -> None:
    assert by_duckdb([text]) == [expected]
    assert compiled([text]) == [expected]


@pytest.mark.parametrize("seed", range(3))
def test_both_find_the_same_in_random_texts(seed: int) -> None:
    draw = random.Random(seed)
    texts = [f'{{"a":{_value(draw)}{draw.choice(["}"] * 9 + [",}", "} x"])}' for _ in range(3000)]
    found = compiled(texts)
    assert [
        (text, each) for text, each, other in zip(texts, found, by_duckdb(texts), strict=True) if each != other
    ] == []
    assert sum(each is not None for each in found) > 1000


def _value(draw: random.Random, depth: int = 0) -> str:
    kind = draw.random()
    if depth > 3 or kind < 0.35:
        return _number(draw)
    if kind < 0.6:
        return _text(draw)
    if kind < 0.7:
        return draw.choice(["true", "false", "null", "True"])
    comma, tail = draw.choice([",", ", ", " ,"]), draw.choice([""] * 12 + [",", ", "])
    if kind < 0.85:
        return f"[{comma.join(_value(draw, depth + 1) for _ in range(draw.randint(0, 3)))}{tail}]"
    names = [draw.choice(['"a"', '"b"', _text(draw)]) for _ in range(draw.randint(0, 3))]
    return f"{{{comma.join(f'{name}: {_value(draw, depth + 1)}' for name in names)}{tail}}}"


def _number(draw: random.Random) -> str:
    kind = draw.random()
    if kind < 0.3:
        return str(draw.randint(-(10 ** draw.randint(1, 40)), 10 ** draw.randint(1, 40)))
    if kind < 0.6:
        return repr(draw.uniform(-1, 1) * 10 ** draw.randint(-30, 30))
    if kind < 0.8:
        tail = draw.choice(["", "e5", "E-7", "e+30", "e400", "e-400"])
        return f"{draw.choice(['', '-'])}{draw.randint(0, 99)}.{draw.randint(0, 10 ** draw.randint(1, 20))}{tail}"
    return draw.choice(
        ["0", "-0", "-0.0", "0.0", "1e-6", "1e-7", "1e21", "1e20", "1E400", "NaN", "-inf", "01", "1.", "2e"]
    )


def _text(draw: random.Random) -> str:
    pieces = [
        "a",
        "é",
        "😀",
        "\\n",
        "\\u001f",
        "\\u0000",
        '\\"',
        "\\\\",
        "\\ud83d\\ude00",
        "\\ud800",
        "\x7f",
        "\\/",
        "\t",
    ]
    pieces += ["inf", "nan", ",]", ", }", "\\b\\f\\r", "\\\\u001f"]
    return f'"{"".join(draw.choice(pieces) for _ in range(draw.randint(0, 5)))}"'
