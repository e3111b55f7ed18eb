"""Bootstrap: which columns of the output are given to which rows by tables of values computed before.

A given column is cast only where nothing is lost: to a wider type of the same kind. Labels cannot be given, since it
is the label's data that decide whether a row has one. Where nothing is known of a feature's source, its type is that of
the values it is given.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from zipline.api import BootstrapPart, EventSource, Join
from zipline.plan.keys import check_key_kinds
from zipline.plan.projections import Schema, project
from zipline.plan.steps import BootstrapRead, Column, PartPlan, Projection
from zipline.types import NULL, ArrayType, DataType, DecimalType, MapType, common_type, kind
from zipline.values import dataclass


@dataclass(frozen=True)
class Given:
    """A bootstrap part and what is read of its table."""

    part: BootstrapPart
    source: Projection


def read_bootstrap(join: Join, schema: Schema, left: Mapping[str, DataType]) -> tuple[Given, ...]:
    """The bootstrap tables in priority order; each must have the row_id, of the left's kinds, and its columns."""
    return tuple(_read(join, part, schema, left) for part in join.bootstrap)


def _read(join: Join, part: BootstrapPart, schema: Schema, left: Mapping[str, DataType]) -> Given:
    _refuse_clocks(join, part)
    twice = sorted(set(part.columns) & set(join.row_id))
    if twice:
        raise join.wrong(f"bootstrap {part.table!r} gives {twice[0]!r}, which is of the row_id")
    needed = frozenset((*join.row_id, *part.columns))
    source = project(join, EventSource(part.table, query=part.query), schema, needed, kind_of_read="bootstrap")
    for column in join.row_id:
        check_key_kinds(join, column, left[column], f"{part.table}.{column}", source.column_types[column])
    return Given(part, source)


def _refuse_clocks(join: Join, part: BootstrapPart) -> None:
    query = part.query
    if query.mutation_time or query.is_before or (query.time and not query.event_id):
        raise join.wrong(
            f"bootstrap {part.table!r} has clocks, but its rows are found by row_id, whenever they were computed",
            hint="bound its days with start and end, or its rows with where; time orders rows of one event_id only",
        )


def with_given_types(parts: Iterable[PartPlan], given: Iterable[Given]) -> tuple[PartPlan, ...]:
    """The parts, columns of which nothing is known having the type in which they are given."""
    types = _given_types(given)
    return tuple(_settled(part, types) for part in parts)


def _settled(part: PartPlan, types: Mapping[str, DataType]) -> PartPlan:
    unknown = tuple((n, types[part.prefix + n]) for n, t in part.own_columns if t == NULL and part.prefix + n in types)
    return replace(part, settled=unknown) if unknown else part


def _given_types(given: Iterable[Given]) -> dict[str, DataType]:
    types: dict[str, DataType] = {}
    for each in given:
        for name in each.part.columns:
            found = each.source.column_types[name]
            types[name] = common_type(types.get(name, NULL), found) or types[name]
    return types


def plan_bootstrap(
    join: Join, given: Iterable[Given], left: Mapping[str, DataType], output: Mapping[str, DataType], labels: set[str]
) -> tuple[BootstrapRead, ...]:
    """Every table's columns with the types they have in the output, which are known only now."""
    reads = []
    for each in given:
        columns = tuple((name, _type(join, each, name, left, output, labels)) for name in each.part.columns)
        reads.append(BootstrapRead(each.source, tuple(join.row_id), columns))
    return tuple(reads)


def _type(
    join: Join, given: Given, name: str, left: Mapping[str, DataType], output: Mapping[str, DataType], labels: set[str]
) -> DataType:
    table = given.part.table
    if name in left or name == "ts":
        raise join.wrong(f"bootstrap {table!r} gives {name!r}, a column of the left: these stay as they are")
    if name in labels:
        raise join.wrong(
            f"bootstrap {table!r} gives the label {name!r}",
            hint="labels are computed from their data, which decide whether a row's label is complete",
        )
    if name not in output:
        raise join.wrong(
            f"bootstrap {table!r} gives {name!r}, which is no column of the output", asked=name, valid=sorted(output)
        )
    own: Column = (name, given.source.column_types[name])
    if not widens(own[1], output[name]):
        raise join.wrong(
            f"bootstrap {table!r} gives {name!r} as {own[1]}, but the column is {output[name]}",
            hint=f"only a narrower type of the same kind is cast: CAST({name} AS {output[name]}) in its select",
        )
    return output[name]


def widens(narrow: DataType, wide: DataType) -> bool:
    """True where every value of `narrow` is one of `wide`, of the same kind."""
    if NULL in (narrow, wide) or narrow == wide:
        return narrow in (NULL, wide)
    if isinstance(narrow, ArrayType) and isinstance(wide, ArrayType):
        return widens(narrow.element, wide.element)
    if isinstance(narrow, MapType) and isinstance(wide, MapType):
        return widens(narrow.key, wide.key) and widens(narrow.value, wide.value)
    if isinstance(narrow, DecimalType) and isinstance(wide, DecimalType):
        return wide.scale >= narrow.scale and wide.precision - wide.scale >= narrow.precision - narrow.scale
    return narrow.is_numeric and kind(narrow) == kind(wide) and common_type(narrow, wide) == wide
