"""Rows of a request that have not all columns: what needs the missing ones is in error, everything else stands."""

from __future__ import annotations

from typing import Any

import pytest

from zipline import (
    Accuracy,
    Aggregation,
    Derivation,
    EventSource,
    GroupBy,
    Join,
    JoinPart,
    LocalPlatform,
    Operation,
    Query,
    Topic,
)

NOON = "2024-03-01T12:00:00Z"
MOVES = EventSource(table="moves", topic=Topic("moves"), query=Query(time="t"))
LEFT = EventSource(table="trips", query=Query(select=["origin", "dest", "fare"], time="t"))
TABLES = {
    "moves": [
        {"a": "A", "b": "B", "v": 1, "t": "2024-02-28T10:00:00Z"},
        {"a": "A", "b": "C", "v": 2, "t": "2024-02-29T10:00:00Z"},
        {"a": "B", "b": "B", "v": 5, "t": "2024-02-29T11:00:00Z"},
    ],
    "trips": [{"origin": "A", "dest": "B", "fare": 10.0, "t": NOON}],
}


def of(name: str, keys: list[str], accuracy: Accuracy, cache: str | None) -> GroupBy:
    return GroupBy(
        name=name,
        keys=keys,
        sources=[MOVES],
        aggregations=[
            Aggregation("v", Operation.SUM, windows=["7d"]),
            Aggregation("v", Operation.LAST_K, k=2, windows=["7d"]),
        ],
        derivations=[Derivation("twice", "v_sum_7d * 2")],
        accuracy=accuracy,
        cache=cache,
        online=True,
    )


def platform(accuracy: Accuracy = Accuracy.TEMPORAL, cache: str | None = None) -> LocalPlatform:
    parts = [
        JoinPart(of("one", ["a"], accuracy, cache), key_map={"origin": "a"}),
        JoinPart(of("pair", ["a", "b"], accuracy, cache), key_map={"origin": "a", "dest": "b"}),
    ]
    derivations = [Derivation("share", "fare / one_v_sum_7d"), Derivation("whither", "upper(dest)")]
    return LocalPlatform(Join(LEFT, parts, derivations=derivations, name="x.trips", online=True), tables=TABLES)


WHOLE = {"origin": "A", "dest": "B", "fare": 6.0}
ONE = {"one_v_sum_7d": 3, "one_v_last_k2_7d": [2, 1], "one_twice": 6}
PAIR = {"pair_v_sum_7d": 1, "pair_v_last_k2_7d": [1], "pair_twice": 2}
LEFTS = {"share": 2.0, "whither": "B"}


@pytest.mark.parametrize("cache", [None, "5s"])
@pytest.mark.parametrize("accuracy", [Accuracy.TEMPORAL, Accuracy.SNAPSHOT])
@pytest.mark.parametrize(
    ("missing", "wrong"),
    [
        ((), ()),
        (("dest",), {*PAIR, "whither"}),
        (("origin",), {*ONE, *PAIR, "share"}),
        (("fare",), {"share"}),
        (("origin", "dest", "fare"), {*ONE, *PAIR, *LEFTS}),
    ],
)
def test_what_needs_a_missing_column_is_in_error_and_nothing_else(
    missing: tuple[str, ...], wrong: set[str], accuracy: Accuracy, cache: str | None
) -> None:
    local = platform(accuracy, cache)
    local.upload("2024-02-29")
    local.advance(NOON)
    row = {name: value for name, value in WHOLE.items() if name not in missing}
    found = local.fetch("x.trips", [WHOLE, row, WHOLE])
    first, second, third = found.rows()
    assert first == third == {**ONE, **PAIR, **LEFTS}
    assert second == {name: None if name in wrong else value for name, value in first.items()}
    assert found.statuses() == [{}, dict.fromkeys(wrong, "error"), {}]
    assert found.count_statuses()[-1] == len(wrong)


def test_before_an_upload_what_lacks_its_key_is_in_error_and_all_else_unavailable() -> None:
    local = platform()
    found = local.join("x.trips").fetch([{"origin": "A"}], 0)
    expected: dict[str, Any] = dict.fromkeys(ONE, "unavailable") | dict.fromkeys((*PAIR, *LEFTS), "error")
    assert found.statuses() == [expected]
