"""Blocks (`zipline.algebra.layout`) written, opened and merged, many at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zipline.algebra.codec import CodecError, pack, unpack
from zipline.algebra.columnar import combining, sealing
from zipline.algebra.columnar.kernel import kernel
from zipline.algebra.contract import Aggregator
from zipline.algebra.layout import HEADER, IR_BYTES, RECORDS, START, TAG, WIDTH, WORD, WORDS, Layout
from zipline.byte_strings import pieces
from zipline.values import dataclass

Ints = NDArray[np.int64]
Irs = list[list[Any]]
"""Of every record its IRs."""

AT_ONCE = 16_384
"""Blocks that are laid out in one buffer."""
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
        (block,) = self._some_written(words, irs, np.array([0, len(words)]))
        return block

    def all_written(self, words: Ints, irs: Irs, bounds: Ints) -> Iterator[list[bytes]]:
        """The blocks of records `bounds[n]:bounds[n + 1]`, one for each n, some at a time."""
        for first in range(0, len(bounds) - 1, AT_ONCE):
            yield self._some_written(words, irs, bounds[first : first + AT_ONCE + 1])

    def _some_written(self, words: Ints, irs: Irs, bounds: Ints) -> list[bytes]:
        """All laid out in one buffer."""
        spans = pairwise(bounds.tolist() if self.aggregators else [])
        packed = [pack(self.fingerprint, self._stored(irs[first:last])) for first, last in spans]
        counts = np.diff(bounds)
        sizes = np.array([len(each) for each in packed], np.int64) if packed else np.zeros_like(counts)
        ends = np.append(0, np.cumsum(HEADER + counts * self.layout.words + -(-sizes // WORD)))
        out = np.zeros(ends[-1], np.int64)
        begins = ends[:-1]
        out[begins + TAG], out[begins + RECORDS], out[begins + IR_BYTES] = self.tag, counts, sizes
        _lay(np.ascontiguousarray(words), bounds, begins, out)
        places = ends.tolist()
        for each, end in zip(packed, places[1:] if packed else [], strict=True):
            begin = (end + -len(each) // WORD) * WORD
            out.view(np.uint8)[begin : begin + len(each)] = np.frombuffer(each, np.uint8)
        sealing.seal(out, ends)
        return pieces(out.tobytes(), (ends * WORD).tolist())

    def _stored(self, irs: Irs) -> list[Any]:
        """The IRs of records one behind the other, as a store keeps them."""
        return [a.stored(ir) for record in irs for a, ir in zip(self.aggregators, record, strict=True)]

    def opened(self, blocks: Sequence[Sequence[Any]]) -> Opened:
        """The records of the blocks (bytes, views of them, or None) of each key. CodecError where one is no block of
        this form."""
        alone = self.opened_alone([block for of_key in blocks for block in of_key], is_strict=True)
        ends = np.cumsum([0, *(len(of_key) for of_key in blocks)])
        return Opened(alone.words, alone.offsets[ends], alone.packed)

    def opened_alone(self, blocks: Sequence[Any], *, is_strict: bool = False) -> Opened:
        """The records of each block, or None. One of another definition has none, or with `is_strict` is an error."""
        present = [block for block in blocks if block is not None]
        there = np.flatnonzero([block is not None for block in blocks])
        sizes = np.fromiter(map(len, present), np.int64, len(present))
        if (sizes < HEADER * WORD).any():
            raise CodecError("a stored block is too short")
        whole = b"".join(present)
        begins = np.cumsum(sizes) - sizes
        if (sizes % WORD).any():
            raise CodecError("a stored block has not the length that it says")
        words, at = np.frombuffer(whole, np.int64), begins // WORD
        own = words[at + TAG] == self.tag
        if is_strict and not own.all():
            raise CodecError("a stored block belongs to another definition", hint="upload again")
        there, begins, at, sizes = there[own], begins[own], at[own], sizes[own]
        counts, irs = words[at + RECORDS], words[at + IR_BYTES]
        longest = sizes // WORD
        if ((counts < 0) | (irs < 0) | (counts > longest) | (irs > sizes)).any() or (
            HEADER + counts * self.layout.words + -(-irs // WORD) != longest
        ).any():
            raise CodecError("a stored block has not the length that it says")
        if not sealing.blocks_are_whole(words, at, at + longest).all():
            raise CodecError("a stored block is damaged: its checksum is wrong", hint="upload again")
        of = np.zeros(len(blocks), np.int64)
        of[there] = counts
        found = np.empty((int(counts.sum()), self.layout.words), np.int64)
        _gather(words, at + HEADER, counts, found)
        packed: list[bytes] = []
        if irs.any():
            first = (begins + (HEADER + counts * self.layout.words) * WORD).tolist()
            packed = [whole[begin : begin + size] for begin, size in zip(first, irs.tolist(), strict=True) if size]
        return Opened(found, np.append(0, np.cumsum(of)), packed)

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
        words, groups = np.ascontiguousarray(words), np.ascontiguousarray(groups)
        offsets = np.empty(len(words) + 1, np.int64)
        count = _runs(words, groups, offsets)
        if count < 0:
            order = np.lexsort((words[:, START], words[:, WIDTH], groups))
            words, groups = words[order], groups[order]
            irs = [irs[record] for record in order.tolist()] if irs else irs
            count = _runs(words, groups, offsets)
        offsets = offsets[: count + 1]
        firsts = offsets[:-1]
        out = np.zeros((len(firsts), self.layout.words), np.int64)
        out[:, START], out[:, WIDTH] = words[firsts, START], words[firsts, WIDTH]
        flat = words.reshape(-1)
        combining.combine(flat, flat.view(np.float64), offsets, self._states, out, out.view(np.float64))
        found: Irs = []
        if self.aggregators:
            for first, last in pairwise(offsets.tolist()):
                columns = zip(*irs[first:last], strict=True)
                found.append([a.merge_all(column) for a, column in zip(self.aggregators, columns, strict=True)])
        return out, found, groups[firsts]

    @property
    def _states(self) -> Ints:
        rows = [(_KINDS[s.kind], s.at, s.count, int(s.is_float)) for s in self.layout.states]
        return np.array(rows, np.int64).reshape(-1, 4)


@kernel
def _runs(words: Any, groups: Any, offsets: Any) -> Any:
    """Writes where records begin that have another group, width or start than the one before, and behind these how many
    records there are; gives how many begin. -1 where they are not in this order."""
    count = 0
    for record in range(len(words)):
        step = np.int64(1)
        if record:
            step = groups[record] - groups[record - 1]
            if step == 0:
                step = words[record, WIDTH] - words[record - 1, WIDTH]
            if step == 0:
                step = words[record, START] - words[record - 1, START]
        if step < 0:
            return -1
        if step > 0:
            offsets[count] = record
            count += 1
    offsets[count] = len(words)
    return count


@kernel
def _lay(words: Any, bounds: Any, begins: Any, out: Any) -> None:
    """Copies the records of each block behind its header."""
    for block in range(len(begins)):
        at = begins[block] + HEADER
        for record in range(bounds[block], bounds[block + 1]):
            for place in range(words.shape[1]):
                out[at] = words[record, place]
                at += 1


@kernel
def _gather(words: Any, begins: Any, counts: Any, out: Any) -> None:
    """Copies the records of each block behind those of the one before."""
    record = 0
    for block in range(len(begins)):
        at = begins[block]
        for _ in range(counts[block]):
            for place in range(out.shape[1]):
                out[record, place] = words[at]
                at += 1
            record += 1


@dataclass(frozen=True, eq=False)
class Opened:
    """Records of several keys: those of key k are `offsets[k]:offsets[k + 1]`. `packed` are the IRs, block by block."""

    words: Ints
    offsets: Ints
    packed: Sequence[Any]
