"""GroupBy: features of a key, from aggregations over sources, or the latest row where there are none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from zipline.api import fields
from zipline.api.base import Definition, FrozenMap, Wrong, checked, definition
from zipline.api.checks import Check
from zipline.api.operations import BOUNDED_DEFAULT_K, Accuracy, Operation
from zipline.api.sources import EntitySource, EventSource, JoinSource, Source
from zipline.api.windows import Window, window

RESERVED = "ts"


def _operation(value: Any) -> Operation:
    if isinstance(value, Operation):
        return value
    if isinstance(value, str) and value.upper() in Operation.__members__:
        return Operation[value.upper()]
    raise Wrong(f"{value!r} is not an operation", asked=str(value), valid=tuple(Operation.__members__))


def _percentile(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise Wrong(f"{value!r} is not a percentile", hint="write a fraction from 0 to 1: the median is 0.5")
    return float(value)


class Output(NamedTuple):
    """One column that an aggregation gives."""

    name: str
    window: Window | None
    bucket: str | None


@definition
class Aggregation(Definition):
    """One operation over one input column, for each of the windows (None: lifetime) and buckets."""

    input: str = checked(fields.text)
    operation: Operation = checked(_operation)
    windows: Sequence[str | Window | None] = checked(fields.several(window, least=1, distinct=True), (None,))
    buckets: Sequence[str] = checked(fields.several(fields.text, distinct=True), ())
    k: int | None = checked(fields.optional(fields.count), None)
    percentiles: Sequence[float] | None = checked(
        fields.optional(fields.several(_percentile, least=1, distinct=True)), None
    )
    default: Any = None

    def _validate(self) -> None:
        if self.k is None and self.operation.needs_k:
            raise self.wrong(f"{self.operation.name} needs k, the number of values to keep")
        if self.k is not None and not self.operation.takes_k:
            raise self.wrong(f"{self.operation.name} takes no k", valid=[o.name for o in Operation if o.takes_k])
        if (self.operation is Operation.APPROX_PERCENTILE) != (self.percentiles is not None):
            needs = "needs percentiles, such as [0.5, 0.95]" if self.percentiles is None else "takes no percentiles"
            raise self.wrong(f"{self.operation.name} {needs}")
        if self.operation is Operation.BOUNDED_UNIQUE_COUNT and self.k is None:
            object.__setattr__(self, "k", BOUNDED_DEFAULT_K)

    @property
    def title(self) -> str:
        shown = self.operation.name if isinstance(self.operation, Operation) else self.operation
        return f"Aggregation({self.input}, {shown})"

    @cached_property
    def outputs(self) -> tuple[Output, ...]:
        """The columns, windows first: `{input}_{operation}{arguments}_{window}_by_{bucket}`."""
        stem = f"{self.input}_{self.operation.name.lower()}{self._arguments()}"
        return tuple(
            Output(_column(stem, window, bucket), window, bucket)
            for window in self._windows()
            for bucket in (self.buckets or (None,))
        )

    def _windows(self) -> Iterator[Window | None]:
        for value in self.windows:
            assert not isinstance(value, str)
            yield value

    def _arguments(self) -> str:
        ranks = "".join(f"_p{_percent(p)}" for p in self.percentiles or ())
        return f"{self.k or ''}{ranks}"


def _column(stem: str, window: Window | None, bucket: str | None) -> str:
    return stem + (f"_{window.text}" if window else "") + (f"_by_{bucket}" if bucket else "")


def _percent(fraction: float) -> str:
    return f"{fraction * 100:.10f}".rstrip("0").rstrip(".").replace(".", "_")


@definition
class Derivation(Definition):
    """A column computed from the ones before it, by an expression of the portable subset."""

    name: str = checked(fields.text)
    expression: str = checked(fields.text)


@definition
class GroupBy(Definition):
    """Features of `keys`.

    With aggregations, one column for each operation, window and bucket; without, the selected columns of the latest
    row (a lookup). `keys=[]` is one global key. Errors name the author's line.

    Online, `freshness` is by how much the input may lag before features are `stale`, and `cache` for how long what was
    read of a key may be used again by fetches of the present (None: never).
    """

    keys: Sequence[str] = checked(fields.several(fields.text, distinct=True))
    sources: Sequence[Source] = checked(fields.several(fields.instance(EventSource, EntitySource, JoinSource), least=1))
    aggregations: Sequence[Aggregation] = checked(fields.several(fields.instance(Aggregation)), ())
    derivations: Sequence[Derivation] = checked(fields.several(fields.instance(Derivation)), ())
    accuracy: Accuracy = checked(fields.instance(Accuracy), Accuracy.TEMPORAL)
    online: bool = checked(fields.boolean, False)
    checks: Sequence[Check] = checked(fields.several(fields.instance(Check)), ())
    freshness: str | None = checked(fields.optional(fields.duration), None)
    cache: str | None = checked(fields.optional(fields.duration), None)
    start: str | None = checked(fields.optional(fields.day), None)
    name: str | None = checked(fields.optional(fields.text), None)
    owner: str | None = checked(fields.optional(fields.text), None)
    description: str = checked(fields.any_text, "")
    tags: Mapping[str, str] = checked(fields.mapping(fields.any_text), FrozenMap())

    @property
    def short_name(self) -> str | None:
        """The last part of the name, which prefixes the features in a join."""
        return getattr(self, "_short_name", None) or (self.name.rsplit(".", 1)[-1] if self.name else None)

    @property
    def is_lookup(self) -> bool:
        return not self.aggregations

    @property
    def is_entity(self) -> bool:
        return isinstance(self.sources[0], EntitySource)

    @property
    def features(self) -> tuple[str, ...] | None:
        """The feature columns in order, or None where a lookup takes every column of its table."""
        if self.aggregations:
            first: tuple[str, ...] = tuple(o.name for a in self.aggregations for o in a.outputs)
        elif self.sources[0].query.columns is None:
            return None
        else:
            first = tuple(c for c in self.sources[0].query.columns if c not in self.keys)
        return first + tuple(d.name for d in self.derivations)

    def _validate(self) -> None:
        _check_kinds(self)
        for source in self.sources:
            _check_source(self, source)
        _check_accuracy(self)
        _check_columns(self)


def _check_kinds(group_by: GroupBy) -> None:
    if len({isinstance(source, EntitySource) for source in group_by.sources}) > 1:
        raise group_by.wrong("mixes entities and events as sources", hint="make two group-bys and join both")
    selected = [source.query.columns for source in group_by.sources]
    first = selected[0]
    for other in selected[1:]:
        if group_by.is_lookup and (first is None or other is None or set(first) != set(other)):
            raise group_by.wrong("the sources of a lookup must select the same columns by name")


def _check_source(group_by: GroupBy, source: Source) -> None:
    columns = source.query.columns
    if not isinstance(source, EntitySource) and source.query.time is None and isinstance(source, EventSource):
        raise group_by.wrong(
            f"the source {source.table_name!r} has no time", hint='Query(time="...") says when an event happened'
        )
    if isinstance(source, EntitySource) and source.query.time is None:
        windowed = [o.name for a in group_by.aggregations for o in a.outputs if o.window]
        if windowed:
            raise group_by.wrong(f"{windowed[0]} has a window, but the entity has no time", hint="give Query(time=...)")
    if columns is None:
        return
    needed = [(key, "key") for key in group_by.keys]
    needed += [(a.input, "input of an aggregation") for a in group_by.aggregations]
    needed += [(bucket, "bucket") for a in group_by.aggregations for bucket in a.buckets]
    for column, role in needed:
        if column not in columns:
            raise group_by.wrong(
                f"{role} {column!r} is missing in the select of {_table(source)!r}", asked=column, valid=columns
            )


def _table(source: Source) -> str:
    if isinstance(source, EventSource):
        return source.table_name
    return source.table_name if isinstance(source, EntitySource) else source.join.title


def _check_accuracy(group_by: GroupBy) -> None:
    if group_by.accuracy is Accuracy.SNAPSHOT:
        for output in (o for a in group_by.aggregations for o in a.outputs):
            if output.window and not output.window.is_whole_days:
                raise group_by.wrong(f"{output.name}: a SNAPSHOT window must be whole days, {output.window} is not")
    elif group_by.online:
        for source in group_by.sources:
            if isinstance(source, EventSource) and source.topic is None:
                raise group_by.wrong(
                    f"is online and TEMPORAL, but the source {source.table_name!r} has no topic",
                    hint="give EventSource(topic=Topic(...)), or say accuracy=Accuracy.SNAPSHOT",
                )
            if isinstance(source, JoinSource):
                _check_chain(group_by, source)
    for source in group_by.sources:
        mutable = isinstance(source, EntitySource) and source.mutations
        for aggregation in group_by.aggregations if mutable else ():
            if aggregation.operation.is_approximate:
                raise group_by.wrong(
                    f"{aggregation.operation.name} cannot take a row back, and {_table(source)!r} has mutations",
                    valid=[o.name for o in Operation if not o.is_approximate],
                )


def _check_chain(group_by: GroupBy, source: JoinSource) -> None:
    """Its rows are events of the join's left, each beside what a fetch of the join answers: so both must be there."""
    join, left = source.join, source.join.left
    while True:
        if not join.online:
            raise group_by.wrong(
                f"is online and TEMPORAL, but the join {join.title} that it aggregates is not online",
                hint="say online=True there: its features are fetched for every event; or say "
                "accuracy=Accuracy.SNAPSHOT here",
            )
        if not isinstance(left, JoinSource):
            break
        join, left = left.join, left.join.left
    if not isinstance(left, EventSource) or left.topic is None:
        raise group_by.wrong(
            f"is online and TEMPORAL, but {left.table_name!r}, the left of {join.title}, has no topic of events",
            hint="give EventSource(topic=Topic(...)) there, or say accuracy=Accuracy.SNAPSHOT here",
        )


def _check_columns(group_by: GroupBy) -> None:
    taken: dict[str, str | Aggregation] = {**dict.fromkeys(group_by.keys, "a key"), RESERVED: "the query time"}
    for aggregation in group_by.aggregations:
        for output in aggregation.outputs:
            _take(group_by, taken, output.name, aggregation)
    features = group_by.features
    if group_by.is_lookup and features is not None:
        for column in features[: len(features) - len(group_by.derivations)]:
            if column != RESERVED:
                _take(group_by, taken, column, "a selected column")
    for derivation in group_by.derivations:
        _take(group_by, taken, derivation.name, "a derivation")
    for check in group_by.checks:
        for column in check.columns:
            if features is not None and column not in taken:
                raise group_by.wrong(f"{check.title}: no such column", asked=column, valid=tuple(taken))


def _take(group_by: GroupBy, taken: dict[str, str | Aggregation], column: str, role: str | Aggregation) -> None:
    if column in taken:
        first, second = (each.title if isinstance(each, Aggregation) else each for each in (taken[column], role))
        raise group_by.wrong(
            f"two columns would be named {column!r}: {first} and {second}",
            hint="rename one input in the source's select, or the derivation",
        )
    taken[column] = role
