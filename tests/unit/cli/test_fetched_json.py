"""What `zipline fetch` takes and shows that JSON has no form for."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from tests.unit.cli.conftest import Zipline
from zipline.project import load_project
from zipline.tables.delta import write_source

CONFIG = """
from zipline import Accuracy, Aggregation, EventSource, GroupBy, Join, JoinPart, Operation, Query

events = EventSource("odd", query=Query(time="t"))
made = {
    key: GroupBy(
        [key], [events], [Aggregation(of, Operation.HISTOGRAM) for of in ("day", "at", "d", "b")]
        + [Aggregation("x", Operation.SUM)], accuracy=Accuracy.SNAPSHOT, online=True
    )
    for key in ("d", "b")
}
asked = {
    key: Join(EventSource("odd", query=Query([key], time="t")), [JoinPart(made[key])], online=True) for key in made
}
"""
NOON = dt.datetime(2024, 5, 4, 12, tzinfo=dt.timezone.utc)


@pytest.fixture
def odd(zipline: Zipline, project: Path) -> Zipline:
    (project / "configs" / "shop" / "odd.py").write_text(CONFIG)
    rows = {
        "d": pa.array([Decimal("12345678901234567890.123")], pa.decimal128(38, 3)),
        "b": pa.array([b"\x00\x01\x02"]),
        "day": pa.array([NOON.date()]),
        "at": pa.array([NOON], pa.timestamp("us", "UTC")),
        "x": [float("inf")],
        "t": pa.array([NOON], pa.timestamp("us", "UTC")),
    }
    write_source("odd", pa.table(rows), None, project=load_project(project))
    for key in ("d", "b"):
        done = zipline("upload", f"shop.odd.made.{key}", "--ds", "2024-05-04")
        assert done.code == 0, done.err
    return zipline


@pytest.mark.parametrize(
    ("key", "given"),
    [
        ("d", ["--key", "d=12345678901234567890.123"]),
        ("d", ["--key", 'd="12345678901234567890.123"']),
        ("d", ["--rows", '[{"d": 12345678901234567890.123}]']),
        ("b", ["--key", "b=AAEC"]),
    ],
)
def test_keys_and_values_of_every_type_go_through_json(odd: Zipline, key: str, given: list[str]) -> None:
    done = odd("fetch", f"shop.odd.asked.{key}", *given, "--at", "2024-05-05", "--json")
    assert done.code == 0, done.err
    assert "Infinity," not in done.out.replace('"Infinity"', "")
    assert done.facts["rows"][0]["values"] == {
        f"made_{key}_day_histogram": {"2024-05-04": 1},
        f"made_{key}_at_histogram": {"2024-05-04T12:00:00Z": 1},
        f"made_{key}_d_histogram": {"12345678901234567890.123": 1},
        f"made_{key}_b_histogram": {"AAEC": 1},
        f"made_{key}_x_sum": "Infinity",
    }


def test_text_that_is_none_of_a_type_is_refused(odd: Zipline) -> None:
    for key, text in (("b", "b=a"), ("b", 'b="é"'), ("d", 'd="\\ud800"')):
        done = odd("fetch", f"shop.odd.asked.{key}", "--key", text)
        assert done.code in (1, 2)
        assert "should not have" not in done.err
