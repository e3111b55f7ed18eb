"""Seeded whole definitions: joins of every kind of left, part and label, chained up to three deep.

An `Author` draws one join over the tables of `worlds`. Of every column it knows the type, or None where other
definitions had better not build on it: maps and lists, and floats whose last bits are free.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from zipline import (
    Accuracy,
    Aggregation,
    BootstrapPart,
    Contextual,
    Derivation,
    EntitySource,
    EventSource,
    ExternalSource,
    GroupBy,
    Join,
    JoinPart,
    JoinSource,
    LabelPart,
    Operation,
    Query,
)

from .features import feature_name
from .generate import SNAPSHOT_WINDOWS, TEMPORAL_WINDOWS
from .streams import Draw
from .tables import Row

OFFSET = "2d"
LABEL_WINDOWS = {Accuracy.TEMPORAL: ["30m", "5h", "1d", "2d"], Accuracy.SNAPSHOT: ["1d", "2d"]}
LONG_WINDOWS = ["7d", "30d", None]
EVENT_INPUTS = {"amount": "DOUBLE", "n": "BIGINT", "word": "STRING", "tags": "ARRAY<BIGINT>"}
STATE_INPUTS = {"plan": "STRING", "level": "BIGINT", "amount": "DOUBLE"}
KEY_TYPES = {"user": "STRING", "item": "BIGINT"}
LEFT_COLUMNS = {"id": "BIGINT", "user": "STRING", "friend": "STRING", "item": "BIGINT", "n": "BIGINT"}
STOCK_COLUMNS = {"user": "STRING", "item": "BIGINT", "level": "BIGINT"}
SCALARS = ("BIGINT", "DOUBLE", "STRING")
OPERATIONS_BY_TYPE = {
    "BIGINT": ("SUM", "COUNT", "MIN", "MAX", "FIRST", "LAST", "AVERAGE", "UNIQUE_COUNT", "LAST_K", "HISTOGRAM"),
    "DOUBLE": ("SUM", "COUNT", "MIN", "MAX", "LAST", "AVERAGE", "TOP_K", "VARIANCE", "SKEW", "KURTOSIS"),
    "STRING": ("COUNT", "FIRST", "LAST", "MAX", "UNIQUE_COUNT", "HISTOGRAM", "FIRST_K", "BOTTOM_K"),
    "ARRAY<BIGINT>": ("SUM", "COUNT", "MAX", "BOUNDED_UNIQUE_COUNT", "HISTOGRAM"),
}

Columns = dict[str, str | None]
"""Name -> type; None where nothing should be built on the column."""


@dataclass(frozen=True)
class Drawn:
    """A definition and the columns that it gives: features of a group-by or external source, all columns of a join."""

    definition: Any
    columns: Columns


def result_type(operation: str, kind: str) -> str | None:
    """The type of an exact scalar result; an average is left to its tolerance."""
    if operation.endswith("COUNT"):
        return "BIGINT"
    if operation in ("SUM", "MIN", "MAX", "FIRST", "LAST"):
        return kind.removeprefix("ARRAY<").rstrip(">")
    return None


@dataclass
class Author:
    """Draws one join, and keeps what must be known to fill its tables and to evaluate its expressions."""

    draw: Draw
    keyless: bool = False
    names: int = 0
    parents: list[Drawn] = field(default_factory=list)
    functions: dict[str, Any] = field(default_factory=dict)
    served: dict[str, dict[str, str]] = field(default_factory=dict)
    """Tables of bootstrap parts: the types of the columns that each covers."""
    windows: set[str | None] = field(default_factory=set)

    def name(self, stem: str) -> str:
        self.names += 1
        return f"{stem}{self.names}"

    # Group-bys

    def group_by(self, depth: int, *, label: bool = False) -> Drawn:
        """A group-by over events, states or a join; as a label with windows of at most the offset."""
        kinds = ["events"] * 4 + ["people"] * 3 + ["people lookup"] * 2 + ["stock lookup", "stock"]
        kinds += ["chain"] * 5 if depth else []
        kinds += [] if label else ["events lookup"]
        kind = self.draw.one(kinds)
        sources, keys, inputs = self._sources(kind, depth)
        accuracy = self.draw.one([Accuracy.TEMPORAL, Accuracy.TEMPORAL, Accuracy.SNAPSHOT])
        if kind.endswith("lookup"):
            return self._finished(keys, sources, [], accuracy, dict(inputs))
        aggregations, columns = self._aggregations(inputs, accuracy, label)
        return self._finished(keys, sources, aggregations, accuracy, columns)

    def _sources(self, kind: str, depth: int) -> tuple[list[Any], list[str], dict[str, str]]:
        """Sources, keys and the columns that may be aggregated or looked up."""
        if kind == "chain":
            return self._chain(depth)
        if kind.startswith("people"):
            inputs = self._some(STATE_INPUTS)
            return [people(inputs, where=self.draw.chance(0.3))], ["user"], inputs
        if kind.startswith("stock"):
            return [stock()], ["item"], {"level": "BIGINT"}
        keys = [] if self.keyless else self.draw.one([["user"], ["item"], ["user", "item"]])
        inputs = self._some(EVENT_INPUTS) if kind == "events" else self._some({"n": "BIGINT", "word": "STRING"})
        tables = self.draw.one([["orders"], ["views"], ["orders", "views"]])
        return [events(table, keys, inputs, known=self.draw.chance(0.7)) for table in tables], keys, inputs

    def _chain(self, depth: int) -> tuple[list[Any], list[str], dict[str, str]]:
        """A source over a join's output: some of its exact columns, under names of their own."""
        parent = self._parent(depth)
        keys = [] if self.keyless and self.draw.chance(0.3) else [self.draw.one(list(KEY_TYPES))]
        free = {name: kind for name, kind in parent.columns.items() if kind and name not in KEY_TYPES}
        newest = list(free)[-4:]
        taken = [*self.draw.random.sample(sorted(free), min(2, len(free))), self.draw.one(newest)]
        columns = {self.name("c"): name for name in dict.fromkeys(taken)}
        select = {name: name for name in keys} | columns
        start = "2024-03-01" if self.draw.chance(0.3) else None
        query = Query(select=select, time=self.draw.one([None, None, "ts"]), start=start)
        return (
            [JoinSource(parent.definition, query=query)],
            keys,
            {new: free[old] or "" for new, old in columns.items()},
        )

    def _parent(self, depth: int) -> Drawn:
        """A join drawn before, shared, or one more."""
        if self.parents and self.draw.chance(0.4):
            return self.draw.one(self.parents)
        made = self.join(depth - 1, top=False)
        self.parents.append(made)
        return made

    def _some(self, columns: dict[str, str]) -> dict[str, str]:
        taken = self.draw.random.sample(list(columns), self.draw.number(1, len(columns)))
        return {name: kind for name, kind in columns.items() if name in taken}

    def _aggregations(
        self, inputs: dict[str, str], accuracy: Accuracy, label: bool
    ) -> tuple[list[Aggregation], Columns]:
        made: list[Aggregation] = []
        columns: Columns = {}
        choices = [(name, op) for name, kind in inputs.items() for op in OPERATIONS_BY_TYPE[kind]]
        for name, operation in self.draw.random.sample(choices, min(len(choices), self.draw.number(1, 4))):
            windows = self._windows(accuracy, label)
            buckets = [b for b in ("word", "plan") if b in inputs and b != name and self.draw.chance(0.2)]
            arguments: dict[str, Any] = {"k": 3} if operation.endswith("_K") else {}
            made.append(Aggregation(name, Operation[operation], windows=windows, buckets=buckets, **arguments))
            kind = None if buckets else result_type(operation, inputs[name])
            columns |= {feature_name(made[-1], w, b): kind for w in windows for b in buckets or (None,)}
        return made, columns

    def _windows(self, accuracy: Accuracy, label: bool) -> list[str | None]:
        """One or two windows, one of them long enough to hold something."""
        if label:
            windows: list[str | None] = [self.draw.one(LABEL_WINDOWS[accuracy])]
        else:
            pool = TEMPORAL_WINDOWS if accuracy is Accuracy.TEMPORAL else SNAPSHOT_WINDOWS
            windows = list(dict.fromkeys([self.draw.one(LONG_WINDOWS), self.draw.one(pool)]))
        self.windows |= set(windows)
        return windows

    def _finished(self, keys: Any, sources: Any, aggregations: Any, accuracy: Accuracy, columns: Columns) -> Drawn:
        derivations, derived = self._derivations(columns, 0.25)
        group_by = GroupBy(
            keys=keys,
            sources=sources,
            aggregations=aggregations,
            derivations=derivations,
            accuracy=accuracy,
            name=f"random.{self.name('g')}",
        )
        return Drawn(group_by, columns | derived)

    def _derivations(self, columns: Columns, rate: float) -> tuple[list[Derivation], Columns]:
        """Up to two numbers made of columns of one type, the second perhaps of the first."""
        made: list[Derivation] = []
        derived: Columns = {}
        for _ in range(2):
            known = columns | derived
            numbers = [name for name, kind in known.items() if kind in ("BIGINT", "DOUBLE")]
            if numbers and self.draw.chance(rate):
                first = self.draw.one(numbers)
                second = self.draw.one([name for name in numbers if known[name] == known[first]])
                made.append(Derivation(self.name("d"), self._sum_of(first, second)))
                derived[made[-1].name] = known[first]
        return made, derived

    def _sum_of(self, first: str, second: str) -> str:
        text = f"{first} + {second}"
        self.functions[text] = lambda row: _added(row, first, second)
        return text

    # Joins

    def join(self, depth: int, *, top: bool) -> Drawn:
        left, columns = self._left(depth, top)
        chosen: dict[str, Any] = {}
        parts = [self._part(depth, columns) for _ in range(self.draw.number(1, 4 if top else 2))]
        made = columns | {name: kind for _, given in parts for name, kind in given.items()}
        if self.draw.chance(0.35):
            context = self.draw.one([{"channel": "STRING"}, {"channel": "STRING", "n": "BIGINT"}])
            chosen["contextual"] = Contextual(context)
            made |= {name: kind for name, kind in context.items() if name not in made}
        derivations, derived = self._derivations(made, 0.5)
        made |= derived
        fresh: Columns = {name: kind for name, kind in made.items() if kind in SCALARS and name not in columns}
        if "id" in columns and fresh and self.draw.chance(0.45):
            chosen |= {"row_id": ["id"], "bootstrap": list(self._bootstrap(fresh))}
        if self.draw.chance(0.6 if top else 0.25):
            chosen["labels"] = LabelPart(self._labels(depth), offset=OFFSET)
        join = Join(
            left=left,
            parts=[part for part, _ in parts],
            derivations=derivations,
            name=f"random.{self.name('j')}",
            **chosen,
        )
        return Drawn(join, made)

    def _left(self, depth: int, top: bool) -> tuple[Any, Columns]:
        kind = self.draw.one(["events"] * 4 + ["stock"] + (["chain"] * 2 if depth else []))
        if kind == "chain":
            parent = self._parent(depth)
            return JoinSource(parent.definition), dict(parent.columns)
        if kind == "stock":
            return stock(STOCK_COLUMNS), dict(STOCK_COLUMNS)
        query = Query(select={name: name for name in LEFT_COLUMNS}, time="asked")
        return EventSource("asked" if top else "visits", query=query), dict(LEFT_COLUMNS)

    def _part(self, depth: int, left: Columns) -> tuple[JoinPart, Columns]:
        drawn = self._external() if self.draw.chance(0.15) else self.group_by(depth)
        fields: dict[str, Any] = {}
        if "friend" in left and "user" in drawn.definition.keys and self.draw.chance(0.3):
            fields = {"key_map": {"friend": "user"}, "prefix": "friend"}
        if self.draw.chance(0.3):
            fields["features"] = self.draw.random.sample(list(drawn.columns), self.draw.number(1, len(drawn.columns)))
        part = JoinPart(drawn.definition, **fields)
        short = str(drawn.definition.name).rpartition(".")[2]
        stem = f"{part.prefix}_{short}" if part.prefix else short
        taken = part.features or drawn.columns
        return part, {f"{stem}_{name}": kind for name, kind in drawn.columns.items() if name in taken}

    def _external(self) -> Drawn:
        """An external source with a twin; integers may be declared as doubles."""
        twin = self.group_by(0)
        values = {name: kind for name, kind in twin.columns.items() if kind}
        values = {n: "DOUBLE" if k == "BIGINT" and self.draw.chance(0.4) else k for n, k in values.items()}
        if not values:
            return twin
        keys = {name: KEY_TYPES[name] for name in twin.definition.keys}
        name = f"random.{self.name('e')}"
        source = ExternalSource(keys=keys, values=values, handler="http://e", offline=twin.definition, name=name)
        return Drawn(source, dict(values))

    def _bootstrap(self, columns: Columns) -> Iterator[BootstrapPart]:
        for _ in range(self.draw.number(1, 2)):
            taken = self.draw.random.sample(list(columns), self.draw.number(1, min(4, len(columns))))
            table = self.name("served")
            self.served[table] = {name: columns[name] or "" for name in taken}
            yield BootstrapPart(table, columns=taken)

    def _labels(self, depth: int) -> list[JoinPart]:
        """Over what happens after the queries: a table of its own, and whatever else is drawn."""
        outcome = self._outcome()
        others = [self.group_by(depth, label=True) for _ in range(self.draw.number(0, 2))]
        usable = [drawn for drawn in others if set(drawn.definition.keys) <= {"user", "item"}]
        return [JoinPart(drawn.definition) for drawn in (outcome, *usable)]

    def _outcome(self) -> Drawn:
        keys = [self.draw.one(list(KEY_TYPES))]
        inputs = self._some(EVENT_INPUTS)
        aggregations, columns = self._aggregations(inputs, Accuracy.TEMPORAL, label=True)
        source = events("outcomes", keys, inputs, known=self.draw.chance(0.5))
        return self._finished(keys, [source], aggregations, Accuracy.TEMPORAL, columns)


def _added(row: Row, first: str, second: str) -> Any:
    return None if row[first] is None or row[second] is None else row[first] + row[second]


def events(table: str, keys: Sequence[str], inputs: Sequence[str] | dict[str, str], *, known: bool) -> EventSource:
    select = {name: name for name in (*keys, *inputs)}
    return EventSource(table, query=Query(select=select, time="t", known_at="known" if known else None))


def people(inputs: dict[str, str], *, where: bool) -> EntitySource:
    """States of users that change."""
    query = Query(
        select={name: name for name in ("user", *inputs)},
        where=["kept"] if where else [],
        time="t",
        mutation_time="changed",
        is_before="before",
    )
    return EntitySource("people", mutations="people_log", query=query)


def stock(columns: Sequence[str] | dict[str, str] = ("item", "level")) -> EntitySource:
    """States of items without changes between days."""
    return EntitySource("stock", query=Query(select={name: name for name in columns}, time="t"))
