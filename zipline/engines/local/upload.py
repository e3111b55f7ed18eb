"""What an upload holds: of every key its partials, or its values, as of the end of a day.

Partials are cut where the windows of the next two days may begin (`Kept.cuts`). Of what became available before the
midnight `end` nothing is left out, of what came later nothing is in it. A state may have rows of times that are yet to
come: those of the next two days lie in it as tiles, of all levels, for a query sees some of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from zipline.algebra.columnar.values import whole
from zipline.algebra.layout import EVER_BEFORE
from zipline.algebra.windows import floor
from zipline.arrow import to_arrow
from zipline.clock import DAY
from zipline.engines.local import read
from zipline.engines.local.records import read_available, read_state, records
from zipline.engines.local.run import run_group_by, run_join
from zipline.engines.local.session import connect
from zipline.engines.local.tiles import with_tiles_from
from zipline.errors import UsageError
from zipline.plan.chaining import Span, wanted_parents
from zipline.plan.online import SERVED, Kept
from zipline.plan.steps import GroupByPlan, PartPlan, SourceRead
from zipline.stores.contract import Item
from zipline.stores.key_columns import ordered_keys
from zipline.tables.catalog import Catalog

Ints = NDArray[np.int64]


def uploaded(kept: Kept, catalog: Catalog, end: int) -> Iterator[Item]:
    """The items of the upload that ends at the midnight `end`, in the order of their keys."""
    if end % DAY:
        raise UsageError("an upload ends at a midnight")
    catalog = _with_parents(kept.group_by, catalog, end)
    return _partials(kept, catalog, end) if kept.has_tiles else _values(kept, catalog, end)


def _with_parents(plan: GroupByPlan, catalog: Catalog, end: int) -> Catalog:
    """The catalog with the outputs of the joins that are read, as far as queries at `end` see them."""
    part = PartPlan(plan, tuple(key for key, _ in plan.keys), "", tuple(name for name, _ in plan.columns))
    for name, wanted in wanted_parents(None, (part,), Span(end, end)).items():
        if not catalog.is_given(name):
            computed = run_join(wanted.plan, catalog, training=False, span=wanted.span).table
            catalog = catalog.with_tables({name: computed})
    return catalog


def _partials(kept: Kept, catalog: Catalog, end: int) -> Iterator[Item]:
    cuts = np.array(kept.cuts(end), np.int64)
    low = None if cuts[0] == EVER_BEFORE else int(cuts[0])
    if kept.is_signed:
        rows = read_state(kept, catalog, low=low, high=end + SERVED, before=end)
    else:
        rows = read_available(kept, catalog, low=low, before=end)

    def start_of(t: Ints) -> Ints:
        return np.where(t < end, cuts[np.searchsorted(cuts, t, side="right") - 1], floor(t, kept.tile))

    found = with_tiles_from(end, kept, records(kept, rows, start_of, 0))
    blocks = chain.from_iterable(kept.form.all_written(found.words, found.irs, found.bounds))
    return zip(found.keys, blocks, strict=True)


def _values(kept: Kept, catalog: Catalog, end: int) -> Iterator[Item]:
    """The values of all keys that the sources have."""
    plan = kept.group_by
    keys = _keys(plan, catalog)
    ts = pa.array([end] * keys.num_rows, pa.int64()).cast(pa.timestamp("us", tz="UTC"))
    found = run_group_by(plan, keys.append_column("ts", ts), catalog).table
    columns = [whole(found.column(name)) for name, _ in plan.keys]
    written, rows = ordered_keys(columns, [dtype for _, dtype in plan.keys], found.num_rows)
    return zip(written, kept.values.written(found.take(pa.array(rows))), strict=True)


def _keys(plan: GroupByPlan, catalog: Catalog) -> pa.Table:
    """The distinct keys of all sources."""
    if not plan.keys:
        return pa.table({"__row": pa.nulls(1, pa.int8())})
    names = [key for key, _ in plan.keys]
    tables = []
    connection = connect()
    for source in plan.sources:
        table = catalog.table(source.table)
        if table.schema:
            asked = SourceRead((source,), (), None, 0)
            needed = {source: frozenset(names)}
            rows = read.read_source(connection, table, asked, needed=needed, low=None, high=None)
            tables.append(pa.table({name: rows.column(source, name) for name in names}).group_by(names).aggregate([]))
    connection.close()
    schema = pa.schema([(name, to_arrow(dtype)) for name, dtype in plan.keys])
    every = pa.concat_tables([schema.empty_table(), *(table.select(names).cast(schema) for table in tables)])
    return every.group_by(names).aggregate([]).select(names)
