"""What each output column of a join depends on, as one hash per column: equal hashes, equal values.

A column's identity changes exactly when something changes that its values depend on: the clocks, conditions, bounds and
expressions that it reads of its sources, its keys, operation, window and arguments, and what is upstream (the columns
it reads of a parent join, a staging query, values that are bootstrapped). Other features of the same group-by, names,
order of keys, conditions and sources are no part of it. `SEMANTICS` is part of every identity: a release that changes
values raises it.

`rows` is the identity of the rows themselves with their left columns; in training also of which rows are mature.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from functools import cached_property
from types import MappingProxyType

from zipline.expressions import Expression
from zipline.expressions.nodes import Column, walk
from zipline.plan.canonical import Json, canonical_value, compact
from zipline.plan.steps import Derived, ExternalPlan, Feature, GroupByPlan, JoinPlan, PartPlan, Projection
from zipline.types import DataType
from zipline.values import dataclass

SEMANTICS = 1
"""The release of the values: raised by every change of the platform after which a definition gives other values."""

_BY_KNOWN_AT = frozenset({"FIRST", "LAST", "FIRST_K", "LAST_K"})
"""Operations whose ties the second clock breaks."""
_NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Identity:
    """SHA-256 in hexadecimal of the rows, and of every column beyond the left's by its name in the output."""

    rows: str
    columns: Mapping[str, str]


def identity_of(plan: JoinPlan, *, training: bool = True, made_by: Mapping[str, str] = _NOTHING) -> Identity:
    """The identities of a join's output, with labels in training and without them in scoring.

    `made_by` maps a table to the fingerprint of what makes it, where a source names the table and not its maker.
    """
    return Identities(made_by).of(plan, training=training)


class Identities:
    """Identities of many plans that share what they read: each source and each parent is identified once."""

    def __init__(self, made_by: Mapping[str, str] = _NOTHING) -> None:
        self._made_by = made_by
        self._outputs: dict[tuple[int, bool], tuple[JoinPlan, _Output]] = {}
        self._sources: dict[int, _Source] = {}

    def of(self, plan: JoinPlan, *, training: bool = True) -> Identity:
        """As `identity_of`."""
        output = self.output(plan, training=training)
        left = dict(plan.left_columns) | {"ts": None}
        ordered = plan.columns if training else plan.scoring_columns
        return Identity(
            rows=digest({"rows": output.rows, "columns": [[name, output.columns[name]] for name in left]}),
            columns=MappingProxyType({name: output.columns[name] for name, _ in ordered if name not in left}),
        )

    def of_features(self, group_by: GroupByPlan) -> Mapping[str, str]:
        """The identities of a group-by's own columns, whoever asks for them."""
        keys = tuple(name for name, _ in group_by.keys)
        part = PartPlan(group_by, keys, "", tuple(name for name, _ in group_by.columns))
        return MappingProxyType(_Part(part, {name: name for name in (*keys, "ts")}, self).columns())

    def output(self, plan: JoinPlan, *, training: bool = False) -> _Output:
        key = id(plan), training
        if key not in self._outputs:
            self._outputs[key] = plan, _Joined(plan, self).output(training=training)
        return self._outputs[key][1]

    def source(self, projection: Projection) -> _Source:
        if id(projection) not in self._sources:
            parent = None if projection.parent is None else self.output(projection.parent)
            made_by = self._made_by.get(projection.table, projection.made_by)
            self._sources[id(projection)] = _Source(projection, [projection.table, made_by], parent)
        return self._sources[id(projection)]


def digest(facts: Json) -> str:
    """SHA-256 of the facts and of the release of the values."""
    text = compact({"semantics": SEMANTICS, "facts": facts})
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True)
class _Output:
    """What decides which rows a join has, and the identity of every column of it, the left's and `ts` too."""

    rows: Json
    columns: Mapping[str, str]


class _Source:
    """What is read of one table, or of a parent join's output."""

    def __init__(self, projection: Projection, table: Json, parent: _Output | None) -> None:
        self.projection = projection
        self._parent = None if parent is None else parent.columns
        self.table = table if parent is None else parent.rows

    def expression(self, expression: Expression | None) -> Json:
        """An expression as its text, the types that decide what the text means, and its columns' own identities."""
        if expression is None:
            return None
        reads: dict[str, Json] = {
            node.name: [str(node.type), self._above(node.name)]
            for node in walk(expression.node)
            if isinstance(node, Column)
        }
        return [expression.text, str(expression.type), reads]

    def column(self, name: str) -> Json:
        """A selected column, with the type that it is cast to."""
        return self._columns[name]

    @cached_property
    def _columns(self) -> Mapping[str, Json]:
        types = self.projection.column_types
        return {name: [self.expression(e), str(types[name])] for name, e in self.projection.columns.items()}

    @property
    def select(self) -> Json:
        return [self.column(name) for name in self.projection.columns]

    @cached_property
    def rows(self) -> dict[str, Json]:
        """What decides which rows there are, and when each happened."""
        source = self.projection
        return {
            "table": self.table,
            "kind": source.kind,
            "time": self.expression(source.time),
            "known_at": self.expression(source.known_at),
            "event": [self.expression(source.event_id), [self.column(name) for name in source.asked]]
            if source.event_id
            else None,
            "change": [self.expression(source.mutation_time), self.expression(source.is_before)],
            "where": _unordered(self.expression(condition) for condition in source.where),
            "partition": [source.partition, self._above(source.partition)],
            "bounds": [source.start, source.end],
        }

    @property
    def end(self) -> Json:
        """What decides where the table's data end, before any condition."""
        source = self.projection
        times = [self.expression(source.time), self.expression(source.mutation_time)]
        return [self.table, source.kind, *times, source.partition, source.start, source.end]

    def _above(self, column: str | None) -> str | None:
        """A parent's day is told by its query time, where it has no column of that name."""
        return None if self._parent is None or column is None else self._parent.get(column, self._parent["ts"])


class _Joined:
    """The columns of one join, each identified after what it is made with."""

    def __init__(self, plan: JoinPlan, identities: Identities) -> None:
        self._plan, self._identities = plan, identities
        self._left = identities.source(plan.left)
        asked = [self._left.expression(plan.left.time), plan.left.partition if plan.left.time is None else None]
        self._time = digest({"left": self._left.table, "query time": asked})
        self._given = {name: self._bootstrap(name) for read in plan.bootstrap for name, _ in read.columns}
        self._columns: dict[str, str] = {name: self._left_column(name) for name in plan.left.columns}
        self._columns["ts"] = self._time

    def output(self, *, training: bool) -> _Output:
        plan = self._plan
        for name, dtype in plan.contextual:
            self._add(name, digest({"contextual": name, "type": str(dtype)}))
        for external in plan.externals:
            for name, value in self._external(external).items():
                self._add(name, value)
        self._take(plan.parts)
        for derived in plan.derivations:
            self._add(derived.name, _derived(derived, self._columns))
        self._take(plan.labels if training else ())
        mature = _unordered(self._maturity(part) for part in plan.labels) if training else None
        return _Output({**self._left.rows, "mature": mature}, self._columns)

    def _add(self, name: str, computed: str) -> None:
        """A column of the output; the left's own stay, and what a row is given goes before what is computed."""
        if name not in self._plan.left.columns:
            given = self._given.get(name)
            self._columns[name] = digest({"given": given, "else": computed}) if given else computed

    def _left_column(self, name: str) -> str:
        return digest({"left": self._left.table, "column": self._left.column(name)})

    def _take(self, parts: Iterable[PartPlan]) -> None:
        for part in parts:
            for name, value in _Part(part, self._columns, self._identities).columns().items():
                self._add(name, value)

    def _external(self, external: ExternalPlan) -> dict[str, str]:
        """Offline nothing is known of an external source without a twin."""
        return {external.prefix + name: digest({"null": str(dtype)}) for name, dtype in external.values}

    def _bootstrap(self, column: str) -> Json:
        """The tables that give a column, in their order, and by which rows."""
        given: list[Json] = []
        for read in self._plan.bootstrap:
            if column in dict(read.columns):
                source = self._identities.source(read.source)
                rows: Json = [[self._left_column(name), source.column(name)] for name in read.row_id]
                given.append([source.rows, rows, source.column(column), str(dict(read.columns)[column])])
        return given

    def _maturity(self, part: PartPlan) -> Json:
        """When a row's label is complete: the offset, and where the label's data end."""
        ends = _unordered(self._identities.source(source).end for source in part.projections)
        return {"offset": part.offset, "ends": ends}


class _Part:
    """The columns of a group-by beside a left whose columns are identified."""

    def __init__(self, part: PartPlan, left: Mapping[str, str], identities: Identities) -> None:
        self._part, self._left = part, left
        accuracy = part.group_by.accuracy if part.offset is None else None
        self._sees: Json = {"time": left["ts"], "accuracy": accuracy, "offset": part.offset}
        self._reads = [_Read(part, left, identities.source(s), identities) for s in part.group_by.sources]

    def columns(self) -> dict[str, str]:
        """The identities of the chosen columns by their names in the output."""
        group_by = self._part.group_by
        found = {key: self._left[column] for key, column in _key_columns(self._part)}
        found |= {feature.name: self._feature(feature) for feature in group_by.features}
        found |= self._lookup()
        for derived in group_by.derivations:
            found[derived.name] = _derived(derived, found)
        return {self._part.prefix + name: _as_external(self._part, name, found[name]) for name in self._part.chosen}

    def _feature(self, feature: Feature) -> str:
        return digest(
            {
                "seen": self._sees,
                "operation": feature.operation,
                "window": feature.window,
                "k": feature.k,
                "percentiles": canonical_value(feature.percentiles),
                "default": canonical_value(feature.default),
                "types": [str(feature.input_type), _type(feature.bucket_type), str(feature.type)],
                "sources": _unordered(read.feature(feature) for read in self._reads),
            }
        )

    def _lookup(self) -> dict[str, str]:
        """All of a lookup's columns in order decide which row is the latest."""
        lookup = self._part.group_by.lookup
        rows = _unordered(read.row(name for name, _ in lookup) for read in self._reads) if lookup else None
        return {
            name: digest({"seen": self._sees, "lookup": rows, "place": place, "type": str(dtype)})
            for place, (name, dtype) in enumerate(lookup)
        }


class _Read:
    """What one source of a part gives its features."""

    def __init__(self, part: PartPlan, left: Mapping[str, str], source: _Source, identities: Identities) -> None:
        self._source = source
        types = dict(part.group_by.keys)
        keys = _unordered([left[column], str(types[key]), source.column(key)] for key, column in _key_columns(part))
        changes = source.projection.mutations if part.sees_mutations else None
        rows: dict[str, Json] = {"keys": keys, **source.rows, "changes": None}
        if changes is not None:
            read = identities.source(changes)
            rows["changes"] = [read.rows, read.select, source.select]
        self._rows = digest(rows)
        is_blind = part.offset is not None and source.projection.event_id is None
        self._rows_by_event_time = digest(rows | {"known_at": None}) if is_blind else self._rows

    def feature(self, feature: Feature) -> Json:
        return {
            "rows": self._rows if feature.operation in _BY_KNOWN_AT else self._rows_by_event_time,
            "input": self._source.column(feature.input),
            "bucket": self._source.column(feature.bucket) if feature.bucket else None,
        }

    def row(self, columns: Iterable[str]) -> Json:
        return {"rows": self._rows, "columns": [self._source.column(name) for name in columns]}


def _as_external(part: PartPlan, name: str, value: str) -> str:
    """The value as the external source declares it, where the group-by is its twin."""
    return value if part.external is None else digest({"twin": value, "type": str(dict(part.external.values)[name])})


def _derived(derived: Derived, columns: Mapping[str, str]) -> str:
    expression = derived.expression
    inputs: Json = {name: columns[name] for name in sorted(expression.columns)}
    return digest({"derivation": expression.text, "type": str(expression.type), "inputs": inputs})


def _key_columns(part: PartPlan) -> Iterable[tuple[str, str]]:
    return zip((name for name, _ in part.group_by.keys), part.left_keys, strict=True)


def _type(dtype: DataType | None) -> str | None:
    return None if dtype is None else str(dtype)


def _unordered(facts: Iterable[Json]) -> Json:
    """Facts whose order means nothing."""
    ordered: list[Json] = [*sorted(compact(fact) for fact in facts)]
    return ordered
