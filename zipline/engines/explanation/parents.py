"""The rows of a parent, a join whose output is a source or the left, that one key sees in its window.

A parent's output is stored nowhere: it is computed, for the key alone where the key is a column of the parent's left,
for the query times of the window, and with the columns that are needed. So other rows than these are not counted.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from zipline.api import Join
from zipline.engines.local.run import run_join
from zipline.expressions import parse
from zipline.plan.chaining import Span
from zipline.plan.steps import JoinPlan, Projection
from zipline.tables.catalog import Catalog
from zipline.tables.contract import Table
from zipline.tables.memory import MemoryTable


def parent_rows(
    source: Projection, columns: Iterable[str], wanted: Mapping[str, Any], span: Span, catalog: Catalog
) -> Table:
    """The parent's rows with these query times as a table; `wanted` maps the source's columns to a value each."""
    assert source.parent is not None
    if catalog.is_given(source.table):
        return catalog.table(source.table)
    plan = _of_key(_with_columns(source.parent, frozenset(columns)), source, wanted, catalog)
    return MemoryTable(source.table, run_join(plan, catalog, training=False, span=span).table)


def _with_columns(plan: JoinPlan, needed: frozenset[str]) -> JoinPlan:
    """The join with what these columns are made of and nothing else; a bootstrap names columns, so all are kept."""
    if plan.bootstrap:
        return plan
    wanted = set(needed)
    derivations = []
    for derived in reversed(plan.derivations):
        if derived.name in wanted:
            wanted |= derived.expression.columns
            derivations.append(derived)
    parts = []
    for part in plan.parts:
        chosen = tuple(name for name in part.chosen if part.prefix + name in wanted)
        if chosen:
            parts.append(replace(part, chosen=chosen))
    after = {id(external): sum(p in _before(plan, external.after) for p in parts) for external in plan.externals}
    externals = tuple(replace(external, after=after[id(external)]) for external in plan.externals)
    return replace(plan, parts=tuple(parts), labels=(), derivations=tuple(reversed(derivations)), externals=externals)


def _before(plan: JoinPlan, place: int) -> tuple[Any, ...]:
    return plan.parts[:place]


def _of_key(plan: JoinPlan, source: Projection, wanted: Mapping[str, Any], catalog: Catalog) -> JoinPlan:
    """The join over the left rows of the key, where the key is one of the left's own columns."""
    left = plan.left
    schema = dict(left.parent.scoring_columns) if left.parent else catalog.table(left.table).schema
    conditions = []
    for name, value in wanted.items():
        column = _plain(source, name)
        text = _portable(value)
        if column is not None and column in left.columns and text is not None and schema:
            condition = f"({left.columns[column].text}) = {text}"
            conditions.append(parse(condition, schema, subject=plan.name, where=None))
    return replace(plan, left=replace(left, where=(*left.where, *conditions)))


def _plain(source: Projection, name: str) -> str | None:
    """The parent's column that a column of the source is, None where it computes."""
    expression = source.columns[name]
    text = expression.text
    bare = text[1:-1].replace('""', '"') if text.startswith('"') else text
    return bare if bare in expression.columns else None


def _portable(value: Any) -> str | None:
    """A value in the portable subset; None of a type whose literals it does not have."""
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def command(join: Join, column: str, row: Mapping[str, Any]) -> str:
    """The command that explains a column of the parent's row."""
    named = {name: row[name] for name in join.row_id if name in row} if join.row_id else dict(row)
    shown = named if join.row_id and len(named) == len(join.row_id) else dict(row)
    text = json.dumps(shown, default=str, ensure_ascii=False).replace("'", "'\\''")
    return f"zipline explain {join.title} {column} --row '{text}'"
