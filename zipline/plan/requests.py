"""What arrives with a request, typed: contextual columns, and the values of external sources.

Offline a contextual column is the left's column of that name where the left has it (of exactly its type), and an
external source's values are those of its twin group-by, cast to the declared types; without these both come from
bootstrap, else they are null.
"""

from __future__ import annotations

from collections.abc import Mapping

from zipline.api import ExternalSource, Join, JoinPart
from zipline.api.base import Definition
from zipline.errors import ExpressionError
from zipline.plan.keys import check_key_kinds, left_keys_of
from zipline.plan.steps import Column, ExternalPlan, GroupByPlan, PartPlan
from zipline.types import NULL, DataType, common_type, parse_type


def contextual_columns(join: Join, left: Mapping[str, DataType]) -> tuple[Column, ...]:
    """All contextual columns with their declared types; those of the left must have them."""
    if join.contextual is None:
        return ()
    declared = _declared(join.contextual, "contextual column", join.contextual.fields)
    for name, dtype in declared:
        if left.get(name, dtype) not in (dtype, NULL):
            raise join.wrong(
                f"the contextual column {name!r} is {dtype}, but the left's column of that name is {left[name]}",
                hint=f"declare it {left[name]}, or CAST({name} AS {dtype}) in the select of the left",
            )
    return declared


def plan_external(join: Join, part: JoinPart, left: Mapping[str, DataType], after: int) -> ExternalPlan:
    """An external source beside the left, behind `after` parts."""
    source = part.source
    assert isinstance(source, ExternalSource)
    if not source.short_name:
        raise source.wrong("has no name, which its columns in a join begin with", hint='give name="..."')
    keys = _declared(source, "key", source.keys)
    values = dict(_declared(source, "value", source.values))
    prefix = f"{part.prefix}_" if part.prefix else ""
    return ExternalPlan(
        name=source.title,
        short_name=source.short_name,
        keys=keys,
        values=tuple((name, values[name]) for name in part.features or values),
        left_keys=left_keys_of(join, part, source.title, keys, left),
        prefix=f"{prefix}{source.short_name}_",
        after=after,
        location=str(source.location) if source.location else None,
    )


def plan_twin(source: ExternalSource, external: ExternalPlan, twin: GroupByPlan) -> PartPlan:
    """The group-by that stands for the external source offline, as a part under the source's names and types."""
    _check_keys(source, external, twin)
    for name, dtype in _declared(source, "value", source.values):
        _check_value(source, name, dtype, twin)
    left_of = dict(zip((key for key, _ in external.keys), external.left_keys, strict=True))
    return PartPlan(
        group_by=twin,
        left_keys=tuple(left_of[key] for key, _ in twin.keys),
        prefix=external.prefix,
        chosen=tuple(name for name, _ in external.values),
        external=external,
    )


def _check_keys(source: ExternalSource, external: ExternalPlan, twin: GroupByPlan) -> None:
    declared, own = dict(external.keys), dict(twin.keys)
    if set(declared) != set(own):
        raise source.wrong(
            f"its keys are {_listed(declared)}, but those of its twin {twin.name} are {_listed(own)}",
            hint="offline= is a group-by by the same keys",
        )
    for key, dtype in declared.items():
        check_key_kinds(source, key, dtype, key, own[key])


def _check_value(source: ExternalSource, name: str, dtype: DataType, twin: GroupByPlan) -> None:
    own = dict(twin.columns)
    if name not in own:
        raise source.wrong(f"its twin {twin.name} has no feature {name!r}, a value", asked=name, valid=own)
    if common_type(own[name], dtype) != dtype:
        raise source.wrong(
            f"the value {name!r} is declared {dtype}, but is {own[name]} in its twin {twin.name}",
            hint=f"declare it {own[name]}, or CAST it in a derivation of the twin",
        )


def _declared(subject: Definition, role: str, types: Mapping[str, str]) -> tuple[Column, ...]:
    try:
        return tuple((name, parse_type(text)) for name, text in types.items())
    except ExpressionError as wrong:
        raise subject.wrong(f"a {role}: {wrong.what}", asked=wrong.asked, valid=wrong.valid) from None


def _listed(names: Mapping[str, object]) -> str:
    return ", ".join(map(repr, names)) or "none"
