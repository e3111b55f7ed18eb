"""Lineage from typed plans: what each column of the definitions is made with, as uses in their roles."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field

from zipline.api import ExternalSource, GroupBy, Join, Model, StagingQuery
from zipline.api.base import Definition
from zipline.clock import duration_text
from zipline.errors import TableError
from zipline.expressions import Expression
from zipline.plan.build import Planned
from zipline.plan.lineage import Column, Lineage, Use
from zipline.plan.projections import Schema
from zipline.plan.staging_lineage import columns_read
from zipline.plan.steps import (
    BootstrapRead,
    Derived,
    ExternalPlan,
    Feature,
    GroupByPlan,
    JoinPlan,
    PartPlan,
    Projection,
)
from zipline.types import NULL, DataType
from zipline.values import dataclass

KINDS: Mapping[type[Definition], str] = {
    GroupBy: "group-by",
    Join: "join",
    Model: "model",
    StagingQuery: "staging query",
    ExternalSource: "external source",
}


def lineage_of(definitions: Iterable[Definition], schema: Schema) -> Lineage:
    """The lineage of all columns of these definitions and of the tables they read.

    A table that `schema` does not know is taken as it is used. DefinitionError where a definition does not fit.
    """
    known = _forgiving(schema)
    named = {definition.title: definition for definition in definitions}
    graph = _Graph(known, {name: KINDS[type(d)] for name, d in named.items() if type(d) in KINDS})
    planned = Planned(known)
    for definition in named.values():
        if isinstance(definition, StagingQuery):
            graph.staging(definition)
        elif isinstance(definition, GroupBy):
            graph.group_by(planned.group_by(definition))
        elif isinstance(definition, Join):
            graph.join(planned.join(definition))
        elif isinstance(definition, Model):
            graph.model(definition, planned.join(definition.join))
    return Lineage(graph.columns, tuple(graph.uses))


def _forgiving(schema: Schema) -> Schema:
    known: dict[str, Mapping[str, DataType]] = {}

    def of(table: str) -> Mapping[str, DataType]:
        if table not in known:
            try:
                known[table] = schema(table)
            except TableError:
                known[table] = {}
        return known[table]

    return of


@dataclass
class _Graph:
    """The graph while it is made."""

    schema: Schema
    kinds: Mapping[str, str]
    columns: dict[str, Column] = field(default_factory=dict)
    uses: dict[Use, None] = field(default_factory=dict)
    _tables: set[str] = field(default_factory=set)

    def column(self, of: str, name: str, dtype: DataType | str | None = None, kind: str | None = None) -> str:
        full, known = f"{of}.{name}", None if dtype in (None, NULL) else str(dtype)
        before = self.columns.get(full)
        if before is None or (before.type is None and known is not None):
            self.columns[full] = Column(full, of, kind or self.kinds.get(of, "table"), known)
        return full

    def use(self, source: str, target: str, role: str, through: str = "") -> None:
        self.uses[Use(source, target, role, through)] = None

    def read(self, source: Projection, expression: Expression | None, target: str, role: str, how: str = "") -> None:
        """`target` is made with the columns of an expression over what a projection reads."""
        if expression is not None:
            for name in sorted(expression.columns):
                self.use(self._read_column(source, name), target, role, how or _shown(expression))

    def _read_column(self, source: Projection, name: str) -> str:
        if source.parent is None:
            self.table(source.table)
            return self.column(source.table, name)
        known = dict(source.parent.scoring_columns)
        return self.column(source.parent.name, name if name in known else "ts")

    def table(self, table: str) -> None:
        """Every column of a table is there, whether or not something is made with it."""
        if table not in self._tables:
            self._tables.add(table)
            for name, dtype in self.schema(table).items():
                self.column(table, name, dtype)

    def group_by(self, plan: GroupByPlan) -> None:
        for name, dtype in plan.keys:
            self.column(plan.name, name, dtype)
        for name, dtype in plan.columns:
            self.column(plan.name, name, dtype)
        for source in plan.sources:
            self._source(plan, source)
            if source.mutations is not None:
                self._source(plan, source.mutations)
        self._derive(plan.name, plan.derivations)

    def _source(self, plan: GroupByPlan, source: Projection) -> None:
        """What every column of a group-by takes from one source."""
        for name, _ in plan.keys:
            self.read(source, source.columns[name], f"{plan.name}.{name}", "key")
        for feature in plan.features:
            target, expression = f"{plan.name}.{feature.name}", source.columns[feature.input]
            self.read(source, expression, target, "value", _operation(feature, _shown(expression)))
            if feature.bucket:
                self.read(source, source.columns[feature.bucket], target, "bucket")
            self._rows(plan, source, target)
        for name, _ in plan.lookup:
            target, expression = f"{plan.name}.{name}", source.columns[name]
            self.read(source, expression, target, "value", f"latest {_shown(expression)}")
            self._rows(plan, source, target)

    def _rows(self, plan: GroupByPlan, source: Projection, target: str) -> None:
        """What decides which rows of a source a feature sees."""
        for key, _ in plan.keys:
            self.read(source, source.columns[key], target, "key")
        self._clocks(source, target)
        if source.kind == "snapshots" and source.partition:
            self.use(self._read_column(source, source.partition), target, "snapshot", source.partition)

    def _clocks(self, source: Projection, target: str) -> None:
        self.read(source, source.time, target, "time")
        self.read(source, source.known_at, target, "known_at")
        self.read(source, source.event_id, target, "event_id")
        self.read(source, source.mutation_time, target, "mutation_time")
        self.read(source, source.is_before, target, "is_before")
        for condition in source.where:
            self.read(source, condition, target, "filter")

    def _derive(self, of: str, derivations: Iterable[Derived]) -> None:
        for derived in derivations:
            target = self.column(of, derived.name, derived.type)
            for name in sorted(derived.expression.columns):
                self.use(self.column(of, name), target, "derivation", derived.expression.text)

    def join(self, plan: JoinPlan) -> None:
        left, kinds = plan.left, _kinds(plan)
        for name, dtype in plan.columns:
            self.column(plan.name, name, dtype, kinds.get(name))
        time = f"{plan.name}.ts"
        self._clocks(left, time)
        for name in left.columns:
            if name != "ts":
                self.read(left, left.columns[name], f"{plan.name}.{name}", "value")
        for part in plan.parts:
            self._part(plan.name, part, time, "value")
        for external in plan.externals:
            self._external(plan.name, external)
        self._derive(plan.name, plan.derivations)
        for part in plan.labels:
            self._part(plan.name, part, time, "label")
        for read in plan.bootstrap:
            self._bootstrap(plan.name, read)

    def _part(self, join: str, part: PartPlan, time: str, role: str) -> None:
        shift = f"{duration_text(part.offset)} after" if part.offset else ""
        for name in part.chosen:
            target, feature = f"{join}.{part.prefix}{name}", f"{part.group_by.name}.{name}"
            if part.external is not None:
                value = self.column(part.external.name, name, dict(part.external.values)[name])
                self.use(feature, value, "twin", "offline")
                feature = value
            self.use(feature, target, role, shift)
            for key in part.left_keys:
                self.use(f"{join}.{key}", target, "key", key)
            self.use(time, target, "time", shift or "ts")

    def _external(self, join: str, external: ExternalPlan) -> None:
        for name, dtype in external.values:
            target = f"{join}.{external.prefix}{name}"
            self.use(self.column(external.name, name, dtype), target, "value", "fetched with the request")
            for key in external.left_keys:
                self.use(f"{join}.{key}", target, "key", key)

    def _bootstrap(self, join: str, read: BootstrapRead) -> None:
        for name, _ in read.columns:
            target, source = f"{join}.{name}", read.source
            self.read(source, source.columns[name], target, "bootstrap")
            for key in read.row_id:
                self.read(source, source.columns[key], target, "row_id")
            self._clocks(source, target)

    def model(self, model: Model, plan: JoinPlan) -> None:
        of = plan.name
        self.columns[model.title] = Column(model.title, model.title, KINDS[Model])
        beyond = [name for name, _ in plan.scoring_columns if name not in dict(plan.left_columns) and name != "ts"]
        for name in model.features or beyond:
            self.use(self._output(model, plan, name), model.title, "feature", name)
        self.use(self._output(model, plan, model.label), model.title, "label", model.label)
        self.use(self.column(of, "ts"), model.title, "split", model.split)

    def _output(self, model: Model, plan: JoinPlan, name: str) -> str:
        valid = dict(plan.columns)
        if name not in valid:
            raise model.wrong(f"the join {plan.name} has no column {name!r}", asked=name, valid=valid)
        return self.column(plan.name, name)

    def staging(self, staging: StagingQuery) -> None:
        for name, reads in columns_read(staging.sql, self.schema).items():
            target = self.column(staging.title, name)
            for read in reads:
                self.table(read.table)
                self.use(self.column(read.table, read.column), target, read.role, read.through)


def _kinds(plan: JoinPlan) -> dict[str, str]:
    """What columns of a join are that are not features."""
    labels = {name: "label" for part in plan.labels for name, _ in part.columns}
    arriving = {name: "of the request" for name, _ in plan.contextual if name not in plan.left.columns}
    return labels | arriving


def _operation(feature: Feature, text: str) -> str:
    window = f" over {duration_text(feature.window)}" if feature.window is not None else ""
    bucket = f" by {feature.bucket}" if feature.bucket else ""
    return f"{feature.operation} of {text}{window}{bucket}"


def _shown(expression: Expression) -> str:
    """The author's text; a column's name without the quotes that plans give it."""
    text = " ".join(expression.text.split())
    return text[1:-1].replace('""', '"') if [text[1:-1]] == [*expression.columns] else text
