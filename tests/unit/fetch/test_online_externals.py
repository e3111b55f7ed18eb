"""External sources in a fetch: asked beside the store, each key once, and their failures are theirs alone."""

import gc
import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest

from zipline import (
    Accuracy,
    Aggregation,
    Derivation,
    EventSource,
    ExternalSource,
    GroupBy,
    Join,
    JoinPart,
    LocalPlatform,
    Operation,
    Query,
    breaker,
)
from zipline.errors import DataError

ANSWERS: dict[str, Any] = {}
"""What the handlers do in a test: a handler is a function of a module."""


def first(rows: Sequence[Any]) -> Any:
    return ANSWERS["first"](rows)


def second(rows: Sequence[Any]) -> Any:
    return ANSWERS["second"](rows)


def third(rows: Sequence[Any]) -> Any:
    return ANSWERS["third"](rows)


VISITS = EventSource("visits", query=Query(select=["user", "city"], time="t"))
ORDERS = EventSource("orders", query=Query(select=["user", "amount"], time="t"))
SPENT = GroupBy(
    ["user"], [ORDERS], [Aggregation("amount", Operation.SUM)], accuracy=Accuracy.SNAPSHOT, online=True, name="spent"
)


def platform(*externals: JoinPart, derivations: Sequence[Derivation] = ()) -> LocalPlatform:
    join = Join(VISITS, [JoinPart(SPENT), *externals], derivations=derivations, online=True, name="join")
    orders = [{"user": user, "amount": user * 10, "t": "2024-03-01T10:00:00"} for user in (1, 2)]
    local = LocalPlatform(join, tables={"orders": orders, "visits": [{"user": 1, "city": "x", "t": "2024-03-01"}]})
    local.advance("2024-03-02T08:00:00")
    local.upload("2024-03-01")
    return local


def limits(handler: Any) -> ExternalSource:
    ANSWERS["first"] = handler
    return ExternalSource({"user": "BIGINT"}, {"amount": "DOUBLE"}, first, timeout="60s", name="limits")


def test_answers_stand_beside_the_features_and_are_derived_from() -> None:
    asked: list[Any] = []

    def handler(rows: Sequence[Any]) -> list[Any]:
        asked.append(list(rows))
        return [{"amount": 100.0 * row["user"]} if row["user"] != 3 else None for row in rows]

    local = platform(JoinPart(limits(handler)), derivations=[Derivation("left", "limits_amount - spent_amount_sum")])
    found = local.fetch("join", [{"user": user} for user in (1, 2, 1, 3, None)])
    assert found.rows() == [
        {"spent_amount_sum": 10, "limits_amount": 100.0, "left": 90.0},
        {"spent_amount_sum": 20, "limits_amount": 200.0, "left": 180.0},
        {"spent_amount_sum": 10, "limits_amount": 100.0, "left": 90.0},
        {"spent_amount_sum": None, "limits_amount": None, "left": None},
        {"spent_amount_sum": None, "limits_amount": None, "left": None},
    ]
    assert [found.status(row, "limits_amount") for row in range(5)] == ["ok", "ok", "ok", "default", "default"]
    assert asked == [[{"user": 1}, {"user": 2}, {"user": 3}]]


def test_a_source_that_fails_makes_only_its_own_columns_and_what_is_derived_of_them_unavailable() -> None:
    def handler(rows: Sequence[Any]) -> list[Any]:
        raise ConnectionError("down")

    local = platform(JoinPart(limits(handler)), derivations=[Derivation("left", "limits_amount - spent_amount_sum")])
    found = local.fetch("join", [{"user": 1}])
    assert found.rows() == [{"spent_amount_sum": 10, "limits_amount": None, "left": None}]
    assert [found.status(0, name) for name in found.features] == ["ok", "unavailable", "unavailable"]


def test_a_source_that_hangs_costs_its_time_limit_and_no_more() -> None:
    is_over, together, met = threading.Event(), threading.Barrier(3), []

    def hangs(_: Sequence[Any]) -> None:
        together.wait(60)  # they are asked at once, or nobody comes further
        met.append(1)
        is_over.wait(60)

    handlers = {"first": first, "second": second, "third": third}
    ANSWERS.update(dict.fromkeys(handlers, hangs))
    sources = [
        ExternalSource({"user": "BIGINT"}, {"v": "DOUBLE"}, handler, timeout="300ms", name=name)
        for name, handler in handlers.items()
    ]
    local = platform(*(JoinPart(source) for source in sources))
    began = time.monotonic()
    found = local.fetch("join", [{"user": 1}])
    took = time.monotonic() - began
    is_over.set()
    assert [found.status(0, f"{name}_v") for name in handlers] == ["unavailable"] * 3
    assert found.rows()[0]["spent_amount_sum"] == 10
    assert len(met) == 3, "they were not asked at once"
    assert took < 10, "it was waited for"


def test_a_source_that_fails_again_and_again_is_spared_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(breaker, "monotonic", lambda: clock[0])
    calls: list[int] = []
    is_down = [True]

    def handler(rows: Sequence[Any]) -> list[Any]:
        calls.append(len(rows))
        if is_down[0]:
            raise ConnectionError("down")
        return [{"amount": 1.0} for _ in rows]

    local = platform(JoinPart(limits(handler)))
    for _ in range(20):
        assert local.fetch("join", [{"user": 1}]).status(0, "limits_amount") == "unavailable"
    assert len(calls) == 5
    is_down[0] = False
    assert local.fetch("join", [{"user": 1}]).status(0, "limits_amount") == "unavailable"
    clock[0] += breaker.PAUSE
    assert [local.fetch("join", [{"user": 1}]).status(0, "limits_amount") for _ in range(3)] == ["ok"] * 3


def test_a_key_that_a_handler_cannot_take_costs_no_other_key_its_answer() -> None:
    calls: list[int] = []

    def handler(rows: Sequence[Any]) -> list[Any]:
        calls.append(len(rows))
        return [{"amount": 100.0 / (row["user"] - 30)} for row in rows]

    local = platform(JoinPart(limits(handler)))
    for _ in range(8):
        found = local.fetch("join", [{"user": user} for user in range(64)])
        statuses = [found.status(row, "limits_amount") for row in range(64)]
        assert [user for user, status in enumerate(statuses) if status != "ok"] == [30]
        assert statuses[30] == "unavailable"
        assert found.rows()[31]["limits_amount"] == 100.0
    assert len(calls) == 8 * (1 + 2 * 6), "each time the whole, and six times two halves"
    assert local.fetch("join", [{"user": 30}]).status(0, "limits_amount") == "unavailable"


def test_a_source_that_raises_for_every_key_is_asked_by_halves_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breaker, "monotonic", lambda: 100.0)
    calls: list[int] = []

    def handler(rows: Sequence[Any]) -> list[Any]:
        calls.append(len(rows))
        raise ValueError("broken")

    local = platform(JoinPart(limits(handler)))
    for _ in range(20):
        found = local.fetch("join", [{"user": user} for user in range(64)])
        assert {found.status(row, "limits_amount") for row in range(64)} == {"unavailable"}
    assert calls == [64, 32, 32, 16, 16, 16, 16] * 5


def test_keys_in_both_halves_that_a_handler_cannot_take_cost_no_other_key_its_answer() -> None:
    bad = {3, 40, 63}

    def handler(rows: Sequence[Any]) -> list[Any]:
        if bad & {row["user"] for row in rows}:
            raise FileNotFoundError("no file of this key")
        return [{"amount": float(row["user"])} for row in rows]

    local = platform(JoinPart(limits(handler)))
    for _ in range(8):
        found = local.fetch("join", [{"user": user} for user in range(64)])
        expected = [(None, "unavailable") if user in bad else (float(user), "ok") for user in range(64)]
        assert [
            (row["limits_amount"], found.status(n, "limits_amount")) for n, row in enumerate(found.rows())
        ] == expected


def test_a_handler_may_do_with_its_rows_what_it_likes() -> None:
    def handler(rows: Any) -> list[Any]:
        found = [{"amount": float(row["user"])} for row in rows]
        rows.sort(key=lambda row: -row["user"])
        for row in rows:
            row["user"] += 1_000
        if 1_005 in {row["user"] for row in rows}:
            raise ValueError("not this one")
        return found

    local = platform(JoinPart(limits(handler)))
    found = local.fetch("join", [{"user": user} for user in (9, 5, 1, 3)])
    assert [row["limits_amount"] for row in found.rows()] == [9.0, None, 1.0, 3.0]


def test_of_a_half_of_another_shape_the_values_are_in_error() -> None:
    def handler(rows: Sequence[Any]) -> list[Any]:
        if len(rows) == 4:
            raise ValueError("too many")
        return [{"amount": 1.0}] * (2 if rows[0]["user"] == 1 else 3)

    local = platform(JoinPart(limits(handler)))
    found = local.fetch("join", [{"user": user} for user in (1, 2, 3, 4)])
    assert [found.status(row, "limits_amount") for row in range(4)] == ["ok", "ok", "error", "error"]


def test_threads_of_sources_end_with_those_who_ask_them() -> None:
    def named() -> int:
        return sum(thread.name == "external limits" for thread in threading.enumerate())

    before = named()
    ANSWERS["first"] = lambda rows: [{"amount": 1.0} for _ in rows]
    local = platform(JoinPart(limits(ANSWERS["first"])))
    assert local.fetch("join", [{"user": 1}]).status(0, "limits_amount") == "ok"
    assert named() == before + 1
    del local
    gc.collect()
    ends = time.monotonic() + 60
    while named() > before:
        assert time.monotonic() < ends
        time.sleep(0.01)


def test_keys_of_a_source_are_typed_as_all_keys_are() -> None:
    asked: list[Any] = []

    def handler(rows: Sequence[Any]) -> list[Any]:
        asked.extend(row["spot"] for row in rows)
        return [{"size": 1} for _ in rows]

    ANSWERS["second"] = handler
    source = ExternalSource({"spot": "DOUBLE"}, {"size": "BIGINT"}, second, name="spots")
    visits = EventSource("visits", query=Query(select=["user", "spot"], time="t"))
    join = Join(visits, [JoinPart(SPENT), JoinPart(source)], online=True, name="join")
    local = LocalPlatform(
        join,
        tables={
            "orders": [{"user": 1, "amount": 1, "t": "2024-03-01"}],
            "visits": [{"user": 1, "spot": 0.5, "t": "2024-03-01"}],
        },
    )
    local.advance("2024-03-02T08:00:00")
    local.upload("2024-03-01")
    found = local.fetch("join", [{"user": 1, "spot": spot} for spot in (0.0, -0.0, 2, float("nan"))])
    assert [found.status(row, "spots_size") for row in range(4)] == ["ok", "ok", "ok", "default"]
    assert sorted(map(repr, asked)) == ["0.0", "2.0"], "NaN is nobody's key, and -0.0 is 0.0"
    with pytest.raises(DataError, match="spot"):
        local.fetch("join", [{"user": 1, "spot": "x"}])


def test_a_twin_stands_for_a_source_offline_alone() -> None:
    twin = GroupBy(["user"], [ORDERS], [Aggregation("amount", Operation.MAX)], name="twin", accuracy=Accuracy.SNAPSHOT)
    ANSWERS["first"] = lambda rows: [{"amount_max": 7} for _ in rows]
    source = ExternalSource(
        {"user": "BIGINT"}, {"amount_max": "BIGINT"}, first, offline=twin, name="source", timeout="5s"
    )
    local = platform(JoinPart(source))
    found = local.fetch("join", [{"user": 1}])
    assert (found.rows()[0]["source_amount_max"], found.status(0, "source_amount_max")) == (7, "ok")


def test_of_a_row_without_the_key_of_a_source_its_values_are_in_error() -> None:
    ANSWERS["first"] = lambda rows: [{"size": 7} for _ in rows]
    source = ExternalSource({"city": "VARCHAR"}, {"size": "BIGINT"}, first, name="cities")
    local = platform(JoinPart(source))
    found = local.fetch("join", [{"user": 1, "city": "x"}, {"user": 1}, {"user": 1, "city": None}])
    assert [row["cities_size"] for row in found.rows()] == [7, None, None]
    assert [found.status(row, "cities_size") for row in range(3)] == ["ok", "error", "default"]
