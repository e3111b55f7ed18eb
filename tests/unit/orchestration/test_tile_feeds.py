"""Tiles that are put whole: again, out of order, beside what another engine wrote."""

from __future__ import annotations

import dataclasses
import struct
import time
from collections.abc import Sequence
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.integration.events.streams import END, SCHEMA
from zipline import Aggregation, EntitySource, EventSource, GroupBy, Operation, Query, Topic
from zipline.algebra.codec import CodecError
from zipline.algebra.layout import EVENTS, EVER_BEFORE
from zipline.algebra.windows import floor
from zipline.byte_strings import listed, of_values
from zipline.clock import DAY, MINUTE, SECOND, now, to_datetime
from zipline.engines.flink.messages import PLACE_SUFFIX, Message, read_message
from zipline.engines.flink.partials import opened
from zipline.engines.flink.sharing import Shared, Tiles
from zipline.engines.local.records import read_available, records
from zipline.errors import DataError, LockedError
from zipline.orchestration.events.tiling import Feed
from zipline.orchestration.streaming import feeds, running
from zipline.orchestration.streaming.brokers import Tile
from zipline.orchestration.streaming.feeds import TileFeed
from zipline.orchestration.streaming.progress import Mark
from zipline.orchestration.streaming.running import Streaming
from zipline.plan.build import plan_group_by
from zipline.plan.online import Kept
from zipline.stores.contract import Item, Place, StoreError
from zipline.stores.keys import key_writer
from zipline.stores.memory import MemoryStore
from zipline.stores.opening import space_of
from zipline.stores.tiles import PROGRESS, Progress, coarse, fine
from zipline.tables.catalog import open_catalog
from zipline.types import BIGINT, BOOLEAN, STRING, TIMESTAMP

SOURCE = EventSource("events", topic=Topic("events"), query=Query(["key", "n"], time="t"))
TOTALS = GroupBy(
    keys=["key"],
    sources=[SOURCE],
    aggregations=[Aggregation("n", Operation.SUM, windows=["30m", "1d"])],
    online=True,
    name="totals",
)
KEPT = Kept(plan_group_by(TOTALS, lambda table: SCHEMA))
ANN = key_writer([STRING])(["ann"]) or b""


def rows(*events: tuple[int, int]) -> pa.Table:
    """(minute of the day, n) of one key."""
    return rows_of_keys(*(("ann", *event) for event in events))


def rows_of_keys(*events: tuple[str, int, int]) -> pa.Table:
    """(key, minute of the day, n)."""
    times = [to_datetime(END + minute * MINUTE) for _, minute, _ in events]
    columns = {
        "key": [key for key, _, _ in events],
        "n": [n for _, _, n in events],
        "t": pa.array(times, pa.timestamp("us", "UTC")),
    }
    strings = {name: pa.nulls(len(events), pa.string()) for name in ("id", "text")}
    return pa.table({**strings, **columns, "known": pa.nulls(len(events), pa.timestamp("us", "UTC"))})


def tiles(*events: tuple[int, int]) -> dict[bytes, bytes]:
    """What a job sends of these events."""
    return tiles_of(rows(*events))


def tiles_of(arrived: pa.Table, kept: Kept = KEPT, table: str = "events") -> dict[bytes, bytes]:
    available = read_available(kept, open_catalog({table: arrived}), only=table)
    found = records(kept, available, lambda t: floor(t, kept.tile), kept.tile, floor(available.available, DAY))
    return {
        found.keys[key] + PLACE_SUFFIX.pack(day // DAY, words[0]): words.tobytes()
        for key, day, words in zip(found.key.tolist(), found.group.tolist(), found.words, strict=True)
    }


def sent(*events: tuple[int, int]) -> Tiles:
    return opened(Shared((KEPT,)), [message_of(tiles(*events))])


def message_of(found: dict[bytes, bytes]) -> Message:
    return Message(0, of_values(found), of_values(found.values()))


def stored(store: MemoryStore) -> list[tuple[int, int, int]]:
    """(start in minutes of the day, width in minutes, events), of the first hour's chunk and of the coarse one."""
    blocks = store.get([(Place("space"), [ANN + fine(END, END), ANN + coarse(END)])])[0]
    words = KEPT.form.opened_alone(blocks).words
    return [((w[0] - END) // MINUTE, w[1] // MINUTE, w[EVENTS]) for w in words.tolist()]


def test_whole_tiles_stand_as_those_that_were_merged_event_by_event() -> None:
    events = [(3, 1), (3, 5), (4, 2), (59, 7)]
    merged, whole = MemoryStore(), MemoryStore()
    Feed(KEPT, merged, "space", lambda: END).take("log", "events", rows(*events), {"0": 4})
    TileFeed(KEPT, whole, "space").put("tiles", sent(*events), 1)
    assert stored(whole) == stored(merged) != []


def test_a_tile_is_put_in_place_of_an_older_one_and_never_the_other_way() -> None:
    store = MemoryStore()
    feed = TileFeed(KEPT, store, "space")
    feed.put("tiles", sent((3, 1), (3, 5)), 1)
    feed.put("tiles", sent((3, 1), (4, 2)), 2)  # of minute 3 as it was before
    assert [found for found in stored(store) if found[1] == 1] == [(3, 1, 2), (4, 1, 1)]
    feed.put("tiles", sent((3, 1), (3, 5), (3, 6)), 3)
    assert [found for found in stored(store) if found[1] == 1] == [(3, 1, 3), (4, 1, 1)]
    assert feed.position("tiles") == {"0": 3}


CHANGES = pa.schema(
    [
        ("key", pa.string()),
        ("n", pa.int64()),
        ("t", pa.timestamp("us", "UTC")),
        ("changed", pa.timestamp("us", "UTC")),
        ("old", pa.bool_()),
    ]
)
STATE = EntitySource(
    "dump",
    mutations="log",
    topic=Topic("changes"),
    query=Query(["key", "n"], time="t", mutation_time="changed", is_before="old"),
)
SIGNED = Kept(
    plan_group_by(
        GroupBy(["key"], [STATE], [Aggregation("n", Operation.SUM, windows=["1d"])], online=True, name="state"),
        lambda _: {"key": STRING, "n": BIGINT, "t": TIMESTAMP, "changed": TIMESTAMP, "old": BOOLEAN, "ds": STRING},
    )
)


def changed(*changes: tuple[str, int]) -> Tiles:
    """What a job sends of changes of one moment: ("+", n) is a row, ("-", n) its reversal."""
    at = to_datetime(END + 3 * MINUTE)
    rows = [{"key": "ann", "n": n, "t": at, "changed": at, "old": way == "-"} for way, n in changes]
    return opened(Shared((SIGNED,)), [message_of(tiles_of(pa.Table.from_pylist(rows, CHANGES), SIGNED, "log"))])


def test_a_tile_of_changes_never_goes_back_though_its_count_does() -> None:
    store = MemoryStore()
    feed = TileFeed(SIGNED, store, "space")
    moved = [("+", 5), ("+", 2), ("-", 5), ("-", 2)]
    for number, (some, events, total) in enumerate(((2, 2, 7), (4, 0, 0), (1, 0, 0), (3, 0, 0), (2, 0, 0)), 1):
        feed.put("tiles", changed(*moved[:some]), number)
        (chunk,) = store.get([(Place("space"), [ANN + fine(END, END)])])[0]
        words = SIGNED.form.opened_alone([chunk]).words[0]
        low = words[SIGNED.layout.state("integers", "n").at]
        assert (words[EVENTS], low) == (events, total), some
    feed.put("tiles", changed(*moved, ("+", 9)), 6)
    feed = TileFeed(SIGNED, store, "space")  # of another job, which begins with what the topic has
    for number in range(1, 5):
        feed.put("other", changed(*moved[:number]), number)
    words = SIGNED.form.opened_alone(store.get([(Place("space"), [ANN + coarse(END)])])[0]).words
    assert {tuple(row) for row in words[:, [EVENTS, SIGNED.taken]].tolist()} == {(1, 5)}


def test_tiles_of_one_engine_are_made_anew_by_the_other_and_not_added_to() -> None:
    store = MemoryStore()
    events = [(3, 1), (4, 2)]
    Feed(KEPT, store, "space", lambda: END).take("log", "events", rows(*events), {"0": 2})
    job = TileFeed(KEPT, store, "space")
    assert job.position("tiles") == {}
    job.put("tiles", sent(*events), 1)
    job.progress(END + DAY, is_all=True)
    before = stored(store)
    with pytest.raises(LockedError, match="engine flink"):
        Feed(KEPT, store, "space", lambda: END, takes_over=False)
    for taken in (events[:1], events):  # the first is killed before it has caught up
        again = Feed(KEPT, store, "space", lambda: END)
        assert Progress.of(store.get([(Place("space"), [PROGRESS])])[0][0] or b"").until == EVER_BEFORE
        assert again.position("log") == {}
        again.take("log", "events", rows(*taken), {"0": len(taken)})
    assert stored(store) == before
    again.progress(END + DAY, is_all=True)
    assert Feed(KEPT, store, "space", lambda: END).position("log") == {"0": 2}


EIGHT = [f"key{number}" for number in range(8)]


def of_eight(times: int) -> Tiles:
    """Of eight keys a tile with so many events."""
    found = tiles_of(rows_of_keys(*((key, 7, n) for key in EIGHT for n in range(times))))
    return opened(Shared((KEPT,)), [message_of(found)])


def counts_of_eight(store: MemoryStore) -> list[int]:
    """Of each of the eight keys the events in its tile, 0 where there is none."""
    names = [(key_writer([STRING])([key]) or b"") + fine(END, END) for key in EIGHT]
    found = KEPT.form.opened_alone(store.get([(Place("space"), names)])[0])
    return [int(found.words[first, EVENTS]) if first < last else 0 for first, last in pairwise(found.offsets.tolist())]


def test_parts_have_all_tiles_of_their_keys() -> None:
    hot = [("key3", minute, 1) for minute in range(5)]
    found = opened(Shared((KEPT,)), [message_of(tiles_of(rows_of_keys(*((key, 7, 1) for key in EIGHT), *hot)))])
    parts = found.parts(2)
    assert [part.key.tolist() for part in parts] == [[0, 1], [2], [3] * 6 + [4], [5, 6], [7]]
    assert np.array_equal(np.concatenate([part.words for part in parts]), found.words)
    assert np.array_equal(np.concatenate([part.day for part in parts]), found.day)
    assert [len(part.key) for part in found.parts(100)] == [13]


@pytest.mark.parametrize("writers", [1, 2, 3])
def test_of_many_tiles_the_position_is_in_the_last_batch(writers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(MemoryStore):
        asked = iter(range(100))
        answers = 1

        def put_tiles(self, space: str, items: Sequence[Item]) -> None:
            if next(self.asked) >= self.answers:
                raise StoreError("no answer")
            super().put_tiles(space, items)

    monkeypatch.setattr(feeds, "AT_ONCE", 2)
    store = Failing()
    store.writers = writers
    feed = TileFeed(KEPT, store, "space")
    with pytest.raises(StoreError):
        feed.put("tiles", of_eight(times=2), 3)
    assert sorted(counts_of_eight(store)) == [0] * 6 + [2] * 2
    store.answers = 99
    assert not feed.look()
    assert feed.position("tiles") == {}, "what was written is written again"
    feed.put("tiles", of_eight(times=2), 3)
    assert TileFeed(KEPT, store, "space").position("tiles") == {"0": 3}
    assert counts_of_eight(store) == [2] * 8


def test_when_a_batch_fails_no_other_is_being_written_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(MemoryStore):
        writers = 2

        def __init__(self) -> None:
            super().__init__()
            self.begun: list[int] = []
            self.ended: list[int] = []

        def put_tiles(self, space: str, items: Sequence[Item]) -> None:
            number = len(self.begun)
            self.begun.append(number)
            try:
                if number == 1:
                    raise StoreError("no answer")
                time.sleep(0.2)
                super().put_tiles(space, items)
            finally:
                self.ended.append(number)

    monkeypatch.setattr(feeds, "AT_ONCE", 1)
    store = Slow()
    feed = TileFeed(KEPT, store, "space")
    with pytest.raises(StoreError):
        feed.put("tiles", of_eight(times=1), 3)
    assert sorted(store.ended) == store.begun != list(range(8))


class Messages:
    """A topic of tiles in memory, read from an offset on."""

    def __init__(self) -> None:
        self.held: list[Tile] = []
        self._at = 0

    def put(self, found: dict[bytes, bytes], *of: Kept) -> None:
        for kept in of or (KEPT,):
            self.held.append(Tile(message(kept.tag, list(found), list(found.values())), len(self.held) + 1))

    def lose(self, _: str, since: int) -> None:
        self.held.append(Tile(b"", len(self.held) + 1, since))

    def begin(self, stands: Sequence[int]) -> tuple[int, bool]:
        self._at = 0 if max(stands) > len(self.held) else min(stands)
        return self._at, max(stands) > len(self.held)

    def read(self, most: int, wait: float) -> list[Tile]:
        first, self._at = self._at, len(self.held)
        return self.held[first : self._at]


PROJECT: Any = SimpleNamespace(key_prefix="", brokers=None, flink=SimpleNamespace(cluster=""))


def streaming_of(store: MemoryStore, reader: Any, kept: Sequence[Kept] = (KEPT,)) -> Streaming:
    """That of a job of some group-bys, without brokers."""
    sources = SimpleNamespace(enriched=())
    job: Any = SimpleNamespace(
        project=PROJECT, sources=sources, feeds=kept, posted={}, topics=[], group="", tiles="tiles", version="job"
    )
    admin: Any = SimpleNamespace(tell_lost=reader.lose)
    locks: Any = SimpleNamespace(take=lambda space: True, check=lambda: None)
    return Streaming(job, store, admin, reader, locks)


def test_nothing_is_complete_before_all_feeds_have_begun() -> None:
    class Failing(MemoryStore):
        fails = 0

        def get(self, asked: Any) -> Any:
            self.fails -= 1
            if self.fails == 0:
                raise StoreError("no answer")
            return super().get(asked)

    reader, store = Messages(), Failing()
    reader.put(tiles((3, 1)))
    streaming = streaming_of(store, reader)
    given: Any = SimpleNamespace(reached=lambda offset: Mark(0, END, 0))
    streaming._progress = given
    asked = [(Place(space_of(PROJECT, KEPT)), [PROGRESS])]
    store.fails = 1
    streaming._step()
    assert store.get(asked)[0][0] is None
    streaming._step()
    assert Progress.of(store.get(asked)[0][0] or b"").until == END


def test_a_store_that_was_emptied_is_filled_with_all_tiles_again_and_told_what_is_lost() -> None:
    reader, stores = Messages(), MemoryStore()
    streaming = streaming_of(stores, reader)
    space = Place(space_of(PROJECT, KEPT))
    reader.put(tiles((3, 1)))
    reader.lose("tiles", END - DAY)
    streaming._step()
    assert streaming.report.since == END - DAY
    stores._values.pop(space)
    reader.put(tiles((9, 1)))
    for _ in range(3):
        streaming._step()
    words = KEPT.form.opened_alone(stores.get([(space, [ANN + coarse(END)])])[0]).words
    assert words[:, EVENTS].tolist()[0] == 2
    assert streaming._offset == 3
    streaming._progressed(END, is_all=True)
    assert Progress.of(stores.get([(space, [PROGRESS])])[0][0] or b"") == (END, END - DAY)


def count_of(store: MemoryStore, kept: Kept = KEPT) -> int:
    """Events of the day in the tiles of a group-by."""
    words = kept.form.opened_alone(store.get([(Place(space_of(PROJECT, kept)), [ANN + coarse(END)])])[0]).words
    return int(words[0, EVENTS])


class Changing(MemoryStore):
    """It counts what is written to each space, and fails while it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[str] = []
        self.is_down = False

    def get(self, asked: Any) -> Any:
        if self.is_down:
            raise StoreError("no answer")
        return super().get(asked)

    def put_tiles(self, space: str, items: Sequence[Item]) -> None:
        if any(name.startswith(ANN) for name, _ in items):
            self.writes.append(space)
        super().put_tiles(space, items)


def test_a_feed_that_is_behind_is_caught_up_and_the_others_are_not_written_again() -> None:
    asked = dataclasses.replace(SOURCE.query, where=["n >= 0"])
    other = dataclasses.replace(TOTALS, name="others", sources=[dataclasses.replace(SOURCE, query=asked)])
    kept = (KEPT, Kept(plan_group_by(other, lambda table: SCHEMA)))
    reader, store = Messages(), Changing()
    first, second = (space_of(PROJECT, each) for each in kept)
    for count in range(1, 5):
        reader.put(tiles(*((3, n) for n in range(count))), *kept)
    alone = streaming_of(store, reader, kept[:1])
    alone._step()
    assert store.writes == [first]
    reader.put(tiles(*((3, n) for n in range(7))), *kept)
    both = streaming_of(store, reader, kept)
    both._step()
    assert [count_of(store, each) for each in kept] == [7, 7]
    assert store.writes == [first, second, first, second]
    assert both._offset == 10


def test_what_was_read_while_the_store_was_down_is_written_though_it_is_told_to_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader, store = Messages(), Changing()
    streaming = streaming_of(store, reader)
    reader.put(tiles((3, 1)))
    streaming._step()
    reader.put(tiles((3, 1), (3, 2)))
    store.is_down = True
    monkeypatch.setattr(running, "AGAIN", 0.0)
    streaming._step()
    assert "tiles" in streaming.report.troubles
    store.is_down = False
    admin: Any = SimpleNamespace(end=lambda topic: len(reader.held))
    given: Any = SimpleNamespace(look=lambda posted: None)
    streaming._admin, streaming._progress = admin, given
    running_job: Any = SimpleNamespace(kill=lambda: None)
    streaming.running = running_job
    streaming._ends_job = True
    monkeypatch.setattr(streaming, "_save", lambda: None)
    streaming._end()
    assert count_of(store) == 2
    assert streaming._offset == 2


def test_messages_of_tiles_that_are_gone_are_told_to_be_lost() -> None:
    reader, store = Messages(), MemoryStore()
    streaming = streaming_of(store, reader)
    for number in range(3):
        reader.put(tiles((3, number)))
    streaming._step()
    assert streaming.report.since is None
    before = now()
    del reader.held[:]
    for number in range(2):  # another topic of the name
        reader.put(tiles((4 + number, 1)))
    streaming = streaming_of(store, reader)
    streaming._step()
    assert (streaming.report.since or 0) >= before
    assert count_of(store) == 3
    reader.held[1:] = [reader.held[1]._replace(after=9)]
    streaming = streaming_of(MemoryStore(), reader)
    streaming._step()
    assert (streaming.report.since or 0) >= before, "the topic has a gap"


def test_what_another_engine_wrote_is_whole_once_all_is_in_that_came_before_it_was_begun() -> None:
    """More may come all the time."""
    store, reader = MemoryStore(), Messages()
    feed = Feed(KEPT, store, space_of(PROJECT, KEPT), lambda: END)
    feed.take("log", "events", rows((3, 1)), {"0": 1})
    feed.progress(END, is_all=True)
    reader.put(tiles((3, 1)))
    streaming, began = streaming_of(store, reader), now()
    for until, known in ((began - MINUTE, EVER_BEFORE), (now() + MINUTE, now() + MINUTE)):
        given: Any = SimpleNamespace(reached=lambda offset, until=until: Mark(0, until, 5))
        streaming._progress = given
        streaming._step()
        found = Progress.of(store.get([(Place(space_of(PROJECT, KEPT)), [PROGRESS])])[0][0] or b"").until
        assert abs(found - known) < SECOND


@pytest.mark.parametrize("cut", [0, 10, 24, 60, -1])
def test_a_message_that_is_cut_off_is_an_error(cut: int) -> None:
    whole = message(7, [b"a", b"bc"], [b"1234", b""])
    found = read_message(whole)
    assert (found.feed, listed(found.places), listed(found.tiles)) == (7, [b"a", b"bc"], [b"1234", b""])
    if cut:
        with pytest.raises(DataError):
            read_message(whole[:cut] if cut < len(whole) else whole + b"x")
    with pytest.raises(DataError, match="version 2"):
        read_message(b"\x02" + whole[1:])


def test_a_tile_of_another_length_is_an_error() -> None:
    ((place, tile),) = tiles((3, 1)).items()
    with pytest.raises(CodecError):
        opened(Shared((KEPT,)), [message_of({place: tile[:-8]})])
    with pytest.raises(CodecError):
        opened(Shared((KEPT,)), [message_of({place[-11:]: tile})])


def test_the_newest_of_a_place_is_the_last_that_came() -> None:
    older, newer, other = tiles((3, 1)), tiles((3, 5)), tiles((9, 2))
    sent = [message_of(older | other), message_of(newer), message_of({})]
    found = opened(Shared((KEPT,)), sent)
    expected = opened(Shared((KEPT,)), [message_of(newer | other)])
    assert found.words.tolist() == expected.words.tolist()
    assert (listed(found.keys), found.key.tolist()) == (listed(expected.keys), expected.key.tolist())
    assert opened(Shared((KEPT,)), [message_of({})]).key.tolist() == []


def message(feed: int, places: Sequence[bytes], values: Sequence[bytes]) -> bytes:
    lengths = np.array([*map(len, places), *map(len, values)], "<i4").tobytes()
    return struct.pack("<qqq", 1, feed, len(places)) + lengths + b"".join(places) + b"".join(values)
