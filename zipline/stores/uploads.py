"""What stores share of uploads: the order and batches in which items come, and the listing of generations.

A listing is the generations of a space that can be read, the current one last. How it is written is the same in every
store that writes it; where, and how it is replaced in one step, is the store's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import pairwise

import msgspec

from zipline.clock import SECOND
from zipline.stores.contract import DamagedError, Generation, Item, StoreError


def succeeded(
    listing: Sequence[Generation], published: Generation, grace: float
) -> tuple[list[Generation], list[Generation]]:
    """(the listing that follows, those of before that are to be dropped).

    A generation stays until it has not been current for `grace` seconds; each was current until the next one came.
    """
    earlier = [each for each in listing if each.name != published.name]
    oldest = published.published - int(grace * SECOND)
    kept = [each for each, next_one in pairwise([*earlier, published]) if next_one.published > oldest]
    return [*kept, published], [each for each in earlier if each not in kept]


def encoded(listing: Sequence[Generation]) -> bytes:
    return msgspec.json.encode([asdict(each) for each in listing])


def decoded(content: bytes, where: object) -> list[Generation]:
    """The inverse; DamagedError where it is none, which `where` names."""
    try:
        return msgspec.json.decode(content, type=list[Generation])
    except (msgspec.MsgspecError, UnicodeError) as wrong:
        raise DamagedError(f"{where} cannot be read: {wrong}", hint="upload again") from None


def readable(read: Callable[[], list[Generation]]) -> list[Generation]:
    """The listing that an upload goes on from: one that is damaged is begun anew."""
    try:
        return read()
    except DamagedError:
        return []


def batches(items: Iterable[Item], most: int) -> Iterator[list[Item]]:
    """The items, at most so many at a time."""
    batch: list[Item] = []
    for item in items:
        batch.append(item)
        if len(batch) == most:
            yield batch
            batch = []
    if batch:
        yield batch


class Ascending:
    """Whether the keys of an upload come as they must, over all calls."""

    def __init__(self, space: str) -> None:
        self._space, self._last = space, b""

    def check(self, batch: Sequence[Item]) -> None:
        """StoreError for a key that does not come after the one before it."""
        for key, _ in batch:
            if key <= self._last:
                raise StoreError(f"items of {self._space} are out of order or repeated")
            self._last = key
