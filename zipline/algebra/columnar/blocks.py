"""Blocks (`zipline.algebra.layout`) written, opened and merged, many at a time."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zipline.algebra.codec import CodecError, pack, unpack
from zipline.algebra.columnar import combining
from zipline.algebra.contract import Aggregator
from zipline.algebra.layout import HEADER, START, WIDTH, WORD, WORDS, Layout
from zipline.values import dataclass

Ints = NDArray[np.int64]
Irs = list[list[Any]]
"""Of every record its IRs."""

_HEAD = struct.Struct("<qqq")
_KINDS = {kind: number for number, kind in enumerate(WORDS)}


@dataclass(frozen=True, eq=False)
class Form:
    """What the blocks of a group-by look like."""

    tag: int
    fingerprint: bytes
    layout: Layout
    aggregators: tuple[Aggregator, ...]

    def written(self, words: Ints, irs: Irs) -> bytes:
        """The block of these records."""
        packed = pack(self.fingerprint, [ir for record in irs for ir in record]) if self.aggregators else b""
        return _HEAD.pack(self.tag, len(words), len(packed)) + words.tobytes() + packed + bytes(-len(packed) % WORD)

    def opened(self, blocks: Sequence[Sequence[Any]]) -> Opened:
        """The records of the blocks (bytes, views of them, or None) of each key. CodecError where one is no block of
        this form."""
        width = self.layout.words * WORD
        found: list[Any] = []
        packed: list[Any] = []
        counts = [0]
        total = 0
        for of_key in blocks:
            for block in of_key:
                if block is None:
                    continue
                if len(block) < HEADER * WORD:
                    raise CodecError("a stored block is too short")
                tag, count, irs = _HEAD.unpack_from(block)
                end = HEADER * WORD + count * width
                if tag != self.tag:
                    raise CodecError("a stored block belongs to another definition", hint="upload again")
                if count < 0 or irs < 0 or len(block) != end + irs + -irs % WORD:
                    raise CodecError("a stored block has not the length that it says")
                found.append(block[HEADER * WORD : end])
                if irs:
                    packed.append(block[end : end + irs])
                total += count
            counts.append(total)
        words = np.frombuffer(b"".join(found), np.int64).reshape(-1, self.layout.words)
        return Opened(words, np.array(counts, np.int64), packed)

    def irs_of(self, packed: Sequence[Any]) -> Irs:
        """The IRs of records in the order of their blocks."""
        width = len(self.aggregators)
        found: Irs = []
        for blob in packed:
            irs = unpack(self.fingerprint, bytes(blob))
            found += [irs[place : place + width] for place in range(0, len(irs), width)]
        return found

    def merged(self, words: Ints, irs: Irs, groups: Ints) -> tuple[Ints, Irs, Ints]:
        """Records of one group, start and width as one each: (words, IRs, groups), in this order."""
        order = np.lexsort((words[:, START], words[:, WIDTH], groups))
        words, groups = words[order], groups[order]
        fresh = np.ones(len(words), np.bool_)
        fresh[1:] = (np.diff(groups) != 0) | (np.diff(words[:, START]) != 0) | (np.diff(words[:, WIDTH]) != 0)
        firsts = np.flatnonzero(fresh)
        offsets = np.append(firsts, len(words))
        out = np.zeros((len(firsts), self.layout.words), np.int64)
        out[:, START], out[:, WIDTH] = words[firsts, START], words[firsts, WIDTH]
        words = np.ascontiguousarray(words)
        flat = words.reshape(-1)
        combining.combine(flat, flat.view(np.float64), offsets, self._states, out, out.view(np.float64))
        found: Irs = []
        if self.aggregators:
            ordered = [irs[record] for record in order.tolist()]
            bounds = offsets.tolist()
            for first, last in pairwise(bounds):
                columns = zip(*ordered[first:last], strict=True)
                found.append([a.merge_all(column) for a, column in zip(self.aggregators, columns, strict=True)])
        return out, found, groups[firsts]

    @property
    def _states(self) -> Ints:
        rows = [(_KINDS[s.kind], s.at, s.count, int(s.is_float)) for s in self.layout.states]
        return np.array(rows, np.int64).reshape(-1, 4)


@dataclass(frozen=True, eq=False)
class Opened:
    """Records of several keys: those of key k are `offsets[k]:offsets[k + 1]`. `packed` are the IRs, block by block."""

    words: Ints
    offsets: Ints
    packed: Sequence[Any]
