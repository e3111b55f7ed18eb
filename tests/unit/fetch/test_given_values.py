"""What a request gives is of the types of the left's columns, whatever stands within it; keys are equal by value."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from zipline import (
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
from zipline.errors import DataError

INSTANT = pa.timestamp("us", "UTC")
NOON = dt.datetime(2024, 3, 1, 12, tzinfo=dt.timezone.utc)
LATER = dt.datetime(2024, 3, 2, 12, tzinfo=dt.timezone.utc)


def platform(
    key: pa.Array, left: dict[str, pa.Array], derivations: list[Derivation], *aggregations: Aggregation
) -> LocalPlatform:
    """Events of the keys with v = 1, 10, 100, ..., and a left of the columns `left`, of which `b` is the key."""
    count = len(key)
    events = pa.table(
        {"a": key, "v": [10**n for n in range(count)], "w": pa.array([NOON] * count, INSTANT), "t": [NOON] * count}
    )
    rows = pa.table({**left, "at": pa.array([LATER] * len(left["b"]), INSTANT)})
    source = EventSource("moves", topic=Topic("moves"), query=Query(time="t"))
    of = GroupBy(["a"], [source], [Aggregation("v", Operation.SUM), *aggregations], name="g", online=True)
    query = Query(list(left), time="at")
    join = Join(EventSource("asked", query), [JoinPart(of, key_map={"b": "a"})], derivations=derivations, name="j")
    local = LocalPlatform(join, tables={"moves": events, "asked": rows})
    local.advance(LATER)
    local.upload("2024-03-01")
    return local


def both(local: LocalPlatform, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What a fetch gives, after it was compared with the backfill."""
    found = local.fetch("j", rows).rows()
    backfilled = local.backfill("j")
    for name in found[0]:
        offline = backfilled.column(name).to_pylist()
        kind = backfilled.schema.field(name).type
        assert [row[name] for row in found] == [dict(v) if pa.types.is_map(kind) and v else v for v in offline], name
    return found


@pytest.mark.parametrize(
    ("stored", "kind", "given", "expected"),
    [
        (pa.array([0.1], pa.float32()), pa.float64(), [0.1, 1e300, 0.10000000149011612], [None, None, 1]),
        (pa.array([0.1, 0.10000000149011612]), pa.float32(), [0.1], [10]),
        (pa.array([1], pa.int8()), pa.int64(), [257, 1], [None, 1]),
        (pa.array([1], pa.int32()), pa.int64(), [3_000_000_000, 1], [None, 1]),
        (pa.array([1], pa.int64()), pa.int8(), [1], [1]),
    ],
)
def test_keys_of_other_widths_are_equal_by_value(
    stored: pa.Array, kind: pa.DataType, given: list[Any], expected: list[Any]
) -> None:
    local = platform(stored, {"b": pa.array(given, kind)}, [])
    assert [row["g_v_sum"] for row in both(local, [{"b": value} for value in given])] == expected


@pytest.mark.parametrize("zero", [0, -0.0, Decimal("-0.0"), Decimal("-0E+3"), Decimal("0.000")])
def test_a_decimal_zero_is_zero_whatever_its_sign(zero: Any) -> None:
    kind = pa.decimal128(12, 3)
    local = platform(pa.array([Decimal(0)], kind), {"b": pa.array([Decimal("-0.0")], kind)}, [])
    assert both(local, [{"b": zero}]) == [{"g_v_sum": 1}]
    assert local.fetch("j", [{"b": Decimal("1e99999999")}, {"b": Decimal("1e-99999999")}]).rows() == [
        {"g_v_sum": None},
        {"g_v_sum": None},
    ]


def test_instants_within_values_are_instants() -> None:
    lists, maps = pa.list_(INSTANT), pa.map_(INSTANT, pa.int64())
    struct = pa.struct([("at", INSTANT), ("days", lists)])
    left = {
        "b": pa.array(["x"]),
        "l": pa.array([[NOON, None]], lists),
        "m": pa.array([[(NOON, 5)]], maps),
        "s": pa.array([{"at": NOON, "days": [NOON]}], struct),
    }
    derivations = [
        Derivation("in_list", "array_contains(l, g_w_last)"),
        Derivation("of_map", "m[g_w_last]"),
        Derivation("of_counts", "g_w_histogram[g_w_last]"),
        Derivation("in_last", "array_contains(g_w_last_k2, l[1])"),
        Derivation("in_struct", "array_contains(s.days, s.at)"),
        Derivation("same_list", "coalesce(l, l)"),
        Derivation("same_map", "m"),
        Derivation("same_struct", "s"),
    ]
    local = platform(
        pa.array(["x"]),
        left,
        derivations,
        Aggregation("w", Operation.LAST),
        Aggregation("w", Operation.LAST_K, k=2),
        Aggregation("w", Operation.HISTOGRAM),
    )
    given = {name: left[name][0].as_py() for name in left}
    for row in (given, {**given, "m": {NOON: 5}}):
        (found,) = both(local, [row])
        expected = {"in_list": True, "of_map": 5, "of_counts": 1, "in_last": True, "in_struct": True}
        assert {name: found[name] for name in expected} == expected
        assert (found["same_list"], found["same_map"]) == ([NOON, None], {NOON: 5})
        assert found["same_struct"] == {"at": NOON, "days": [NOON]}


KINDS = {
    "d": pa.decimal128(5, 2),
    "l": pa.list_(pa.decimal128(5, 2)),
    "s": pa.struct([("n", pa.int64()), ("f", pa.float32())]),
    "m": pa.map_(pa.string(), pa.int8()),
    "at": INSTANT,
    "x": pa.string(),
}
GIVEN: dict[str, Any] = {
    "d": Decimal("1.50"),
    "l": [Decimal("1.50")],
    "s": {"n": 1, "f": 0.1},
    "m": {"a": 1},
    "at": NOON,
    "x": "ü",
}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("d", Decimal(12345)),
        ("d", Decimal("1.555")),
        ("l", [Decimal("1.555")]),
        ("l", Decimal(1)),
        ("l", "ab"),
        ("s", {"n": 2**70, "f": 0.1}),
        ("s", {"n": True, "f": 0.1}),
        ("s", {"n": 1, "zz": 1}),
        ("s", 5),
        ("m", {"a": 300}),
        ("m", {None: 1}),
        ("m", [1]),
        ("at", "0001-01-01T00:00:00+14:00"),
        ("at", "9999-12-31T23:59:59-12:00"),
        ("x", "\ud800"),
    ],
)
def test_what_stands_within_a_value_is_of_its_type_too(name: str, value: Any) -> None:
    left = {"b": pa.array(["x"]), **{name: pa.array([None], kind) for name, kind in KINDS.items() if name != "at"}}
    left["when"] = pa.array([None], INSTANT)
    derivations = [Derivation(f"same_{each}", each) for each in left if each != "b"] + [Derivation("f", "s.f + 0")]
    local = platform(pa.array(["x"]), left, derivations)
    given = {"b": "x", **GIVEN, "when": NOON}
    (row,) = local.fetch("j", [given]).rows()
    assert (row["same_l"], row["same_m"], row["f"]) == ([Decimal("1.50")], {"a": 1}, 0.10000000149011612)
    name = "when" if name == "at" else name
    with pytest.raises(DataError, match=rf"rows\[0\]\.{name}: .* is not a value of type"):
        local.fetch("j", [{**given, name: value}])
