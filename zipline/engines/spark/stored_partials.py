"""Parts computed from stored hop partials, as the local engine does it: a day more costs the new files and no others.

Which files of a source are read as rows and which condensed is `local.choice`'s to say; what Spark adds is that tasks
ask files for their extents, read partials, and make those that are missing, each file in one task. What they give is
written down as a table of condensed rows, which the substitute of the part reads as any part reads its source.

Everything stored can be lost: it is made again. Where a value cannot be told from condensed rows, or a file cannot be
read at all, the run is repeated over rows (`NotCondensable`), which is what the answer is defined by.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import astuple, fields
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from zipline.algebra.columnar.values import whole
from zipline.arrow import to_arrow
from zipline.engines.local import read
from zipline.engines.local.choice import choose
from zipline.engines.local.condense import KNOWN, T, condense, visible
from zipline.engines.local.expansion import expand
from zipline.engines.local.extents import Extent, extents_of
from zipline.engines.local.read import Rows
from zipline.engines.local.scope import LEVELS
from zipline.engines.local.sources import Sources, stored_name
from zipline.engines.local.substitutes import NotCondensable, Substitute
from zipline.engines.spark.facts import FACTS, failed, with_facts
from zipline.engines.spark.packing import spelled
from zipline.engines.spark.scans import FrameTable, sent
from zipline.engines.spark.workers import one_core
from zipline.errors import ZiplineError
from zipline.expressions.dialects import identifier
from zipline.plan.condensed import Condensation
from zipline.plan.steps import PartPlan, Projection, SourceRead
from zipline.tables.contract import Table, Unit
from zipline.tables.partials import PartialStore
from zipline.types import NULL, TIMESTAMP
from zipline.values import dataclass

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from zipline.engines.spark.left_rows import NumberedLeft
    from zipline.engines.spark.run import Run

Batches = Iterable[pa.RecordBatch]
MOST_TASKS = 1_000
INSTANT = pa.timestamp("us", tz="UTC")


def substituted(run: Run, parts: Iterable[PartPlan], left: NumberedLeft, store: PartialStore) -> dict[int, Substitute]:
    """Id of a part -> what stands for it, of those that are computed from partials; the tables are the run's then.

    What became of each part is in the run's report.
    """
    found: dict[int, Substitute] = {}
    given = set(left.shape.given)
    for part in parts:
        name = part.group_by.short_name
        if given & {column for column, _ in part.columns}:
            chosen: list[Sources] | str = "bootstrap gives values of it"
        else:
            chosen = _chosen(run, part, left, store)
        if isinstance(chosen, str):
            run.report.partials[name] = f"rows: {chosen}"
            continue
        made = found[id(part)] = chosen[0].substitute
        projection = made.condensation.projection
        run.frames[projection.table] = _condensed_rows(run, made.condensation, chosen, store)
        forms = [form for each in chosen for form in each.forms.values()]
        as_rows = forms.count("rows")
        run.report.partials[name] = f"partials of {len(forms) - as_rows} files, rows of {as_rows}"
    return found


def _chosen(run: Run, part: PartPlan, left: NumberedLeft, store: PartialStore) -> list[Sources] | str:
    def learn(reading: Sources, unknown: Sequence[Unit]) -> None:
        for unit, extent in _extents(run, reading.table, reading.source, unknown):
            reading.extents.note(unit, extent)
        reading.extents.save()

    tables = [source.table for source in part.group_by.sources if source.parent is None]
    if unread := next((name for name in tables if isinstance(run.table(name), FrameTable)), None):
        return f"{unread} is read by Spark alone"
    found = choose(part, left.times, run.catalog, store, learn)
    if not isinstance(found, str) and NULL in found[0].substitute.condensation.projection.types:
        return "nothing but null is known of a column"
    return found


def _extents(run: Run, table: Table, source: Projection, units: Sequence[Unit]) -> Iterator[tuple[Unit, Extent]]:
    """Tasks ask the files for their clocks."""
    run.at(f"the times of {len(units)} files of {table.name}")
    types = ", ".join(f"n{number} BIGINT" for number in range(len(fields(Extent))))
    frame = _in_tasks(run, [{"unit": unit.name} for unit in units])
    found = frame.mapInArrow(Asking(table, source, tuple(units)), f"unit STRING, {types}").toArrow()
    known = {name: Extent(*facts) for name, *facts in zip(*(c.to_pylist() for c in found.columns), strict=True)}
    return ((unit, known[unit.name]) for unit in units)


def _in_tasks(run: Run, items: Sequence[Mapping[str, Any]]) -> DataFrame:
    """What there is to do, as text, spread over tasks."""
    texts = pa.table({"item": pa.array([json.dumps(item) for item in items], pa.string())})
    tasks = max(1, min(len(items), MOST_TASKS))
    numbered = sent(run.spark, texts.append_column("n", pa.array(range(len(items)), pa.int32())))
    return numbered.selectExpr("item", f"pmod(n, {tasks}) AS n").repartitionById(tasks, "n").select("item")


def _items(batches: Batches) -> Iterator[Any]:
    return (json.loads(text) for batch in batches for text in batch.column(0).to_pylist())


@dataclass(frozen=True, eq=False)
class Asking:
    """Names of files -> their extents."""

    table: Table
    source: Projection
    units: tuple[Unit, ...]

    def __call__(self, batches: Batches) -> Iterator[pa.RecordBatch]:
        units = {unit.name: unit for unit in self.units}
        for item in _items(batches):
            connection, _ = one_core()
            found = extents_of(connection, self.table, self.source, [units[item["unit"]]])
            connection.close()
            for name, extent in found.items():
                facts = {f"n{number}": [fact] for number, fact in enumerate(astuple(extent))}
                yield pa.record_batch({"unit": [name], **facts})


def _condensed_rows(run: Run, condensed: Condensation, chosen: Sequence[Sources], store: PartialStore) -> FrameTable:
    """What queries see of every source, in condensed rows where it can be, as one table."""
    rows = 0
    frames = []
    for reading in chosen:
        reading.names = store.names(reading.group)
        extents = [reading.extents.of(unit) for unit in reading.units.values()]
        rows += sum(extent.rows for extent in extents if extent is not None)
        task = Condensing(reading.table, reading.source, condensed, store, reading.group, tuple(reading.columns))
        run.at(f"partials of {reading.source.title}")
        frames.append(_in_tasks(run, list(_work(reading))).mapInArrow(task, f"{task.ddl}, {FACTS} STRING"))
        for sweeping in reading.sweeping(store):
            sweeping()
    frame = frames[0]
    for other in frames[1:]:
        frame = frame.unionAll(other)
    kept = run.sizing.checked(frame, run.report)
    clocks = {name: TIMESTAMP for name in condensed.clocks if name is not None}
    schema = dict(condensed.projection.column_types) | clocks
    return FrameTable(condensed.projection.table, kept, schema, rows=rows)


def _work(reading: Sources) -> Iterator[dict[str, Any]]:
    """Blocks whose partial is there, and all other files."""
    merged = {name: members for name, members in reading.blocks.items() if name in reading.names}
    done = {member for members in merged.values() for member in members}
    for name, members in merged.items():
        yield {"block": name, "files": [_file(reading, member) for member in members]}
    for name in reading.forms:
        if name not in done:
            yield {"block": None, "files": [_file(reading, name)]}


def _file(reading: Sources, name: str) -> dict[str, Any]:
    unit, form = reading.units[name], reading.forms[name]
    wanted = {level: stored_name(unit, level) for level in sorted(reading.levels | ({form} & LEVELS.keys()))}
    missing = {level: stored for level, stored in wanted.items() if stored not in reading.names}
    return {"unit": name, "form": form, "stored": wanted.get(form), "missing": missing}


@dataclass(frozen=True, eq=False)
class Condensing:
    """Blocks and files -> condensed rows of them, or their rows in the same shape."""

    table: Table
    source: Projection
    condensed: Condensation
    store: PartialStore
    group: str
    columns: tuple[str, ...]

    @property
    def ddl(self) -> str:
        types = self.condensed.projection.column_types
        items = [f"{identifier('spark', name)} {spelled(dtype)}" for name, dtype in types.items()]
        clocks = [f"{identifier('spark', name)} TIMESTAMP" for name in self.condensed.clocks if name is not None]
        return ", ".join([*items, *clocks])

    @cached_property
    def schema(self) -> pa.Schema:
        types = self.condensed.projection.column_types
        clocks = [pa.field(name, INSTANT) for name in self.condensed.clocks if name is not None]
        return pa.schema([*(pa.field(name, to_arrow(dtype)) for name, dtype in types.items()), *clocks])

    def __call__(self, batches: Batches) -> Iterator[pa.RecordBatch]:
        schema = self.schema.append(pa.field(FACTS, pa.string()))
        for item in _items(batches):
            for work in self._of(item):
                try:
                    made, facts = work(), []
                except ZiplineError as wrong:
                    made, facts = self.schema.empty_table(), [failed(NotCondensable(wrong.what))]
                yield from with_facts(made, schema, facts)

    def _of(self, item: Mapping[str, Any]) -> Iterator[Callable[[], pa.Table]]:
        found = None if item["block"] is None else self.store.read(self.group, item["block"], self.columns)
        if found is not None:
            yield partial(self._laid, found)
            return
        for file in item["files"]:
            yield partial(self._of_file, file)

    def _of_file(self, file: Mapping[str, Any]) -> pa.Table:
        form = file["form"]
        if form in LEVELS and form not in file["missing"]:
            found = self.store.read(self.group, file["stored"], self.columns)
            if found is not None:
                return self._laid(found)
        rows = self._rows(file["unit"])
        made = {level: self._made(rows, level) for level in {*file["missing"], *({form} & LEVELS.keys())}}
        for level, name in file["missing"].items():
            if (table := made[level]) is not None:
                self.store.write(self.group, name, table)
        if form not in LEVELS:
            return self._plain(rows)
        table = made[form]
        return self._plain(rows) if table is None else self._laid(table)

    def _rows(self, name: str) -> Rows:
        """The file's rows in the shape of condensed ones."""
        connection, _ = one_core()
        asked = SourceRead((self.source,), (), None, 0)
        needed = {self.source: self.condensed.inputs}
        found = read.read_source(connection, self.table, asked, needed=needed, low=None, high=None, units=[name])
        return expand(found, self.source, self.condensed)

    def _made(self, rows: Rows, level: str) -> pa.Table | None:
        """None where the rows cannot be condensed: then they stand for themselves."""
        with suppress(ZiplineError):
            return condense(rows, self.condensed, LEVELS[level])
        return None

    def _laid(self, table: pa.Table) -> pa.Table:
        """A stored table as a table of condensed rows; columns that it was read without are null."""
        time, known = self.condensed.clocks
        clocks = {time: table.column(T).cast(INSTANT)}
        if known is not None:
            clocks[known] = table.column(KNOWN if KNOWN in table.column_names else T).cast(INSTANT)
        return self._fitted(dict(zip(table.column_names, table.columns, strict=True)) | clocks, table.num_rows)

    def _plain(self, rows: Rows) -> pa.Table:
        projection = self.condensed.projection
        rows = visible(rows, projection)
        assert rows.t is not None
        time, known = self.condensed.clocks
        columns = {name: whole(rows.pieces(projection, name)) for name in projection.column_types}
        columns[time] = pa.array(rows.t).cast(INSTANT)
        if known is not None:
            columns[known] = pa.array(rows.t if rows.known is None else rows.known).cast(INSTANT)
        return self._fitted(columns, rows.rows)

    def _fitted(self, columns: Mapping[str, Any], count: int) -> pa.Table:
        found = [columns[f.name].cast(f.type) if f.name in columns else pa.nulls(count, f.type) for f in self.schema]
        return pa.table(found, schema=self.schema)
