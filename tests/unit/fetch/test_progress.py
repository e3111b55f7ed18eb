"""Until when what is served is complete, as the writer of tiles says it."""

from __future__ import annotations

import pytest

from zipline import Aggregation, EventSource, GroupBy, Join, JoinPart, LocalPlatform, Operation, Query, Topic
from zipline.clock import DAY, HOUR, to_datetime, to_micros
from zipline.stores.memory import MemoryStore
from zipline.stores.tiles import PROGRESS, Progress

END = to_micros("2024-05-02")


@pytest.mark.parametrize(
    ("progress", "complete", "status"),
    [
        (Progress(END + HOUR), END + HOUR, "ok"),
        (Progress(END + HOUR, since=END), END + HOUR, "ok"),
        (Progress(END + HOUR, since=END + 1), END, "stale"),
        (Progress(END + HOUR // 2), END + HOUR // 2, "stale"),
        (Progress(END + DAY, since=END - DAY), END + HOUR, "ok"),
        (Progress(END - HOUR), END, "stale"),
    ],
)
def test_events_that_were_gone_before_they_were_read_are_missing_unless_the_upload_has_them(
    progress: Progress, complete: int, status: str
) -> None:
    bought = EventSource("bought", topic=Topic("bought"), query=Query(["user", "amount"], time="at"))
    total = [Aggregation("amount", Operation.SUM, windows=["1d"])]
    spending = GroupBy(["user"], [bought], total, online=True, name="spending")
    visits = Join(EventSource("visits", Query(["user"], time="at")), [JoinPart(spending)], online=True, name="visits")
    tables = {
        "bought": [{"user": "ann", "amount": 5, "at": "2024-05-01T12:00:00Z"}],
        "visits": [{"user": "ann", "at": "2024-05-02T01:00:00Z"}],
    }
    store = MemoryStore()
    platform = LocalPlatform(visits, tables=tables, store=store)
    platform.advance(END + HOUR)
    platform.upload("2024-05-01")
    store.put_tiles("spending", [(PROGRESS, progress.written())])
    found = platform.fetch("visits", [{"user": "ann"}])
    name = "spending_amount_sum_1d"
    assert (found.rows()[0][name], found.status(0, name), found.time(0, name)) == (5, status, to_datetime(complete))
