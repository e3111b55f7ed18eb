"""What tasks give: its schema for Spark and for Arrow, and its rows in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

import pyarrow as pa

from zipline.arrow import to_arrow
from zipline.engines.contract import Report
from zipline.engines.spark import facts
from zipline.engines.spark.packing import OWN, OWN_ARROW, ROW, Shape, spelled
from zipline.engines.spark.scans import FILE
from zipline.expressions.dialects import identifier
from zipline.plan.steps import PartPlan
from zipline.tables.written import WrittenFile
from zipline.types import DataType

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


@dataclass(frozen=True)
class Schema:
    """Columns by name with their types, those of `packing.OWN` that are there too, and the facts."""

    columns: Mapping[str, DataType]
    own: tuple[str, ...]

    @property
    def ddl(self) -> str:
        items = [f"{identifier('spark', name)} {spelled(dtype)}" for name, dtype in self.columns.items()]
        return ", ".join([*items, *(f"{name} {OWN[name]}" for name in (*self.own, facts.FACTS))])

    @property
    def arrow(self) -> pa.Schema:
        fields = [(name, to_arrow(dtype)) for name, dtype in self.columns.items()]
        return pa.schema([*fields, *((name, OWN_ARROW[OWN[name]]) for name in (*self.own, facts.FACTS))])

    @property
    def shape(self) -> Shape:
        return Shape((*self.own, facts.FACTS), self.columns)


def part_schema(parts: Sequence[PartPlan], *, has_day: bool = False) -> Schema:
    """The columns of the parts of one set of keys, by their places."""
    columns = {f"p{number}_{n}": d for number, part in enumerate(parts) for n, (_, d) in enumerate(part.own_columns)}
    return Schema(columns, (ROW, "__ds") if has_day else (ROW,))


def collected(frame: DataFrame, order: Sequence[str], report: Report, files: Sequence[str] = ()) -> pa.Table:
    """The rows of a frame in order, its facts added to the report. Raises what a task could not compute.

    `files` are paths in the order in which their rows come; without them it is that of their names.
    """
    found = frame.toArrow()
    texts = found.column(facts.FACTS)
    facts.add(report, texts.drop_null().to_pylist())
    rows = found.filter(texts.is_null())
    if files:
        place = rows.column_names.index(FILE)
        rows = rows.set_column(place, FILE, _numbered(rows.column(FILE), files))
    return rows.sort_by([(name, "ascending") for name in order]) if order else rows


def _numbered(paths: pa.ChunkedArray, files: Sequence[str]) -> pa.ChunkedArray:
    """The number of each path, however it is spelled, among the files."""
    known = {_plain(path): number for number, path in enumerate(files)}
    encoded = paths.dictionary_encode().unify_dictionaries() if paths.num_chunks else paths
    numbers = [
        pa.array([known[_plain(path)] for path in chunk.dictionary.to_pylist()], pa.int64()).take(chunk.indices)
        for chunk in getattr(encoded, "chunks", [])
    ]
    return pa.chunked_array(numbers, pa.int64())


def _plain(path: str) -> str:
    scheme, mark, rest = path.partition(":")
    return "/" + unquote(rest).lstrip("/") if mark and scheme == "file" else unquote(path)


def typed(column: pa.ChunkedArray, dtype: DataType) -> pa.ChunkedArray:
    arrow = to_arrow(dtype)
    return column if column.type == arrow else column.cast(arrow)


@dataclass(frozen=True)
class Output:
    """The rows of a join's output as a DataFrame that is not computed yet: `columns`, what orders them, the facts."""

    frame: DataFrame
    columns: Mapping[str, DataType]
    order: tuple[str, ...]
    files: tuple[str, ...]
    report: Report

    def table(self) -> pa.Table:
        """The rows in left order."""
        rows = collected(self.frame, self.order, self.report, self.files)
        if not self.columns:
            return pa.table({"__row": pa.nulls(rows.num_rows, pa.int8())}).select([])
        columns = [typed(rows.column(name), dtype) for name, dtype in self.columns.items()]
        return pa.table(columns, names=list(self.columns))

    def files_written(self) -> dict[str, list[WrittenFile]]:
        """Day -> the files that tasks wrote; for an output that is written."""
        rows = collected(self.frame, (), self.report)
        found: dict[str, list[WrittenFile]] = {}
        for row in rows.select(["day", "name", "bytes", "rows"]).to_pylist():
            found.setdefault(row.pop("day"), []).append(WrittenFile(**row))
        return found
