"""Choosing for a part, and for every file of its sources, in which form it is read: as rows, or condensed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from zipline.engines.local.by_unit import is_inside
from zipline.engines.local.eligibility import refused
from zipline.engines.local.extents import Extents
from zipline.engines.local.scope import Reach
from zipline.engines.local.sources import Sources
from zipline.engines.local.substitutes import substitute
from zipline.plan.condensed import condensation
from zipline.plan.steps import PartPlan
from zipline.tables.catalog import Catalog
from zipline.tables.contract import Unit
from zipline.tables.partials import PartialStore

Learn = Callable[[Sources, Sequence[Unit]], None]
"""Notes the extents of files of which nothing is known. Those of which nothing is known afterwards are read as rows."""

MOST_ROWS = 0.3
"""The share of a part's rows that may have to be read as rows; above it, everything is."""


def choose(
    part: PartPlan, times: NDArray[np.int64], catalog: Catalog, store: PartialStore, learn: Learn
) -> list[Sources] | str:
    """What is read of every source of a part, or why all of it is computed from rows.

    `times` are those of the queries that have one, or the first and the last.
    """
    reason = refused(part, catalog, store.least_rows)
    if reason or not len(times):
        return reason or "no query has a time"
    condensed = condensation(part.group_by)
    substituted = substitute(part, condensed)
    if substituted is None:
        return "no feature has a condensed form"
    reach = Reach.of(substituted, int(times.min()), int(times.max()))
    found = []
    for source in part.group_by.sources:
        table = catalog.table(source.table)
        group = condensed.identity(source)[:32]
        found.append(Sources(substituted, source, table, reach, group, Extents(store, group)))
    counted = [_sort(each, learn) for each in found]
    as_rows, every = (sum(each) for each in zip(*counted, strict=True))
    if as_rows > MOST_ROWS * every:
        return "most that the queries see must be read as rows"
    return found


def _sort(reading: Sources, learn: Learn) -> tuple[int, int]:
    """Decides the form of every file of a source; (rows to be read as rows, rows in all)."""
    source, reach, extents = reading.source, reading.reach, reading.extents
    units = [unit for unit in reading.table.units(source.partition) if unit.day is None or is_inside(unit.day, source)]
    if unknown := extents.unknown(units):
        learn(reading, unknown)
    as_rows = every = 0
    for unit in units:
        extent = extents.of(unit)
        form = "rows" if extent is None else reach.form(extent)
        reading.hidden += extent.hidden if extent is not None else 0
        if form is None:
            continue
        reading.units[unit.name] = unit
        reading.forms[unit.name] = form
        rows = extent.rows if extent is not None else unit.rows or 0
        every += rows
        is_read = form == "rows" or (extent is not None and extent.last >= reach.rows_from)
        as_rows += rows if is_read else 0
    return as_rows, every
