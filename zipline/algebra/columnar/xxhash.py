"""XXH64 of columns, as Spark's `xxhash64` computes it: rows that it and we send to a place meet there.

The hash of several columns is that of the last with the hash of those before it as its seed. Source of the function:
the specification of xxHash (XXH64); a value of four or eight bytes is hashed as these bytes, little-endian.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from zipline.algebra.columnar.kernel import kernel
from zipline.algebra.columnar.order import frozen
from zipline.algebra.columnar.values import raw

SEED = 42
"""Of the first column."""

_P1, _P2, _P3, _P4, _P5 = (
    np.uint64(prime)
    for prime in (0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5)
)


def hashes(columns: list[pa.Array], rows: int, seed: int = SEED) -> NDArray[np.int64]:
    """Of rows without nulls. Columns are of booleans, dates, int64, float64, instants in microseconds, text or bytes.

    Floats are hashed by their bits: whoever takes -0.0 and 0.0 for one key makes them so before.
    """
    found = np.full(rows, seed, np.uint64)
    for column in columns:
        if pa.types.is_string(column.type) or pa.types.is_binary(column.type):
            _, ends, data = column.buffers()
            offsets = np.frombuffer(ends, np.int32)[column.offset : column.offset + rows + 1] if rows else _NO_OFFSETS
            letters = np.frombuffer(data, np.uint8) if data is not None and data.size else _NO_LETTERS
            _hash_texts(frozen(offsets), frozen(letters), found)
        elif pa.types.is_boolean(column.type):
            _hash_ints(frozen(np.asarray(column.to_numpy(zero_copy_only=False)).astype(np.int32)), found)
        elif pa.types.is_date32(column.type):
            _hash_ints(frozen(raw(column, np.int32)), found)
        else:
            _hash_longs(frozen(raw(column, np.int64)), found)
    return found.view(np.int64)


_NO_OFFSETS, _NO_LETTERS = np.zeros(1, np.int32), np.zeros(0, np.uint8)


@kernel
def _rotated(value: Any, left: Any) -> Any:
    return (value << np.uint64(left)) | (value >> np.uint64(64 - left))


@kernel
def _mixed(value: Any) -> Any:
    value = (value ^ (value >> np.uint64(33))) * _P2
    value = (value ^ (value >> np.uint64(29))) * _P3
    return value ^ (value >> np.uint64(32))


@kernel
def _with_word(value: Any, word: Any) -> Any:
    return _rotated(value ^ (_rotated(word * _P2, 31) * _P1), 27) * _P1 + _P4


@kernel
def _hash_longs(values: Any, out: Any) -> None:
    for row in range(len(values)):
        out[row] = _mixed(_with_word(out[row] + _P5 + np.uint64(8), np.uint64(values[row])))


@kernel
def _hash_ints(values: Any, out: Any) -> None:
    for row in range(len(values)):
        word = np.uint64(np.uint32(values[row]))
        out[row] = _mixed(_rotated((out[row] + _P5 + np.uint64(4)) ^ (word * _P1), 23) * _P2 + _P3)


@kernel
def _word(letters: Any, place: Any, size: Any) -> Any:
    word = np.uint64(0)
    for number in range(size):
        word |= np.uint64(letters[place + number]) << np.uint64(8 * number)
    return word


@kernel
def _round(lane: Any, word: Any) -> Any:
    return _rotated(lane + word * _P2, 31) * _P1


@kernel
def _merged(value: Any, lane: Any) -> Any:
    return (value ^ (_rotated(lane * _P2, 31) * _P1)) * _P1 + _P4


@kernel
def _hash_texts(offsets: Any, letters: Any, out: Any) -> None:
    for row in range(len(offsets) - 1):
        place, end = np.int64(offsets[row]), np.int64(offsets[row + 1])
        size = end - place
        seed = out[row]
        if size >= 32:
            one, two, three, four = seed + _P1 + _P2, seed + _P2, seed, seed - _P1
            while end - place >= 32:
                one = _round(one, _word(letters, place, 8))
                two = _round(two, _word(letters, place + 8, 8))
                three = _round(three, _word(letters, place + 16, 8))
                four = _round(four, _word(letters, place + 24, 8))
                place += 32
            value = _rotated(one, 1) + _rotated(two, 7) + _rotated(three, 12) + _rotated(four, 18)
            value = _merged(_merged(_merged(_merged(value, one), two), three), four)
        else:
            value = seed + _P5
        value += np.uint64(size)
        while end - place >= 8:
            value = _with_word(value, _word(letters, place, 8))
            place += 8
        if end - place >= 4:
            value = _rotated(value ^ (_word(letters, place, 4) * _P1), 23) * _P2 + _P3
            place += 4
        while place < end:
            value = _rotated(value ^ (np.uint64(letters[place]) * _P5), 11) * _P1
            place += 1
        out[row] = _mixed(value)
