"""A streaming job as Flink SQL: one table for every stream that is read, one INSERT for every aggregation.

    scan:TABLE       the messages of the table's topics, decoded by the format `zipline-json`
    in:TABLE         its rows, each with what is said of its message: is it no event, why, is it late
    dead:TABLE       messages that are no events, as they came, with the reason and their place in headers: those of
                     which a source cannot compute something, too, as `zipline.orchestration.events.evaluation` has it
    late:TABLE       events that came later than the topic's lateness, likewise
    tiles:GROUP_BYS  their events, each with the place of its tile

Group-bys that take the same rows are one aggregation (`sharing`), by place: the key, the day of availability and the
tile, as bytes. It is done by the connector `zipline-tiles`: of every place the partial of all features, in the form in
which the online store keeps it, of which the newest is sent on. Projections and conditions are the author's own,
printed from the portable subset.

Late is told by the message's own time, which Kafka keeps: so a replay tells the same. State of a tile is kept for
longer than any event may come that is not late, so a tile is never begun anew beside one that is full.

A change is one message with two rows, which are taken both or not at all: sent again, it is counted once.

No row fails the job: what is computed is printed in the form that gives null where it cannot be.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from zipline.clock import DAY, HOUR, to_micros
from zipline.engines.flink.sharing import Shared, shared
from zipline.engines.local.stream import UNTIMED
from zipline.expressions import Expression
from zipline.expressions.dialects import SESSIONS, identifier, text_literal, type_name
from zipline.expressions.failures import attempted, failing
from zipline.expressions.nodes import Column
from zipline.plan.online import Kept
from zipline.plan.steps import Projection
from zipline.types import DATE, TIMESTAMP, DataType
from zipline.values import dataclass

FUNCTIONS = {
    "zipline_place": "zipline.flink.algebra.PlaceFunction",
    "zipline_micros": "zipline.flink.algebra.MicrosFunction",
}
_REFUSED, _RAW, _TOPIC, _PART, _OFFSET, _CAME, _ORDER, _NUMBER = (
    f"zipline__{name}" for name in ("refused", "raw", "topic", "partition", "offset", "came", "order", "number")
)
_IS_WRONG, _REASON, _IS_LATE = _TOLD = tuple(f"zipline__{name}" for name in ("is_wrong", "reason", "is_late"))
_BEFORE, _AFTER = _SIDES = ("zipline__before", "zipline__after")
_METADATA = (
    (_REFUSED, "STRING", "value.refused"),
    (_RAW, "BYTES", "value.raw"),
    (_TOPIC, "STRING", "topic"),
    (_PART, "INT", "partition"),
    (_OFFSET, "BIGINT", "offset"),
    (_CAME, "TIMESTAMP_LTZ(3)", "timestamp"),
)
SLACK = 2 * DAY
_AHEAD = HOUR
"""How far ahead of the clock an event may be stamped; what is further ahead is no event."""


@dataclass(frozen=True)
class Computed:
    """What a source computes of a row: `parts` one after the other, the last where all before it are true. Where it
    cannot be, or is null though it `is_given`, the row is no event, for this reason."""

    parts: tuple[Expression, ...]
    reason: str
    is_given: bool = False


@dataclass(frozen=True)
class StreamTable:
    """A table whose rows come by topics. `envelope` names the columns that a change's envelope fills."""

    name: str
    columns: Mapping[str, DataType]
    read: frozenset[str]
    """Those of which something is computed; all are checked."""
    required: frozenset[str]
    topics: tuple[str, ...]
    posted: str
    """The topic of plain rows that this platform sends: those that are posted, or those of a join."""
    time: Expression
    """When a row became an event."""
    clocks: tuple[Expression, ...]
    """All that say when it happened, or was known or made."""
    lateness: int
    envelope: tuple[str, str] | None = None
    computed: tuple[Computed, ...] = ()
    """What of a row may be wrong."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """All topics of its rows."""
        return (*self.topics, self.posted)


@dataclass(frozen=True)
class Settings:
    """Where a job reads and writes, and the name that it puts on letters. A new one begins where its `group` of
    consumers stands. `client` are settings of Kafka's clients; `ends` makes it read what is there and end."""

    servers: str
    job: str
    group: str
    tiles: str
    dead: Mapping[str, str]
    late: Mapping[str, str]
    client: Mapping[str, str]
    ends: bool = False
    flush: int = 50
    """Milliseconds for which changes of a tile are gathered."""


def state_kept(feeds: Sequence[Kept], tables: Mapping[str, StreamTable]) -> int:
    """Microseconds for which state is kept after its last change: for as long as a row may come that belongs to it. A
    tile takes rows for a day where they have a second clock, else for its own width; `SLACK` is how far a job may lag
    behind, or stand still."""
    lateness = max((tables[source.table].lateness for kept in feeds for source in kept.streams), default=DAY)
    return lateness + DAY + 2 * _AHEAD + SLACK


def statements(feeds: Sequence[Kept], tables: Mapping[str, StreamTable], settings: Settings) -> list[str]:
    """The statements of a job, in order, the last a set of INSERTs; none ends in a semicolon."""
    found = [f"CREATE TEMPORARY SYSTEM FUNCTION {name} AS '{where}'" for name, where in FUNCTIONS.items()]
    inserts: list[str] = []
    for table in tables.values():
        found += [*_sources(table, settings), _letters("dead", settings.dead[table.name], table, settings)]
        found.append(_letters("late", settings.late[table.name], table, settings))
        inserts += [_dead(table, settings), _late(table, settings)]
    for each in shared(feeds):
        found.append(_tiles(each, state_kept(feeds, tables), settings))
        inserts.append(_fed(each, tables))
    body = ";\n".join(inserts)
    return [*found, f"EXECUTE STATEMENT SET BEGIN\n{body};\nEND"]


def session(feeds: Sequence[Kept], tables: Mapping[str, StreamTable]) -> dict[str, str]:
    """Settings of the session under which the statements mean what they say."""
    return {**SESSIONS["flink"], "table.exec.state.ttl": f"{state_kept(feeds, tables) // 1000} ms"}


def script(settings: Mapping[str, str], found: Iterable[str]) -> str:
    """A job as a text to be read."""
    lines = [f"SET {text_literal('flink', name)} = {text_literal('flink', value)};" for name, value in settings.items()]
    return "\n".join([*lines, "", *(f"{each};\n" for each in found)])


def _sources(table: StreamTable, settings: Settings) -> list[str]:
    """What is read of a table, and its views: of rows, and of messages where these are not the same."""
    if table.envelope is None:
        scan = _name("scan", table.name)
        return [_source(scan, table.inputs, table, settings), _view("in", table, _plain(table, scan))]
    changes, posted = (_name("scan", f"{table.name} {kind}") for kind in ("changes", "posted"))
    found = [_source(changes, table.topics, table, settings)]
    found.append(_source(posted, (table.posted,), replace(table, envelope=None), settings))
    found.append(_view("changes", table, _changes(table, changes)))
    found.append(_view("posted", table, _plain(table, posted)))
    told = ", ".join((_ORDER, *_TOLD))
    rows = [
        f"SELECT {_within(side, table)}, {told} FROM {_name('changes', table.name)} WHERE {side} IS NOT NULL"
        for side in _SIDES
    ]
    columns = ", ".join(identifier("flink", name) for name in _read_of(table))
    rows.append(f"SELECT {columns}, {told} FROM {_name('posted', table.name)}")
    known = ", ".join((*(name for name, _, _ in _METADATA), *_TOLD))
    messages = [f"SELECT {known} FROM {_name(kind, table.name)}" for kind in ("changes", "posted")]
    return [*found, _view("in", table, _all(rows)), _view("messages", table, _all(messages))]


def _all(parts: Iterable[str]) -> str:
    return "\nUNION ALL ".join(parts)


def _view(kind: str, table: StreamTable, query: str) -> str:
    return f"CREATE TEMPORARY VIEW {_name(kind, table.name)} AS\n{query}"


def _plain(table: StreamTable, scan: str) -> str:
    """Messages of one row each, with what is said of them."""
    wrong = " OR ".join([f"{_REFUSED} IS NOT NULL", *(condition for condition, _ in _wrongs(table))])
    return (
        f"SELECT *, {wrong} AS {_IS_WRONG}, COALESCE({_REFUSED}, {_reason(table)}) AS {_REASON}, "
        f"{_late_of(table)} AS {_IS_LATE}\nFROM {scan}"
    )


def _changes(table: StreamTable, scan: str) -> str:
    """Messages with their rows, and what is said of them: what is said of one of the rows is said of both."""
    known = [name for name, _, _ in _METADATA] + [_ORDER]
    query = f"SELECT `before` AS {_BEFORE}, `after` AS {_AFTER}, {', '.join(known)} FROM {scan}"
    said: list[str] = []
    for side in _SIDES:
        whole = ", ".join((*_SIDES, *known, *said))
        conditions = " OR ".join(condition for condition, _ in _wrongs(table)) or "FALSE"
        facts = {
            f"{_IS_WRONG}_{side}": f"{side} IS NOT NULL AND ({conditions})",
            f"{_REASON}_{side}": f"CASE WHEN {side} IS NOT NULL THEN {_reason(table)} END",
            f"{_IS_LATE}_{side}": f"{side} IS NOT NULL AND {_late_of(table)}",
        }
        given = ", ".join(f"{sql} AS {name}" for name, sql in facts.items())
        query = f"SELECT {whole}, {given} FROM (SELECT {whole}, {_within(side, table)} FROM ({query}))"
        said += facts
    is_wrong, reason, is_late = ([f"{fact}_{side}" for side in _SIDES] for fact in _TOLD)
    return (
        f"SELECT {', '.join((*_SIDES, *known))}, {_REFUSED} IS NOT NULL OR {' OR '.join(is_wrong)} AS {_IS_WRONG}, "
        f"COALESCE({_REFUSED}, {', '.join(reason)}) AS {_REASON}, {' OR '.join(is_late)} AS {_IS_LATE}\nFROM ({query})"
    )


def _within(side: str, table: StreamTable) -> str:
    """The columns of one of the rows of a change."""
    names = [identifier("flink", name) for name in _read_of(table)]
    return ", ".join(f"{side}.{name} AS {name}" for name in names)


def _read_of(table: StreamTable) -> dict[str, DataType]:
    return {name: dtype for name, dtype in table.columns.items() if name in table.read}


def _source(name: str, topics: Sequence[str], table: StreamTable, settings: Settings) -> str:
    columns = [(identifier("flink", name), type_name("flink", dtype)) for name, dtype in _read_of(table).items()]
    if table.envelope is not None:
        row = ", ".join(f"{name} {dtype}" for name, dtype in columns)
        columns = [("`before`", f"ROW<{row}>"), ("`after`", f"ROW<{row}>")]
    columns += [(name, f"{dtype} METADATA FROM '{key}' VIRTUAL") for name, dtype, key in _METADATA]
    columns.append((_ORDER, "AS PROCTIME()"))
    options = {
        "connector": "kafka",
        "topic": ";".join(topics),
        "format": "zipline-json",
        "zipline-json.columns": json.dumps({name: str(dtype) for name, dtype in table.columns.items()}),
        "zipline-json.required": json.dumps(sorted(table.required)),
        "properties.group.id": settings.group,
        "properties.isolation.level": "read_committed",
        "scan.topic-partition-discovery.interval": "30 s",
        **_clients(settings),
        # Where that is gone, with the first messages that are there: a start by time would go on with what comes.
        "scan.startup.mode": "group-offsets",
        "properties.auto.offset.reset": "earliest",
        **({"scan.bounded.mode": "latest-offset"} if settings.ends else {}),
    }
    if table.envelope is not None:
        time, before = table.envelope
        options |= {
            "zipline-json.envelope": "debezium",
            "zipline-json.time-column": time,
            "zipline-json.before-column": before,
        }
    return _created(name, columns, options)


def _letters(kind: str, topic: str, table: StreamTable, settings: Settings) -> str:
    """Where messages go that are not aggregated: as they came."""
    columns = [("event", "BYTES"), ("headers", "MAP<STRING, BYTES> METADATA")]
    options = {"connector": "kafka", "topic": topic, "format": "raw", **_clients(settings)}
    return _created(_name(kind, table.name), columns, options)


def _tiles(of: Shared, kept: int, settings: Settings) -> str:
    columns = [("place", "BYTES"), ("weight", "INT"), ("t", "BIGINT"), ("known", "BIGINT")]
    columns += [(f"c{number}", type_name("flink", dtype)) for number, dtype in enumerate(of.columns.values())]
    options = {
        "connector": "zipline-tiles",
        "servers": settings.servers,
        "topic": settings.tiles,
        "feed": str(of.tag),
        "tile": of.spec,
        "kept": f"{kept // 1000} ms",
        "flush": f"{settings.flush} ms",
        **{f"properties.{name}": value for name, value in settings.client.items()},
    }
    return _created(_name("tiles", of.name), columns, options)


def _clients(settings: Settings) -> dict[str, str]:
    client = {"bootstrap.servers": settings.servers, **settings.client}
    return {f"properties.{name}": value for name, value in client.items()}


def _created(name: str, columns: Iterable[tuple[str, str]], options: Mapping[str, str]) -> str:
    listed = ",\n".join(f"  {column} {dtype}" for column, dtype in columns)
    given = ",\n".join(f"  {_text(key)} = {_text(value)}" for key, value in options.items())
    return f"CREATE TEMPORARY TABLE {name} (\n{listed}\n) WITH (\n{given}\n)"


def _dead(table: StreamTable, settings: Settings) -> str:
    return _sent("dead", table, _IS_WRONG, settings, {"reason": _REASON})


def _late(table: StreamTable, settings: Settings) -> str:
    return _sent("late", table, f"NOT {_IS_WRONG} AND {_IS_LATE}", settings, {})


def _sent(kind: str, table: StreamTable, condition: str, settings: Settings, more: Mapping[str, str]) -> str:
    """A message as it came: what is known of it, and which job put it aside, is in its headers, as text."""
    facts = {
        **more,
        "job": _text(settings.job),
        "topic": _TOPIC,
        "partition": _PART,
        "offset": _OFFSET,
        "came": f"zipline_micros({_CAME})",
    }
    pairs = ", ".join(f"{_text(name)}, ENCODE(CAST({sql} AS STRING), 'UTF-8')" for name, sql in facts.items())
    source, target = _name("in" if table.envelope is None else "messages", table.name), _name(kind, table.name)
    return f"INSERT INTO {target} SELECT {_RAW}, MAP[{pairs}]\nFROM {source} WHERE {condition}"


def _wrongs(table: StreamTable) -> list[tuple[str, str]]:
    """Conditions under which a row is no event, each with the reason. None is ever null."""
    found = [
        (_is_ahead(clock), f"{clock.text} is more than an hour ahead of the message's own time")
        for clock in table.clocks
    ]
    found += [(wrong, each.reason) for each in table.computed if (wrong := _is_wrong(each))]
    return found


def _reason(table: StreamTable) -> str:
    cases = [f"WHEN {condition} THEN {_text(reason)}" for condition, reason in _wrongs(table)]
    return f"CAST(CASE {' '.join(cases)} END AS STRING)" if cases else "CAST(NULL AS STRING)"


def _is_wrong(computed: Computed) -> str | None:
    """Never null; None where it can be computed of every row."""
    found: str | None = None
    for part in reversed(computed.parts):
        known, wrong = attempted(part.node), failing(part.node)
        if computed.is_given:
            wrong = f"({known}) IS NULL" if wrong is None else f"({wrong} OR ({known}) IS NULL)"
        first, rest = f"WHEN {wrong} THEN TRUE " if wrong else "", f"WHEN {known} THEN {found} " if found else ""
        found = f"(CASE {first}{rest}ELSE FALSE END)" if first or rest else None
    return found


def _is_ahead(clock: Expression) -> str:
    """Never null. Kafka's time of a message is within the brokers' bounds, so it stands for the clock."""
    return f"COALESCE({_clock(clock)} - {_micros(_CAME)} > {_AHEAD}, FALSE)"


def _late_of(table: StreamTable) -> str:
    """Never null: an event of which the time is not known is never seen, so it is not late."""
    return f"COALESCE({_micros(_CAME)} - {_clock(table.time)} > {table.lateness}, FALSE)"


def _fed(of: Shared, tables: Mapping[str, StreamTable]) -> str:
    """The INSERT of one aggregation."""
    selected = [(source, _columns_of(of, number)) for number, source in enumerate(of.first.streams)]
    places = "\nUNION ALL\n".join(_read(of.first, source, tables, columns) for source, columns in selected)
    return f"INSERT INTO {_name('tiles', of.name)}\n{places}"


def _columns_of(of: Shared, number: int) -> list[str]:
    """What is computed of one of its sources: of each column by a member that has it."""
    sources = [kept.streams[number] for kept in of.members]
    return [_column(next(each for each in sources if name in each.columns), name) for name in of.columns]


def _read(kept: Kept, source: Projection, tables: Mapping[str, StreamTable], columns: Sequence[str]) -> str:
    """The rows of one source that have a key and are seen: their place, weight, clocks and columns."""
    table = tables[source.table]
    t = _clock(source.time) if source.time is not None else _big(UNTIMED)
    known = _clock(source.known_at) if source.known_at is not None else "CAST(NULL AS BIGINT)"
    made = source.mutation_time
    available = _clock(made) if made is not None else f"GREATEST({t}, {known})" if source.known_at is not None else t
    keys = [_column(source, name) for name, _ in kept.group_by.keys]
    weight = f"CASE WHEN {_sql(source.is_before)} THEN -1 ELSE 1 END" if source.is_before is not None else "1"
    place = ", ".join([_big(kept.tile), t, available, *keys])
    items = [f"zipline_place({place}) AS place", f"{weight} AS weight", f"{t} AS t", f"{known} AS known"]
    items += [f"{column} AS c{number}" for number, column in enumerate(columns)]
    conditions = [*_timed(source, table)]
    conditions += [f"({_all_of(source.where)})"] if source.where else []
    conditions += [_is_key(sql, dtype) for sql, (_, dtype) in zip(keys, kept.group_by.keys, strict=True)]
    return f"SELECT {', '.join(items)}\nFROM {taken(table, source.event_id, _bounded(source))}{_where(conditions)}"


def taken(table: StreamTable, event_id: Expression | None, bounds: Sequence[str] = ()) -> str:
    """The events of a table within bounds that are no letters; of those with one id the first to come, as it is with no
    other."""
    name, conditions = _name("in", table.name), [f"NOT {_IS_WRONG}", f"NOT {_IS_LATE}", *bounds]
    if event_id is None:
        return f"(SELECT * FROM {name}{_where(conditions)})"
    identity = _sql(event_id)
    number = f"ROW_NUMBER() OVER (PARTITION BY {identity} ORDER BY {_ORDER}) AS {_NUMBER}"
    known, unknown = (_where([*conditions, f"{identity} IS {kind}"]) for kind in ("NOT NULL", "NULL"))
    return (
        f"(SELECT * FROM (SELECT *, {number} FROM {name}{known}) WHERE {_NUMBER} = 1\n"
        f"UNION ALL SELECT *, CAST(1 AS BIGINT) AS {_NUMBER} FROM {name}{unknown})"
    )


def _where(conditions: Sequence[str]) -> str:
    return f"\nWHERE {' AND '.join(conditions)}" if conditions else ""


def _timed(source: Projection, table: StreamTable) -> list[str]:
    """An event without a time, or without its second clock, is never seen."""
    clocks = {_sql(each): each for each in (source.mutation_time, source.time, source.known_at) if each}
    given = (isinstance(each.node, Column) and each.columns <= table.required for each in clocks.values())
    return [f"{sql} IS NOT NULL" for sql, is_given in zip(clocks, given, strict=True) if not is_given]


def _bounded(source: Projection) -> list[str]:
    """The days of its partitions, by the clock that says in which an event is kept."""
    clock = source.mutation_time or source.time
    assert clock is not None
    found = []
    if source.start is not None:
        found.append(f"{_clock(clock)} >= {to_micros(source.start)}")
    if source.end is not None:
        found.append(f"{_clock(clock)} < {to_micros(source.end) + DAY}")
    return found


def _column(source: Projection, name: str) -> str:
    """A column of the source, of the type that it has beside others."""
    expression, dtype = source.columns[name], source.column_types[name]
    sql = _sql(expression)
    return sql if expression.type == dtype else f"TRY_CAST({sql} AS {type_name('flink', dtype)})"


def _is_key(sql: str, dtype: DataType) -> str:
    """A NaN is null, and so is a day outside the years 1 to 9999, which casts may give: it has no place."""
    if dtype == DATE:
        return f"{sql} BETWEEN DATE '0001-01-01' AND DATE '9999-12-31'"
    return f"ABS({sql}) >= 0" if dtype.is_float else f"{sql} IS NOT NULL"


def _clock(expression: Expression) -> str:
    """Microseconds of a clock."""
    sql = _sql(expression)
    return _micros(sql if expression.type in (TIMESTAMP, DATE) else f"TRY_CAST({sql} AS TIMESTAMP_LTZ(6))")


def _sql(expression: Expression) -> str:
    """Null where it cannot be computed: of such a row it was found before."""
    return attempted(expression.node)


def _all_of(conditions: Sequence[Expression]) -> str:
    return " AND ".join(f"({_sql(each)})" for each in conditions)


def _micros(sql: str) -> str:
    return f"zipline_micros({sql})"


def _big(number: int) -> str:
    return f"CAST({number} AS BIGINT)"


def _name(kind: str, name: str) -> str:
    return identifier("flink", f"{kind}:{name}")


def _text(text: str) -> str:
    return text_literal("flink", text)
