"""Ways to spoil the shop's files, and what every error must look like.

No error is a traceback or a word of a library alone; nothing is printed to the output.
"""

import re
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

from tests.e2e.test_command_line import (
    JOIN,
    RANGE,
)
from tests.unit.cli.conftest import Ran

BACKFILL = ("backfill", JOIN, *RANGE)
SOURCES, FEATURES, TRAINING = (f"configs/store/{file}.py" for file in ("sources", "features", "training"))
LARGE = "CAST(amount > 6 AS INT)"
ORDERS, VISITS = "data/orders.csv", "data/visits.jsonl"
CLICK_FILE = "data/clicks/ds=2024-05-02/rows.parquet"
NEVER = re.compile(r"Traceback|should not have|panicked|LINE 1:|(Conversion|Input|Binder) Error|<unknown>")
Spoil = Callable[[Path], object]


def put(name: str, text: str) -> Spoil:
    def spoil(root: Path) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(dedent(text).lstrip())

    return spoil


def swap(name: str, old: str, new: str) -> Spoil:
    def spoil(root: Path) -> None:
        text = (root / name).read_text()
        assert old in text
        (root / name).write_text(text.replace(old, new, 1))

    return spoil


def add(name: str, text: str) -> Spoil:
    return lambda root: (root / name).write_text((root / name).read_text() + text)


def raw(name: str, content: bytes) -> Spoil:
    return lambda root: (root / name).write_bytes(content)


def check_error(ran: Ran, code: int, *said: str) -> None:
    assert ran.code == code, ran
    assert ran.out == ""
    assert ran.err.lstrip().startswith("error: ")
    for words in said:
        assert words in ran.err
    assert not NEVER.search(ran.err)
