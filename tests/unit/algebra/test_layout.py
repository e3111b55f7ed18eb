"""Records and blocks: folding them gives what the algebra gives, whatever they were merged from."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest

from zipline.algebra import SumOverflow, aggregator
from zipline.algebra.codec import CodecError
from zipline.algebra.columnar import folding
from zipline.algebra.columnar.blocks import Form
from zipline.algebra.layout import EVENTS, EVER_BEFORE, START, WIDTH, Layout, kinds_of
from zipline.algebra.windows import TILE_LEVELS, cover, floor
from zipline.clock import DAY, HOUR, MINUTE
from zipline.types import BIGINT, BOOLEAN, DATE, DOUBLE, STRING, TIMESTAMP

FIVE = 5 * MINUTE
BEGIN = 19_800 * DAY


def form(*wanted: Any) -> Form:
    return Form(7, bytes(32), Layout.of(wanted), ())


def of_tiles(tiles: list[tuple[int, int]]) -> Any:
    """Records of (width, start), with one event each."""
    words = np.zeros((len(tiles), form().layout.words), np.int64)
    for number, (width, start) in enumerate(tiles):
        words[number, START], words[number, WIDTH], words[number, EVENTS] = start, width, 1
    return words


def every_tile(first: int, last: int, finest: int) -> list[tuple[int, int]]:
    levels = [level for level in TILE_LEVELS if level >= finest]
    return [(level, start) for level in levels for start in range(floor(first, level), last, level)]


@pytest.mark.parametrize("finest", [MINUTE, FIVE])
def test_of_all_tiles_at_hand_the_fewest_that_are_the_span_are_seen(finest: int) -> None:
    tiles = every_tile(BEGIN, BEGIN + 2 * DAY, finest)
    words, draw = of_tiles(tiles), random.Random(3)
    for _ in range(300):
        low = BEGIN + finest * draw.randrange(DAY // finest)
        high = low + finest * draw.randrange(1, DAY // finest)
        chosen = folding.select(words, low, high)
        found = [tile for tile, is_seen in zip(tiles, chosen.tolist(), strict=True) if is_seen]
        assert sorted(found, key=lambda tile: tile[1]) == cover(low, high, finest)


def test_spans_of_an_upload_are_seen_from_where_the_window_begins() -> None:
    words = of_tiles([(0, BEGIN - DAY), (0, BEGIN), (0, BEGIN + HOUR), (FIVE, BEGIN + 2 * HOUR)])
    assert folding.select(words, BEGIN, BEGIN + 2 * HOUR + FIVE).tolist() == [False, True, True, True]
    assert folding.select(words, BEGIN + 1, BEGIN + 2 * HOUR).tolist() == [False, False, True, False]


def test_what_has_words_and_what_takes_an_ir() -> None:
    assert kinds_of("SUM", BIGINT) == ("integers",)
    assert kinds_of("AVERAGE", DOUBLE) == ("floats",)
    assert kinds_of("COUNT", STRING) == ()
    assert kinds_of("LAST", TIMESTAMP) == ("last",)
    assert kinds_of("MIN", BOOLEAN) == kinds_of("MIN", DATE) == ("least",)
    assert kinds_of("MAX", STRING) is kinds_of("TOP_K", BIGINT) is kinds_of("SUM", BOOLEAN) is None


def test_states_are_shared_by_operations_over_a_column() -> None:
    layout = Layout.of(
        [("count", "x", DOUBLE), ("floats", "x", DOUBLE), ("count", "x", DOUBLE), ("least", "y", BIGINT)]
    )
    assert [(state.kind, state.input) for state in layout.states] == [
        ("count", "x"),
        ("count", "y"),
        ("floats", "x"),
        ("least", "y"),
    ]
    assert layout.words == 3 + 1 + 1 + 4 + 1
    assert layout.state("least", "y").count == layout.state("count", "y").at


OPERATIONS = {
    "COUNT": folding.COUNT,
    "SUM": None,
    "AVERAGE": None,
    "MIN": folding.LEAST,
    "MAX": folding.MOST,
    "FIRST": folding.FIRST,
    "LAST": folding.LAST,
    "VARIANCE": folding.VARIANCE,
    "SKEW": folding.SKEW,
    "KURTOSIS": folding.KURTOSIS,
}


def number_of(operation: str, is_float: bool) -> int:
    if operation == "SUM":
        return folding.SUM_FLOATS if is_float else folding.SUM_INTEGERS
    if operation == "AVERAGE":
        return folding.AVERAGE_FLOATS if is_float else folding.AVERAGE_INTEGERS
    return OPERATIONS[operation] or 0


def record(own: Form, operation: str, value: Any, at: tuple[int, int]) -> Any:
    """The record of one event, written by hand from what `WORDS` says."""
    words = np.zeros((1, own.layout.words), np.int64)
    floats = words.view(np.float64)
    words[0, START], words[0, WIDTH], words[0, EVENTS] = at[0], 0, 1
    for state in own.layout.states:
        if state.kind == "count":
            words[0, state.at] = 1
        elif state.kind == "integers":
            words[0, state.at], words[0, state.at + 1] = value & 0xFFFFFFFF, value >> 32
        elif state.kind == "floats":
            if math.isinf(value):
                words[0, state.at + (2 if value > 0 else 3)] = 1
            else:
                floats[0, state.at] = value
        elif state.kind in ("least", "most"):
            (floats if state.is_float else words)[0, state.at] = value
        elif state.kind in ("first", "last"):
            words[0, state.at], words[0, state.at + 1] = at
            (floats if state.is_float else words)[0, state.at + 2] = value
        else:
            infinite = math.isinf(value)
            floats[0, state.at : state.at + 8] = [1, value, 0, 2.0**900, 0, 0, 0, 0]
            if infinite:
                floats[0, state.at : state.at + 8] = [0, 0, 0, 2.0**900, 0, 0, 0, 1]
    return words


def folded(own: Form, operation: str, words: Any, is_float: bool) -> Any:
    count = own.layout.state("count", "x")
    state = next((state for state in own.layout.states if state.kind != "count"), count)
    as_float = operation in ("AVERAGE", "VARIANCE", "SKEW", "KURTOSIS") or (is_float and operation != "COUNT")
    features = np.array([[number_of(operation, is_float), count.at, state.at, is_float, 0, 0, as_float]], np.int64)
    windows = np.array([[EVER_BEFORE, 0, 1]], np.int64)
    parts = np.array([[own.tag, own.layout.words, MINUTE, DAY, 0, 0, 1]], np.int64)
    asked = np.array([[0, DAY, 0, 1, 0]], np.int64)
    block = np.frombuffer(own.written(words, []), np.int64)
    out, present, status = np.zeros((1, 1), np.int64), np.zeros((1, 1), np.bool_), np.zeros((1, 1), np.uint8)
    said = folding.answer(
        block,
        np.array([block.nbytes]),
        np.array([[0]]),
        asked,
        parts,
        windows,
        features,
        DAY,
        out,
        present,
        status,
    )
    assert bool(said & folding.ABSENT) == (not present[0, 0])
    assert bool(said & folding.INFINITE) == (
        as_float and bool(present[0, 0]) and math.isinf(out.view(np.float64)[0, 0])
    )
    assert bool(said & folding.TROUBLED) == (status[0, 0] != folding.OK)
    assert status[0, 0] != folding.UNAVAILABLE
    assert (status[0, 0] == folding.DEFAULTED) == (words[:, EVENTS].sum() == 0)
    if status[0, 0] == folding.WRONG:
        return "beyond"
    if not present[0, 0]:
        return None
    return (out.view(np.float64) if as_float else out)[0, 0].item()


@pytest.mark.parametrize("is_float", [False, True], ids=["integers", "doubles"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_folding_records_however_merged_is_the_algebra(operation: str, is_float: bool) -> None:
    dtype = DOUBLE if is_float else BIGINT
    own = form(*((kind, "x", dtype) for kind in ("count", *(kinds_of(operation, dtype) or ()))))
    reference = aggregator(operation, dtype)
    draw = random.Random(operation + dtype.name)
    for _ in range(150):
        pool = [draw.uniform(-1e6, 1e6), 0.5, -3.25, 1e12] if is_float else [draw.randrange(-9, 9), 2**61, -(2**62), 7]
        if is_float and draw.random() < 0.1:
            pool += [math.inf, -math.inf]
        values = [draw.choice(pool) for _ in range(draw.randrange(12))]
        times = [(draw.randrange(4), draw.randrange(4)) for _ in values]
        ir = reference.empty()
        for value, at in zip(values, times, strict=True):
            ir = reference.update(ir, value, at)
        try:
            expected = reference.finalize(ir)
        except SumOverflow:
            expected = "beyond"
        words = np.concatenate(
            [np.zeros((0, own.layout.words), np.int64)]
            + [record(own, operation, value, at) for value, at in zip(values, times, strict=True)]
        )
        words[:, START] = 0
        groups = np.array([draw.randrange(3) for _ in values], np.int64)
        merged, _, _ = own.merged(words, [], groups)
        again, _, _ = own.merged(merged, [], np.zeros(len(merged), np.int64))
        for each in (words, merged, again):
            found = folded(own, operation, np.ascontiguousarray(each), is_float)
            if isinstance(expected, float) and isinstance(found, float):
                assert found == pytest.approx(expected, rel=1e-9, abs=1e-9), (values, times)
            else:
                assert found == expected or (operation == "COUNT" and not values and found is None), (values, times)


def test_a_block_says_whose_it_is_and_how_long() -> None:
    own = form(("count", "x", BIGINT))
    words = np.ones((2, own.layout.words), np.int64)
    block = own.written(words, [])
    opened = own.opened([[block, None], [], [block]])
    assert opened.offsets.tolist() == [0, 2, 2, 4]
    assert (opened.words == 1).all()
    other = Form(8, bytes(32), own.layout, ())
    for damaged, message in (
        (block[:-1], "length"),
        (block + b"x", "length"),
        (block[:20], "too short"),
        (other.written(words, []), "another definition"),
    ):
        with pytest.raises(CodecError, match=message):
            own.opened([[damaged]])
