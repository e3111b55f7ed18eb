"""Parts of one join beside each other, online as offline."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from zipline import (
    Accuracy,
    Aggregation,
    Contextual,
    Derivation,
    EntitySource,
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

NOON = "2024-03-01T12:00:00Z"
MOVES = EventSource(table="moves", topic=Topic("moves"), query=Query(select={"a": "a", "v": "v"}, time="t"))
LEFT = EventSource(table="trips", query=Query(select={"origin": "origin", "dest": "dest"}, time="t"))
TABLES = {
    "moves": [{"a": "A", "v": 1, "t": "2024-03-01T10:00:00Z"}, {"a": "B", "v": 5, "t": "2024-03-01T11:00:00Z"}],
    "trips": [{"origin": "A", "dest": "B", "t": NOON}],
}


def stats(team: str, addend: int = 1) -> GroupBy:
    return GroupBy(
        name=f"{team}.stats",
        keys=["a"],
        sources=[MOVES],
        aggregations=[Aggregation("v", Operation.SUM, windows=["1d"])],
        derivations=[
            Derivation("next", f"v_sum_1d + {addend}"),
            Derivation("tenfold", "v_sum_1d * 10"),
            Derivation("after", "next + 1"),
        ],
        online=True,
    )


def fetched(*parts: JoinPart) -> list[dict[str, Any]]:
    """The features of a trip from A to B, after they were compared with a backfill."""
    join = Join(name="x.trips", left=LEFT, parts=parts, online=True)
    platform = LocalPlatform(join, tables=TABLES)
    platform.upload("2024-02-29")
    platform.join(join)
    platform.advance(NOON)
    assert platform.assert_online_equals_offline(join)
    return platform.fetch(join, [{"origin": "A", "dest": "B"}]).rows()


@pytest.mark.parametrize(
    ("of_origin", "of_dest", "expected"),
    [
        ("next", "tenfold", {"stats_next": 2, "stats_tenfold": 50}),  # both need a sum that neither shows
        ("next", "after", {"stats_next": 2, "stats_after": 7}),  # one shows what the other only needs
        ("after", "tenfold", {"stats_after": 3, "stats_tenfold": 50}),
        ("v_sum_1d", "after", {"stats_v_sum_1d": 1, "stats_after": 7}),
    ],
)
def test_what_only_derivations_need_is_each_parts_own(of_origin: str, of_dest: str, expected: dict[str, int]) -> None:
    group_by = stats("x")
    found = fetched(
        JoinPart(group_by, key_map={"origin": "a"}, features=[of_origin]),
        JoinPart(group_by, key_map={"dest": "a"}, features=[of_dest]),
    )
    assert found == [expected]


def test_group_bys_of_the_same_short_name_have_their_own_too() -> None:
    keys = {"origin": "a"}
    found = fetched(
        JoinPart(stats("x"), key_map=keys, features=["next"]),
        JoinPart(stats("y", addend=100), key_map=keys, features=["after"]),
    )
    assert found == [{"stats_next": 2, "stats_after": 102}]


def test_maps_within_structs_are_compared_as_maps() -> None:
    rows = [{"a": "A", "v": {"of": [("x", 1)], "in": [[("y", 2)]]}, "t": "2024-02-01T00:00:00Z", "ds": "2024-02-29"}]
    counts = pa.map_(pa.string(), pa.int64())
    nested = pa.struct([("of", counts), ("in", pa.list_(counts))])
    table = pa.Table.from_pylist(rows, pa.schema([("a", "string"), ("v", nested), ("t", "string"), ("ds", "string")]))
    states = EntitySource(snapshots="states", query=Query(select={"a": "a", "v": "v"}, time="t", partition="ds"))
    group_by = GroupBy(name="x.state", keys=["a"], sources=[states], accuracy=Accuracy.SNAPSHOT, online=True)
    join = Join(name="x.trips", left=LEFT, parts=[JoinPart(group_by, key_map={"origin": "a"})], online=True)
    platform = LocalPlatform(join, tables={"trips": TABLES["trips"], "states": table})
    platform.upload("2024-02-29")
    platform.advance(NOON)
    assert platform.assert_online_equals_offline(join, keys=[{"origin": "A"}]) == 1
    assert platform.fetch(join, [{"origin": "A"}]).rows() == [{"state_v": {"of": {"x": 1}, "in": [{"y": 2}]}}]


@pytest.mark.parametrize("accuracy", list(Accuracy))
def test_a_default_is_a_value_of_its_features_type(accuracy: Accuracy) -> None:
    rows = [{"a": "A", "x": None, "price": None, "t": "2024-02-29T10:00:00Z"}]
    types = [("a", pa.string()), ("x", pa.float32()), ("price", pa.decimal128(10, 2)), ("t", pa.string())]
    prices = EventSource(table="prices", topic=Topic("prices"), query=Query(select=["a", "x", "price"], time="t"))
    most = [
        Aggregation("x", Operation.MAX, windows=["1d"], default=0.1),
        Aggregation("x", Operation.BOTTOM_K, k=2, windows=["1d"], default=[0.1]),
        Aggregation("price", Operation.MAX, windows=["1d"], default=2),
    ]
    group_by = GroupBy(name="x.most", keys=["a"], sources=[prices], aggregations=most, accuracy=accuracy, online=True)
    join = Join(name="x.trips", left=LEFT, parts=[JoinPart(group_by, key_map={"origin": "a"})], online=True)
    tables = {"trips": TABLES["trips"], "prices": pa.Table.from_pylist(rows, pa.schema(types))}
    platform = LocalPlatform(join, tables=tables)
    platform.upload("2024-02-29")
    platform.join(join)
    platform.advance("2024-03-01T03:00:00Z")
    assert platform.assert_online_equals_offline(join, keys=[{"origin": "A"}, {"origin": "Z"}]) == 6
    (of_nobody,) = platform.fetch(join, [{"origin": "Z"}]).rows()
    assert of_nobody["most_x_max_1d"] == float(np.float32(0.1))
    assert isinstance(of_nobody["most_price_max_1d"], Decimal)


def test_a_fetch_of_the_last_minute_before_1970_has_windows_too() -> None:
    at = "1969-12-31T23:59:30Z"
    sums = [Aggregation("v", Operation.SUM, windows=["1h", "1d"])]
    group_by = GroupBy(name="x.sums", keys=["a"], sources=[MOVES], aggregations=sums, online=True)
    join = Join(name="x.trips", left=LEFT, parts=[JoinPart(group_by, key_map={"origin": "a"})], online=True)
    times = [("1969-12-30T10:00:00Z", 1), ("1969-12-31T02:30:00Z", 7), ("1969-12-31T23:30:00Z", 5)]
    moves = [{"a": "A", "v": v, "t": t} for t, v in times]
    platform = LocalPlatform(join, tables={"moves": moves, "trips": TABLES["trips"]})
    platform.upload("1969-12-30")
    platform.join(join)
    assert platform.fetch(join, [{"origin": "A"}], at=at).rows() == [{"sums_v_sum_1h": 5, "sums_v_sum_1d": 12}]


def typed() -> LocalPlatform:
    """With a column of the left that is a FLOAT, and contextual ones of several types."""
    left = EventSource(table="rides", query=Query(select={"origin": "origin", "x": "x"}, time="t"))
    join = Join(
        name="x.rides",
        left=left,
        parts=[JoinPart(stats("x"), key_map={"origin": "a"})],
        contextual=Contextual({"n": "INT", "at": "TIMESTAMP", "f": "FLOAT", "d": "DECIMAL(10, 2)"}),
        derivations=[Derivation("double", "x * 2"), Derivation("is_it", "x = 0.1"), Derivation("same", "f = x")],
        online=True,
    )
    fields = [("origin", pa.string()), ("x", pa.float32()), ("t", pa.timestamp("us", "UTC"))]
    rides = pa.table([["A"], [0.1], [dt.datetime(2024, 3, 1, 12, tzinfo=dt.timezone.utc)]], pa.schema(fields))
    platform = LocalPlatform(join, tables=TABLES | {"rides": rides})
    platform.upload("2024-02-29")
    platform.join(join)
    platform.advance(NOON)
    return platform


def test_values_of_a_request_are_of_the_types_of_their_columns() -> None:
    platform = typed()
    given = {"origin": "A", "x": 0.1, "n": 5, "at": "2024-01-01T00:00:00+05:00", "f": 0.1, "d": Decimal("2.50")}
    (row,) = platform.fetch("x.rides", [given]).rows()
    (backfilled,) = platform.backfill("x.rides").to_pylist()
    assert {name: row[name] for name in ("double", "is_it", "same")} == {
        "double": backfilled["double"],
        "is_it": False,
        "same": True,
    }
    assert (row["n"], row["f"]) == (5, np.float32(0.1))
    assert row["at"] == dt.datetime(2023, 12, 31, 19, tzinfo=dt.timezone.utc)


@pytest.mark.parametrize(
    ("name", "value"),
    [("n", "5"), ("n", 2**31), ("n", True), ("n", 1.5), ("f", "x"), ("x", 1e39), ("d", Decimal("2.505"))],
)
def test_a_value_of_another_type_is_told_with_its_place(name: str, value: Any) -> None:
    given = {"origin": "A", "x": 0.1, "n": 5, "at": "2024-01-01", "f": 0.1, "d": Decimal("2.50")}
    with pytest.raises(DataError, match=rf"rows\[1\]\.{name}: .* is not a value of type"):
        typed().fetch("x.rides", [given, {**given, name: value}])
