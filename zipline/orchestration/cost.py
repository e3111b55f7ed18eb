"""What a backfill will cost, before it runs: rows, bytes, seconds and the most memory.

Rows and bytes read come from the tables' own statistics (`sizes`), rows of the output from those of the left, its
bytes from the widths of its columns' types. Memory and seconds are linear in these; the constants were measured on the
demo's flights and on synthetic events, on two cores of one machine. Past runs of the same join correct both: by how
much they missed what had been predicted of them. The first run of a machine compiles kernels, which is not counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from zipline.clock import DAY, day_text, to_micros
from zipline.clock import days as days_between
from zipline.orchestration.coverage import steps_of
from zipline.orchestration.sizes import Counter, Sizes
from zipline.plan.steps import Aggregate, ComputeParent, JoinPlan, PartPlan, Projection, SourceRead
from zipline.tables.catalog import Catalog
from zipline.types import BOOLEAN, DATE, FLOAT, INT, NULL, SMALLINT, STRING, TINYINT, ArrayType, DataType, MapType
from zipline.values import dataclass

if TYPE_CHECKING:
    from pathlib import Path

    from zipline.registry import Run

MEGABYTE = 1024**2
DONE = "done"

PROCESS_BYTES = 400 * MEGABYTE
"""A process with the engine and its kernels loaded."""
COPIES_READ = 4.0
"""Of what is read: as it came, in order of its keys, its clocks, and while it is put in order."""
COPIES_WRITTEN = 2.5
"""Of what a step writes: features, the output, and the days that it is cut into."""
WIDTHS: Mapping[DataType, float] = {
    BOOLEAN: 1,
    TINYINT: 1,
    SMALLINT: 2,
    INT: 4,
    FLOAT: 4,
    DATE: 4,
    NULL: 1,
    STRING: 12,
}
"""Bytes of one value in Arrow, its place and validity included; all others have 8."""
ENTRIES = 4
"""Of a list or map whose length no definition says."""

START_SECONDS = 0.6
STEP_SECONDS = 0.3
AGGREGATE_SECONDS = 0.06
"""For each group-by and step, however few the rows."""
SECONDS_PER_VALUE = 1e-7
SECONDS_PER_NESTED_VALUE = 3e-6
"""Of the output."""
SECONDS_PER_VALUE_READ = 1e-7

_LEAST_RATIO, _MOST_RATIO = 0.2, 5.0
_RUNS_TAKEN = 5


@dataclass(frozen=True, slots=True)
class StepCost:
    """The days of one step. `bytes` are of its output in memory, `bytes_read` of the files' columns."""

    first: str
    last: str
    rows: int
    bytes: int
    rows_read: int
    bytes_read: int
    seconds: float
    peak_bytes: int


@dataclass(frozen=True, slots=True)
class Cost:
    """The sum of the steps; `peak_bytes` is of the largest, with everything else that the process holds.

    `basis` says what seconds and memory stand on, `unknown` names the tables that are not there yet and not counted.
    `measures` is what is kept with a run, so that later predictions learn from it: not corrected by past runs.
    """

    rows: int
    bytes: int
    rows_read: int
    bytes_read: int
    seconds: float
    peak_bytes: int
    steps: tuple[StepCost, ...]
    basis: str
    unknown: tuple[str, ...]
    measures: Mapping[str, float]


def predict(
    plan: JoinPlan,
    catalog: Catalog,
    start: str,
    end: str,
    step_days: int = 30,
    *,
    days: Sequence[str] | None = None,
    history: Iterable[Run] = (),
    training: bool = True,
    as_of: int | None = None,
    known: Path | None = None,
) -> Cost:
    """The cost of the days `start`..`end`, or of those `days` among them that are still to be done.

    `history` are runs of the registry, newest first; `known` is the folder in which counts of rows are kept.
    """
    model = _Model(plan, catalog, training=training, as_of=as_of, known=known)
    asked = days_between(start, end) if days is None else list(days)
    steps = [model.step(run[0], run[-1]) for run in steps_of(asked, step_days)]
    learned = _Learned.of(plan.name, history)
    seconds = START_SECONDS + sum(step.seconds for step in steps)
    peak = max((step.peak_bytes for step in steps), default=PROCESS_BYTES)
    rows = sum(step.rows for step in steps)
    return Cost(
        rows=rows,
        bytes=sum(step.bytes for step in steps),
        rows_read=sum(step.rows_read for step in steps),
        bytes_read=sum(step.bytes_read for step in steps),
        seconds=seconds * learned.seconds,
        peak_bytes=round(peak * learned.peak),
        steps=tuple(steps),
        basis=learned.basis,
        unknown=model.unknown,
        measures={"rows": float(rows), "seconds": seconds, "peak_bytes": float(peak)},
    )


@dataclass(frozen=True)
class _Reading:
    """One table as a step reads it: how far around its days, and what a row of it takes."""

    sizes: Sizes
    kind: str
    lookback: int | None
    lookahead: int
    width: float
    columns: int
    share: float

    def amount(self, first: str, last: str) -> tuple[float, float]:
        """(rows, bytes of files) that the queries of these days need."""
        low = None if self.lookback is None else day_text(to_micros(first) - self.lookback)
        high = day_text(to_micros(last) + DAY - 1 + self.lookahead)
        if self.kind == "snapshots":
            rows, size = self.sizes.since_newest(first, high)
        elif self.kind == "mutations":
            rows, size = self.sizes.within(None, high)
        else:
            rows, size = self.sizes.within(low, high)
        return rows, size * self.share


class _Model:
    """A plan's readings and widths, each looked up once."""

    def __init__(
        self, plan: JoinPlan, catalog: Catalog, *, training: bool, as_of: int | None, known: Path | None
    ) -> None:
        self._plan, self._catalog = plan, catalog
        self._unknown: list[str] = []
        self._sizes: dict[tuple[object, ...], Sizes] = {}
        self._counter = Counter(catalog, known)
        self._left = self._sizes_of(plan.left, [plan.left])
        self._readings = list(self._read(plan, training))
        columns = plan.columns if training else plan.scoring_columns
        lengths = _lengths((*plan.parts, *plan.labels))
        self._width = sum(width(dtype, lengths.get(name, ENTRIES)) for name, dtype in columns)
        self._nested = sum(isinstance(dtype, (ArrayType, MapType)) for _, dtype in columns)
        self._values = len(columns) - self._nested
        parts = [part for step in plan.steps(training=training) if isinstance(step, Aggregate) for part in step.parts]
        self._group_bys = len(parts)
        self._mature_until = self._last_mature(as_of) if training and plan.labels else None
        self._parents = [
            (step.lookback, _Model(step.parent, catalog, training=False, as_of=None, known=known))
            for step in plan.steps(training=training)
            if isinstance(step, ComputeParent)
        ]

    @property
    def unknown(self) -> tuple[str, ...]:
        inner = [name for _, parent in self._parents for name in parent.unknown]
        return tuple(dict.fromkeys([*self._unknown, *inner]))

    def step(self, first: str, last: str) -> StepCost:
        left_rows, left_bytes = self._left.within(first, last)
        rows = left_rows
        if self._mature_until is not None:
            rows = self._left.within(first, min(last, self._mature_until))[0] if first <= self._mature_until else 0.0
        amounts = [(reading, *reading.amount(first, last)) for reading in self._readings]
        held = sum(read * reading.width for reading, read, _ in amounts)
        values = sum(read * reading.columns for reading, read, _ in amounts)
        made = left_rows * self._width
        cost = StepCost(
            first=first,
            last=last,
            rows=round(rows),
            bytes=round(rows * self._width),
            rows_read=round(left_rows + sum(read for _, read, _ in amounts)),
            bytes_read=round(left_bytes * self._left_share + sum(size for *_, size in amounts)),
            seconds=STEP_SECONDS
            + AGGREGATE_SECONDS * self._group_bys
            + SECONDS_PER_VALUE * left_rows * self._values
            + SECONDS_PER_NESTED_VALUE * left_rows * self._nested
            + SECONDS_PER_VALUE_READ * values,
            peak_bytes=round(PROCESS_BYTES + COPIES_READ * held + COPIES_WRITTEN * made),
        )
        return self._with_parents(cost)

    def _with_parents(self, own: StepCost) -> StepCost:
        """Parents are computed first, one after the other; their output stays."""
        computed = [parent.step(self._since(back, own.first, parent), own.last) for back, parent in self._parents]
        kept = sum(parent.bytes for parent in computed)
        peaks = [own.peak_bytes, *(parent.peak_bytes for parent in computed)]
        return StepCost(
            first=own.first,
            last=own.last,
            rows=own.rows,
            bytes=own.bytes,
            rows_read=own.rows_read + sum(parent.rows_read for parent in computed),
            bytes_read=own.bytes_read + sum(parent.bytes_read for parent in computed),
            seconds=own.seconds + sum(parent.seconds for parent in computed),
            peak_bytes=max(peaks) + kept,
        )

    def _since(self, back: int | None, first: str, parent: _Model) -> str:
        if back is None:
            return min([first, *parent._left.days[:1]])
        return day_text(to_micros(first) - back)

    @property
    def _left_share(self) -> float:
        return self._share(self._plan.left.table, self._plan.left.table_columns)

    def _read(self, plan: JoinPlan, training: bool) -> Iterator[_Reading]:
        for read in plan.reads(training=training):
            yield _Reading(
                sizes=self._sizes_of(read.first, read.projections),
                kind=read.first.kind,
                lookback=read.lookback,
                lookahead=read.lookahead,
                width=_row_width(read),
                columns=len(read.table_columns),
                share=self._share(read.first.table, read.table_columns),
            )
        for bootstrap in plan.bootstrap:
            own = sum(width(dtype, ENTRIES) for _, dtype in bootstrap.columns)
            sizes = self._sizes_of(bootstrap.source, [bootstrap.source])
            yield _Reading(sizes, "bootstrap", None, 0, own, len(bootstrap.columns), 1.0)

    def _sizes_of(self, read: Projection, sharing: Sequence[Projection]) -> Sizes:
        conditions = [each.where for each in sharing]
        key = (read.table, read.partition, read.start, read.end, read.time, str(conditions))
        if key not in self._sizes:
            found = self._counter.sizes(read, conditions)
            if found is None:
                self._unknown.append(read.table)
            self._sizes[key] = found if found is not None else Sizes()
        return self._sizes[key]

    def _share(self, table: str, columns: Iterable[str]) -> float:
        """The part of a table's bytes that these columns are likely to have."""
        if table in self._unknown or "#" in table:
            return 1.0
        widths = {name: width(dtype, ENTRIES) for name, dtype in self._catalog.table(table).schema.items()}
        return sum(widths.get(name, 0.0) for name in columns) / (sum(widths.values()) or 1.0)

    def _last_mature(self, as_of: int | None) -> str | None:
        """The last day that has rows whose labels are complete; None where nothing tells."""
        offset = max(part.offset or 0 for part in self._plan.labels)
        if as_of is not None:
            return day_text(as_of - offset)
        sources = [source for part in self._plan.labels for source in part.group_by.sources]
        ends = [found.days[-1] for source in sources if (found := self._sizes_of(source, [])).days]
        return day_text(to_micros(min(ends)) + DAY - 1 - offset) if ends else None


def width(dtype: DataType, entries: int) -> float:
    """Bytes of one value in Arrow; `entries` is the length of a list or map."""
    if isinstance(dtype, ArrayType):
        return 4 + entries * width(dtype.element, ENTRIES)
    if isinstance(dtype, MapType):
        return 4 + entries * (width(dtype.key, ENTRIES) + width(dtype.value, ENTRIES))
    return WIDTHS.get(dtype, 8)


def _row_width(read: SourceRead) -> float:
    """The columns that are used, each source's own, and the clocks."""
    columns = {
        (expression.text, dtype)
        for source in read.projections
        for (_, expression), dtype in zip(source.select, source.types, strict=True)
    }
    clocks = sum(clock is not None for clock in (read.first.time, read.first.known_at, read.first.mutation_time))
    return 8 * clocks + sum(width(dtype, ENTRIES) for _, dtype in columns)


def _lengths(parts: Iterable[PartPlan]) -> dict[str, int]:
    """Output column -> the entries of its lists or maps, where the definition says it."""
    return {
        part.prefix + feature.name: feature.k or len(feature.percentiles or ()) or ENTRIES
        for part in parts
        for feature in part.needed
        if feature.bucket is None
    }


@dataclass(frozen=True)
class _Learned:
    """How much longer runs took, and how much more memory, than was predicted of them."""

    seconds: float = 1.0
    peak: float = 1.0
    basis: str = "constants measured on the demo"

    @classmethod
    def of(cls, subject: str, history: Iterable[Run]) -> _Learned:
        told = [run for run in history if _is_telling(run)]
        own = [run for run in told if run.subject == subject][:_RUNS_TAKEN]
        others = told[:_RUNS_TAKEN]
        if own:
            return cls(_ratio(own, "seconds"), _ratio(own, "peak_bytes"), f"{_runs(own)} of this join")
        if others:
            return cls(_ratio(others, "seconds"), 1.0, f"seconds: {_runs(others)} of other joins; memory: constants")
        return cls()


def _runs(runs: Sequence[Run]) -> str:
    return f"{len(runs)} past run" + ("" if len(runs) == 1 else "s")


def _is_telling(run: Run) -> bool:
    """A run that did what was predicted of it: one that found its days done, or failed, tells nothing."""
    rows = run.predicted.get("rows", 0.0)
    measured = run.measures.rows or 0
    return run.outcome == DONE and rows > 0 and rows / 2 <= measured <= rows * 2


def _ratio(runs: Sequence[Run], what: Literal["seconds", "peak_bytes"]) -> float:
    ratios = [
        took / run.predicted[what]
        for run in runs
        if (took := run.seconds if what == "seconds" else run.measures.peak_bytes) and run.predicted.get(what)
    ]
    if not ratios:
        return 1.0
    from statistics import median

    return min(max(median(ratios), _LEAST_RATIO), _MOST_RATIO)
