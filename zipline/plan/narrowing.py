"""A join with only some of its columns: what they are made of, and nothing else."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from zipline.plan.steps import BootstrapRead, Derived, ExternalPlan, JoinPlan, PartPlan


def narrowed(plan: JoinPlan, columns: Collection[str]) -> JoinPlan:
    """The join's scoring rows with all left columns and these, and those that derivations of these read.

    Values are the same as in the whole join. It is known under the whole join's name and fingerprint.
    """
    derivations = _needed(plan.derivations, columns)
    wanted = frozenset(columns).union(*(derived.expression.columns for derived in derivations))
    return replace(
        plan,
        parts=tuple(part for part in (_chosen(part, wanted) for part in plan.parts) if part.chosen),
        labels=(),
        derivations=derivations,
        checks=(),
        externals=tuple(each for each in (_valued(external, wanted) for external in plan.externals) if each.values),
        contextual=tuple((n, t) for n, t in plan.contextual if n in wanted or n in dict(plan.left_columns)),
        bootstrap=tuple(_given(plan.bootstrap, wanted | {derived.name for derived in derivations})),
    )


def _needed(derivations: tuple[Derived, ...], columns: Collection[str]) -> tuple[Derived, ...]:
    wanted, found = set(columns), list[Derived]()
    for derived in reversed(derivations):
        if derived.name in wanted:
            wanted |= derived.expression.columns
            found.append(derived)
    return tuple(reversed(found))


def _chosen(part: PartPlan, wanted: Collection[str]) -> PartPlan:
    chosen = tuple(name for name in part.chosen if part.prefix + name in wanted)
    return part if chosen == part.chosen else replace(part, chosen=chosen)


def _valued(external: ExternalPlan, wanted: Collection[str]) -> ExternalPlan:
    values = tuple((name, dtype) for name, dtype in external.values if external.prefix + name in wanted)
    return replace(external, values=values)


def _given(reads: Iterable[BootstrapRead], wanted: Collection[str]) -> Iterable[BootstrapRead]:
    for read in reads:
        columns = tuple((name, dtype) for name, dtype in read.columns if name in wanted)
        if columns:
            yield replace(read, columns=columns)
