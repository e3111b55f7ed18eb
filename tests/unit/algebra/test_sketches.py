"""The approximate operations beyond the size up to which they are exact."""

from __future__ import annotations

import datetime as dt
import random
from collections import Counter
from decimal import Decimal
from typing import Any

import datasketches
import pytest

from tests.unit.algebra.replays import feature, replay, replay_in_pieces, rows
from zipline.algebra import aggregator, decode, encode
from zipline.algebra.sketches import EXACT_VALUES, Distinct, Frequent, Quantiles
from zipline.types import BIGINT, BINARY, BOOLEAN, DATE, DOUBLE, STRING, DataType, DecimalType

CENTS = DecimalType(precision=10, scale=2)


def shuffled(values: list[Any], seed: int = 1) -> list[Any]:
    return random.Random(seed).sample(values, len(values))


@pytest.mark.parametrize("distinct", [10, 500, 20_000])
def test_distinct_values_are_counted_within_five_percent(distinct: int) -> None:
    values = [f"user {i % distinct}" for i in range(distinct + distinct // 2)]
    assert feature("APPROX_UNIQUE_COUNT", STRING, *values) == pytest.approx(distinct, rel=0.05)


@pytest.mark.parametrize("distinct", [3, 100, 400, 800, 3000])
def test_distinct_state_does_not_depend_on_order_or_pieces(distinct: int) -> None:
    built = aggregator("APPROX_UNIQUE_COUNT", BIGINT)
    blobs = set()
    features = set()
    for seed in range(3):
        given = rows(*shuffled(list(range(distinct)), seed))
        for ir in (replay(built, given), replay_in_pieces(built, given, [distinct // 3, distinct // 2])):
            blobs.add(encode(ir))
            features.add(built.finalize(decode(encode(ir))))
            features.add(built.finalize(ir))
    assert len(blobs) == len(features) == 1


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        (BOOLEAN, [True, False]),
        (STRING, ["", "\0", " ", "é"]),
        (DATE, [dt.date(2024, 1, 1), dt.date(2024, 1, 2), dt.date(1969, 1, 1)]),
        (BINARY, [b"", b"\x00", b"\xff", b"a"]),
        (CENTS, [Decimal("1.00"), Decimal("1"), Decimal("1.10")]),
        (DOUBLE, [1.0, 2.5, -0.0, 0.0]),
    ],
)
def test_every_scalar_type_can_be_counted_apart(dtype: DataType, values: list[Any]) -> None:
    assert feature("APPROX_UNIQUE_COUNT", dtype, *values, *values) == len(set(values))


def test_the_library_reads_the_distinct_sketch() -> None:
    built = aggregator("APPROX_UNIQUE_COUNT", BIGINT)
    payload = replay(built, rows(*range(1000))).payload()
    assert datasketches.hll_sketch.deserialize(payload).get_estimate() == pytest.approx(1000, rel=0.05)
    assert Distinct.read(payload).payload() == payload


@pytest.mark.parametrize("pieces", [[], [1000, 1100, 20_000], list(range(0, 30_000, 500))])
def test_percentiles_are_within_two_percent_of_rank(pieces: list[int]) -> None:
    built = aggregator("APPROX_PERCENTILE", DOUBLE, percentiles=(0.01, 0.25, 0.5, 0.95, 0.999))
    given = rows(*shuffled([float(i) for i in range(30_000)]))
    got = built.finalize(decode(encode(replay_in_pieces(built, given, pieces))))
    assert [value / 30_000 for value in got] == pytest.approx([0.01, 0.25, 0.5, 0.95, 0.999], abs=0.02)


def test_percentiles_become_a_sketch_only_beyond_the_exact_size() -> None:
    built = aggregator("APPROX_PERCENTILE", BIGINT, percentiles=(0.95,))
    few = replay(built, rows(*shuffled(list(range(1, EXACT_VALUES + 1)))))
    assert built.finalize(few) == [380.0]
    assert not isinstance(few, Quantiles)
    assert isinstance(built.update(few, 1, (0, None)), Quantiles)


def test_merging_a_percentile_sketch_does_not_alter_it() -> None:
    built = aggregator("APPROX_PERCENTILE", BIGINT, percentiles=(0.5,))
    large = replay(built, rows(*range(1000)))
    before = large.payload()
    built.merge_all([large, replay(built, rows(1, 2)), large])
    built.merge(replay(built, rows(5)), large)
    assert large.payload() == before


def skewed(count: int) -> list[int]:
    """Value i occurs about count / (i + 1) times."""
    return shuffled([i for i in range(count) for _ in range(count // (i + 1))])


@pytest.mark.parametrize(
    ("dtype", "make"),
    [
        (BIGINT, lambda i: i),
        (DOUBLE, lambda i: i / 2),
        (STRING, lambda i: f"item {i:05}"),
        (STRING, lambda i: f"é\U0001f600 {i:05}"),
        (DATE, lambda i: dt.date(2000, 1, 1) + dt.timedelta(days=i)),
        (BINARY, lambda i: i.to_bytes(3, "big") + b"\xff"),
        (CENTS, lambda i: Decimal(i).scaleb(-2)),
    ],
)
def test_the_most_frequent_values_are_found_among_many(dtype: DataType, make: Any) -> None:
    values = [make(i) for i in skewed(2000)]
    built = aggregator("APPROX_HISTOGRAM_K", dtype, k=3)
    ir = replay_in_pieces(built, rows(*values), [5000, 5001, 9000])
    assert isinstance(ir, Frequent)
    got = built.finalize(decode(encode(ir)))
    exact = Counter(values)
    assert list(got) == [make(0), make(1), make(2)]
    assert all(count == pytest.approx(exact[value], abs=len(values) * 0.01) for value, count in got.items())


def test_a_histogram_is_exact_up_to_k_values_and_ties_go_to_the_least() -> None:
    values = shuffled([i for i in range(300) for _ in range(i % 4 + 1)])
    assert feature("APPROX_HISTOGRAM_K", BIGINT, *values, k=300) == {i: i % 4 + 1 for i in range(300)}
    assert feature("APPROX_HISTOGRAM_K", BIGINT, *values, k=2) == {3: 4, 7: 4}


def test_few_values_merge_with_a_sketch_on_either_side() -> None:
    built = aggregator("APPROX_HISTOGRAM_K", STRING, k=1)
    many = rows(*(f"v{i}" for i in range(2000)))
    few = rows(*["often"] * 500)
    expected = built.finalize(built.merge(replay(built, many), replay(built, few)))
    assert expected == built.finalize(built.merge(replay(built, few), replay(built, many)))
    assert list(expected) == ["often"]
    assert isinstance(built.merge(built.empty(), replay(built, many)), Frequent)
