"""Results in a notebook: the first rows, and what the run met on the way."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

from zipline.api.notebook import Html, code, faint, fields, folded, grid, heading, page
from zipline.engines.contract import Report, Result

ROWS = 10
COLUMNS = 30


def result_page(result: Result) -> str:
    """The first rows and columns of the table, and the report folded below."""
    table = result.table
    shown = table.slice(0, ROWS).select(table.column_names[:COLUMNS])
    rows = [[_value(value) for value in row.values()] for row in shown.to_pylist()]
    left_out = []
    if table.num_rows > ROWS:
        left_out.append(f"{table.num_rows - ROWS:,} rows")
    if table.num_columns > COLUMNS:
        left_out.append(f"{table.num_columns - COLUMNS:,} columns")
    more = [faint(f"... and {' and '.join(left_out)} more")] if left_out else []
    size = f"{table.num_rows:,} rows, {table.num_columns:,} columns"
    return page(heading("Result", size), grid(shown.column_names, rows), *more, folded("report", counts(result.report)))


def report_page(report: Report) -> str:
    """The counts that are not zero."""
    return page(heading("Report", f"{report.rows:,} rows"), counts(report))


def counts(report: Any, *, leave_out: Collection[str] = ()) -> Html:
    """The fields of a report that say something, counts by name as grids of their own."""
    names = [field.name for field in dataclasses.fields(report) if field.name not in leave_out]
    pairs = [(name.replace("_", " "), getattr(report, name)) for name in names]
    return fields((name, _count(value)) for name, value in pairs if value)


def _count(value: Any) -> object:
    if isinstance(value, Mapping):
        return grid(("", ">"), [(code(name), _count(each)) for name, each in value.items()])
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ", ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.3f}"


def _value(value: Any) -> object:
    return faint("null") if value is None else value
