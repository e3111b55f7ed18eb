"""What a backfill is going to cost: for `plan` to show, and for `backfill` to keep with its run."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from zipline.cli.screen import number, size

if TYPE_CHECKING:
    from zipline.cli.outputs import Work
    from zipline.orchestration.cost import Cost

_RUNS_READ = 50


def expected_cost(work: Work, days: Sequence[str], step_days: int, as_of: int | None) -> Cost:
    """The cost of doing these days, by the tables' statistics and the project's past runs."""
    from zipline.orchestration.cost import predict
    from zipline.registry import finished_runs

    return predict(
        work.plan,
        work.catalog,
        work.start,
        work.end,
        step_days,
        days=days,
        history=finished_runs(work.project, _RUNS_READ),
        training=work.training,
        as_of=as_of,
        known=work.project.root / ".zipline" / "cache" / "counts",
    )


def cost_facts(cost: Cost) -> dict[str, Any]:
    """The prediction as JSON-ready facts."""
    return {name: fact for name, fact in dataclasses.asdict(cost).items() if name != "measures"}


def cost_lines(facts: dict[str, Any]) -> list[str]:
    """The same for people."""
    made = f"{number(facts['rows'])} rows, {size(facts['bytes'])} in memory"
    read = f"{number(facts['rows_read'])} rows, {size(facts['bytes_read'])} to read"
    took = f"{facts['seconds']:.0f} s, {size(facts['peak_bytes'])} at most"
    lines = [f"cost     {made}; {read}", f"         {took} ({facts['basis']})"]
    if facts["unknown"]:
        lines.append(f"         without {', '.join(facts['unknown'])}, of unknown size")
    return lines
