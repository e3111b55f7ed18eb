"""What an event may be: one rule, and errors that say where."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zipline.errors import EventError, UsageError
from zipline.orchestration.events.intake import LONGEST, LONGEST_EVENT, MOST_EVENTS, Intake
from zipline.types import (
    BIGINT,
    BINARY,
    BOOLEAN,
    DATE,
    DOUBLE,
    FLOAT,
    INT,
    NULL,
    STRING,
    TIMESTAMP,
    TINYINT,
    DataType,
    DecimalType,
    array,
    map_of,
    struct,
)

AT = "2024-05-05T10:00:00Z"
SCHEMA: dict[str, DataType] = {
    "at": TIMESTAMP,
    "tiny": TINYINT,
    "n": INT,
    "big": BIGINT,
    "x": DOUBLE,
    "short": FLOAT,
    "word": STRING,
    "is it": BOOLEAN,
    "day": DATE,
    "blob": BINARY,
    "price": DecimalType(precision=6, scale=2),
    "nothing": NULL,
    "list": array(TIMESTAMP),
    "map": map_of(STRING, BIGINT),
    "both": struct(a=INT, b=array(STRING)),
    "ds": STRING,
}
INTAKE = Intake("t", SCHEMA, frozenset(["at"]), "ds")


def rows(*events: Any) -> list[dict[str, Any]]:
    text = json.dumps({"events": events}).encode()
    found: list[dict[str, Any]] = INTAKE.arrow(INTAKE.posted(text)).to_pylist()
    assert INTAKE.arrow(INTAKE.posted(events)).to_pylist() == found, "text and objects mean the same"
    again = [INTAKE.event(each) for each in INTAKE.encoded(INTAKE.posted(text))]
    assert INTAKE.arrow(again).to_pylist() == found, "what is kept is what was meant"
    return found


def test_values_of_every_type() -> None:
    ten = dt.datetime(2024, 5, 5, 10, tzinfo=dt.timezone.utc)
    event = {
        "at": "2024-05-05T12:00:00+02:00",
        "tiny": -128,
        "n": 2**31 - 1,
        "big": -(2**63),
        "x": 1,
        "short": 0.5,
        "word": "a\x00é\U0001f600",
        "is it": False,
        "day": "2024-02-29",
        "blob": "AAE=",
        "price": "12.5",
        "nothing": None,
        "list": [AT, None, 0],
        "map": {"k": 1, "": None},
        "both": {"a": 1, "b": ["x", None]},
    }
    assert rows(event) == [
        event
        | {
            "at": ten,
            "day": dt.date(2024, 2, 29),
            "blob": b"\0\1",
            "price": Decimal("12.50"),
            "list": [ten, None, dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)],
            "map": [("k", 1), ("", None)],
        }
    ]


def test_what_is_left_out_is_null_and_instants_without_a_zone_are_utc() -> None:
    (row,) = rows({"at": "2024-05-05T10:00:00"})
    assert row.pop("at") == dt.datetime(2024, 5, 5, 10, tzinfo=dt.timezone.utc)
    assert set(row.values()) == {None}
    assert "ds" not in row
    assert rows() == []


WRONG = [
    ({"n": 1.0}, "$.events[1].n", "Expected int | null, got float"),
    ({"n": "12"}, "$.events[1].n", "Expected int | null, got str"),
    ({"n": True}, "$.events[1].n", "Expected int | null, got bool"),
    ({"n": 2**31}, "$.events[1].n", "Expected int <= 2147483647"),
    ({"tiny": -129}, "$.events[1].tiny", "Expected int >= -128"),
    ({"big": 2**63}, "$.events[1].big", "<= 9223372036854775807"),
    ({"x": "1"}, "$.events[1].x", "Expected float | null, got str"),
    ({"x": False}, "$.events[1].x", "got bool"),
    ({"short": 1e39}, "$.events[1].short", "Expected float <= 3.4"),
    ({"word": 1}, "$.events[1].word", "Expected str | null, got int"),
    ({"is it": 0}, "$.events[1].is it", "Expected bool | null, got int"),
    ({"day": "2024-02-30"}, "$.events[1].day", "Invalid RFC3339 encoded date"),
    ({"at": "2024-05-05"}, "$.events[1].at", "Invalid RFC3339 encoded datetime"),
    ({"at": 1.5}, "$.events[1].at", "Expected int | datetime, got float"),
    ({"at": None}, "$.events[1].at", "got null"),
    ({"at": 10**18}, "$.events[1].at", "Expected int <="),
    ({"at": "0001-01-01T00:00:00+14:00"}, "$.events[1].at", "outside the years 1 to 9999"),
    ({"blob": "!"}, "$.events[1].blob", "base64"),
    ({"price": 1.234}, "$.events[1].price", "would cause data loss"),
    ({"price": 12345.5}, "$.events[1].price", "DECIMAL(6, 2)"),
    ({"price": "NaN"}, "$.events[1].price", "DECIMAL(6, 2)"),
    ({"nothing": 1}, "$.events[1].nothing", "Expected null, got int"),
    ({"list": [AT, "x"]}, "$.events[1].list[1]", "datetime"),
    ({"list": AT}, "$.events[1].list", "Expected array | null, got str"),
    ({"map": {"k": "v"}}, "$.events[1].map[...]", "Expected int | null, got str"),
    ({"both": {"c": 1}}, "$.events[1].both.c", "no such field"),
    ({"wrod": "x"}, "$.events[1].wrod", "the table has no such column"),
    ({"ds": "2024-05-05"}, "$.events[1].ds", "it is the day on which the event happened"),
]


@pytest.mark.parametrize(("event", "path", "said"), WRONG, ids=[str(each[0]) for each in WRONG])
def test_a_value_of_another_type_is_refused_with_its_path(event: dict[str, Any], path: str, said: str) -> None:
    events = [{"at": AT}, {"at": AT} | event, {"at": AT}]
    for batch in (events, json.dumps({"events": events}).encode()):
        with pytest.raises(EventError) as refused:
            INTAKE.posted(batch)
        assert refused.value.path == path
        assert said in refused.value.reason
        assert refused.value.facts()["path"] == path


def test_an_unknown_column_is_guessed_and_the_time_is_asked_for() -> None:
    with pytest.raises(EventError) as refused:
        INTAKE.posted([{"at": AT, "wrod": 1}])
    assert refused.value.suggestion == "word"
    with pytest.raises(EventError, match=r"\$.events\[0\].at: is missing: it says when the event happened"):
        INTAKE.posted([{"n": 1}])


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[",
        b"[]",
        b"{}",
        b'{"events": 1}',
        b'{"events": [1]}',
        b'{"events": [], "more": 1}',
        b'{"events": [{"at": 1, "x": NaN}]}',
        b'{"events": [{"at": 1, "x": 1e999}]}',
        b'{"events": [{"at": 1, "x": -Infinity}]}',
        b'{"events": [{"at": 1, "word": "\xff"}]}',
        b'{"events": [{"at": 1, "word": "\\ud800"}]}',
        b'{"events": [{"at": 1}]} x',
        b"[" * 100_000,
        b'{"events": ' + b"[" * 100_000,
    ],
)
def test_what_is_no_batch_is_refused(text: bytes) -> None:
    with pytest.raises(EventError):
        INTAKE.posted(text)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_json_does_not_have_are_refused_of_python_too(value: float) -> None:
    with pytest.raises(EventError):
        INTAKE.posted([{"at": AT, "x": value}])


def test_half_of_a_character_is_refused() -> None:
    with pytest.raises(EventError):
        INTAKE.encoded(INTAKE.posted([{"at": AT, "word": "\ud800"}]))


def test_what_is_too_much_is_refused() -> None:
    with pytest.raises(UsageError, match="events are too many"):
        INTAKE.posted([{"at": AT}] * (MOST_EVENTS + 1))
    with pytest.raises(UsageError, match="bytes are too many"):
        INTAKE.posted(b" " * (LONGEST + 1))
    long = {"at": AT, "word": "x" * LONGEST_EVENT}
    with pytest.raises(EventError, match="bytes are too many for an event"):
        INTAKE.encoded(INTAKE.posted([long]))
    with pytest.raises(EventError, match="bytes are too many for an event"):
        INTAKE.event(json.dumps(long).encode())


@settings(deadline=None)
@given(
    st.fixed_dictionaries(
        {"at": st.integers(0, 2**48)},
        optional={
            "n": st.none() | st.integers(-(2**31), 2**31 - 1),
            "x": st.none() | st.floats(allow_nan=False, allow_infinity=False),
            "word": st.none() | st.text(st.characters(exclude_categories=["Cs"])),
            "map": st.none() | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.none()),
        },
    )
)
def test_what_is_accepted_is_kept_as_it_is(event: dict[str, Any]) -> None:
    (row,) = rows(event)
    assert {name: row[name] for name in ("n", "x", "word")} == {name: event.get(name) for name in ("n", "x", "word")}


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (b"{}", "$.events"),
        (b'{"rows": []}', "$.rows"),
        (b'{"events": [], "rows": []}', "$.rows"),
        (b'{"events": {}}', "$.events"),
        (b"[]", "$"),
        (b"null", "$"),
    ],
)
def test_what_is_no_batch_is_told_what_one_is(text: bytes, path: str) -> None:
    with pytest.raises(EventError) as wrong:
        INTAKE.posted(text)
    assert wrong.value.path == path
    assert 'a batch is {"events": [{...}, ...]}' in str(wrong.value)


KEYED = {
    "at": TIMESTAMP,
    "m": map_of(TIMESTAMP, BIGINT),
    "l": array(struct(s=map_of(TIMESTAMP, map_of(TIMESTAMP, INT)))),
}


def test_texts_of_instants_as_keys_are_read_of_python_too() -> None:
    intake = Intake("tab", KEYED, frozenset({"at"}))
    finer, cut = "2024-05-05T10:00:00.1234567Z", dt.datetime(2024, 5, 5, 10, 0, 0, 123456, dt.timezone.utc)
    row = {"at": AT, "m": {finer: 1}, "l": [{"s": {finer: {"1714903200000000": 2}, AT: None}}, None]}
    events = intake.posted([row])
    assert (
        intake.arrow(events).to_pylist()
        == intake.arrow(intake.posted(json.dumps({"events": [row]}).encode())).to_pylist()
    )
    assert intake.arrow(events).column("m").to_pylist() == [[(cut, 1)]]
    (text,) = intake.encoded(events)
    assert intake.arrow([intake.event(text)]).to_pylist() == intake.arrow(events).to_pylist()


@pytest.mark.parametrize("key", ["2024-05-05", "20240505T10", "2024-W19-1", "junk", "", "1.5"])
def test_a_key_that_is_no_instant_is_refused_with_its_row(key: str) -> None:
    intake = Intake("tab", KEYED, frozenset({"at"}))
    for column, value in (("m", {key: 1}), ("l", [{"s": {AT: {key: 1}}}])):
        with pytest.raises(EventError) as refused:
            intake.posted([{"at": AT}, {"at": AT, column: value}])
        assert str(refused.value.path).startswith(f"$.events[1].{column}")
        with pytest.raises(EventError):
            intake.posted(json.dumps({"events": [{"at": AT, column: value}]}).encode())
