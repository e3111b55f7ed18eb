"""The cases: what is compared with what, and what is aimed at."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.performance import baselines, data
from tests.performance.definitions import OPERATIONS
from tests.performance.measure import Figures, Side, TooLong, in_turn, measure, median

GIGABYTE = 1e9
MILLION = 1_000_000
PATIENCE = 30
"""How many times as long as we do an alternative may take before it is stopped."""


@dataclass(frozen=True)
class Scale:
    """How much data: events of the windows, of the operations, of the lookup, and of each step of growth."""

    windows: int
    operations: int
    lookup: int
    growth: tuple[int, ...]
    rounds: int = 3
    group_bys: int = 1_000
    year: int = 100_000


SCALES = {
    "tiny": Scale(2_000, 2_000, 2_000, (1_000, 2_000), rounds=1, group_bys=10),
    "small": Scale(MILLION, 100_000, 100_000, (MILLION // 10, MILLION), year=10 * MILLION),
    "full": Scale(10 * MILLION, MILLION, 500_000, (MILLION, 10 * MILLION, 100 * MILLION), year=100 * MILLION),
}


@dataclass(frozen=True)
class Row:
    """One line of the table: seconds of ours and of the alternative (`is_bound`: at least), and what is aimed at."""

    case: str
    seconds: float
    alternative: str = ""
    alternative_seconds: float | None = None
    is_bound: bool = False
    aim: str = ""
    is_met: bool | None = None
    note: str = ""
    figures: Figures = field(default_factory=dict)

    @property
    def ratio(self) -> float | None:
        return None if self.alternative_seconds is None else self.alternative_seconds / self.seconds


@dataclass(frozen=True)
class Bench:
    """Where the files are and how large they are."""

    folder: Path
    scale: Scale

    def out(self, name: str) -> Path:
        return self.folder / f"{name.replace(' ', '_')}.out.parquet"


def windows_in_time_order(bench: Bench) -> Iterator[Row]:
    """Sixteen windowed features over events in time order."""
    yield from _windows(bench, "time", 10.0)


def windows_in_no_order(bench: Bench) -> Iterator[Row]:
    """The same over shuffled events."""
    yield from _windows(bench, "none", 7.0)


def _windows(bench: Bench, order: str, aim: float) -> Iterator[Row]:
    events = bench.scale.windows
    files = data.make(bench.folder, events, max(events // 10, 1), max(events // 100, 2), order)
    ours = _ours("windows", files, bench)
    name = f"16 windowed features, events in {'time' if order == 'time' else 'no'} order"
    tiles, *usual = (
        _duckdb(f, baselines.sixteen_windows(f, *files, bench.out(f)), bench) for f in baselines.FORMULATIONS
    )
    for row in _against(bench, name, ours, usual, f">= {aim:g}x", lambda ratio: ratio >= aim):
        yield row
        peak = max(run["peak_bytes"] for run in row.figures["ours"])
        yield Row(f"{name}: peak memory", peak / GIGABYTE, aim="< 4 GB", is_met=peak < 4 * GIGABYTE, note="GB")
    yield from _against(bench, f"{name}, against tiles", ours, [tiles], "", bool, "partial results by hop, by hand")
    alone = [measure("kernels", {"events": str(files[0]), "queries": str(files[1])}) for _ in range(bench.scale.rounds)]
    yield Row(f"{name}: kernels alone", median(alone), note="arrays in, arrays out", figures={"ours": alone})


def operations(bench: Bench) -> Iterator[Row]:
    """The other operations, each over a day and thirty."""
    events = bench.scale.operations
    files = data.make(bench.folder, events, max(events // 10, 1), max(events // 100, 2), "time", wide=True)
    sum_seconds = 0.0
    for name in OPERATIONS:
        ours = _ours(f"operation:{name}", files, bench)
        theirs = []
        for formulation in baselines.FORMULATIONS:
            statements = baselines.operation(name, formulation, *files, bench.out(formulation))
            if statements:
                theirs.append(_duckdb(formulation, statements, bench))
        for row in _against(bench, name, ours, theirs, "> 1x", lambda ratio: ratio > 1.0):
            yield row
            sum_seconds = sum_seconds or row.seconds
            if name != "SUM":
                times = row.seconds / sum_seconds
                yield Row(f"{name}: times our SUM", times, aim="<= 20", is_met=times <= 20, note="times")


def lookup(bench: Bench) -> Iterator[Row]:
    """The latest row's ten columns."""
    events = bench.scale.lookup
    files = data.make(bench.folder, events, max(events // 10, 1), max(events // 100, 2), "time", wide=True)
    theirs = _duckdb("ASOF JOIN", baselines.asof_join(*files, bench.out("asof")), bench)
    yield from _against(
        bench, "latest value of 10 columns", _ours("lookup", files, bench), [theirs], ">= 1x", lambda ratio: ratio >= 1
    )


def growth(bench: Bench) -> Iterator[Row]:
    """Time per event as events and queries grow together."""
    for events in bench.scale.growth:
        if events * 120 > _memory():
            yield Row(f"growth: {events:,} events", 0.0, note="left out: needs more memory than there is")
            continue
        files = data.make(bench.folder, events, max(events // 10, 1), min(max(events // 100, 2), 100_000), "time")
        side = _ours("windows", files, bench)
        runs = [side.run() for _ in range(bench.scale.rounds if events < 50 * MILLION else 1)]
        seconds = median(runs)
        yield Row(
            f"growth: {events:,} events", seconds, note=f"{seconds / events * 1e9:.0f} ns/event", figures={"ours": runs}
        )


def ten_rows(bench: Bench) -> Iterator[Row]:
    """Evaluations of ten rows, as in a unit test."""
    for call in ("aggregate", "backfill"):
        runs = [measure("ten_rows", {"call": call}) for _ in range(bench.scale.rounds)]
        seconds = median(runs)
        yield Row(f"{call} of ten rows", seconds, aim="< 20 ms", is_met=seconds < 0.020, figures={"ours": runs})


def start(bench: Bench) -> Iterator[Row]:
    """What a process costs before it does anything."""
    for name, code, aim in (
        ("import zipline", "import zipline", 0.150),
        (
            "zipline --help",
            "import sys; sys.argv = ['zipline', '--help']; from zipline.cli.main import run; run()",
            0.300,
        ),
    ):
        bare = Side("bare interpreter", "process", {"code": "pass"})
        runs = in_turn([Side("ours", "process", {"code": code}), bare], max(5, bench.scale.rounds))
        seconds = median(runs["ours"])
        yield Row(
            name,
            seconds,
            bare.name,
            median(runs[bare.name]),
            aim=f"< {aim * 1000:.0f} ms",
            is_met=seconds < aim,
            figures=dict(runs),
        )


def compiling(bench: Bench) -> Iterator[Row]:
    """A large company's definitions."""
    from tests.performance.compiling import rows

    yield from rows(bench)


def explaining(bench: Bench) -> Iterator[Row]:
    """One value of the demo company."""
    from tests.performance.explaining import rows

    yield from rows(bench)


def incremental(bench: Bench) -> Iterator[Row]:
    """A day from stored partials."""
    from tests.performance.incremental import rows

    yield from rows(bench)


def steps(bench: Bench) -> Iterator[Row]:
    """A year backfilled in steps of thirty days."""
    from tests.performance.stepping import rows

    yield from rows(bench)


CASES: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "windows": windows_in_time_order,
    "unordered": windows_in_no_order,
    "operations": operations,
    "lookup": lookup,
    "growth": growth,
    "ten-rows": ten_rows,
    "start": start,
    "compiling": compiling,
    "explaining": explaining,
    "incremental": incremental,
    "steps": steps,
}


def _ours(case: str, files: tuple[Path, Path], bench: Bench) -> Side:
    events, queries = map(str, files)
    return Side("ours", "ours", {"case": case, "events": events, "queries": queries, "out": str(bench.out("ours"))})


def _duckdb(formulation: str, statements: list[str], bench: Bench) -> Side:
    return Side(f"DuckDB, {formulation}", "duckdb", {"statements": statements})


def _against(
    bench: Bench, name: str, ours: Side, theirs: list[Side], aim: str, meets: Callable[[float], bool], note: str = ""
) -> Iterator[Row]:
    """Ours against the fastest of the alternatives: each tried once and compared, the fastest measured in turn.

    One that takes PATIENCE times as long as we do, or four times as long as another, is not waited for: of such a one
    the time is a lower bound.
    """
    first = ours.run()
    tried: dict[Side, Figures] = {}
    stopped: dict[Side, float] = {}
    for side in theirs:
        limit = max(20.0, PATIENCE * first["seconds"])
        if tried:
            limit = min(limit, max(20.0, 4 * min(run["seconds"] for run in tried.values())))
        try:
            tried[side] = side.run(limit)
        except TooLong:
            stopped[side] = limit
            continue
        _require_same(name, side, ours)
    seconds = {side: run["seconds"] for side, run in tried.items()} | stopped
    fastest = min(seconds, key=seconds.__getitem__)
    compared = [fastest, ours] if fastest in tried else [ours]
    runs = in_turn(compared, bench.scale.rounds)
    mine = median(runs["ours"])
    alternative = median(runs[fastest.name]) if fastest in tried else stopped[fastest]
    others = [
        f"{side.name}: {'> ' if side in stopped else ''}{seconds[side] / mine:.1f}x"
        for side in theirs
        if side is not fastest
    ]
    yield Row(
        case=name,
        seconds=mine,
        alternative=fastest.name,
        alternative_seconds=alternative,
        is_bound=fastest in stopped,
        aim=aim,
        is_met=meets(alternative / mine) if aim else None,
        note="; ".join([*([note] if note else []), *others]),
        figures={
            "ours": runs["ours"],
            "alternative": runs.get(fastest.name, []),
            "tried": {side.name: run for side, run in tried.items()},
            "stopped": {side.name: limit for side, limit in stopped.items()},
        },
    )


def _require_same(name: str, side: Side, ours: Side) -> None:
    statements = side.arguments["statements"]
    written = statements[-1].rsplit("TO '", 1)[1].split("'", 1)[0]
    found = measure("compare", {"ours": ours.arguments["out"], "theirs": written})["differences"]
    if found:
        raise AssertionError(f"{name}: {side.name} does not compute the same: {'; '.join(found)}")


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
