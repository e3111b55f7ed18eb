"""Every operation once over a few events, so that its kernels are compiled: what `kernel.warm_up` runs.

python -m zipline.algebra.columnar.rehearsal SCENE
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from zipline.algebra.columnar import combining, folding, hashing, order, value_reading
from zipline.algebra.columnar.blocks import Form
from zipline.algebra.columnar.series import Call, Series, evaluate, moments_of_each, moments_of_runs
from zipline.algebra.columnar.spans import pair
from zipline.algebra.columnar.value_blocks import ValueForm
from zipline.algebra.columnar.values import integers, values_of
from zipline.algebra.columnar.xxhash import hashes
from zipline.algebra.layout import WORDS, Layout
from zipline.algebra.states import MOMENTS, counted
from zipline.arrow import to_arrow
from zipline.types import BIGINT, DOUBLE, DataType

Ints = NDArray[np.int64]

OF_NUMBERS = ("SUM", "AVERAGE", "VARIANCE", "APPROX_PERCENTILE")
OF_ANY = ("COUNT", "MIN", "MAX", "LAST", "LAST_K", "TOP_K", "UNIQUE_COUNT", "HISTOGRAM", "APPROX_HISTOGRAM_K")

KEYS = pa.array([7, 8, 7, 8, 7, 7])
TIMES = np.array([5, 3, 1, 3, 3, 1])
NONE = np.zeros(0, np.int64)


def rehearse(scene: str) -> None:
    """Runs one of SCENES."""
    SCENES[scene]()


def _series(column: pa.Array, dtype: DataType, known: Ints | None) -> Series:
    table, numbers, count = hashing.build(*integers(KEYS))
    codes = np.empty(len(KEYS), np.int32)
    hashing.find(table, numbers, *integers(KEYS), codes, 0, len(codes))
    permutation, offsets, t, ordered = order.arrange(codes, count, TIMES, known)
    places, offsets = order.compress(offsets, np.ones(len(t), np.bool_))
    clock = NONE if ordered is None else ordered
    order.has_ties(offsets, t, clock)
    values = values_of(column, dtype)
    order.sort_ties(offsets, t, clock, values.ordinals[permutation])
    return Series(offsets, t, ordered, values.at(permutation[places]), dtype, values.restore)


def _evaluate(column: pa.Array, dtype: DataType, operations: tuple[str, ...], *, two_clocks: bool = False) -> None:
    series = _series(column, dtype, TIMES + 1 if two_clocks else None)
    run = np.repeat(np.arange(len(series.offsets) - 1), 2)
    end = np.tile(np.array([3, 9]), len(series.offsets) - 1)
    for start in (None, end - 4):
        seen = series.spans(run, start, end)
        for operation in operations:
            evaluate(series, Call(operation, 1, (0.5,)), run, seen)


def _bucketed() -> None:
    series = _series(pa.array(np.arange(6)), BIGINT, None)
    _, parts, _, first_part = order.split_runs(series.offsets, series.data)  # type: ignore[arg-type]
    queries = np.arange(len(series.offsets)) * 2
    pair(first_part, parts, series.t, queries, None, np.full(queries[-1], 9))


def _integers() -> None:
    _evaluate(pa.array(np.arange(6)), BIGINT, ("SUM", "AVERAGE", *OF_ANY))
    _bucketed()


_FLOATS = pa.array(np.arange(6) + 0.5)


def _states() -> None:
    counts = pa.array(np.arange(6) + 1)
    occurrences = pa.StructArray.from_arrays([_FLOATS, counts], fields=list(to_arrow(counted(DOUBLE))))
    spreads = moments_of_each(np.asarray(_FLOATS))
    moments_of_runs(_series(spreads, MOMENTS, None))
    for two_clocks in (False, True):
        _evaluate(occurrences, counted(DOUBLE), ("HISTOGRAM", "APPROX_PERCENTILE"), two_clocks=two_clocks)
        _evaluate(spreads, MOMENTS, ("VARIANCE",), two_clocks=two_clocks)


def _key_hashes() -> None:
    hashes([KEYS, pa.array(["a"] * 6), pa.array([True] * 6)], 6)


def _folding() -> None:
    """What an online fetch, an upload and a writer of tiles call."""
    moments_of_runs(_series(_FLOATS, DOUBLE, None))
    moments_of_runs(_series(pa.array(np.arange(6)), BIGINT, None))
    layout = Layout.of((kind, "x", DOUBLE) for kind in WORDS if kind != "integers")
    form = Form(0, bytes(32), layout, ())
    words = np.zeros((2, layout.words), np.int64)
    form.merged(words, [], np.arange(2))
    block = np.frombuffer(form.written(words, []), np.int64)
    asked, part, window, feature = (np.zeros((1, columns), np.int64) for columns in (5, 7, 3, 7))
    out, present, status = np.zeros((1, 1), np.int64), np.zeros((1, 1), np.bool_), np.zeros((1, 1), np.uint8)
    sizes, at = np.array([0]), np.array([[0]])
    tables = asked, part, window, feature
    folding.answer(block, sizes, at, *tables, 0, out, present, status)
    values = ValueForm(0, bytes(32), (("x", DOUBLE),))
    values.opened(list(values.written(pa.table({"x": _FLOATS}))))
    asked, part, columns = (np.zeros((1, width), np.int64) for width in (4, 5, 4))
    value_reading.answer(block, sizes, at, asked, part, columns, out, present, status)
    folding.is_served(0, 0, 0, 0, 0)
    folding.select(form.opened([[form.written(words, [])]]).words, 0, 0)
    offsets, integers_ = np.arange(3), np.arange(2)
    combining.sums_of_runs(integers_ + 0.5, offsets, words.view(np.float64), words, 3)
    combining.extremes_of_runs(integers_, offsets, True, words[:, 0])
    combining.extremes_of_runs(integers_ + 0.5, offsets, True, words.view(np.float64)[:, 0])


ONLINE = "online"
SCENES: dict[str, Callable[[], None]] = {
    "order": lambda: _evaluate(_FLOATS, DOUBLE, ("COUNT", "SUM", "AVERAGE", "MAX", "LAST")),
    "integers": _integers,
    "floats": lambda: _evaluate(_FLOATS, DOUBLE, ("VARIANCE", "APPROX_PERCENTILE")),
    "two clocks, numbers": lambda: _evaluate(_FLOATS, DOUBLE, OF_NUMBERS, two_clocks=True),
    "states": _states,
    "hashes of keys": _key_hashes,
    ONLINE: _folding,
    "two clocks, any": lambda: _evaluate(pa.array(np.arange(6)), BIGINT, ("SUM", *OF_ANY), two_clocks=True),
}

if __name__ == "__main__":
    rehearse(sys.argv[1])
