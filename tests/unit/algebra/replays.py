"""Replaying a few values through an aggregator, whole and in pieces."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from hypothesis import settings

from zipline.algebra.contract import Aggregator, At
from zipline.algebra.operations import aggregator
from zipline.types import DataType

Row = tuple[Any, At]

quick = settings(max_examples=40, deadline=None)
each = settings(max_examples=10, deadline=None)
"""For a law that is tried on every operation and type."""


def rows(*values: Any) -> list[Row]:
    """Values one microsecond apart, without a second clock."""
    return [(value, (t, None)) for t, value in enumerate(values)]


def replay(built: Aggregator, given: Sequence[Row]) -> Any:
    """The IR of the rows, one update each."""
    ir = built.empty()
    for value, at in given:
        ir = built.update(ir, value, at)
    return ir


def replay_in_pieces(built: Aggregator, given: Sequence[Row], cuts: list[int]) -> Any:
    """The IR of the rows cut at some places, the pieces merged from the right, then from the left."""
    edges = [0, *sorted(cut % (len(given) + 1) for cut in cuts), len(given)]
    pieces = [replay(built, given[low:high]) for low, high in pairwise(edges)]
    half = len(pieces) // 2
    right = built.empty()
    for piece in reversed(pieces[half:]):
        right = built.merge(piece, right)
    return built.merge(built.merge_all(pieces[:half]), right)


def feature(operation: str, dtype: DataType, *values: Any, **arguments: Any) -> Any:
    """What the operation gives for the values, in this order of time."""
    return feature_of(operation, dtype, rows(*values), **arguments)


def feature_of(operation: str, dtype: DataType, given: Sequence[Row], **arguments: Any) -> Any:
    """What the operation gives for the rows."""
    built = aggregator(operation, dtype, **arguments)
    return built.finalize(replay(built, given))
