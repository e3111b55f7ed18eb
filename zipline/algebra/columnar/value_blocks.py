"""Blocks of values: what stands under a key of a group-by that is served as of the end of a day, many at a time.

    block := tag, checksum, bytes of the rest | which words are values | words | the rest

The words are those of the columns of fixed size (numbers, booleans, dates and instants), an integer or the bits of a
double each; a bit for every one says whether it is a value, the first column in the lowest. The rest are the values of
all other columns in one packed blob (`zipline.algebra.codec`), filled up to whole words. All are little-endian.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from zipline.algebra.codec import CodecError, pack, unpack
from zipline.algebra.columnar import sealing, value_reading
from zipline.algebra.columnar.value_reading import HEADER, REST_BYTES
from zipline.algebra.columnar.values import values_of, whole
from zipline.algebra.layout import TAG, WORD, has_word
from zipline.algebra.nested import to_algebra
from zipline.types import DataType
from zipline.values import dataclass

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

AT_ONCE = 16_384
"""Blocks that are laid out in one buffer."""
_BITS = 64


@dataclass(frozen=True, eq=False)
class ValueForm:
    """What the blocks of a group-by with these columns look like."""

    tag: int
    fingerprint: bytes
    columns: tuple[tuple[str, DataType], ...]

    @cached_property
    def fixed(self) -> tuple[tuple[str, DataType], ...]:
        """The columns that have words."""
        return tuple(column for column in self.columns if has_word(column[1]))

    @cached_property
    def rest(self) -> tuple[tuple[str, DataType], ...]:
        """All others."""
        return tuple(column for column in self.columns if not has_word(column[1]))

    @cached_property
    def _first(self) -> int:
        """Where the words begin."""
        return HEADER + -(-len(self.fixed) // _BITS)

    @cached_property
    def _end(self) -> int:
        """Where the words end."""
        return self._first + len(self.fixed)

    def written(self, table: pa.Table) -> Iterator[bytes]:
        """The block of every row of a table that has all columns; NaN is null."""
        for first in range(0, table.num_rows, AT_ONCE):
            yield from self._some_written(table.slice(first, AT_ONCE))

    def _some_written(self, table: pa.Table) -> list[bytes]:
        """The same, all laid out in one buffer."""
        rows = table.num_rows
        head = np.zeros((rows, self._end), np.int64)
        present = np.zeros((rows, (self._first - HEADER) * _BITS), np.bool_)
        for n, (name, dtype) in enumerate(self.fixed):
            head[:, self._first + n], present[:, n] = _words(whole(table.column(name)), dtype)
        head[:, TAG] = self.tag
        head[:, HEADER : self._first] = np.packbits(present, axis=1, bitorder="little").view(np.int64)
        rest = self._packed(table) if self.rest else []
        head[:, REST_BYTES] = [len(each) for each in rest] if rest else 0
        return _sealed(head, rest)

    def _packed(self, table: pa.Table) -> list[bytes]:
        """The rest of every row."""
        columns = [[to_algebra(each, dtype) for each in table.column(name).to_pylist()] for name, dtype in self.rest]
        return [pack(self.fingerprint, row) for row in zip(*columns, strict=True)]

    def read(
        self, blocks: Sequence[Any], at: Sequence[int], columns: Ints, *, is_stale: bool, is_wrong: bool
    ) -> tuple[Ints, Bools, NDArray[np.uint8]]:
        """(words, whether they are values, statuses) of rows, of which `at` says which block each has, -1 for none.

        `columns` says of every one that is wanted what `value_reading` is told of it. All is `error` where the blocks
        are another definition's, which `is_wrong` says.
        """
        joined, ends = _joined(blocks)
        shape = len(at), len(columns)
        found = np.zeros(shape, np.int64), np.zeros(shape, np.bool_), np.zeros(shape, np.uint8)
        told = np.array((self.tag, self._first, self._end, is_stale, is_wrong), np.int64)
        value_reading.read(np.frombuffer(joined, np.int64), ends, np.array(at, np.int64), columns, told, *found)
        return found

    def opened(self, blocks: Sequence[Any]) -> OpenedValues:
        """The values of blocks (bytes, or views of them)."""
        joined, ends = _joined(blocks)
        words = np.frombuffer(joined, np.int64)
        begins, lengths = ends[:-1], np.diff(ends)
        is_whole = (lengths >= self._end) & sealing.are_whole(words, ends)
        head = np.zeros((len(blocks), self._end), np.int64)
        head[is_whole] = words[begins[is_whole, None] + np.arange(self._end)]
        is_whole &= (head[:, TAG] == self.tag) & (lengths == self._end + -(-head[:, REST_BYTES] // WORD))
        bits = np.ascontiguousarray(head[:, HEADER : self._first]).view(np.uint8)
        present = np.unpackbits(bits, axis=1, count=len(self.fixed), bitorder="little").astype(np.bool_)
        rest: list[list[Any]] = []
        if self.rest:
            places, bytes_of = ((begins + self._end) * WORD).tolist(), head[:, REST_BYTES].tolist()
            for n, place in enumerate(places):
                rest.append(self._unpacked(joined[place : place + bytes_of[n]]) if is_whole[n] else [])
            is_whole &= np.array([len(values) == len(self.rest) for values in rest], np.bool_)
        return OpenedValues(head[:, self._first :], present, rest, is_whole)

    def _unpacked(self, blob: bytes) -> list[Any]:
        try:
            return unpack(self.fingerprint, blob)
        except CodecError:
            return []


@dataclass(frozen=True, eq=False)
class OpenedValues:
    """Of each block its words and which of them are values, the rest as the algebra has it, and whether it is a block
    of this form that is whole: of one that is not there is nothing."""

    words: Ints
    present: Bools
    rest: Sequence[Sequence[Any]]
    is_whole: Bools


def _joined(blocks: Sequence[Any]) -> tuple[bytes, Ints]:
    """(blocks one behind the other, where each begins and the last ends); nothing of one that is not of whole words."""
    fitting = [block if len(block) % WORD == 0 else b"" for block in blocks]
    ends = [0, *accumulate(len(block) // WORD for block in fitting)]
    return b"".join(fitting), np.array(ends, np.int64)


def _words(column: pa.Array, dtype: DataType) -> tuple[Ints, Any]:
    """(the words of a column, which are values): 0 is what is none."""
    values = values_of(column, dtype)
    found: Ints = (values.data + 0.0).view(np.int64) if dtype.is_float else values.data  # type: ignore[assignment]
    return (found, True) if values.valid is None else (np.where(values.valid, found, 0), values.valid)


def _sealed(head: Ints, rest: Sequence[bytes]) -> list[bytes]:
    """Blocks that begin with `head`, the rest of each behind it."""
    width = head.shape[1]
    ends = np.append(0, np.cumsum(width + -(-head[:, REST_BYTES] // WORD)))
    out = head.reshape(-1)
    if rest:
        out = np.zeros(ends[-1], np.int64)
        out[ends[:-1, None] + np.arange(width)] = head
        for each, begin in zip(rest, ((ends[:-1] + width) * WORD).tolist(), strict=True):
            out.view(np.uint8)[begin : begin + len(each)] = np.frombuffer(each, np.uint8)
    sealing.seal(out, ends)
    joined = out.tobytes()
    return [joined[begin * WORD : end * WORD] for begin, end in pairwise(ends.tolist())]
