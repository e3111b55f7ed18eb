"""An event of which a source cannot compute what it reads is none: told by its place, whoever brings it."""

from __future__ import annotations

from typing import Any

import pytest

from zipline import Aggregation, EntitySource, EventSource, GroupBy, Operation, Query, Topic
from zipline.errors import EventError
from zipline.expressions import parse
from zipline.orchestration.events.evaluation import may_fail
from zipline.orchestration.events.intake import Intake
from zipline.plan.build import plan_group_by
from zipline.types import BIGINT, BOOLEAN, DATE, DOUBLE, INT, STRING, TIMESTAMP

SCHEMA = {"key": STRING, "text": STRING, "kind": STRING, "n": BIGINT, "t": TIMESTAMP, "day": STRING, "ds": STRING}


def intake(*queries: dict[str, Any], partition: str | None = None) -> Intake:
    sources = []
    for query in queries:
        asked = {"select": {"key": "key", "n": "n"}, "time": "t"} | query
        source = EventSource("events", topic=Topic("events"), query=Query(**asked))
        counts = [Aggregation("n", Operation.COUNT, windows=["1d"])]
        group_by = GroupBy(["key"], [source], counts, name="g")
        sources += plan_group_by(group_by, lambda _: SCHEMA).sources
    return Intake("events", SCHEMA, frozenset(["t"]), partition, sources)


def event(**values: Any) -> dict[str, Any]:
    return {"key": "a", "text": "1", "t": "2024-05-05T00:00:00Z"} | values


@pytest.fixture(params=["in Python", "by DuckDB"], autouse=True)
def _both(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few rows and many are computed by different means, and the same is said of them."""
    if request.param == "by DuckDB":
        monkeypatch.setattr("zipline.orchestration.events.evaluation.FEW", 0)


CAST = {"select": {"key": "key", "n": "CAST(text AS BIGINT)"}}


def test_the_first_event_that_cannot_be_computed_is_told_by_its_place_and_without_its_value() -> None:
    with pytest.raises(EventError) as caught:
        intake({}, CAST).posted([event(), event(text="none"), event(text="secret")])
    assert caught.value.path == "$.events[1].text"
    assert caught.value.reason == "CAST(text AS BIGINT) cannot be computed of it"
    assert "TRY_CAST" in str(caught.value.hint)
    assert "none" not in str(caught.value)


@pytest.mark.parametrize("values", [{"text": None}, {"text": " 7 "}, {"text": "-9"}])
def test_what_can_be_computed_is_taken(values: dict[str, Any]) -> None:
    assert len(intake(CAST).posted([event(**values)])) == 1


@pytest.mark.parametrize(
    ("query", "values", "path"),
    [
        ({"where": ["CAST(text AS INT) > 0"]}, {"text": "x"}, "$.events[0].text"),
        ({"time": "day"}, {"day": "yesterday"}, "$.events[0].day"),
        ({"known_at": "CAST(day AS TIMESTAMP)"}, {"day": "2024-02-30"}, "$.events[0].day"),
        ({"event_id": "CAST(text AS BIGINT)"}, {"text": "x"}, "$.events[0].text"),
        ({"select": {"key": "key", "n": "n * 4"}}, {"n": 1 << 62}, "$.events[0].n"),
        ({"select": {"key": "key", "n": "CAST(text AS INT) + n"}}, {"text": "x", "n": 1}, "$.events[0]"),
    ],
)
def test_conditions_clocks_ids_and_arithmetic_count_too(query: Any, values: Any, path: str) -> None:
    with pytest.raises(EventError) as caught:
        intake(query).posted([event(**values)])
    assert caught.value.path == path


def test_a_column_of_a_row_that_the_conditions_leave_out_is_not_computed() -> None:
    guarded = intake(CAST | {"where": ["kind = 'number'"]})
    assert len(guarded.posted([event(kind="word", text="x"), event(kind="number")])) == 2
    with pytest.raises(EventError):
        guarded.posted([event(kind="number", text="x")])


def test_what_is_computed_of_the_partition_is_not_asked_of_an_event() -> None:
    of_day = intake({"select": {"key": "key", "n": "CAST(ds AS BIGINT)"}}, partition="ds")
    assert len(of_day.posted([event()])) == 1


def changes(**query: Any) -> Intake:
    """What takes the changes of an entity."""
    asked = {"select": {"key": "key", "n": "n"}, "time": "t", "partition": "ds"} | query
    source = EntitySource("states", mutations="events", topic=Topic("events"), query=Query(**asked))
    group_by = GroupBy(["key"], [source], [Aggregation("n", Operation.COUNT, windows=["1d"])], name="g")
    (states,) = plan_group_by(group_by, lambda _: SCHEMA).sources
    assert states.mutations is not None
    return Intake("events", SCHEMA, frozenset(), "ds", [states.mutations])


@pytest.mark.parametrize(
    ("values", "path", "reason"),
    [
        ({"day": "yesterday"}, "$.events[1].day", "cannot be computed of it"),
        ({"kind": None}, "$.events[1].kind", "is neither true nor false of it"),
        ({"kind": "x"}, "$.events[1].kind", "is neither true nor false of it"),
    ],
)
def test_a_change_says_when_it_was_made_and_which_way_it_goes(values: Any, path: str, reason: str) -> None:
    whole = event(day="2024-05-05T00:00:00Z", kind="1")
    checked = changes(mutation_time="day", is_before="CAST(kind AS INT) = 1")
    assert len(checked.posted([whole, whole | {"kind": "0"}])) == 2
    with pytest.raises(EventError) as caught:
        checked.posted([whole, whole | values])
    assert (caught.value.path, caught.value.reason.endswith(reason)) == (path, True)


def test_of_a_stream_every_wrong_row_is_told() -> None:
    checked = intake(CAST)
    rows = checked.arrow(intake({}).posted([event(text=text) for text in ("1", "x", "3", "y")]))
    assert {number: wrong.path for number, wrong in checked.evaluation.wrong(rows).items()} == {
        1: "$.text",
        3: "$.text",
    }


TYPES = {"text": STRING, "n": BIGINT, "i": INT, "x": DOUBLE, "t": TIMESTAMP, "day": DATE, "b": BOOLEAN}


@pytest.mark.parametrize(
    ("text", "fails"),
    [
        ("n", False),
        ("x > 0 AND text IN ('a', 'b')", False),
        ("x * 2", False),
        ("i > 3 OR x > i", False),
        ("upper(text)", False),
        ("TRY_CAST(text AS INT)", False),
        ("CAST(text AS INT)", True),
        ("CAST(x AS INT)", True),
        ("n + 1", True),
        ("CAST(text AS INT) > 1", True),
    ],
)
def test_only_what_may_fail_is_tried(text: str, fails: bool) -> None:
    assert may_fail(parse(text, TYPES)) == fails
