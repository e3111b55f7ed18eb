"""What a stream makes of its logs: each event once, in every store; progress; what fails and what goes on."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.integration.events.streams import (
    END,
    SCHEMA,
    ListLog,
    event,
    latest,
    place,
    stream,
    totals,
    totals_of,
    upload,
)
from tests.integration.stores.opened import Opening
from zipline import GroupBy, Operation
from zipline.clock import DAY, HOUR, MINUTE, day_text, now
from zipline.errors import ZiplineError
from zipline.orchestration.events.logs import Position, Read
from zipline.orchestration.events.seen import Seen
from zipline.stores.contract import TILES_KEPT, Item, Place, StoreError
from zipline.stores.memory import MemoryStore
from zipline.stores.tiles import PROGRESS, Progress
from zipline.types import STRING

LATER = END + 2 * HOUR
DAY_OF_UPLOAD, DAY_AFTER = day_text(END), day_text(END + DAY)


def value(store: Any, group_by: Any, key: str = "a", at: int = LATER) -> Any:
    return totals_of(store, group_by, [key], at)[0][key]


def test_a_log_is_counted_once_however_often_the_stream_begins(opening: Opening, tmp_path: Path) -> None:
    store, log, sums = opening(), ListLog(), totals(event_id=None)
    upload(store, sums)
    for number in range(25):
        log.put(event(number, n=2**number))
        if number % 3 == 0:
            stream(store, [log], tmp_path, sums).once()
    stream(store, [log], tmp_path, sums).once()
    assert value(store, sums) == 2**25 - 1


@pytest.mark.parametrize("known_at", [None, "known"])
def test_a_lookup_takes_the_latest_event_in_whatever_order_they_come(known_at: str | None, tmp_path: Path) -> None:
    store, log, rows = MemoryStore(), ListLog(), latest(known_at=known_at)
    log.clock = LATER
    upload(store, rows)
    order = [(minutes, known, n) for minutes in (10, 59, 59, 60) for known in (61, 62) for n in (None, 1, 2)]
    random.Random(7).shuffle(order)
    sent = [event(number, n, minutes=m, known=END + k * MINUTE) for number, (m, k, n) in enumerate(order)]
    for number, each in enumerate(sent, 1):
        log.put(each)
        stream(store, [log], tmp_path, rows).once()
        *_, last = max((m, k if known_at else 0, n or 0) for m, k, n in order[:number])
        assert value(store, rows) == (last or None)
    log.put(*sent)
    stream(store, [log], tmp_path, rows).once()
    assert totals_of(store, rows, ["a", "b"], LATER) == ({"a": 2, "b": None}, {"a": "ok", "b": "default"})


def test_an_id_counts_once_over_batches_restarts_and_logs(opening: Opening, tmp_path: Path) -> None:
    store, sums = opening(), totals()
    logs = [ListLog(name="list:one"), ListLog(name="list:two")]
    upload(store, sums)
    draw = random.Random(3)
    sent = [event(number, n=2**number) for number in range(20)]
    for each in draw.choices(sent, k=60) + sent:
        draw.choice(logs).put(each)
        if draw.random() < 0.1:
            stream(store, logs, tmp_path, sums).once()
    stream(store, logs, tmp_path, sums).once()
    assert value(store, sums) == 2**20 - 1


@pytest.mark.parametrize(
    ("start", "end", "expected"), [(None, DAY_OF_UPLOAD, 1), (DAY_AFTER, None, 2), (None, None, 3)]
)
def test_a_source_that_is_bounded_by_partitions_is_so_for_what_arrives(
    tmp_path: Path, start: str | None, end: str | None, expected: int
) -> None:
    store, log, sums = MemoryStore(), ListLog(), totals(start=start, end=end)
    dated = SCHEMA | {"ds": STRING}
    upload(store, sums, schema=dated)
    log.put(event(1, n=1, minutes=23 * 60), event(2, n=2, minutes=25 * 60))
    stream(store, [log], tmp_path, sums, schema=dated).once()
    at = END + 26 * HOUR
    assert totals_of(store, sums, ["a"], at, dated)[0]["a"] == expected


def test_of_one_id_the_first_counts_and_events_without_one_all_do(tmp_path: Path) -> None:
    store, log, sums = MemoryStore(), ListLog(), totals()
    upload(store, sums)
    log.put(event(1, n=5), event(1, n=7), event(2, n=10, id=None), event(2, n=10, id=None))
    report = stream(store, [log], tmp_path, sums).once()
    assert value(store, sums) == 25
    assert report.group_bys["totals"].repeated == 1


def test_an_event_that_comes_again_after_the_upload_that_has_it_is_not_counted_again(tmp_path: Path) -> None:
    store, log, sums = MemoryStore(), ListLog(), totals()
    log.put(event(1, n=5, minutes=-10))
    upload(store, sums)  # as if it held what came before
    stream(store, [log], tmp_path, sums).once()
    store._values[place(sums)] = {}  # nothing is remembered of it
    stream(store, [log], tmp_path, sums).once()
    assert value(store, sums) is None, "what was available before the upload's end is read of the upload alone"


def test_ids_are_kept_for_as_long_as_tiles(opening: Opening) -> None:
    store = opening()
    seen = Seen(store, "s", 0, STRING)

    def first(ids: Sequence[Any], at: int) -> list[bool]:
        is_new, items = seen.first(ids, at)
        store.put_tiles("s", items)
        return [bool(each) for each in is_new]

    assert first(["a", "b", "a", None, None], END) == [True, True, False, True, True]
    assert first(["a", "c"], END + DAY) == [False, True]
    assert [bool(each) for each in Seen(store, "s", 1, STRING).first(["a"], END)[0]] == [True], "another expression's"


def test_a_bucket_loses_what_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    seen = Seen(store, "s", 0, STRING)
    monkeypatch.setattr(Seen, "_digest", lambda _, value: (b"bucket", value.encode().ljust(12)))
    for day in range(20):
        _, items = seen.first([f"{day}"], END + day * DAY)
        store.put_tiles("s", items)
    (kept,) = store.get([(Place("s"), [b"bucket"])])[0]
    assert len(kept) == 16 * (TILES_KEPT // DAY + 1)


class Failing(MemoryStore):
    """A store whose writes fail at times, done or not, and which can go back to an earlier state."""

    def __init__(self, draw: random.Random) -> None:
        super().__init__()
        self._draw = draw
        self.rate = 0.3

    def put_tiles(self, space: str, items: Sequence[Item]) -> None:
        fails = self._draw.random() < self.rate
        if not fails or self._draw.random() < 0.5:
            super().put_tiles(space, items)
        if fails:
            raise StoreError("no answer")


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("with_ids", [True, False])
def test_writes_that_fail_done_or_not_lose_and_repeat_nothing(with_ids: bool, seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    store, log, sums = Failing(draw), ListLog(), totals(event_id="id" if with_ids else None)
    upload(store, sums)
    for number in range(30):
        log.put(event(number, n=2**number, minutes=draw.randrange(90)))
    while True:
        try:
            stream(store, [log], tmp_path, sums).once()
            break
        except StoreError:
            continue
    followed = stream_until_through(store, log, tmp_path, sums)
    assert not followed.report.troubles
    assert value(store, sums) == 2**30 - 1


def stream_until_through(store: Failing, log: ListLog, folder: Path, sums: Any) -> Any:
    """One stream that is not strict, over failures."""
    from zipline.orchestration.events import stream as module

    followed = stream(store, [log], folder, sums)
    before, module.AGAIN = module.AGAIN, 0.0
    try:
        for _ in range(200):
            followed.step()
        store.rate = 0.0
        followed.step()
        followed._tell(force=True)
    finally:
        module.AGAIN = before
    return followed


def test_a_log_to_which_more_comes_all_the_time_is_taken_in_up_to_now(tmp_path: Path) -> None:
    class Busy(ListLog):
        def read(self, position: Position) -> Read:
            found = super().read(position)
            self.put(event(len(self.held["0"]), n=1))
            return found._replace(asked=now())

    store, log, sums = MemoryStore(), Busy(at_once=100), totals(event_id=None)
    upload(store, sums)
    log.put(*[event(number, n=1) for number in range(5)])
    report = stream(store, [log], tmp_path, sums).once()
    assert report.group_bys["totals"].rows >= 5


def test_a_store_that_went_back_is_gone_on_from_there(tmp_path: Path) -> None:
    store, log, sums = MemoryStore(), ListLog(at_once=100), totals(event_id=None)
    upload(store, sums)
    followed = stream(store, [log], tmp_path, sums)
    log.put(*[event(number, n=2**number) for number in range(5)])
    followed.once()
    earlier = dict(store._values[place(sums)])
    log.put(*[event(number, n=2**number) for number in range(5, 10)])
    followed.once()
    store._values[place(sums)] = earlier
    log.put(event(10, n=2**10))
    followed.once()
    assert value(store, sums) == 2**11 - 1


@pytest.mark.parametrize("with_ids", [True, False])
def test_a_definition_that_was_changed_has_all_events_and_one_that_was_changed_back_goes_on(
    with_ids: bool, opening: Opening, tmp_path: Path
) -> None:
    store, log = opening(), ListLog()
    query = {"event_id": "id" if with_ids else None}
    sums = totals(**query)
    few = totals(operation=Operation.MAX, where=["n > 4"], **query)
    log.put(*[event(number, n=2**number, minutes=7 * number) for number in range(6)])
    for group_by, expected in ((sums, 63), (few, 32), (sums, 63), (few, 32)):
        begun = stream(store, [log], tmp_path, group_by)
        begun.step()  # and killed before it has caught up
        stream(store, [log], tmp_path, group_by).once()
        upload(store, group_by)
        assert value(store, group_by) == expected


def test_a_group_by_that_is_new_begins_with_what_the_log_holds_and_others_go_on(tmp_path: Path) -> None:
    store, log = MemoryStore(), ListLog()
    first, second = totals("first"), totals("second", Operation.COUNT)
    upload(store, first, second)
    log.put(*[event(number, n=2**number) for number in range(5)])
    stream(store, [log], tmp_path, first).once()
    log.put(*[event(number, n=2**number) for number in range(5, 9)])
    stream(store, [log], tmp_path, first, second).once()
    assert (value(store, first), value(store, second)) == (2**9 - 1, 9)


def test_what_is_no_event_is_kept_with_its_reason_and_stops_nothing(tmp_path: Path) -> None:
    store, log, sums = MemoryStore(), ListLog(at_once=3), totals()
    upload(store, sums)
    log.put(event(1), b"nonsense", event(2, n="3"), event(3), {"key": "a"}, event(4, more=1), event(5))
    report = stream(store, [log], tmp_path, sums).once()
    assert value(store, sums) == 3
    assert (report.tables["events"].events, report.tables["events"].refused) == (3, 4)
    kept = [json.loads(line) for line in (tmp_path / "events.refused").read_text().splitlines()]
    assert [each["offset"] for each in kept] == [2, 3, 5, 6]
    assert kept[0]["event"] == "nonsense"
    assert "$.n: Expected int | null, got str" in kept[1]["reason"]


def test_an_event_that_an_expression_cannot_take_is_no_event_for_any_group_by(tmp_path: Path) -> None:
    """The table does not get it either: so what is online stays what a backfill will say."""
    store, log = MemoryStore(), ListLog(at_once=10)
    cast = totals("cast", select={"key": "key", "n": "CAST(text AS BIGINT)"})
    plain = totals("plain")
    upload(store, cast, plain)
    log.put(*[event(number, n=1, text="x" if number in (3, 7) else "2") for number in range(10)])
    report = stream(store, [log], tmp_path, cast, plain).once()
    assert (value(store, cast), value(store, plain)) == (16, 8)
    assert (report.tables["events"].events, report.tables["events"].refused) == (8, 2)
    kept = [json.loads(line) for line in (tmp_path / "events.refused").read_text().splitlines()]
    assert [each["offset"] for each in kept] == [4, 8]
    assert kept[0]["reason"] == "$.text: CAST(text AS BIGINT) cannot be computed of it"
    assert json.loads(kept[0]["event"])["id"] == "e3"


def test_a_group_by_that_fails_holds_up_no_other_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from zipline.orchestration.events import stream as module

    monkeypatch.setattr(module, "AGAIN", 0.0)
    monkeypatch.setattr(module, "PROGRESS_EVERY", 0.0)

    class Half(MemoryStore):
        is_down = True

        def put_tiles(self, space: str, items: Sequence[Item]) -> None:
            if space == place(bad).space and self.is_down:
                raise StoreError("no answer")
            super().put_tiles(space, items)

    store, log, bad, good = Half(), ListLog(), totals("bad"), totals("good")
    upload(store, bad, good)
    log.put(*[event(number) for number in range(9)])
    followed = stream(store, [log], tmp_path, bad, good)
    monkeypatch.setattr(module, "AGAIN", 3600.0)
    while followed.step():
        pass
    assert (value(store, bad), value(store, good)) == (None, 9)
    assert followed.report.troubles == {"bad": "no answer"}
    assert store.get([(place(bad), [PROGRESS])])[0] == [None], "it says of itself that it knows nothing"
    store.is_down, followed._resting = False, {}
    while followed.step():
        pass
    assert (value(store, bad), value(store, good)) == (9, 9)
    assert followed.report.troubles == {}


def progress_of(store: MemoryStore, group_by: GroupBy) -> int | None:
    found = store.get([(place(group_by), [PROGRESS])])[0][0]
    return None if found is None else Progress.of(found).until - END


def test_progress_is_the_moment_at_which_nothing_more_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from zipline.orchestration.events import stream as module

    monkeypatch.setattr(module, "PROGRESS_EVERY", 0.0)
    monkeypatch.setattr(module, "AGAIN", 0.0)
    store, log, sums = MemoryStore(), ListLog(at_once=2), totals()
    followed = stream(store, [log], tmp_path, sums)
    log.clock = END + 10
    followed.step()
    assert progress_of(store, sums) == 10, "an idle log too"
    log.put(*[event(number) for number in range(5)], at=END + 11)
    log.put(event(9), at=END + 12)
    log.clock = END + 20
    followed.step()
    assert progress_of(store, sums) == 11, "while it is behind, when what was read last came"
    followed.step()
    followed.step()
    assert progress_of(store, sums) == 20
    log.clock, log.wrong = END + 30, ZiplineError("cannot be read")
    followed.step()
    assert progress_of(store, sums) == 20, "a log that cannot be read moves nothing"
    log.wrong = None
    followed.step()
    assert progress_of(store, sums) == 30


def test_progress_is_that_of_the_part_that_is_furthest_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from zipline.orchestration.events import stream as module

    monkeypatch.setattr(module, "PROGRESS_EVERY", 0.0)
    store, log, sums = MemoryStore(), ListLog(at_once=1), totals()
    followed = stream(store, [log], tmp_path, sums)
    for number in range(3):
        log.put(event(number), part="0", at=END + number)
        log.put(event(10 + number), part="1", at=END + 100 + number)
    log.clock = END + 1000
    followed.step()
    assert progress_of(store, sums) == 0
    followed.step()
    assert progress_of(store, sums) == 1
    followed.step()
    assert progress_of(store, sums) == 1000


def test_progress_waits_for_a_log_that_does_not_say_when_its_events_came(tmp_path: Path) -> None:
    store, log, sums = MemoryStore(), ListLog(at_once=1), totals()
    log.put(event(1), event(2))
    followed = stream(store, [log], tmp_path, sums)
    followed.step()
    assert progress_of(store, sums) is None
    followed.once()
    assert progress_of(store, sums) == 0


def test_a_group_by_without_a_log_of_each_of_its_tables_has_no_progress(tmp_path: Path) -> None:
    from zipline import Aggregation, EventSource, Query, Topic

    source = Query(select=["key", "n"], time="t")
    both = GroupBy(
        ["key"],
        [EventSource(name, topic=Topic(name), query=source) for name in ("events", "others")],
        [Aggregation("n", Operation.SUM, windows=["1d"])],
        online=True,
        name="both",
    )
    store = MemoryStore()
    upload(store, both)
    one = stream(store, [ListLog()], tmp_path, both)
    one.once()
    assert progress_of(store, both) is None
    events, others = ListLog(), ListLog("others", name="list:others")
    events.put(event(1, n=1))
    others.put(event(2, n=2))
    events.clock, others.clock = END + 7, END + 5
    stream(store, [events, others], tmp_path, both).once()
    assert progress_of(store, both) == 5, "the least of its sources"
    assert value(store, both) == 3


def test_late_events_are_counted_and_in_the_tiles_all_the_same(tmp_path: Path) -> None:
    store, log, sums = MemoryStore(), ListLog(at_once=10), totals()
    upload(store, sums)
    log.put(event(1, minutes=0), at=END + HOUR + MINUTE)
    log.put(event(2, minutes=2), event(3, minutes=600), at=END + HOUR + MINUTE)
    log.put(event(4, minutes=0))
    report = stream(store, [log], tmp_path, sums).once()
    assert report.tables["events"].late == 1
    assert value(store, sums) == 3, "one is stamped ahead of the question"
    assert value(store, sums, at=END + 11 * HOUR) == 4


def test_sources_over_one_table_have_ids_of_their_own(tmp_path: Path) -> None:
    from zipline import Aggregation, EventSource, Query, Topic

    def source(**more: Any) -> EventSource:
        return EventSource("events", topic=Topic("events"), query=Query(select=["key", "n"], time="t", **more))

    mixed = GroupBy(
        ["key"],
        [source(event_id="id", where=["n < 10"]), source(event_id="text", where=["n >= 10"]), source(where=["n > 99"])],
        [Aggregation("n", Operation.SUM, windows=["1d"])],
        online=True,
        name="mixed",
    )
    store, log = MemoryStore(), ListLog(at_once=3)
    upload(store, mixed)
    log.put(
        event(1, n=1, text="x"),
        event(1, n=2, text="y"),
        event(2, n=10, text="z"),
        event(2, n=20, text="z"),
        event(3, n=100, text="w"),
        event(3, n=100, text="w"),
    )
    stream(store, [log], tmp_path, mixed).once()
    assert value(store, mixed) == 1 + 10 + 100 + 200
