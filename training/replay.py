"""A day of the demo company as a live stream: its landings into Kafka, a job of Flink, LMDB, and fetches meanwhile.

The landings are sent in their order, with their own times and faster than they came. Once a second a feature is fetched
as of the time that the replay has got to, until it is what a backfill gives for that time; where that takes longer, the
day goes on when it is. When the day is over, that is asked of every key of the day.

It is a project of its own, in a folder that goes with it: what the project itself serves is not touched. So are its
topics, which the brokers of the project have, where it has any, and else a broker of its own.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from training.broker import broker
from training.source_tables import source_tables
from zipline.api import EventSource, GroupBy, Join, JoinPart, Query, Topic
from zipline.clock import DAY, SECOND, day_text, monotonic, now, to_datetime, to_micros, to_text
from zipline.engines.flink import setup
from zipline.engines.frames import aggregate
from zipline.errors import EngineError, UsageError
from zipline.fetch.joins import JoinFetch, join_fetch
from zipline.orchestration.agreement import Pair, pairs
from zipline.orchestration.events.sources import EventSources
from zipline.orchestration.events.tables import EventTable
from zipline.orchestration.streaming.brokers import Admin
from zipline.orchestration.streaming.jobs import stream_job
from zipline.orchestration.streaming.outboxes import Outbox
from zipline.orchestration.streaming.running import Streaming, open_streaming
from zipline.orchestration.upload import upload_day
from zipline.plan.build import Planned, plan_join
from zipline.plan.definitions import load
from zipline.plan.online import Kept
from zipline.project import EMBEDDED, Brokers, OnlineStore, Project
from zipline.stores.contract import Store
from zipline.stores.opening import open_store, space_of
from zipline.tables.catalog import Catalog, open_catalog

GROUP_BYS = (
    "flights.carriers.carrier_arrivals",
    "flights.destinations.destination_arrivals",
    "flights.aircraft.aircraft_rotation",
)
"""Over landings, which are events the moment they happen."""
KEYS = ("carrier", "dest", "tailnum")
FEATURE = "carrier_arrivals_arr_delay_average_6h"
APPROXIMATE = "_approx_"
"""In the names of features that two runs may give otherwise."""
STARTED_WITHIN = 300.0
CAUGHT_UP_WITHIN = 120.0
SEEN_WITHIN = 20.0
"""Seconds after which the day goes on all the same."""
_KEPT = 36_500 * DAY
"""For how long the topic keeps messages: they are as old as the flights."""

Tell = Callable[[str], None]


def replay(project: Project, day: str, carrier: str, speed: float, tell: Tell) -> dict[str, Any]:
    """Replays the day `speed` times as fast as it was, tells what happens line by line, and gives the facts.

    UsageError where the carrier had no landing; EngineError where something is missing that Flink stands on.
    """
    setup.check()
    flights, start = source_tables()["flights"], to_micros(day)
    landings = _landings(flights, start)
    carriers = {row["carrier"] for _, row in landings}
    if carrier not in carriers:
        raise UsageError(f"no flight of {carrier!r} landed on {day}", asked=carrier, valid=sorted(carriers))
    definitions = load(project.root / project.configs)
    group_bys = [definitions.find(name, GroupBy) for name in GROUP_BYS]
    with _own_project(project) as own:
        return _Replay(own, group_bys, flights, landings, start, carrier, speed, tell).run()


@contextmanager
def _own_project(project: Project) -> Iterator[Project]:
    with ExitStack() as held:
        folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="replay-", ignore_cleanup_errors=True)))
        brokers = project.brokers
        if not brokers.servers:
            brokers = Brokers(held.enter_context(broker(project.root / EMBEDDED / "kafka")).address)
        flink = dataclasses.replace(
            project.flink, cluster="", parallelism=1, state=str(folder / "flink"), checkpoint=1000, flush=20
        )
        yield Project(
            folder,
            f"replay-{uuid.uuid4().hex[:8]}",
            str(folder / "warehouse"),
            online=OnlineStore(url=str(folder / "online")),
            brokers=brokers,
            registry=f"sqlite:///{folder}/registry.db",
            flink=flink,
        )


class _Replay:
    """One day. `own` is the project in which it happens."""

    def __init__(
        self,
        own: Project,
        group_bys: Sequence[GroupBy],
        flights: pa.Table,
        landings: Sequence[tuple[int, dict[str, Any]]],
        start: int,
        carrier: str,
        speed: float,
        tell: Tell,
    ) -> None:
        self._own, self._start, self._carrier, self._speed, self._tell = own, start, carrier, speed, tell
        self._flights, self._catalog, self._landings = flights, open_catalog({"flights": flights}), landings
        self._topic = f"{own.name}.flights"
        self._group_bys = [_streamed(each, self._topic) for each in group_bys]
        self._sources = _sources(self._group_bys, self._catalog)
        query = Query(list(KEYS), where=["arr_time IS NOT NULL"], time="arr_time")
        parts = [JoinPart(each) for each in self._group_bys]
        self._join = Join(EventSource("flights", query), parts, online=True, name="replay.landed")
        self._plan = plan_join(self._join, lambda table: self._catalog.table(table).schema)

    def run(self) -> dict[str, Any]:
        own = self._own
        job = stream_job(own, self._sources)
        with ExitStack() as held:
            store = open_store(own)
            held.callback(store.close)
            admin = Admin(own.brokers)
            held.callback(admin.close)
            admin.make([self._topic], kept=_KEPT)
            made = [self._topic, job.tiles, *job.dead.values(), *job.late.values(), *job.posted.values()]
            held.callback(admin.delete, made)
            self._upload(store)
            with open_streaming(job, store=store) as streaming, _running(streaming) as run:
                self._await_job(streaming, run)
                fetch = join_fetch(self._plan, self._join, store, partial(space_of, own))
                sent = self._play(fetch, run)
                return self._checked(fetch, streaming, run, sent)

    def _upload(self, store: Store) -> None:
        day = day_text(self._start - DAY)
        for kept in self._sources.group_bys:
            done = upload_day(kept, self._catalog, store, space_of(self._own, kept), day)
            self._tell(f"uploaded  {kept.group_by.name} as of {day}, {done.generation.rows:,} keys")

    def _await_job(self, streaming: Streaming, run: Future[Any]) -> None:
        """Until it has a checkpoint: then all of it runs."""
        began, feeds = monotonic(), len(streaming.job.feeds)
        while streaming.report.checkpoint is None:
            if run.done():
                run.result()
            if monotonic() > began + STARTED_WITHIN:
                raise EngineError("the job of Flink has not begun to read", hint="is the machine busy?")
            time.sleep(0.2)
        self._tell(f"started   a job of Flink, {feeds} group-bys, in {monotonic() - began:.0f} s\n")

    def _play(self, fetch: JoinFetch, run: Future[Any]) -> int:
        """Sends what landed until each second's time, and looks when it is in the feature. Gives when all was sent."""
        outbox, sent = Outbox(self._own.brokers, self._topic), 0
        ticks = self._ticks()
        self._tell(f"time   carrier  landed  {FEATURE}  status  as backfilled after")
        for q, expected in zip(ticks, self._expected(ticks), strict=True):
            began = monotonic()
            due = [landing for landing in self._landings[sent:] if landing[0] < q]
            sent += len(due)
            outbox.send([(json.dumps(row).encode(), at) for at, row in due], {"0": sent})
            flushed = monotonic()
            pair, waited = self._fetched(fetch, q, expected, began + SEEN_WITHIN), monotonic() - flushed
            seen = f"{waited * 1000:,.0f} ms" if pair.is_alike else f"not yet: {_shown(expected)}"
            shown = f"{_shown(pair.online):>{len(FEATURE)}}"
            self._tell(f"{to_text(q)[11:16]}  {self._carrier:7}  {sent:>6}  {shown}  {pair.status:6}  {seen}")
            if run.done():
                run.result()
            time.sleep(max(0.0, began + 1.0 - monotonic()))
        return now()

    def _ticks(self) -> list[int]:
        """The times that are got to, one a second; the last is the end of the day."""
        step = int(self._speed * SECOND)
        return [*range(self._start + step, self._start + DAY, step), self._start + DAY]

    def _expected(self, ticks: Sequence[int]) -> list[Any]:
        """What a backfill gives of the feature at these times."""
        times = [to_datetime(q) for q in ticks]
        queries = pa.table({"carrier": [self._carrier] * len(ticks), "ts": pa.array(times, pa.timestamp("us", "UTC"))})
        name = FEATURE.removeprefix(self._plan.parts[0].prefix)
        found: list[Any] = aggregate(self._group_bys[0], queries, {"flights": self._flights}).column(name).to_pylist()
        return found

    def _fetched(self, fetch: JoinFetch, q: int, expected: Any, until: float) -> Pair:
        """As soon as it is what is expected, or else at a time."""
        row = {**dict.fromkeys(KEYS), "carrier": self._carrier}
        while True:
            found = fetch.fetch([row], q)
            pair = Pair(0, (self._carrier,), FEATURE, found.rows()[0][FEATURE], found.status(0, FEATURE), expected)
            if pair.is_alike or monotonic() > until:
                return pair
            time.sleep(0.005)

    def _checked(self, fetch: JoinFetch, streaming: Streaming, run: Future[Any], sent: int) -> dict[str, Any]:
        """Every key of the day at its end, when all of it is in the tiles."""
        q, rows = self._start + DAY, [{key: row[key] for key in KEYS} for _, row in self._landings]
        until = monotonic() + CAUGHT_UP_WITHIN
        while True:
            is_through = (streaming.report.until or 0) > sent or monotonic() > until or run.done()
            compared = self._compared(fetch, rows, q)
            differ = [pair for pair in compared if not pair.is_alike or pair.status in ("stale", "unavailable")]
            if not differ or is_through:
                break
            time.sleep(0.5)
        return {
            "day": day_text(self._start),
            "landings": len(self._landings),
            "keys": sum(len({row[key] for row in rows}) for key in KEYS),
            "compared": len(compared),
            "different": [
                {"feature": each.feature, "key": each.key, "online": each.online, "offline": each.offline}
                for each in differ
            ],
        }

    def _compared(self, fetch: JoinFetch, rows: Sequence[dict[str, Any]], q: int) -> list[Pair]:
        """Each feature of each key once."""
        found = pairs(self._plan, rows, fetch.fetch(rows, q), q, lambda _: self._catalog)
        exact = (pair for pair in found if APPROXIMATE not in pair.feature)
        return list({(pair.feature, pair.key): pair for pair in exact}.values())


@contextmanager
def _running(streaming: Streaming) -> Iterator[Future[Any]]:
    """The job, kept going by a thread until the block ends."""
    with ThreadPoolExecutor(1) as beside:
        run = beside.submit(streaming.run)
        try:
            yield run
        finally:
            streaming.stop()
    run.result()


def _landings(flights: pa.Table, start: int) -> list[tuple[int, dict[str, Any]]]:
    """(when, the flight as a message) of a day, in order. A message has no partition: that is the table's."""
    bounds = [pa.scalar(at, pa.timestamp("us", "UTC")) for at in (to_datetime(start), to_datetime(start + DAY))]
    landed = flights.column("arr_time")
    is_due = pc.and_(pc.greater_equal(landed, bounds[0]), pc.less(landed, bounds[1]))
    found = flights.filter(is_due).sort_by([("arr_time", "ascending"), ("flight_id", "ascending")]).drop_columns("ds")
    times = [name for name in found.column_names if pa.types.is_timestamp(found.schema.field(name).type)]
    rows = []
    for row in found.to_pylist():
        stamps = {name: to_text(to_micros(row[name])) for name in times if row[name] is not None}
        rows.append((to_micros(row["arr_time"]), row | stamps))
    return rows


def _streamed(group_by: GroupBy, topic: str) -> GroupBy:
    """The group-by, its events by another topic."""
    sources = [dataclasses.replace(source, topic=Topic(topic)) for source in _events(group_by)]
    return dataclasses.replace(group_by, sources=sources)


def _sources(group_bys: Sequence[GroupBy], catalog: Catalog) -> EventSources:
    planned = Planned(lambda table: catalog.table(table).schema)
    fed = tuple(Kept(planned.group_by(each)) for each in group_bys)
    streams = tuple(
        stream
        for group_by, kept in zip(group_bys, fed, strict=True)
        for stream in zip(_events(group_by), kept.streams, strict=True)
    )
    table = EventTable("flights", catalog.table("flights").schema, streams, None, "it is replayed")
    return EventSources({"flights": table}, fed)


def _events(group_by: GroupBy) -> list[EventSource]:
    return [source for source in group_by.sources if isinstance(source, EventSource)]


def _shown(value: float | None) -> str:
    return "null" if value is None else f"{value:.2f}"
