"""How fast a large company compiles: everything anew, after one file changed, and the plan of one join."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tests.performance.company import make
from tests.performance.measure import Figures, measure, median

if TYPE_CHECKING:
    from tests.performance.cases import Bench, Row

_FILES = 50
_RUN = "import sys; sys.argv[1:] = {arguments!r}; from zipline.cli.main import run; run()"
"""What the console script does."""


def rows(bench: Bench) -> Iterator[Row]:
    """One row for each of the three."""
    group_bys = bench.scale.group_bys
    files = min(_FILES, group_bys // 5)
    project = make(bench.folder / "company", group_bys, group_bys // 5, files)
    size = f"{group_bys:,} group-bys, {group_bys // 5:,} joins"
    yield _row(f"compile of {size}: cold", 10.0, [_cold(project) for _ in range(bench.scale.rounds)])
    changed = project / "configs" / "shop" / f"purchases_{min(7, files - 1)}.py"
    runs = [_changed(project, changed, number) for number in range(max(3, bench.scale.rounds))]
    yield _row(f"compile of {size}: one file changed", 1.5, runs)
    few = make(bench.folder / "shop", 20, 4, 4)
    days = ["--start", "2024-05-01", "--end", "2024-05-01"]
    yield _row("plan of one join", 0.5, [_zipline(few, "plan", "shop.purchases_0.visits.n0", *days) for _ in runs])


def _row(case: str, aim: float, runs: list[Figures]) -> Row:
    from tests.performance.cases import Row

    seconds = median(runs)
    return Row(case, seconds, aim=f"< {aim:g} s", is_met=seconds < aim, figures={"ours": runs})


def _cold(project: Path) -> Figures:
    """Nothing compiled before, nothing kept."""
    for kept in sorted((project / ".zipline").rglob("*"), reverse=True) if (project / ".zipline").exists() else ():
        kept.rmdir() if kept.is_dir() else kept.unlink()
    return _zipline(project, "compile", "--json")


def _changed(project: Path, file: Path, number: int) -> Figures:
    file.write_text(file.read_text().replace(_condition(number), _condition(number + 1)))
    return _zipline(project, "compile", "--json")


def _condition(number: int) -> str:
    return "amount IS NOT NULL" + f" AND amount > {number}" * bool(number)


def _zipline(project: Path, *arguments: str) -> Figures:
    return measure("process", {"code": _RUN.format(arguments=[*arguments, "--project", str(project)])})
