"""Ids of events that a group-by's tiles have counted, for as long as tiles are kept: an event that comes again is not.

Of the rows of one id the first that arrives is the event, until the next upload takes the least of what the table has.
An id is kept as 16 bits that choose one of 65,536 buckets and 96 more beside the day on which it came, from SHA-256; a
bucket that is written loses what is older than `TILES_KEPT`. So what is kept is bounded by the events of these days.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zipline.clock import DAY
from zipline.stores.contract import TILES_KEPT, Item, Place, Store
from zipline.stores.keys import key_writer
from zipline.stores.tiles import seen
from zipline.types import DataType

_DAY, _DIGEST = 4, 12
_ENTRY = _DAY + _DIGEST


class Seen:
    """The ids of one expression in one space. `number` tells the expressions of a group-by apart."""

    def __init__(self, store: Store, space: str, number: int, dtype: DataType, own: set[bytes] | None = None) -> None:
        self._store, self._space, self._own = store, space, own
        self._number = number
        self._write = key_writer([dtype])

    def first(self, ids: Sequence[Any], at: int) -> tuple[NDArray[np.bool_], list[Item]]:
        """Which of these ids are new (those that are null always are), and what to write to remember them."""
        found = [self._digest(value) for value in ids]
        buckets = self._read({bucket for bucket, _ in filter(None, found)})
        known = {bucket: set(_digests(content)) for bucket, content in buckets.items()}
        added: dict[bytes, list[bytes]] = {}
        is_new = np.ones(len(found), np.bool_)
        for place, each in enumerate(found):
            if each is None:
                continue
            bucket, digest = each
            if digest in known[bucket]:
                is_new[place] = False
                continue
            known[bucket].add(digest)
            added.setdefault(bucket, []).append(digest)
        today = at // DAY
        return is_new, [(name, _written(buckets[name], digests, today)) for name, digests in added.items()]

    def _digest(self, value: Any) -> tuple[bytes, bytes] | None:
        key = self._write((value,))
        if key is None:
            return None
        digest = hashlib.sha256(key).digest()
        return seen(self._number, digest[:2]), digest[2 : 2 + _DIGEST]

    def _read(self, names: set[bytes]) -> dict[bytes, bytes]:
        some = [name for name in sorted(names) if self._own is None or name in self._own]
        found = self._store.get([(Place(self._space), some)])[0] if some else []
        stored = {name: bytes(value) for name, value in zip(some, found, strict=True) if value is not None}
        return {name: stored.get(name, b"") for name in names}


def _digests(bucket: bytes) -> Iterator[bytes]:
    return (bucket[place + _DAY : place + _ENTRY] for place in range(0, len(bucket), _ENTRY))


def _written(bucket: bytes, digests: Sequence[bytes], today: int) -> bytes:
    """The bucket with more ids, without those that are too old."""
    oldest = today - TILES_KEPT // DAY
    entries = (bucket[place : place + _ENTRY] for place in range(0, len(bucket), _ENTRY))
    kept = b"".join(entry for entry in entries if int.from_bytes(entry[:_DAY], "big") >= oldest)
    day = today.to_bytes(_DAY, "big")
    return kept + b"".join(day + digest for digest in digests)
