"""Which generations a listing keeps, how it is written, and in which order an upload comes."""

from __future__ import annotations

import pytest

from zipline.clock import SECOND
from zipline.stores.contract import Generation, StoreError
from zipline.stores.uploads import Ascending, batches, decoded, encoded, succeeded


def published(*seconds: int) -> list[Generation]:
    return [Generation(f"{at:03}", 0, "f", published=at * SECOND) for at in seconds]


@pytest.mark.parametrize(
    ("before", "now", "kept", "dropped"),
    [
        ((), 100, (), ()),
        ((10,), 100, (10,), ()),
        ((10, 20), 100, (20,), (10,)),
        ((10, 40), 100, (40,), (10,)),
        ((10, 41), 100, (10, 41), ()),
        ((1, 2, 50), 100, (2, 50), (1,)),
    ],
)
def test_a_generation_stays_for_the_grace_after_the_next_one_came(
    before: tuple[int, ...], now: int, kept: tuple[int, ...], dropped: tuple[int, ...]
) -> None:
    (new,) = published(now)
    assert succeeded(published(*before), new, 60.0) == ([*published(*kept), new], published(*dropped))


def test_a_generation_that_is_published_again_stands_once() -> None:
    one, two = published(10, 20)
    assert succeeded([one, two], two, 60.0) == ([one, two], [])


def test_a_listing_is_read_as_it_was_written() -> None:
    listing = [Generation("1", 5, "f", 2, 30, 7), *published(1, 2)]
    assert decoded(encoded(listing), "it") == listing
    with pytest.raises(StoreError, match="it cannot be read"):
        decoded(b"{", "it")


def test_batches_are_full_but_for_the_last() -> None:
    items = [(b"%d" % n, b"") for n in range(5)]
    assert list(batches(iter(items), 2)) == [items[:2], items[2:4], items[4:]]
    assert list(batches([], 2)) == []


def test_keys_ascend_over_all_batches() -> None:
    order = Ascending("carriers")
    order.check([(b"a", b""), (b"b", b"")])
    with pytest.raises(StoreError, match="items of carriers are out of order or repeated"):
        order.check([(b"b", b"")])
