"""The engine `flink` of the conformance suite: cases of many group-bys become the topics of one job, which ends.

Every group-by has tables and topics of its own. Its tiles go into a store in memory; for every query a state is
uploaded, of the day before or of the one before that, and the features are fetched at the query's time.

What a fetch may answer otherwise than a backfill is taken out of the cases beforehand (`comparable`), so that all the
rest is compared: of a past time, events of the query's own smallest tile that came after it, and what became available
later on its day. NaN and infinities are no JSON: they are null, and huge.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
import uuid
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.conformance.adapters import arrow_table
from tests.conformance.batches import CASE, merged
from tests.conformance.entities import _row as row_event
from tests.conformance.entities import identity, is_seen, newest_snapshot, read_entity
from tests.conformance.instants import DAY, day_of, micros
from tests.conformance.oracle import Result
from tests.conformance.sources import clock
from tests.conformance.tables import AggregateCase, Functions, Row, Table
from zipline import EntitySource, EventSource, GroupBy, Join, JoinPart, Query, Topic
from zipline.api.sources import Source
from zipline.fetch.joins import JoinFetch, join_fetch
from zipline.orchestration.events.sources import EventSources
from zipline.orchestration.events.tables import EventTable
from zipline.orchestration.streaming.jobs import StreamJob, stream_job
from zipline.orchestration.streaming.running import open_streaming
from zipline.orchestration.streaming.status import Report
from zipline.orchestration.upload import publish_upload
from zipline.plan.build import Planned, plan_join
from zipline.plan.online import Kept
from zipline.project import load_project
from zipline.stores.memory import MemoryStore
from zipline.stores.opening import space_of
from zipline.tables.catalog import open_catalog
from zipline.types import parse_type

EVER = "36500d"
"""No event is late."""
HUGE, HUGE_FLOAT = 1e150, 2.0**100


def space(kept: Kept) -> str:
    """Where a job of `ran` puts the tiles of a group-by."""
    project: Any = SimpleNamespace(key_prefix="")
    return space_of(project, kept)


@dataclasses.dataclass(frozen=True, eq=False)
class Batch:
    """Cases of one definition, each with one query time, as one group-by with topics."""

    cases: Sequence[AggregateCase]
    group_by: GroupBy
    tables: Mapping[str, Table]
    queries: Table
    ago: int
    """Microseconds from the end of the upload to the day of a query."""
    uploaded: Mapping[str, Table]
    """Of the tables what uploads are made of."""

    @property
    def schemas(self) -> dict[str, dict[str, Any]]:
        return {
            name: {column: parse_type(kind) for column, kind in table.schema.items()}
            for name, table in self.tables.items()
        }

    def kept(self) -> Kept:
        return Kept(Planned(lambda table: self.schemas[table]).group_by(self.group_by))


def batch(cases: Sequence[AggregateCase], name: str, ago: int = 0) -> Batch:
    """`name` is that of the group-by; the names of its tables are in no other batch."""
    tile = streamed(cases[0], name).kept().tile
    fit = [found for case in cases if (found := comparable(case, tile, ago)) is not None]
    joined = merged(fit)
    assert isinstance(joined, AggregateCase)
    return streamed(joined, name, fit, ago)


def streamed(
    case: AggregateCase,
    name: str,
    cases: Sequence[AggregateCase] = (),
    ago: int = 0,
    rename: Callable[[str], str] = str,
) -> Batch:
    """A case as a group-by of that name, with topics; `cases` are those that it is made of."""
    sources = [_streamed(source, rename) for source in case.group_by.sources]
    made = dataclasses.replace(case.group_by, sources=sources, online=True, name=name)
    tables = {rename(of): rows for of, rows in case.tables.items()}
    return Batch(cases or [case], made, tables, case.queries, ago, tables)


def _streamed(source: Source, rename: Callable[[str], str]) -> Source:
    """The source with a topic, its tables named anew."""
    if isinstance(source, EntitySource):
        snapshots, mutations = rename(str(source.snapshots)), rename(str(source.mutations))
        return dataclasses.replace(
            source, snapshots=snapshots, mutations=mutations, topic=Topic(mutations, lateness=EVER)
        )
    assert isinstance(source, EventSource)
    table = rename(str(source.table))
    return dataclasses.replace(source, table=table, topic=Topic(table, lateness=EVER))


def _stream(source: Source) -> str:
    """The table whose rows come by a topic."""
    return str(source.mutations if isinstance(source, EntitySource) else source.table)  # type: ignore[union-attr]


def comparable(case: AggregateCase, tile: int, ago: int) -> AggregateCase | None:
    """The case at the first of its times, without what a fetch at a past time may see of the time after it."""
    time = next((row["ts"] for row in case.queries.rows if row["ts"] is not None), None)
    if time is None:
        return None
    q = micros(time)
    queries = Table(case.queries.schema, tuple(row | {"ts": time} for row in case.queries.rows))
    tables: dict[str, Table] = {}
    for source in case.group_by.sources:
        if isinstance(source, EntitySource):
            tables |= _of_entity(source, case, q, tile, day_of(q) - ago)
        else:
            rows = tables.get(source.table, case.tables[source.table])
            tables[source.table] = _without_later(source.query, rows, q, tile, case.functions)
    return AggregateCase(case.group_by, _as_json(queries), tables, case.functions)


def _of_entity(source: EntitySource, case: AggregateCase, q: int, tile: int, end: int) -> dict[str, Table]:
    """Snapshots that an upload of `end` has, and changes; without rows that are taken away more often than they came,
    for online a reversal of a row that is not there may show."""
    query, names = source.query, (str(source.snapshots), str(source.mutations))
    of_snapshots = dataclasses.replace(query, mutation_time=None)
    dumped, changed = (
        _without_later(asked, case.tables[name], q, tile, case.functions)
        for asked, name in zip((of_snapshots, query), names, strict=True)
    )
    dumped = Table(dumped.schema, tuple(row for row in dumped.rows if micros(row[query.partition]) < end))
    feed = read_entity(source, dict(zip(names, (dumped, changed), strict=True)), case.functions)
    missing = set[Hashable]()
    for time in (end, q):
        last = newest_snapshot(feed.snapshots, end)
        counts = Counter(map(identity, feed.snapshots[last] if last is not None else ()))
        for each in feed.mutations:
            if is_seen(each.made, last, time):
                counts[identity(each.event)] += -1 if each.is_reversal else 1
        missing |= {name for name, count in counts.items() if count < 0}

    def is_there(row: Row) -> bool:
        made = row_event(query, row, case.functions)
        return made is None or identity(made) not in missing

    kept = (Table(each.schema, tuple(filter(is_there, each.rows))) for each in (dumped, changed))
    return dict(zip(names, kept, strict=True))


def _without_later(query: Any, table: Table, q: int, tile: int, functions: Functions) -> Table:
    def is_clear(row: Row) -> bool:
        t, known = (clock(name, row, functions) for name in (query.time, query.mutation_time or query.known_at))
        in_tile = t is not None and q <= t < q - q % tile + tile
        return not in_tile and (known is None or not q <= known < day_of(q) + DAY)

    return _as_json(Table(table.schema, tuple(filter(is_clear, table.rows))))


def as_json(case: AggregateCase) -> AggregateCase:
    """The case as its messages can say it."""
    tables = {name: _as_json(table) for name, table in case.tables.items()}
    return dataclasses.replace(case, queries=_as_json(case.queries), tables=tables)


def _as_json(table: Table) -> Table:
    kinds = table.schema
    return Table(kinds, tuple({name: _finite(kinds[name], value) for name, value in row.items()} for row in table.rows))


def _finite(kind: str, value: Any) -> Any:
    if isinstance(value, list):
        return [_finite(kind, each) for each in value]
    if not isinstance(value, float) or math.isfinite(value):
        return value
    return None if math.isnan(value) else math.copysign(HUGE_FLOAT if "FLOAT" in kind else HUGE, value)


def answers(batches: Sequence[Batch], servers: str, folder: Path, counts: Counter[str]) -> Iterator[list[Result]]:
    """What is fetched, batch by batch and case by case, after one job over all of them."""
    kept = [each.kept() for each in batches]
    sources = EventSources(_event_tables(batches, kept), tuple(kept))
    messages = _messages(batches)
    _, store, report = ran(sources, messages, servers, folder)
    counts["events"] = sum(map(len, messages.values()))
    counts["dead"], counts["late"], counts["tiles"] = (
        sum(report.dead.values()),
        sum(report.late.values()),
        report.tiles,
    )
    for each, one in zip(batches, kept, strict=True):
        yield _fetched(each, one, store, counts)


def ran(
    sources: EventSources, messages: Mapping[str, Sequence[bytes]], servers: str, folder: Path
) -> tuple[StreamJob, MemoryStore, Report]:
    """A job over these messages, by topic, after it has ended."""
    name = f"cases-{uuid.uuid4().hex[:8]}"
    settings = f'name = "{name}"\n[brokers]\nservers = "{servers}"\n[flink]\nmemory = "1500m"\n'
    (folder / "zipline.toml").write_text(settings)
    admin = AdminClient({"bootstrap.servers": servers})
    for made in admin.create_topics([NewTopic(topic, 1, 1) for topic in messages]).values():
        made.result(60)
    producer = Producer({"bootstrap.servers": servers, "linger.ms": 20})
    for topic, texts in messages.items():
        for text in texts:
            producer.produce(topic, text)
        producer.poll(0)
    assert producer.flush(60) == 0
    store = MemoryStore(grace=0.0)
    job = stream_job(load_project(folder), sources)
    with open_streaming(job, store=store) as streaming:
        report = streaming.once()
    return job, store, report


def letters(job: StreamJob, table: str, servers: str) -> list[tuple[bytes, str]]:
    """The dead letters of a table: each as it came, and the reason."""
    settings = {"bootstrap.servers": servers, "group.id": "test", "enable.partition.eof": True}
    consumer = Consumer({**settings, "auto.offset.reset": "earliest"})
    consumer.assign([TopicPartition(job.dead[table], 0, 0)])
    found: list[tuple[bytes, str]] = []
    try:
        while (message := consumer.poll(20)) is not None and message.error() is None:
            reason = dict(message.headers() or [])["reason"]
            assert isinstance(reason, bytes)
            found.append((message.value() or b"", reason.decode()))
    finally:
        consumer.close()
    return found


def _event_tables(batches: Sequence[Batch], kept: Sequence[Kept]) -> dict[str, EventTable]:
    found: dict[str, EventTable] = {}
    for each, one in zip(batches, kept, strict=True):
        for source, projection in zip(each.group_by.sources, one.streams, strict=True):
            name = projection.table
            before = found[name].sources if name in found else ()
            sources = (*before, (source, projection))
            found[name] = EventTable(name, each.schemas[name], sources, None, "of a test")
    return found


def _messages(batches: Sequence[Batch]) -> dict[str, list[bytes]]:
    """In the order in which they became available, so that the first of an event id is the one that counts."""
    found: dict[str, list[bytes]] = {}
    for each in batches:
        for source in each.group_by.sources:
            name, query = _stream(source), source.query
            rows = sorted(each.tables[name].rows, key=partial(_available, query, each.cases[0].functions))
            found[name] = [msgspec.json.encode({key: _json(value) for key, value in row.items()}) for row in rows]
    return found


def _available(query: Any, functions: Functions, row: Row) -> tuple[Any, ...]:
    names = (query.mutation_time,) if query.mutation_time else (query.time, query.known_at)
    clocks = [clock(name, row, functions) or 0 for name in names if name]
    values = [value if isinstance(value, (int, float, str)) else repr(value) for value in row.values()]
    return max(clocks), clocks[0], [(row[name] is not None, value) for name, value in zip(row, values, strict=True)]


def _json(value: Any) -> Any:
    if isinstance(value, list):
        return list(map(_json, value))
    return micros(value) if isinstance(value, dt.datetime) else value


def _fetched(each: Batch, kept: Kept, store: MemoryStore, counts: Counter[str]) -> list[Result]:
    catalog = open_catalog({name: arrow_table(table) for name, table in each.uploaded.items()})
    fetch, name = _join_fetch(each, store), space(kept)
    wanted = sorted(enumerate(each.queries.rows), key=lambda numbered: numbered[1]["ts"])
    found: list[Row] = [{} for _ in wanted]
    days: dict[int, dict[int, list[int]]] = {}
    for number, row in wanted:
        q = micros(row["ts"])
        days.setdefault(day_of(q) - each.ago, {}).setdefault(q, []).append(number)
    rows, features = each.queries.rows, [name for name, _ in kept.group_by.columns]
    prefix = fetch.plan.parts[0].prefix
    for end, times in days.items():
        publish_upload(kept, catalog, store, name, end)
        for q, numbers in times.items():
            result = fetch.fetch([rows[number] for number in numbers], q)
            for place, (number, values) in enumerate(zip(numbers, result.rows(), strict=True)):
                found[number] = dict(rows[number]) | {feature: values[prefix + feature] for feature in features}
                counts.update(result.status(place, prefix + feature) for feature in features)
    columns = tuple(column for column in (*each.queries.schema, *features) if column != CASE)
    made: list[list[Row]] = [[] for _ in each.cases]
    for row in found:
        made[row[CASE]].append({column: row[column] for column in columns})
    return [Result(columns, tuple(some)) for some in made]


def _join_fetch(each: Batch, store: MemoryStore) -> JoinFetch:
    keys = list(each.group_by.keys) or [CASE]
    left = EventSource("asked", query=Query(select=keys, time="ts"))
    join = Join(left=left, parts=[JoinPart(each.group_by, prefix="f")], online=True, name=f"{each.group_by.name}_asked")
    asked = {column: parse_type(kind) for column, kind in each.queries.schema.items()}
    schemas = {**each.schemas, "asked": asked}
    return join_fetch(plan_join(join, lambda name: schemas[name]), join, store, space)
