"""A hash table of integers: which of some distinct numbers a value is. Values are compared, never hashes alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from zipline.algebra.columnar.kernel import kernel

FIRST_SLOTS = 1024


@kernel
def _slot(table: Any, numbers: Any, value: Any) -> Any:
    """Where the value is, or the free slot where it belongs."""
    last = len(table) - 1
    mixed = np.uint64(value) * np.uint64(0x9E3779B97F4A7C15)
    slot = np.int64((mixed ^ (mixed >> np.uint64(32))) & np.uint64(last))
    while numbers[slot] >= 0 and table[slot] != value:
        slot = (slot + 1) & last
    return slot


@kernel
def build(values: Any, valid: Any) -> Any:
    """(slots of values, the number of each slot's value or -1, how many): distinct values in order of appearance.

    An empty `valid` means that none is null.
    """
    table = np.zeros(FIRST_SLOTS, np.int64)
    numbers = np.full(FIRST_SLOTS, -1, np.int32)
    count = 0
    for row in range(len(values)):
        if len(valid) > 0 and not valid[row]:
            continue
        slot = _slot(table, numbers, values[row])
        if numbers[slot] >= 0:
            continue
        if 2 * (count + 1) > len(table):
            table, numbers = _grown(table, numbers)
            slot = _slot(table, numbers, values[row])
        table[slot] = values[row]
        numbers[slot] = count
        count += 1
    return table, numbers, count


@kernel
def _grown(table: Any, numbers: Any) -> Any:
    larger = np.zeros(4 * len(table), np.int64)
    renumbered = np.full(4 * len(table), -1, np.int32)
    for old in range(len(table)):
        if numbers[old] >= 0:
            slot = _slot(larger, renumbered, table[old])
            larger[slot] = table[old]
            renumbered[slot] = numbers[old]
    return larger, renumbered


@kernel
def find(table: Any, numbers: Any, values: Any, valid: Any, out: Any, first: Any, last: Any) -> None:
    """The numbers of the values first..last; -1 of one that is null or not in the table."""
    for row in range(first, last):
        if len(valid) > 0 and not valid[row]:
            out[row] = -1
        else:
            out[row] = numbers[_slot(table, numbers, values[row])]
