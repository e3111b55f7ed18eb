"""Lanes: the readings of a set of left keys, each with its own keys, as DataFrames to be packed and as rows again.

A reading that parts take by different columns (a flight by where it starts, and by where it ends) is as many lanes: its
rows belong to several keys. Rows without a key are nobody's and are left behind.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from zipline.arrow import to_arrow
from zipline.clock import DAY
from zipline.engines.local.group_by import needed_columns
from zipline.engines.local.read import Rows, conditions_of, rows_from
from zipline.engines.local.statements import all_of, between, filtered, guarded, time_bounds
from zipline.engines.local.substitutes import Substitute
from zipline.engines.spark.packing import OWN, OWN_ARROW, Shape, spelled
from zipline.engines.spark.statements import clock, is_no_key, numbered_events
from zipline.expressions.dialects import Dialect, identifier
from zipline.plan.reads import read_key
from zipline.plan.steps import PartPlan, Projection
from zipline.types import BOOLEAN, NULL, DataType
from zipline.values import dataclass

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

LaneKey = tuple[Any, ...]


@dataclass(eq=False)
class Lane:
    """One reading by one choice of keys. `items` are alias -> SQL, `keys` the aliases of the keys in order."""

    first: Projection
    keys: tuple[str, ...] = ()
    projections: list[Projection] = field(default_factory=list)
    items: dict[str, str] = field(default_factory=dict)
    types: dict[str, DataType] = field(default_factory=dict)
    aliases: dict[tuple[Projection, str], str] = field(default_factory=dict)
    parts: list[PartPlan] = field(default_factory=list)

    def take(self, source: Projection, names: Sequence[str]) -> list[str]:
        """The aliases of columns, which are read from now on."""
        if source not in self.projections:
            self.projections.append(source)
        return [self._take(source, name) for name in names]

    def _take(self, source: Projection, name: str) -> str:
        expression = source.columns[name]
        sql = column_sql(source, name)
        alias = next((each for each, own in self.items.items() if own == sql), None)
        if alias is None:
            alias = f"c{len(self.items)}"
            self.items[alias], self.types[alias] = sql, expression.type
        self.aliases[source, name] = alias
        return alias

    @property
    def _wheres(self) -> dict[tuple[str, ...], Any]:
        return {conditions_of(source): source.where for source in self.projections}

    @cached_property
    def masks(self) -> dict[tuple[str, ...], str]:
        """Conditions -> alias, where the sources of the reading differ in theirs."""
        if len(self._wheres) == 1:
            return {}
        return {texts: f"m{number}" for number, texts in enumerate(self._wheres) if texts}

    @property
    def clocks(self) -> dict[str, str]:
        """Clock -> Spark SQL."""
        return self._clocks("spark")

    def _clocks(self, dialect: Dialect) -> dict[str, str]:
        first = self.first
        instants = (("__t", first.time), ("__known", first.known_at), ("__changed", first.mutation_time))
        found = {name: clock(expression, dialect) for name, expression in instants if expression is not None}
        if first.partition and first.kind == "snapshots":
            found["__day"] = f"CAST({identifier(dialect, first.partition)} AS DATE)"
        if first.is_before is not None:
            found["__before"] = f"CAST({first.is_before.sql(dialect)} AS BOOLEAN)"
        return found

    @property
    def seen_by(self) -> str | None:
        """The SQL of the number that decides, with the time of a query, whether it sees a row; None: it always does.

        Of events it is their time in microseconds, of changes when they were made, of a snapshot's rows its day.
        """
        if self.seeing is None:
            return None
        return f"unix_date({self.seeing})" if self.first.kind == "snapshots" else f"unix_micros({self.seeing})"

    @property
    def seeing(self) -> str | None:
        """The clock of that number."""
        name = {"snapshots": "__day", "mutations": "__changed"}.get(self.first.kind, "__t")
        return name if name in self.clocks else None

    @property
    def available(self) -> str | None:
        """The SQL of when an event became available, in microseconds; None of what is no event with a time."""
        if self.first.kind != "events" or self.first.time is None:
            return None
        return "unix_micros(greatest(__t, __known))" if self.first.known_at else "unix_micros(__t)"

    @property
    def first_seen(self) -> str | None:
        """The SQL of about when a query first sees a row, in microseconds; None: always."""
        offset = max((part.offset or 0 for part in self.parts), default=0)
        if self.first.kind == "snapshots":
            return f"(unix_date(__day) + 1) * {DAY}L - {offset}L"
        return None if self.seen_by is None else f"{self.seen_by} - {offset}L"

    @property
    def shape(self) -> Shape:
        return Shape(tuple(self.clocks), {**self.types, **dict.fromkeys(self.masks.values(), BOOLEAN)})

    @property
    def typed_keys(self) -> list[tuple[str, DataType]]:
        return [(alias, self.types[alias]) for alias in self.keys]

    def frame(self, rows: DataFrame, low: int | None, high: int | None) -> DataFrame:
        """What queries can see between `low` and `high` of these rows of the table, projected and filtered."""
        if self.first.event_id is not None:
            number, keep = numbered_events(self.first)
            rows = rows.selectExpr("*", f"{number} AS __number_of_event").where(keep)
        for condition in self._conditions(low, high, "spark"):
            rows = rows.where(condition)
        items = [f"{_cast(sql, self.types[alias])} AS {alias}" for alias, sql in self.items.items()]
        projected = rows.selectExpr(*items, *self._others("spark"))
        for condition in self._keyed:
            projected = projected.where(condition)
        return projected

    def statement(self, relation: str, low: int | None, high: int | None, *, only_keys: bool = False) -> str:
        """The same of a relation of DuckDB, in DuckDB's types; not of rows that are one event.

        With `only_keys` the columns are these and the clocks.
        """
        sources = {alias: (source, name) for (source, name), alias in reversed(self.aliases.items())}
        wanted = dict.fromkeys(self.keys if only_keys else self.items)
        items = [f"{column_sql(*sources[alias], 'duckdb')} AS {alias}" for alias in wanted]
        selected = ", ".join([*items, *self._others("duckdb", only_clocks=only_keys)]) or "1 AS __one"
        found = f"(SELECT {selected} FROM {filtered(relation, self._conditions(low, high, 'duckdb'))})"
        return f"SELECT * FROM {filtered(found, self._keyed)}"

    def _others(self, dialect: Dialect, *, only_clocks: bool = False) -> list[str]:
        """Masks and clocks."""
        masks = {m: f"coalesce({all_of(self._wheres[texts], dialect)}, FALSE)" for texts, m in self.masks.items()}
        found = ({} if only_clocks else masks) | self._clocks(dialect)
        return [f"{sql} AS {name}" for name, sql in found.items()]

    @property
    def _keyed(self) -> list[str]:
        """The conditions, the same in all dialects, that a row has a key."""
        return [f"NOT {is_no_key(alias, dtype)}" for alias, dtype in self.typed_keys]

    def _conditions(self, low: int | None, high: int | None, dialect: Dialect) -> list[str]:
        first, wheres = self.first, list(self._wheres.values())
        found = [all_of(wheres[0], dialect)] if len(wheres) == 1 and wheres[0] else []
        if len(wheres) > 1 and all(wheres):
            found = [" OR ".join(f"({all_of(where, dialect)})" for where in wheres)]
        time = first.mutation_time or first.time
        if first.kind != "snapshots" and time is not None:
            found += time_bounds(time, low, high) if dialect == "duckdb" else between(clock(time), low, high, dialect)
        return found

    @property
    def schema(self) -> pa.Schema:
        """Of its rows in memory."""
        clocks = [(name, OWN_ARROW[OWN[name]]) for name in self.clocks]
        return pa.schema([*((name, to_arrow(dtype)) for name, dtype in self.shape.columns.items()), *clocks])

    def empty(self) -> pa.Table:
        """No rows, of a table of which no column is known."""
        return self.schema.empty_table()

    def rows(self, table: pa.Table) -> Rows:
        """The reading as the kernels take it."""
        for alias, dtype in self.types.items():
            if dtype == NULL:
                table = table.append_column(alias, pa.nulls(table.num_rows))
        return rows_from(table, self.masks, self.aliases)


def column_sql(source: Projection, name: str, dialect: Dialect = "spark") -> str:
    """A column of a source as far as the source's conditions let it be evaluated."""
    return guarded(source.columns[name], all_of(source.where, dialect) if source.where else "", dialect)


def _cast(sql: str, dtype: DataType) -> str:
    return f"CAST({sql} AS {spelled(dtype)})"


def lanes_of(parts: Sequence[PartPlan]) -> dict[LaneKey, Lane]:
    """Every lane that a set of left keys needs."""
    lanes: dict[LaneKey, Lane] = {}
    for part in parts:
        for source in part.projections:
            key = lane_key(part, source)
            lane = lanes.setdefault(key, Lane(source))
            names = [name for name, _ in part.group_by.keys]
            lane.keys = tuple(lane.take(source, names))
            lane.take(source, sorted(needed_columns(part, source) - set(names)))
            lane.parts.append(part)
    return lanes


def in_their_stead(parts: Iterable[PartPlan], substitutes: Mapping[int, Substitute]) -> tuple[PartPlan, ...]:
    """The parts, and for those that have a substitute what is computed in their stead."""
    groups = (substitutes[id(part)].parts if id(part) in substitutes else (part,) for part in parts)
    return tuple(each for group in groups for each in group)


def lane_key(part: PartPlan, source: Projection) -> LaneKey:
    """Equal for what is read together and has the same keys."""
    return (read_key(source), *(column_sql(source, name) for name, _ in part.group_by.keys))


def apart(
    parts: Sequence[PartPlan], substitutes: Mapping[int, Substitute]
) -> list[tuple[tuple[PartPlan, ...], Mapping[Any, LaneKey]]]:
    """Parts in groups of which each takes every reading by one lane: (parts, reading -> lane).

    Of a part with a substitute (by its id) these are the readings of what stands for it.
    """
    groups: list[tuple[list[PartPlan], dict[Any, LaneKey]]] = []
    for part in parts:
        computed = in_their_stead([part], substitutes)
        own = {read_key(source): lane_key(each, source) for each in computed for source in each.projections}
        fitting = (group for group in groups if all(group[1].get(key, lane) == lane for key, lane in own.items()))
        group = next(fitting, None)
        if group is None:
            groups.append(group := ([], {}))
        group[0].append(part)
        group[1].update(own)
    return [(tuple(members), readings) for members, readings in groups]
