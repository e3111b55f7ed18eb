"""Group-bys and their events at random, over all types and operations, and how they are told to `Replay`."""

from __future__ import annotations

import datetime as dt
import json
import math
import random
from collections import defaultdict
from decimal import Decimal
from typing import Any

import pyarrow as pa

from zipline import Aggregation, EntitySource, EventSource, GroupBy, Operation, Query, Topic
from zipline.algebra.operations import DECLARATIONS, declaration
from zipline.arrow import to_arrow
from zipline.clock import DAY, to_datetime
from zipline.engines.flink.sharing import Shared
from zipline.plan.build import plan_group_by
from zipline.plan.online import Kept
from zipline.types import (
    BIGINT,
    BINARY,
    BOOLEAN,
    DATE,
    DOUBLE,
    FLOAT,
    INT,
    SMALLINT,
    STRING,
    TIMESTAMP,
    TINYINT,
    ArrayType,
    DataType,
    DecimalType,
    MapType,
    StructType,
    array,
    map_of,
    struct,
)

UTC = dt.timezone.utc
BEGIN = 19_800 * DAY
MINUTE = 60_000_000
WIDE, NARROW = DecimalType(precision=38, scale=10), DecimalType(precision=5, scale=2)
SCALARS = (BOOLEAN, TINYINT, SMALLINT, INT, BIGINT, FLOAT, DOUBLE, STRING, BINARY, DATE, TIMESTAMP, WIDE, NARROW)
NESTED = (
    struct(a=INT, b=array(DOUBLE)),
    map_of(STRING, DOUBLE),
    array(struct(x=STRING, y=TIMESTAMP)),
    array(array(WIDE)),
    struct(m=map_of(INT, DATE), n=BINARY),
)
EXACT = [name for name, each in DECLARATIONS.items() if not each.approximate]
Row = dict[str, Any]

_VALUES: dict[DataType, list[Any]] = {
    BOOLEAN: [True, False],
    TINYINT: [0, 1, -1, 63, 64, -128, 127],
    SMALLINT: [0, 1, -65, 300, -(1 << 15), (1 << 15) - 1],
    INT: [0, 2, -2, 70_000, -(1 << 31), (1 << 31) - 1],
    BIGINT: [0, 3, -3, 1 << 40, 3 << 60, -(1 << 63), (1 << 63) - 1],
    FLOAT: [0.0, -0.0, 1.5, -2.25, 0.10000000149011612, 1e6, math.inf, -math.inf, math.nan],
    DOUBLE: [0.0, -0.0, 1.5, -2.25, 0.1, 1e6, 123.456, -1e-3, math.inf, -math.inf, math.nan],
    STRING: ["", "a", "b", "ü", "日本", "\U0001f600", "\ufffd", "long " * 30],
    BINARY: [b"", b"\0", b"\x80\xff", b"abc", b"\xff" * 40],
    DATE: [dt.date(1, 1, 1), dt.date(1969, 12, 31), dt.date(1970, 1, 1), dt.date(2024, 2, 29), dt.date(9999, 12, 31)],
    TIMESTAMP: [
        dt.datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC),
        dt.datetime(1970, 1, 1, tzinfo=UTC),
        dt.datetime(2024, 3, 1, 12, 0, 0, 1, UTC),
        dt.datetime(2262, 4, 12, tzinfo=UTC),
    ],
    WIDE: [Decimal(each) for each in ("0", "0.1", "-7", "1e27", "9" * 28 + ".0123456789", "-0.0000000001", "12.50")],
    NARROW: [Decimal("0"), Decimal("1.10"), Decimal("-999.99"), Decimal("999.99"), Decimal("0.01")],
}


def value(draw: random.Random, dtype: DataType, *, nulls: float = 0.15) -> Any:
    """A value of the type, or null."""
    if draw.random() < nulls:
        return None
    if isinstance(dtype, ArrayType):
        return [value(draw, dtype.element) for _ in range(draw.choice([0, 1, 2, 5]))]
    if isinstance(dtype, MapType):
        keys = draw.sample([v for v in _VALUES[dtype.key] if v == v], draw.choice([0, 1, 3]))
        return [(key, value(draw, dtype.value)) for key in keys]
    if isinstance(dtype, StructType):
        return {name: value(draw, field) for name, field in dtype.fields}
    return draw.choice(_VALUES[dtype])


def group_by(draw: random.Random, kind: str) -> tuple[Kept, dict[str, DataType]]:
    """(what is kept of a group-by of the kind, its columns): over "events" or "changes", or a lookup of either."""
    (kept,), types = group_bys(draw, kind, 1)
    return kept, types


def group_bys(draw: random.Random, kind: str, count: int) -> tuple[list[Kept], dict[str, DataType]]:
    """The same of several of one source."""
    types = {f"c{n}": draw.choice([*SCALARS, *map(array, SCALARS), *NESTED]) for n in range(6)}
    types |= {f"b{n}": draw.choice(SCALARS) for n in range(2)}
    keys = {"k": BIGINT}
    schema = {**keys, **types, "t": TIMESTAMP, "known": TIMESTAMP, "changed": TIMESTAMP, "old": BOOLEAN, "ds": STRING}
    is_lookup, is_signed = kind.startswith("lookup"), kind.endswith("changes")
    selected = [*keys, *(draw.sample(list(types), draw.choice([1, 2, len(types)])) if is_lookup else types)]
    if not is_signed:
        clock = {"known_at": "known"} if draw.random() < 0.5 else {}
        source: Any = EventSource("events", topic=Topic("t"), query=Query(selected, time="t", **clock))
    else:
        query = Query(selected, time="t", mutation_time="changed", is_before="old")
        source = EntitySource("dumps", mutations="events", topic=Topic("t"), query=query)
    found = []
    for number in range(count):
        wanted = [] if is_lookup else _aggregations(draw, types, is_signed=is_signed)
        made = GroupBy(["k"], [source], wanted, name=f"g{number}")
        found.append(Kept(plan_group_by(made, lambda _: schema)))
    return found, types


def lookup_of(dtype: DataType) -> tuple[Kept, dict[str, DataType]]:
    """(what is kept of a lookup of one column over events, its columns)."""
    schema = {"k": BIGINT, "c0": dtype, "t": TIMESTAMP}
    source = EventSource("events", topic=Topic("t"), query=Query(["k", "c0"], time="t"))
    return Kept(plan_group_by(GroupBy(["k"], [source], name="g"), lambda _: schema)), {"c0": dtype}


def of_lists(
    element: DataType, wanted: list[Aggregation], lists: list[list[Any]], *, is_signed: bool
) -> tuple[Kept, list[Row]]:
    """(what is kept of aggregations over a column "c0" of lists, an event of each list)."""
    schema = {"k": BIGINT, "c0": array(element), "t": TIMESTAMP, "changed": TIMESTAMP, "old": BOOLEAN, "ds": STRING}
    clocks = {"mutation_time": "changed", "is_before": "old"} if is_signed else {}
    query = Query(["k", "c0"], time="t", **clocks)
    source = (
        EntitySource("dumps", mutations="events", topic=Topic("t"), query=query)
        if is_signed
        else EventSource("events", topic=Topic("t"), query=query)
    )
    kept = Kept(plan_group_by(GroupBy(["k"], [source], wanted, name="g"), lambda _: schema))
    return kept, [{"k": 1, "c0": each, "t": to_datetime(BEGIN), "old": False} for each in lists]


def _aggregations(draw: random.Random, types: dict[str, DataType], *, is_signed: bool) -> list[Aggregation]:
    names = EXACT if is_signed else list(DECLARATIONS)
    found: dict[tuple[Any, ...], Aggregation] = {}
    for _ in range(14):
        column, name = draw.choice([c for c in types if c.startswith("c")]), draw.choice(names)
        dtype, declared = types[column], declaration(name)
        if not declared.accepts(dtype.element if isinstance(dtype, ArrayType) else dtype):
            continue
        more: dict[str, Any] = draw.choice([{"windows": ["30m"]}, {"windows": ["7d"]}, {}]).copy()
        if declared.needs_k:
            more["k"] = draw.choice([1, 2, 3, 7])
        if declared.needs_percentiles:
            more["percentiles"] = (0.5, 0.99)
        bucket = draw.choice([None, None, "b0", "b1"])
        if bucket:
            more["buckets"] = [bucket]
        found.setdefault((column, name, bucket, more.get("k")), Aggregation(column, Operation[name], **more))
    return list(found.values()) or [Aggregation("c0", Operation.COUNT)]


def rows(draw: random.Random, types: dict[str, DataType], places: int) -> list[Row]:
    """Events of so many keys, of few times and of few values; of changes some take back what was or was not there."""
    found: list[Row] = []
    for key in range(places):
        for _ in range(draw.choice([1, 2, 5, 12])):
            t = BEGIN + draw.choice([0, 1, 59 * 1_000_000, 5 * MINUTE])
            row = {name: value(draw, dtype) for name, dtype in types.items()}
            row |= {"k": key, "t": to_datetime(t), "ds": "2024-03-18"}
            row["known"] = draw.choice([None, to_datetime(t + draw.choice([-5, 0, 7, DAY]))])
            row |= {"changed": to_datetime(BEGIN + draw.choice([8, 9]) * MINUTE), "old": False}
            found += [row] * draw.choice([1, 1, 1, 2])
            if draw.random() < 0.3:
                found.append(row | {"old": True})
    draw.shuffle(found)
    return found


def table(found: list[Row], types: dict[str, DataType]) -> pa.Table:
    """The rows as a table."""
    clocks = {"k": BIGINT, "t": TIMESTAMP, "known": TIMESTAMP, "changed": TIMESTAMP, "old": BOOLEAN, "ds": STRING}
    return pa.table(
        {
            name: pa.array([row[name] for row in found], to_arrow(dtype), from_pandas=False)
            for name, dtype in (types | clocks).items()
        }
    )


Group = tuple[int, int, int]
"""(key, midnight of the day of availability, start)"""


def by_place(kept: Kept, found: list[Row]) -> dict[Group, list[Row]]:
    """The rows of every place; those of which nobody says when they were known have none."""
    groups = defaultdict(list)
    for row in found:
        t = _micros(row["t"])
        until = _micros(row["changed"]) if kept.is_signed else t
        if _is_delayed(kept):
            if row["known"] is None:
                continue
            until = max(t, _micros(row["known"]))
        groups[row["k"], until // DAY * DAY, t // kept.tile * kept.tile].append(row)
    return groups


def _is_delayed(kept: Kept) -> bool:
    return kept.group_by.sources[0].known_at is not None


def told(of: Shared, found: list[Row], parts: int) -> str:
    """What `Replay` is asked for one tile."""
    kept = of.first
    events = [
        [
            -1 if kept.is_signed and row["old"] else 1,
            _micros(row["t"]),
            _micros(row["known"]) if _is_delayed(kept) else None,
            [as_json(row[name], dtype) for name, dtype in of.columns.items()],
        ]
        for row in found
    ]
    return json.dumps({"spec": of.spec, "parts": parts, "rows": events})


def as_json(given: Any, dtype: DataType) -> Any:
    """A value as `Replay` reads it."""
    if given is None:
        return None
    if isinstance(dtype, ArrayType):
        return [as_json(each, dtype.element) for each in given]
    if isinstance(dtype, MapType):
        return [[as_json(k, dtype.key), as_json(v, dtype.value)] for k, v in given]
    if isinstance(dtype, StructType):
        return [as_json(given[name], field) for name, field in dtype.fields]
    if dtype.is_float:
        return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}.get(repr(given), repr(given))
    if isinstance(dtype, DecimalType):
        return str(given)
    if dtype == BINARY:
        return given.hex()
    if dtype == DATE:
        return (given - dt.date(1970, 1, 1)).days
    return _micros(given) if dtype == TIMESTAMP else given


def _micros(instant: dt.datetime) -> int:
    return (instant - dt.datetime(1970, 1, 1, tzinfo=UTC)) // dt.timedelta(microseconds=1)
