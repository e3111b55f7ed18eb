"""What a run will move, as far as it is known before a session is: who shares a shuffle, and the rows of each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import pyarrow as pa

from zipline.engines.spark.facts import FACTS
from zipline.engines.spark.lanes import Lane
from zipline.engines.spark.outputs import part_schema
from zipline.engines.spark.packing import ROWS, Packing, Shape
from zipline.engines.spark.tasks import LeftShape
from zipline.plan.steps import BootstrapRead, PartPlan
from zipline.types import DataType

MOST_FILES = 512
"""Of a run of one set of keys, so many files are written by day and task; more, and days are brought together first."""

KeySets = Sequence[tuple[PartPlan, ...]]


def key_sets_of(parts: Iterable[PartPlan]) -> list[tuple[PartPlan, ...]]:
    """Parts by their left keys: each set has one shuffle."""
    by_keys: dict[tuple[str, ...], list[PartPlan]] = {}
    for part in parts:
        by_keys.setdefault(part.left_keys, []).append(part)
    return [tuple(sharing) for sharing in by_keys.values()]


def is_one_move(key_sets: KeySets, days_written: int, partitions: int) -> bool:
    """Whether the tasks of the one set of keys give the output; else it is brought together by one shuffle more."""
    return len(key_sets) == 1 and days_written * partitions <= MOST_FILES


def left_of(parts: Sequence[PartPlan], left: LeftShape) -> LeftShape:
    """What a set of keys takes of left rows where the output is brought together later."""
    return left.of(parts[0].left_keys, [column for part in parts for column, _ in part.columns])


def together(key_sets: KeySets, left: LeftShape, *, is_left_bundled: bool) -> Packing:
    """Left rows and the outcome of every set of keys, which comes in bundles."""
    outcomes = [Shape((FACTS, ROWS), {}) for _ in key_sets]
    return Packing((Shape((ROWS,), {}) if is_left_bundled else left.shape, *outcomes))


def outcome_rows(parts: Sequence[PartPlan], *, has_day: bool) -> pa.Schema:
    """Of the bundles of an outcome."""
    fields = part_schema(parts, has_day=has_day).arrow
    return pa.schema([field for field in fields if field.name != FACTS and not pa.types.is_null(field.type)])


def bootstrap_lane(read: BootstrapRead) -> Lane:
    """The rows of a table of given values."""
    lane = Lane(read.source)
    lane.keys = tuple(lane.take(read.source, read.row_id))
    lane.take(read.source, [name for name, _ in read.columns if name not in read.row_id])
    return lane


def given_values(reads: Sequence[BootstrapRead], left: LeftShape) -> LeftShape:
    """Left rows with what the tables give them."""
    given: dict[str, DataType] = {}
    for read in reads:
        given |= {name: given.get(name, dtype) for name, dtype in read.columns}
    return replace(left, given=given)
