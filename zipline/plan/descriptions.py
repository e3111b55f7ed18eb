"""What `zipline compile` says of each definition, and what need not be said again.

A description is the canonical definition, its fingerprint, owner, line, needs and consumers and, where the schemas of
its tables are known, its columns with types and identities. It is a function of the definition, of what is upstream, of
the schemas and of the software, so one that was made of the same is taken from where it was kept (`Kept`).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from zipline.api import GroupBy, Join, StagingQuery
from zipline.errors import TableError
from zipline.plan.canonical import Json, canonical, compact, pretty
from zipline.plan.definitions import Definitions
from zipline.plan.dependencies import tables_of_sources
from zipline.plan.fingerprints import Fingerprints
from zipline.plan.names import Nameable
from zipline.types import DataType

if TYPE_CHECKING:
    from zipline.plan.build import Planned
    from zipline.plan.identity import Identities
    from zipline.plan.steps import JoinPlan, Projection

Schemas = Callable[[str], Mapping[str, DataType]]
Description: TypeAlias = Mapping[str, Any]
Kept: TypeAlias = Callable[[str, str], tuple[str, str | None] | None]
"""(name, key) -> the text of a description that was made of what has this key, and why it is untyped if it is."""


class Descriptions(Mapping[str, Description]):
    """The descriptions of all definitions by name, made when they are asked for.

    `texts` are their JSON texts, `made_of` the key of what each is made of, `untyped` why the columns of
    some are unknown. A column or type that does not fit is a DefinitionError.
    """

    def __init__(self, definitions: Definitions, schemas: Schemas | None, kept: Kept | None = None) -> None:
        self._definitions = definitions
        self._fingerprints = Fingerprints()
        self._consumers = _consumers(definitions)
        self._types = _Types(definitions, schemas, self._fingerprints)
        self._parsed: dict[str, Description] = {}
        self.untyped: dict[str, str] = {}
        self.made_of: dict[str, str] = {}
        self.texts: dict[str, str] = {}
        for name, definition in definitions.items():
            facts = self._facts(name, definition)
            besides = self._fingerprints.besides(definition)
            self.made_of[name] = _key(facts, besides, self._upstream(name), self._types.known(name))
            known = kept(name, self.made_of[name]) if kept is not None else None
            if known is None:
                written = canonical(definition, self._fingerprints.reference)
                self.texts[name] = pretty({**facts, "definition": written, **self._typed(name, definition)})
            else:
                self.texts[name] = known[0]
                self.untyped |= {name: known[1]} if known[1] else {}

    def __getitem__(self, name: str) -> Description:
        if name not in self._parsed:
            self._parsed[name] = json.loads(self.texts[name])
        return self._parsed[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.texts)

    def __len__(self) -> int:
        return len(self.texts)

    def __contains__(self, name: object) -> bool:
        return name in self.texts

    def definition(self, name: str) -> Nameable:
        return self._definitions[name]

    def about(self, name: str) -> tuple[str, str, tuple[str, ...]]:
        """Kind, owner and needs of a definition."""
        kind = type(self._definitions[name]).__name__
        return kind, self._definitions.owner(name), self._definitions.needs(name)

    def join_plan(self, name: str) -> JoinPlan:
        """The typed plan of a join that is typed."""
        join = self._definitions[name]
        assert isinstance(join, Join)
        return self._types.planned.join(join)

    def _facts(self, name: str, definition: Nameable) -> dict[str, Json]:
        return {
            "kind": type(definition).__name__,
            "name": name,
            "fingerprint": self._fingerprints.of(definition),
            "owner": self._definitions.owner(name),
            "location": self._definitions.site(name),
            "needs": list(self._definitions.needs(name)),
            "consumers": list(self._consumers.get(name, ())),
        }

    def _typed(self, name: str, definition: Nameable) -> dict[str, Json]:
        try:
            return self._types.of(definition)
        except TableError as error:
            meant = f"; did you mean {error.suggestion!r}?" if error.suggestion else ""
            self.untyped[name] = error.what + meant
            return {}

    def _upstream(self, name: str) -> Json:
        return [self._fingerprints.of(self._definitions[need]) for need in self._definitions.needs(name)]


class _Types:
    """Columns, types and identities of group-bys and joins; the schema of each table is asked for once."""

    def __init__(self, definitions: Definitions, schemas: Schemas | None, fingerprints: Fingerprints) -> None:
        self._definitions, self._schemas, self._fingerprints = definitions, schemas, fingerprints
        self._digests: dict[str, str] = {}
        self._known: dict[str, Mapping[str, DataType] | TableError] = {}
        self._tables: dict[str, frozenset[str]] = {}
        self._plans: tuple[Planned, Identities] | None = None

    def of(self, definition: Nameable) -> dict[str, Json]:
        if self._schemas is None or not isinstance(definition, (GroupBy, Join)):
            return {}
        from zipline.plan.identity import SEMANTICS

        typed = self._join(definition) if isinstance(definition, Join) else self._group_by(definition)
        return {**typed, "semantics": SEMANTICS}

    def known(self, name: str) -> Json:
        """What is known of the tables that a definition reads, itself or through others."""
        if self._schemas is None:
            return None
        return [[table, self._shown(table)] for table in sorted(self._tables_of(name))]

    @property
    def planned(self) -> Planned:
        return self._upstream()[0]

    def _upstream(self) -> tuple[Planned, Identities]:
        if self._plans is None:
            from zipline.plan.build import Planned
            from zipline.plan.identity import Identities

            self._plans = Planned(self._schema), Identities(_makers(self._definitions, self._fingerprints))
        return self._plans

    def _join(self, join: Join) -> dict[str, Json]:
        planned, identities = self._upstream()
        plan = planned.join(join)
        training, scoring = identities.of(plan), identities.of(plan, training=False)
        return {
            "columns": [[name, str(dtype)] for name, dtype in plan.columns],
            "keys": _keys(plan),
            "rows": training.rows,
            "scoring_rows": scoring.rows,
            "identities": dict(training.columns),
            "reads": _reads([plan.left, *(read.source for read in plan.bootstrap)]),
        }

    def _group_by(self, group_by: GroupBy) -> dict[str, Json]:
        planned, identities = self._upstream()
        plan = planned.group_by(group_by)
        changes = [source.mutations for source in plan.sources if source.mutations is not None]
        return {
            "columns": [[name, str(dtype)] for name, dtype in (*plan.keys, *plan.columns)],
            "keys": [[name, str(dtype)] for name, dtype in plan.keys],
            "identities": dict(identities.of_features(plan)),
            "reads": _reads([*plan.sources, *changes]),
        }

    def _tables_of(self, name: str) -> frozenset[str]:
        if name not in self._tables:
            self._tables[name] = frozenset(tables_of_sources(self._definitions[name])).union(
                *(self._tables_of(need) for need in self._definitions.needs(name))
            )
        return self._tables[name]

    def _shown(self, table: str) -> str:
        if table not in self._digests:
            try:
                shown: Json = [[name, str(dtype)] for name, dtype in self._schema(table).items()]
            except TableError as error:
                shown = error.what
            self._digests[table] = compact(shown)
        return self._digests[table]

    def _schema(self, table: str) -> Mapping[str, DataType]:
        if table not in self._known:
            assert self._schemas is not None
            try:
                self._known[table] = self._schemas(table)
            except TableError as error:
                self._known[table] = error
        known = self._known[table]
        if isinstance(known, TableError):
            raise known
        return known


def _makers(definitions: Definitions, fingerprints: Fingerprints) -> dict[str, str]:
    """Table -> what stands for the definition that makes it and for those that make its tables."""
    makers: dict[str, str] = {}

    def of(name: str) -> str:
        if name not in makers:
            own = fingerprints.of(definitions[name])
            above = [of(need) for need in definitions.needs(name) if isinstance(definitions[need], StagingQuery)]
            makers[name] = hashlib.sha256(compact([own, *above]).encode()).hexdigest() if above else own
        return makers[name]

    return {name: of(name) for name, made in definitions.items() if isinstance(made, (StagingQuery, Join))}


def _keys(plan: JoinPlan) -> Json:
    """The left columns that the parts are asked by: a request must hold them."""
    types = dict(plan.left_columns) | dict(plan.contextual)
    asked = [key for part in plan.parts for key in part.left_keys]
    asked += [key for external in plan.externals for key in external.left_keys]
    return [[name, str(types[name])] for name in dict.fromkeys(asked)]


def _reads(projections: list[Projection]) -> Json:
    """Table -> column -> type, of what is read."""
    from zipline.expressions.nodes import Column, walk

    tables: dict[str, dict[str, Json]] = {}
    for source in projections:
        clocks = (source.time, source.known_at, source.event_id, source.mutation_time, source.is_before)
        read = tables.setdefault(source.table if source.parent is None else source.parent.name, {})
        for expression in (*source.columns.values(), *source.where, *clocks):
            for node in walk(expression.node) if expression is not None else ():
                if isinstance(node, Column):
                    read[node.name] = str(node.type)
    return {**tables}


def _consumers(definitions: Definitions) -> dict[str, list[str]]:
    consumers: dict[str, list[str]] = {}
    for name in definitions:
        for need in definitions.needs(name):
            consumers.setdefault(need, []).append(name)
    return consumers


def _key(*facts: Json) -> str:
    text = compact([_software(), *facts])
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@cache
def _software() -> str:
    """What tells one state of the software from another: the sizes and times of its files."""
    root = Path(__file__).parent.parent
    files = [
        (entry.name, entry.stat().st_size, entry.stat().st_mtime_ns)
        for folder in ("", "api", "plan", "expressions", "algebra")
        for entry in sorted(os.scandir(root / folder), key=lambda entry: entry.name)
        if entry.name.endswith(".py")
    ]
    return hashlib.sha256(repr(files).encode()).hexdigest()
