"""Which keys are hot and where their time is cut, and partitions in pieces: pure functions, without Spark."""

from __future__ import annotations

import random

import numpy as np
import pyarrow as pa
import pytest

from zipline.engines.spark.hot import HASH, IS_LEFT, TIME, Sample, cut, fraction
from zipline.engines.spark.packing import PART
from zipline.engines.spark.sizes import Sizing
from zipline.engines.spark.skew import BEGINNING, FOREVER, Division
from zipline.engines.spark.spill import pieces


def sample(*rows: tuple[int, int | None, bool], share: float = 1.0) -> Sample:
    hashes, times, is_left = zip(*rows, strict=True)
    return Sample(pa.table({HASH: hashes, TIME: pa.array(times, pa.int64()), IS_LEFT: is_left}), share)


def test_keys_with_more_rows_than_a_task_should_have_are_hot() -> None:
    rows = [(1, t, True) for t in range(10)] + [(2, t, True) for t in range(5)] + [(3, t, True) for t in range(6)]
    assert [(key.hash, key.edges) for key in sample(*rows).hot(5, 5)] == [(1, (5,)), (3, (3,))]
    assert [(key.hash, key.edges) for key in sample(*rows).hot(6, 4)] == [(1, (3, 6))]
    assert [key.hash for key in sample(*rows, share=0.1).hot(55, 55)] == [1, 3]
    assert list(sample(*rows).hot(10, 10)) == []


def test_ranges_in_which_nobody_asks_are_not_made() -> None:
    times = np.arange(100)
    assert cut(times, times, 4) == (25, 50, 75)
    assert cut(times, np.array([60, 61]), 4) == ()
    assert cut(times, np.array([10, 60]), 4) == (25,)
    assert cut(times, np.array([10, 90]), 4) == (25,)
    assert cut(np.zeros(100, np.int64), np.zeros(100, np.int64), 4) == ()
    assert cut(times[:0], times[:0], 4) == ()


def test_the_ranges_of_a_key_are_the_whole_line_of_time() -> None:
    hot = list(sample(*((9, t, True) for t in range(12))).hot(4, 4))
    ranges = Division.of(3, hot).ranges
    assert [(each.first, each.last, each.partition) for each in ranges] == [
        (BEGINNING, 3, 3),
        (4, 7, 4),
        (8, FOREVER, 5),
    ]


def test_a_sample_is_as_large_as_a_hot_key_needs() -> None:
    assert fraction(10**9, 2_000_000) == 100 / 2_000_000
    assert fraction(1_000_000, 1_000_000) == 0.02
    assert fraction(400, 100) == 1.0
    assert fraction(None, 1_000) == 0.1


def test_a_key_is_divided_where_no_task_can_hold_it_or_the_other_cores_would_wait_for_it() -> None:
    sizing = Sizing(rows_per_task=1_000_000, cores=2)
    assert sizing.most_of_a_key([100_000, 50_000]) is None, "few rows are not looked at"
    assert sizing.most_of_a_key([100_000, 300_000]) == 250_000, "a quarter more than the share of a core"
    assert sizing.most_of_a_key([10**9]) == 3_000_000
    assert sizing.most_of_a_key([10, None]) == 1_000_000
    assert sizing.most_of_a_key([10**9]) < sizing.most, "beside others, in one piece"
    assert sizing.rows_of_a_range([100_000, 300_000]) == 100_000
    assert sizing.rows_of_a_range([10**9]) == sizing.rows_of_a_range([10, None]) == 1_000_000


def batches(rows: int, parts: int, each: int) -> list[pa.RecordBatch]:
    draw = random.Random(3)
    table = pa.table({PART: pa.array([draw.randrange(parts) for _ in range(rows)], pa.int32()), "n": range(rows)})
    return list(table.to_batches(max_chunksize=each))


def test_few_rows_are_one_piece_as_they_came() -> None:
    given = batches(100, 8, 30)
    assert list(pieces(given, 100)) == [given]
    assert list(pieces([], 100)) == [[]]


@pytest.mark.parametrize("most", [10, 150, 999])
def test_many_rows_are_pieces_within_the_budget_that_keep_keys_together(most: int) -> None:
    given = pa.Table.from_batches(batches(1_000, 40, 64))
    held = [pa.Table.from_batches(piece) for piece in pieces(given.to_batches(), most)]
    assert pa.concat_tables(held).sort_by("n").equals(given.sort_by("n"))
    of_piece = [set(piece.column(PART).to_pylist()) for piece in held]
    assert sum(map(len, of_piece)) == len(set().union(*of_piece)) == 40
    assert all(piece.num_rows <= most or len(parts) == 1 for piece, parts in zip(held, of_piece, strict=True))
    assert len(held) > 1
