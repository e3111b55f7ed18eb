"""Tables that take events: what is checked of them, when they happened, and where they are kept.

An `EnrichedTable` has no events of its own. Its rows are those of a join, each made of an event of the join's left and
what a fetch answers (`zipline.orchestration.events.enriching`); to all who read it, it is a table like others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import TypeAlias

import pyarrow as pa

from zipline.api import EntitySource, Join, JoinSource, Topic
from zipline.api.fields import duration_micros
from zipline.api.sources import Source
from zipline.clock import DAY
from zipline.errors import DataError, TableError, UsageError
from zipline.expressions import Expression
from zipline.expressions.nodes import Column
from zipline.fetch.results import has_boolean_keys
from zipline.orchestration.events.arrived import values_of
from zipline.orchestration.events.intake import Intake
from zipline.orchestration.events.logs import CHANGES, EVENTS
from zipline.plan.chaining import DAY_COLUMN, ID_COLUMN, OUT_COLUMN, id_type, identified
from zipline.plan.narrowing import narrowed
from zipline.plan.steps import JoinPlan, Projection
from zipline.types import BOOLEAN, STRING, DataType
from zipline.values import dataclass

Streamed: TypeAlias = tuple[Source, Projection]
"""A source, and what is read of the rows that come of it one by one."""
EXACTLY_ONCE, AT_LEAST_ONCE = "exactly-once", "at-least-once"


@dataclass(frozen=True, eq=False)
class EventTable:
    """A table that takes events. `uri` is where they are appended; None with the reason in `refused`."""

    name: str
    schema: Mapping[str, DataType]
    sources: tuple[Streamed, ...]
    uri: str | None
    refused: str

    @property
    def topics(self) -> dict[str, str]:
        """Name -> format of those that carry its events; UsageError where a topic is said to have two."""
        found: dict[str, str] = {}
        for topic in self._topics:
            if found.setdefault(topic.name, topic.format) != topic.format:
                raise UsageError(
                    f"the topic {topic.name!r} is said to have the formats {found[topic.name]} and {topic.format}",
                    subject=self.name,
                )
        return found

    @property
    def format(self) -> str:
        """That of its topics, which a file in their place has too; UsageError where they have several."""
        formats = sorted(set(self.topics.values()))
        if len(formats) > 1:
            raise UsageError(
                f"its topics have several formats ({', '.join(formats)}), so that of a file is not known",
                subject=self.name,
            )
        return formats[0] if formats else EVENTS

    @property
    def lateness(self) -> int:
        """How late an event may come without being counted as late."""
        return min((duration_micros(topic.lateness) for topic in self._topics), default=DAY)

    @property
    def time(self) -> Expression:
        """When an event happened; of several sources the first says it."""
        found = _clock(self.sources[0][1])
        assert found is not None, "events and changes have a time"
        return found

    @property
    def clocks(self) -> tuple[Expression, ...]:
        """All that say when an event happened, or was known or made."""
        every = (clock for _, each in self.sources for clock in (_clock(each), each.known_at) if clock is not None)
        return tuple({each.text: each for each in every}.values())

    @property
    def partition(self) -> str | None:
        return self.sources[0][1].partition

    @property
    def event_id(self) -> Expression | None:
        """The id of an event where all sources agree on one: then the table keeps each event once."""
        ids = {each.event_id.text: each.event_id for _, each in self.sources if each.event_id is not None}
        has_all = all(each.event_id is not None for _, each in self.sources)
        return next(iter(ids.values())) if has_all and len(ids) == 1 else None

    def check(self, rows: pa.Table) -> None:
        """DataError where a change does not say which way it goes: no reader could take it."""
        for is_before in {each.is_before.text: each.is_before for _, each in self.sources if each.is_before}.values():
            if values_of(is_before, rows, self.name, BOOLEAN).null_count:
                raise DataError(f"{is_before.text} is null", subject=self.name)

    @property
    def delivery(self) -> str:
        """What a sender can rely on who sends again what was not answered."""
        return EXACTLY_ONCE if all(each.event_id is not None for _, each in self.sources) else AT_LEAST_ONCE

    @cached_property
    def intake(self) -> Intake:
        """What checks its events."""
        each = [_required(projection) for _, projection in self.sources]
        required = frozenset.intersection(*each) if each else frozenset[str]()
        sources = [each for _, each in self.sources]
        return Intake(self.name, self.schema, required, self.partition, sources, self._envelope())

    @property
    def _topics(self) -> list[Topic]:
        return [source.topic for source, _ in self.sources if not isinstance(source, JoinSource) and source.topic]

    def _envelope(self) -> tuple[str, str] | None:
        """The columns that the envelope of a change fills: when it was made, and whether it took the row away."""
        found = {
            (_name(each.mutation_time), _name(each.is_before))
            for source, each in self.sources
            if isinstance(source, EntitySource) and source.topic and source.topic.format == CHANGES
        }
        if len(found) > 1:
            raise UsageError(
                "the envelope of its changes fills mutation_time and is_before, and its sources do not agree which "
                f"columns these are: {sorted(found)}",
                subject=self.name,
            )
        return next(iter(found), None)

    def check_appendable(self) -> str:
        """Where events are appended; TableError says why they cannot be."""
        if self.uri is None:
            raise TableError(
                f"events cannot be appended to {self.name!r}: {self.refused}",
                hint="keep it as a Delta table of the project's warehouse, or feed tiles only",
                next_command=f"zipline stream {self.name} --tiles-only",
            )
        return self.uri


@dataclass(frozen=True, eq=False)
class EnrichedTable(EventTable):
    """The rows of a join, as the events of its left come. `plan` is the join with the columns that are read of it."""

    join: Join
    plan: JoinPlan
    left: EventTable

    @property
    def lateness(self) -> int:
        """That of the events that its rows are made of."""
        return self.left.lateness

    @cached_property
    def intake(self) -> Intake:
        """What checks its rows. Any column may be null: what is no event was found before it was enriched. TableError
        names a column that JSON cannot hold."""
        for name, dtype in self.schema.items():
            if has_boolean_keys(dtype):
                raise TableError(
                    f"the column {name!r} of the join {self.plan.name} is {dtype}, and JSON has no such keys",
                    subject=self.name,
                    hint="CAST the bucket AS STRING in the select of its source, or let nothing read the column",
                )
        return Intake(self.name, self.schema, frozenset(), None, [each for _, each in self.sources])


def chain_of(source: Source, projection: Projection) -> list[Streamed]:
    """The readings by which rows come to a source, the deepest first: of the left's table, then of each join above it.
    A source that reads no join is all of its chain."""
    found = [(source, projection)]
    while isinstance(source, JoinSource):
        assert projection.parent is not None
        source, projection = source.join.left, identified(projection.parent.left)
        found.append((source, projection))
    return found[::-1]


def enriched_tables(joined: Iterable[Sequence[Streamed]], tables: Mapping[str, EventTable]) -> list[EnrichedTable]:
    """The tables of the rows of joins, of each all its readings; those come first that others read. `tables` has those
    of the lefts at the beginning."""
    known = dict(tables)
    found: list[EnrichedTable] = []
    for readers in joined:
        found.append(_enriched(readers, known))
        known[found[-1].name] = found[-1]
    return found


def _enriched(readers: Sequence[Streamed], tables: Mapping[str, EventTable]) -> EnrichedTable:
    source, projection = readers[0]
    parent = projection.parent
    assert isinstance(source, JoinSource)
    assert parent is not None
    read = frozenset[str]().union(*(each.table_columns for _, each in readers))
    types = {**dict(parent.scoring_columns), DAY_COLUMN: dict(parent.scoring_columns).get(DAY_COLUMN, STRING)}
    identity = id_type(parent.left)
    types |= {ID_COLUMN: identity, OUT_COLUMN: BOOLEAN} if identity is not None else {}
    return EnrichedTable(
        name=projection.table,
        schema={name: dtype for name, dtype in types.items() if name in read},
        sources=tuple(readers),
        uri=None,
        refused=f"its rows are those of the join {parent.name}",
        join=source.join,
        plan=narrowed(parent, read),
        left=tables[parent.left.table],
    )


def _clock(projection: Projection) -> Expression | None:
    """When a row became an event."""
    return projection.mutation_time or projection.time


def _required(projection: Projection) -> frozenset[str]:
    """The columns that may not be null: those that are its clock, and say which way a change goes."""
    given = (each for each in (_clock(projection), projection.is_before) if each is not None)
    return frozenset[str]().union(*(each.columns for each in given if isinstance(each.node, Column)))


def _name(expression: Expression | None) -> str:
    """Of a clock that is a plain column, which a definition has made sure of."""
    assert expression is not None
    assert isinstance(expression.node, Column)
    return expression.node.name
