"""A part in two: what is computed from condensed rows, and what needs rows; and one part again, from both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from zipline.algebra.columnar.values import whole
from zipline.engines.local.condense import UNWIELDY
from zipline.engines.local.read import Rows
from zipline.errors import ZiplineError
from zipline.plan.condensed import Average, Condensation
from zipline.plan.features import default_array
from zipline.plan.steps import Feature, PartPlan
from zipline.values import dataclass


class NotCondensable(ZiplineError):
    """A value cannot be told from condensed rows: the run is to be repeated over rows."""


@dataclass(frozen=True, eq=False)
class Substitute:
    """Stands for `part`: `condensed` is over condensed rows, `raw` has the features that need rows."""

    part: PartPlan
    condensation: Condensation
    condensed: PartPlan
    raw: PartPlan | None

    @property
    def parts(self) -> tuple[PartPlan, ...]:
        return (self.condensed,) if self.raw is None else (self.condensed, self.raw)

    def features(self, tables: Sequence[pa.Table], rows: Rows) -> pa.Table:
        """The features (or the lookup) that the part needs, from the tables of `parts`; `rows` were condensed."""
        if self.part.group_by.lookup:
            return tables[0]
        found = {name: whole(table.column(name)) for table in tables for name in table.column_names}
        return pa.table({feature.name: self._feature(feature, found, rows) for feature in self.part.needed})

    def _feature(self, feature: Feature, found: Mapping[str, pa.Array], rows: Rows) -> pa.Array:
        made_of = self.condensation.rewritten.get(feature.name)
        if not isinstance(made_of, Average):
            return found[feature.name]
        total, count = found[made_of.total.name], found[made_of.count.name]
        if _is_infinite(total.items if feature.bucket else total):
            self._refuse_overflow(made_of.total.input, rows)
        return _average(feature, total, count)

    def _refuse_overflow(self, column: str, rows: Rows) -> None:
        """A total of finite values beyond the range of doubles has an average that only the values tell."""
        values = np.abs(np.asarray(rows.column(self.condensation.projection, column).drop_null()))
        if ((values >= UNWIELDY) & np.isfinite(values)).any():
            raise NotCondensable("a total is beyond the range of doubles")


def substitute(part: PartPlan, condensation: Condensation) -> Substitute | None:
    """None where nothing that the part needs has a condensed form."""
    plan = condensation.plan()
    if part.group_by.lookup:
        names = tuple(name for name, _ in part.group_by.lookup)
        return Substitute(part, condensation, replace(part, group_by=plan, prefix="", chosen=names), None)
    covered, rest = condensation.covers(part)
    if not covered:
        return None
    names = tuple(feature.name for feature in condensation.features(covered))
    raw = None
    if rest:
        raw = replace(part, group_by=replace(part.group_by, derivations=()), prefix="", chosen=tuple(rest))
    return Substitute(part, condensation, replace(part, group_by=plan, prefix="", chosen=names), raw)


def _is_infinite(total: pa.Array) -> bool:
    return pa.types.is_floating(total.type) and bool(np.isinf(np.asarray(total.fill_null(0.0))).any())


def _average(feature: Feature, total: pa.Array, count: pa.Array) -> pa.Array:
    default = None if feature.default is None else default_array(feature.default, feature.type)
    if not feature.bucket:
        found = _quotient(total, count)
        return found if default is None else pc.if_else(count.is_valid(), found, default[0])
    empty = np.asarray(pc.is_null(count))
    offsets = pa.array(np.asarray(count.offsets), pa.int32(), mask=np.append(empty, False))
    found = pa.MapArray.from_arrays(offsets, count.keys, _quotient(total.items, count.items))
    if default is None:
        return found
    places = np.where(empty, len(found), np.arange(len(found)))
    return pa.concat_arrays([found, default.cast(found.type)]).take(pa.array(places))


def _quotient(total: pa.Array, count: pa.Array) -> pa.Array:
    """Null where the total is: of nothing, or of infinities of both signs."""
    divided = np.asarray(total.fill_null(0)).astype(np.float64) / np.asarray(count.fill_null(1))
    missing = np.asarray(pc.is_null(total))
    return pa.array(divided, mask=missing) if missing.any() else pa.array(divided)
