"""The algebra of the streaming job: its tiles are the records that the writer of tiles makes of the same events."""

from __future__ import annotations

import json
import math
import random
import struct
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from tests.integration.flink import drawn
from tests.integration.flink.conftest import Replay
from zipline import Aggregation, Operation
from zipline.algebra import moments
from zipline.algebra.codec import CodecError, Reader, encode
from zipline.algebra.columns import Bucketed
from zipline.algebra.layout import FIRST_STATE, WORD, WORDS, State
from zipline.algebra.signed import LARGEST
from zipline.algebra.values import door
from zipline.algebra.windows import floor
from zipline.byte_strings import of_values
from zipline.clock import DAY
from zipline.engines.flink.partials import contents
from zipline.engines.flink.sharing import Shared
from zipline.engines.local.records import Records, read_available, records
from zipline.plan.online import Kept
from zipline.stores.keys import key_writer
from zipline.tables.catalog import open_catalog
from zipline.types import BIGINT, DataType, array

SPREAD = ("VARIANCE", "SKEW", "KURTOSIS")
SKETCHED = ("APPROX_UNIQUE_COUNT",)


@pytest.mark.parametrize("kind", ["events", "changes", "lookup of events", "lookup of changes"])
@pytest.mark.parametrize("seed", range(4))
def test_tiles_are_the_records_that_python_makes_of_the_same_events(replay: Replay, kind: str, seed: int) -> None:
    draw = random.Random(f"{kind} {seed}")
    assert_alike(replay, draw, [drawn.group_by(draw, kind) for _ in range(4 if kind.startswith("lookup") else 12)])


def test_of_rows_of_one_time_python_and_java_take_the_same(replay: Replay) -> None:
    types = [*drawn.SCALARS, *map(array, drawn.SCALARS), *drawn.NESTED]
    assert_alike(replay, random.Random("rows"), [drawn.lookup_of(dtype) for dtype in types])


def assert_alike(replay: Replay, draw: random.Random, group_bys: list[tuple[Kept, dict[str, DataType]]]) -> None:
    cases: list[tuple[Kept, Records, int, list[drawn.Row]]] = []
    for kept, types in group_bys:
        rows = drawn.rows(draw, types, 30)
        found = expected(kept, rows, types)
        groups = drawn.by_place(kept, rows)
        assert len(found.words) == len(groups)
        write = key_writer([BIGINT])
        for (key, day, start), events in groups.items():
            cases.append((kept, found, record(found, write([key]) or b"", day, start), events))
    answers = replay([drawn.told(Shared((kept,)), events, draw.choice([1, 2, 3])) for kept, _, _, events in cases])
    assert len(answers) == len(cases) > 100
    for (kept, found, place, events), blobs in zip(cases, answers, strict=True):
        for how, blob in zip(("whole", "resumed", "merged"), blobs, strict=True):
            compare(kept, found, place, events, bytes.fromhex(blob), how)


def expected(kept: Kept, rows: list[drawn.Row], types: dict[str, DataType]) -> Records:
    available = read_available(kept, open_catalog({"events": drawn.table(rows, types)}))
    return records(kept, available, lambda t: floor(t, kept.tile), kept.tile, floor(available.available, DAY))


def record(found: Records, key: bytes, day: int, start: int) -> int:
    """The number of the one record of a place."""
    chosen = (found.key == found.keys.index(key)) & (found.group == day) & (found.words[:, 0] == start)
    (place,) = np.flatnonzero(chosen)
    return int(place)


def compare(kept: Kept, found: Records, place: int, events: list[drawn.Row], blob: bytes, how: str) -> None:
    words, irs = contents(Shared((kept,)), of_values([blob]))
    of = found.words[place]
    assert words[0, :FIRST_STATE].tolist() == of[:FIRST_STATE].tolist(), how
    for state in kept.layout.states:
        span = slice(state.at, state.at + WORDS[state.kind])
        compare_state(state, words[0, span], of[span], events, f"{how} {state}")
    if kept.reductions:
        slices = written(blob[kept.layout.words * WORD :], len(kept.reductions))
        triples = zip(kept.reductions, kept.aggregators, irs[0], found.irs[place], slices, strict=True)
        for reduction, aggregator, got, wanted, text in triples:
            about = f"{how} {reduction} of {events}"
            if reduction.operation in SPREAD and not kept.is_signed:
                inner = aggregator.inner if isinstance(aggregator, Bucketed) else aggregator
                pairs = [(got, wanted)] if inner is aggregator else [(got[b], wanted[b]) for b in (*got, *wanted)]
                for a, b in pairs:
                    assert close(inner.finalize(a), inner.finalize(b), 1e-6), about
            elif reduction.operation in SKETCHED:
                assert got == wanted, about
            else:
                assert text == encode(aggregator.stored(wanted))[1:-4], about


def written(content: bytes, count: int) -> list[bytes]:
    """The bytes of each IR."""
    reader, found = Reader(content, 0), []
    for _ in range(count):
        first = reader.position
        reader.read()
        found.append(content[first : reader.position])
    return found


def compare_state(state: State, got: Any, wanted: Any, events: list[drawn.Row], about: str) -> None:
    if state.kind == "floats":
        assert got[2:].tolist() == wanted[2:].tolist(), about
        a, b = (float(np.sum(each[:2].view(np.float64))) for each in (got, wanted))
        assert abs(a - b) <= 1e-9 * magnitude(state, events), about
    elif state.kind == "moments":
        (n, _, _, gain, m2, m3, m4, infinite), own = wanted.view(np.float64).tolist(), got.view(np.float64).tolist()
        assert [own[0], own[7]] == [n, infinite], about
        assert close(moments.variance(own[0], own[3], own[4]), moments.variance(n, gain, m2), 1e-9), about
        assert close(moments.skew(own[0], own[4], own[5]), moments.skew(n, m2, m3), 1e-6), about
        assert close(moments.kurtosis(own[0], own[4], own[6]), moments.kurtosis(n, m2, m4), 1e-6), about
    else:
        assert got.tolist() == wanted.tolist(), about


def magnitude(state: State, events: list[drawn.Row]) -> float:
    """The sum of what the values of a state are worth without their signs."""
    values = [row[state.input] for row in events if row[state.input] is not None]
    if values and isinstance(values[0], list):
        values = [each for row in values for each in row if each is not None]
    return sum(abs(each) for each in values if math.isfinite(each))


def close(a: float | None, b: float | None, tolerance: float) -> bool:
    if a is None or b is None or math.isnan(a) or math.isnan(b):
        return (a is None or math.isnan(a)) == (b is None or math.isnan(b))
    return math.isclose(a, b, rel_tol=tolerance, abs_tol=tolerance * 1e-3)


def test_places_begin_with_the_keys_that_stores_have(replay: Replay) -> None:
    draw = random.Random("places")
    width, lines, wanted = 300_000_000, [], []
    for _ in range(60):
        types = [draw.choice(drawn.SCALARS) for _ in range(draw.choice([0, 1, 1, 2, 3]))]
        write = key_writer(types)
        rows = [[drawn.value(draw, dtype, nulls=0.05) for dtype in types] for _ in range(30)]
        clocks = [(draw.randrange(-(10**15), 10**15), draw.randrange(-(10**15), 10**15)) for _ in rows]
        shown = [
            [*clock, [drawn.as_json(v, dtype) for v, dtype in zip(row, types, strict=True)]]
            for clock, row in zip(clocks, rows, strict=True)
        ]
        lines.append(json.dumps({"keys": [str(each) for each in types], "width": width, "rows": shown}))
        wanted.append([placed(write(row), *clock, width) for row, clock in zip(rows, clocks, strict=True)])
    assert replay(lines) == wanted


def placed(key: bytes | None, t: int, available: int, width: int) -> str:
    if key is None:
        return "null"
    return (
        key + (available // DAY).to_bytes(4, "big", signed=True) + floor(t, width).to_bytes(8, "big", signed=True)
    ).hex()


def test_keys_that_are_too_long_are_cut_as_stores_cut_them(replay: Replay) -> None:
    texts = ["ü" * n for n in (100, 213, 214, 215, 600)]
    asked = {"keys": ["STRING"], "width": 60, "rows": [[61, 0, [text]] for text in texts]}
    write = key_writer([drawn.STRING])
    assert replay([json.dumps(asked)]) == [[placed(write([text]), 61, 0, 60) for text in texts]]


def test_what_is_no_tile_is_refused() -> None:
    kept, _ = drawn.group_by(random.Random(3), "changes")
    size = kept.layout.words * WORD
    assert kept.reductions
    for blob in (b"", b"\0" * (size - 1), b"\0" * size, b"\0" * size + b"\xff" * len(kept.reductions) + b"\x80"):
        with pytest.raises(CodecError):
            contents(Shared((kept,)), of_values([blob]))


LISTS = {
    "text": [f"value {n % 2000}" for n in range(3000)] + ["often", "ü", "ü"] * 900,
    "bytes": [bytes([n % 256, n // 256 % 8]) for n in range(3000)] + [b"often", b"\xff", b"\xff"] * 900,
    "wide": [Decimal(n % 2000) + Decimal("1e27") for n in range(3000)]
    + [Decimal("0.5"), Decimal(-1), Decimal(-1)] * 900,
    "day": [date(2000, 1, 1) + timedelta(days=n % 2000) for n in range(3000)] + [date(1, 1, 1), *2 * [date.max]] * 900,
    "whole": [n % 2000 for n in range(3000)] + [1 << 62, -5, -5] * 900,
    "real": [n % 2000 / 8 for n in range(3000)] + [-0.25, math.inf, math.inf] * 900,
}
LIST_TYPES = {
    "text": drawn.STRING,
    "bytes": drawn.BINARY,
    "wide": drawn.WIDE,
    "day": drawn.DATE,
    "whole": BIGINT,
    "real": drawn.DOUBLE,
}


@pytest.mark.parametrize("name", LISTS)
def test_what_is_too_much_to_be_exact_is_sketched_so_that_python_reads_it(replay: Replay, name: str) -> None:
    dtype, clean = LIST_TYPES[name], door(LIST_TYPES[name])
    wanted = [Aggregation("c0", Operation.APPROX_UNIQUE_COUNT), Aggregation("c0", Operation.APPROX_HISTOGRAM_K, k=2)]
    if dtype.is_numeric:
        wanted.append(Aggregation("c0", Operation.APPROX_PERCENTILE, percentiles=(0.1, 0.5)))
    values = LISTS[name]
    kept, rows = drawn.of_lists(dtype, wanted, [values[n::7] for n in range(7)], is_signed=False)
    (answer,) = replay([drawn.told(Shared((kept,)), rows, 3)])
    for blob in answer:
        _, ((unique, frequent, *ranked),) = contents(Shared((kept,)), of_values([bytes.fromhex(blob)]))
        exact = kept.aggregators[0].empty()
        for value in values:
            exact.add(clean(value))
        assert unique == exact
        counts = kept.aggregators[1].finalize(frequent)
        assert counts is not None
        assert set(counts) == {clean(each) for each in values[-2:]} | {clean(values[-3])}
        for value, count in counts.items():
            true = sum(clean(each) == value for each in values)
            assert true <= count <= true + 0.05 * len(values)
        for found, share in zip(kept.aggregators[2].finalize(ranked[0]) if ranked else (), (0.1, 0.5), strict=False):
            ordered = sorted(map(float, values))
            assert ordered[int((share - 0.02) * len(ordered))] <= found <= ordered[int((share + 0.02) * len(ordered))]


def dtype_door(dtype: DataType) -> Any:
    return door(dtype)


@pytest.mark.parametrize("rows", [100_000, 100_001])
def test_of_more_changes_than_the_declared_size_nothing_is_stored_but_their_number(replay: Replay, rows: int) -> None:
    lists = [[1] * (rows - 2), [2, 3]]
    kept, events = drawn.of_lists(BIGINT, [Aggregation("c0", Operation.LAST)], lists, is_signed=True)
    (answer,) = replay([drawn.told(Shared((kept,)), events, 2)])
    for blob in answer:
        _, ((found,),) = contents(Shared((kept,)), of_values([bytes.fromhex(blob)]))
        assert found == {(): rows} if rows > LARGEST else sum(found.values()) == rows


SPEC = {
    "signed": False,
    "width": 60_000_000,
    "columns": ["BIGINT", "DOUBLE", "STRING", "ARRAY<BOOLEAN>"],
    "states": [
        {"kind": "count", "column": 0},
        {"kind": "count", "column": 1},
        {"kind": "integers", "column": 0},
        {"kind": "last", "column": 1},
        {"kind": "most", "column": 1},
    ],
    "irs": [
        {"operation": "TOP_K", "columns": [2], "k": 2, "percentiles": None, "bucket": False},
        {"operation": "COUNT", "columns": [2, 3], "k": None, "percentiles": None, "bucket": True},
        {"operation": "FIRST", "columns": [2], "k": None, "percentiles": None, "bucket": False},
    ],
}
EVENTS = [
    [1, 60_000_001, None, [-1, "2.5", "b", [True, None]]],
    [1, 60_000_001, None, [(1 << 40) + 3, "-0.0", "a", None]],
    [1, 60_000_000, 60_000_009, [None, "NaN", "c", [False]]],
]


def test_a_tile_is_these_bytes(replay: Replay) -> None:
    words = [60_000_000, 60_000_000, 3, 2, 2, 0xFFFF_FFFF + 3, -1 + 256, 60_000_001, 60_000_001]
    content = struct.pack("<9qdd", *words, 2.5, 2.5)
    content += b"\x0b\x02\x07\x01b\x07\x01c"  # a tuple of two texts, ascending
    content += b"\x0c\x02\x07\x01b\x82\x07\x01c\x82"  # a dict of two: how often 1
    content += b"\x0b\x03\x03\x80\x9c\x9c\x39\x03\x92\x9c\x9c\x39\x07\x01c"  # t, known and value
    asked = json.dumps({"spec": json.dumps(SPEC), "parts": 2, "rows": EVENTS})
    assert replay([asked]) == [[content.hex()] * 3]
