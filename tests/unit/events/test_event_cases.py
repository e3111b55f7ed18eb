"""The table of messages that every stream is held to, and what the embedded one makes of it."""

from __future__ import annotations

import re

import pytest

from tests.unit.events.event_cases import (
    CHANGES,
    bad,
    generated,
    good,
    intake,
    intake_of_changes,
    made_of,
)
from zipline.errors import TableError
from zipline.orchestration.events.intake import Intake
from zipline.types import BIGINT, BOOLEAN, STRING, TIMESTAMP

EVENTS, OF_CHANGES = intake(), intake_of_changes()


def test_what_is_an_event_is_taken() -> None:
    found = {message: made_of(EVENTS, message)[0] for message in good()}
    assert {message: made for message, made in found.items() if "refused" in made} == {}


def test_what_is_none_is_refused_with_its_place() -> None:
    for message in bad():
        (made,) = made_of(EVENTS, message)
        assert made.get("refused", "taken").startswith("$"), message[:200]


def test_whatever_comes_is_taken_or_refused() -> None:
    taken = sum("row" in made_of(EVENTS, message)[0] for message in generated(0, 2000))
    assert 200 < taken < 1800


@pytest.mark.parametrize(
    ("message", "count"), CHANGES, ids=[str(None if each is None else each[:80]) for each, _ in CHANGES]
)
def test_a_change_gives_the_row_that_it_took_away_and_the_one_that_it_brought(
    message: bytes | None, count: int
) -> None:
    made = made_of(OF_CHANGES, message, is_change=True)
    assert (-1 if made and "refused" in made[0] else len(made)) == count


@pytest.mark.parametrize(
    ("column", "value", "made"),
    [
        ("price", "12.5", "12.50"),
        ("price", "1e2", "100.00"),
        ("exact", "9223372036854775808", "9223372036854775808.0000000000"),
        ("at", '"2024-05-05T10:00:00.1234569Z"', 1714903200123456),
        ("at", '"1969-12-31T23:59:59.9999999Z"', -1),
        ("at", '"9999-12-31T23:59:59.999999999"', 253402300799999999),
        ("by time", '{"1970-01-01T00:00:00.0000019Z": "a"}', [[1, "a"]]),
        ("at", '"1969-12-31T23:59:59.999999"', -1),
        ("by time", '{"0": "a", "1970-01-01T01:00:00+01:00": "b"}', [[0, "b"]]),
        ("by short", '{"16777217": 1, "16777216": 2}', [["16777216.0", 2]]),
        ("x", "-0", "0.0"),
        ("x", "-0.0", "-0.0"),
    ],
)
def test_values_are_what_was_meant(column: str, value: str, made: object) -> None:
    message = f'{{"{column}": {value}}}' if column == "at" else f'{{"at": 0, "{column}": {value}}}'
    (found,) = made_of(EVENTS, message.encode())
    assert found["row"][list(EVENTS.columns).index(column)] == made


def test_the_envelope_fills_two_columns_of_their_types() -> None:
    update = b'{"op": "u", "before": {"at": 1}, "after": {"at": 2}, "source": {"ts_us": 7, "ts_ms": 8}, "ts_ms": 9}'
    rows = [made["row"] for made in made_of(OF_CHANGES, update, is_change=True)]
    assert [(row[0], row[-2], row[-1]) for row in rows] == [(1, 7, True), (2, 7, False)]
    for time in (BIGINT, STRING):
        with pytest.raises(TableError, match=r"'t' of events is (BIGINT|STRING), where a change's envelope fills"):
            Intake("events", {"t": time, "b": BOOLEAN}, frozenset("tb"), envelope=("t", "b"))
    with pytest.raises(TableError, match="'c' of events is None"):
        Intake("events", {"t": TIMESTAMP, "b": BOOLEAN}, frozenset("tb"), envelope=("t", "c"))


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (b'{"op": "d", "ts_ms": 1}', r"\$.before: is missing: .*REPLICA IDENTITY FULL"),
        (b'{"payload": {"op": "u", "ts_ms": 1}}', r"\$.payload.before: is missing"),
        (b'{"op": "t", "ts_ms": 1}', r"\$.op: is no change of a row"),
        (b'{"op": "c", "after": {"at": 1}}', "does not say when the change was made"),
        (b'{"op": "c", "after": {"at": 1, "was": true}, "ts_ms": 1}', r"\$.after.was: .*the envelope says it"),
        (b'{"op": "c", "after": {"at": "x"}, "ts_ms": 1}', r"\$.after.at: Invalid RFC3339"),
        (b'{"op": "u", "before": {"at": 1, "price": 1e9}, "after": {"at": 1}, "ts_ms": 1}', r"\$.before.price: "),
        (b'{"payload": 1}', r"\$.payload: Expected object, got int"),
        (b"", r"\$: an empty message"),
    ],
)
def test_what_is_no_change_is_refused_with_the_remedy(message: bytes, said: str) -> None:
    (made,) = made_of(OF_CHANGES, message, is_change=True)
    assert re.search(said, made["refused"])
