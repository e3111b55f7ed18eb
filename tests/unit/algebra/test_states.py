"""Columns of intermediate results give what the values that they are made of give."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from zipline.algebra.columnar.series import Call, Series, evaluate, moments_of_each, moments_of_runs
from zipline.algebra.columnar.values import values_of
from zipline.algebra.operations import aggregator
from zipline.algebra.states import MOMENTS, counted
from zipline.arrow import to_arrow
from zipline.types import BIGINT, DOUBLE, STRING, DataType

AT = (0, None)
TOLERANCE = {"VARIANCE": 1e-9, "SKEW": 1e-6, "KURTOSIS": 1e-6}


def series(runs: list[pa.Array], dtype: DataType, known: Any = None) -> Series:
    """Runs one after the other, their events at 0, 1, 2 ..."""
    found = values_of(pa.concat_arrays(runs), dtype)
    lengths = [len(run) for run in runs]
    t = np.concatenate([np.arange(length) for length in lengths])
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return Series(offsets, t, known, found.at(np.arange(len(t))), dtype, found.restore)


def occurrences(values: list[Any], counts: list[int], dtype: DataType) -> pa.Array:
    kind = to_arrow(counted(dtype))
    return pa.StructArray.from_arrays([pa.array(values, kind[0].type), pa.array(counts)], fields=list(kind))


def asked(of: Series, call: Call, first: int, last: int) -> list[Any]:
    """What each run gives for the events from `first` up to `last`."""
    run = np.arange(len(of.offsets) - 1)
    seen = of.spans(run, np.full(len(run), first), np.full(len(run), last))
    return list(evaluate(of, call, run, seen).to_pylist())


@pytest.mark.parametrize("known", [None, np.zeros(5, np.int64)])
def test_a_value_counts_as_often_as_it_says(known: Any) -> None:
    column = occurrences([2.0, 1.0, 2.0, 7.0, 5.0], [1, 3, 2, 1, 100], DOUBLE)
    found = series([column], counted(DOUBLE), known)
    assert asked(found, Call("HISTOGRAM"), 0, 4) == [[(1.0, 3), (2.0, 3), (7.0, 1)]]
    assert asked(found, Call("APPROX_HISTOGRAM_K", 1), 0, 4) == [[(1.0, 3)]]
    percentiles = Call("APPROX_PERCENTILE", percentiles=(0.0, 3 / 7, 4 / 7, 1.0))
    assert asked(found, percentiles, 0, 4) == [[1.0, 1.0, 2.0, 7.0]]
    assert asked(found, percentiles, 1, 3) == [[1.0, 1.0, 1.0, 2.0]]
    assert asked(found, percentiles, 9, 9) == [None]


def slid(of: Series, call: Call, *windows: tuple[int, int]) -> list[Any]:
    """What one run gives for windows that begin and end one after the other."""
    run = np.zeros(len(windows), np.int64)
    first, last = (np.array(ends) for ends in zip(*windows, strict=True))
    return list(evaluate(of, call, run, of.spans(run, first, last)).to_pylist())


@pytest.mark.parametrize("known", [None, np.zeros(3, np.int64)])
def test_what_leaves_a_window_leaves_as_often_as_it_counted(known: Any) -> None:
    text = series([occurrences(["b", "a", "b"], [5, 1, 7], STRING)], counted(STRING), known)
    histograms = slid(text, Call("HISTOGRAM"), (0, 1), (0, 2), (1, 3))
    assert histograms == [[("b", 5)], [("a", 1), ("b", 5)], [("a", 1), ("b", 7)]]
    numbers = series([occurrences([1.0, 2.0, 3.0], [90, 2, 3], DOUBLE)], counted(DOUBLE), known)
    medians = slid(numbers, Call("APPROX_PERCENTILE", percentiles=(0.4, 0.5)), (0, 2), (0, 3), (1, 3))
    assert medians == [[1.0, 1.0], [1.0, 1.0], [2.0, 3.0]]


@pytest.mark.parametrize("known", [None, np.zeros(4, np.int64)])
def test_infinities_of_states_come_and_go_with_them(known: Any) -> None:
    of_runs = [pa.array([math.inf, 1.0]), pa.array([2.0, 6.0]), pa.array([4.0]), pa.array([-math.inf])]
    found = series([moments_of_runs(series(of_runs, DOUBLE))], MOMENTS, known)
    assert slid(found, Call("VARIANCE"), (0, 2), (1, 3), (1, 4), (2, 4)) == [None, pytest.approx(8 / 3), None, None]


def random_values(rng: random.Random, size: int) -> list[float]:
    """With a mean of up to a million deviations."""
    shift = rng.choice([0.0, 1.0, 1e5])
    return [rng.choice([shift, rng.gauss(shift, 1.0)]) for _ in range(size)]


@pytest.mark.parametrize("known", [False, True])
def test_merged_moments_are_those_of_the_algebra_over_all_values(known: bool) -> None:
    rng = random.Random(1)
    for _ in range(30):
        parts = [random_values(rng, rng.choice([1, 2, 3, 30])) for _ in range(rng.randint(1, 9))]
        runs = [pa.array(part) for part in parts]
        states = moments_of_runs(series(runs, DOUBLE))
        found = series([states], MOMENTS, np.zeros(len(parts), np.int64) if known else None)
        for operation in ("VARIANCE", "SKEW", "KURTOSIS"):
            own = aggregator(operation, DOUBLE)
            expected = own.finalize(own.merge_all(own.prepare(value, AT) for part in parts for value in part))
            (merged,) = asked(found, Call(operation), 0, len(parts))
            assert (merged is None) == (expected is None)
            assert merged is None or merged == pytest.approx(expected, rel=TOLERANCE[operation], abs=1e-9)


def test_a_window_over_states_takes_no_others_in() -> None:
    states = moments_of_runs(series([pa.array([1.0, 1e300]), pa.array([2.0, 4.0]), pa.array([6.0])], DOUBLE))
    found = series([states], MOMENTS)
    assert asked(found, Call("VARIANCE"), 1, 3) == [pytest.approx(8 / 3, rel=1e-12)]
    assert asked(found, Call("VARIANCE"), 2, 3) == [0.0]
    assert asked(found, Call("SKEW"), 1, 2) == [None]
    assert asked(found, Call("VARIANCE"), 3, 3) == [None]


def test_an_infinite_value_makes_moments_null_as_long_as_it_is_seen() -> None:
    states = moments_of_each(np.array([math.inf, 3.0, 5.0, math.nan]))
    assert states.null_count == 1
    found = series([states.slice(0, 3)], MOMENTS)
    assert asked(found, Call("VARIANCE"), 0, 3) == [None]
    assert asked(found, Call("VARIANCE"), 1, 3) == [1.0]
    again = series([moments_of_runs(found)], MOMENTS)
    assert asked(again, Call("VARIANCE"), 0, 1) == [None]


def test_moments_of_integers_and_of_empty_runs() -> None:
    runs = [pa.array([1, 2, 3]), pa.array([], pa.int64()), pa.array([2**53 + 1])]
    states = moments_of_runs(series(runs, BIGINT))
    assert states.is_valid().to_pylist() == [True, False, True]
    assert states[0].as_py()["n"] == 3.0
    assert asked(series([states.slice(0, 1)], MOMENTS), Call("VARIANCE"), 0, 1) == [pytest.approx(2 / 3)]


def test_states_at_one_time_are_in_an_order_of_their_own() -> None:
    states = moments_of_each(np.array([3.0, 1.0, 2.0]))
    assert values_of(states, MOMENTS).ordinals.tolist() == [2, 0, 1]
    shuffled = values_of(states.take(pa.array([2, 0, 1])), MOMENTS)
    assert [state["hi"] for state in shuffled.restore(np.arange(3)).to_pylist()] == [1.0, 2.0, 3.0]
