"""The leak check: ways in which a training set knows what it could not have known, found in definitions and data.

Contract: `check_leaks` reports findings with figures and what to do; it changes nothing and reads a bounded part of the
data. Five kinds are looked for, each in a module of its own:

- "label as feature" (`leak_values`): a feature is made with the column that the label is made with, and sees its value
  before the label's own clock says that it happened; through a staging query too (`leak_staging`).
- "late arrival" (`leak_clocks`): a source declares no `known_at`, but a column or the day folders of its table show
  that rows arrive later than the time it gives them.
- "label through chaining" (`leak_paths`): a feature is made with a label of a join, through its stored output, a
  staging query over that, or a parent.
- "left after outcome" (`leak_clocks`): the left asks when the outcome of the row has already happened.
- "collapses when delayed" (`leak_strength`): a feature nearly is the label, and says little when its events come a day
  later.

A source that waits (`known_at`) is no finding. What was not looked at is said in `skipped`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from zipline.api import Join
from zipline.api.base import Definition
from zipline.clock import monotonic
from zipline.plan.build import Planned
from zipline.plan.steps import JoinPlan
from zipline.tables.catalog import Catalog
from zipline.values import dataclass


@dataclass(frozen=True)
class Leak:
    """One finding. `evidence` are its figures, JSON-ready; `columns` are all that it concerns, `column` the first."""

    kind: str
    column: str
    message: str
    remedy: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    location: str | None = None
    columns: tuple[str, ...] = ()

    def facts(self) -> dict[str, Any]:
        """The finding as JSON-ready facts."""
        return {
            "kind": self.kind,
            "column": self.column,
            "columns": list(self.columns or (self.column,)),
            "message": self.message,
            "evidence": dict(self.evidence),
            "remedy": self.remedy,
            "location": self.location,
        }


@dataclass(frozen=True)
class LeakReport:
    """What was found in one join; `skipped` says what was not looked at, and why."""

    join: str
    leaks: tuple[Leak, ...] = ()
    skipped: tuple[str, ...] = ()
    seconds: float = 0.0

    def facts(self) -> dict[str, Any]:
        """The report as JSON-ready facts."""
        return {
            "join": self.join,
            "leaks": [leak.facts() for leak in self.leaks],
            "skipped": list(self.skipped),
            "seconds": round(self.seconds, 3),
        }

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> list[str]:
        """The report for a terminal."""
        found = (
            f"{len(self.leaks)} possible leak{'' if len(self.leaks) == 1 else 's'}" if self.leaks else "no leak found"
        )
        lines = [f"{self.join}: {found}, in {self.seconds:.1f} s"]
        for leak in self.leaks:
            more = f" and {len(leak.columns) - 1} more" if len(leak.columns) > 1 else ""
            lines += [f"  {leak.kind}: {leak.column}{more}", f"    {leak.message}"]
            lines += [f"    evidence: {_figures(leak.evidence)}", f"    do: {leak.remedy}"]
            lines += [f"    at {leak.location}"] if leak.location else []
        return lines + [f"  not looked at: {reason}" for reason in self.skipped]

    def _repr_html_(self) -> str:
        from zipline.api.notebook import code, grid, heading, page

        rows = [
            (leak.kind, code(leak.column), leak.message, _figures(leak.evidence), leak.remedy) for leak in self.leaks
        ]
        found = grid(("kind", "column", "what", "evidence", "what to do"), rows)
        return page(heading("LeakReport", self.join, f"{len(rows)} found in {self.seconds:.1f} s"), found)


def _figures(evidence: Mapping[str, Any]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {_figure(value)}" for name, value in evidence.items())


def _figure(value: Any) -> str:
    if isinstance(value, list):
        return " <- ".join(map(str, value))
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


@dataclass(frozen=True)
class Scene:
    """What is looked at: the join and its plan, the tables, and the definitions around it by name."""

    join: Join
    plan: JoinPlan
    planned: Planned
    catalog: Catalog
    definitions: Mapping[str, Definition]


def check_leaks(join: Join, catalog: Catalog, definitions: Mapping[str, Any] | None = None) -> LeakReport:
    """The leaks of a join that its definition and a bounded part of its data show.

    `definitions` are those around it by name (of a project, all): a table that one of them makes is followed.
    """
    from zipline.quality.leak_clocks import late_arrivals, left_after_outcome
    from zipline.quality.leak_paths import labels_through_chaining
    from zipline.quality.leak_staging import labels_through_staging
    from zipline.quality.leak_strength import collapsing
    from zipline.quality.leak_values import labels_as_features, not_compared

    began = monotonic()
    planned = Planned(lambda name: catalog.table(name).schema)
    scene = Scene(join, planned.join(join), planned, catalog, {**(definitions or {}), join.title: join})
    leaks = [*labels_as_features(scene), *late_arrivals(scene), *labels_through_chaining(scene)]
    leaks += left_after_outcome(scene)
    staged, uncompared = labels_through_staging(scene)
    strengths, skipped = collapsing(scene)
    leaks += [*staged, *strengths]
    return LeakReport(join.title, tuple(leaks), (*not_compared(scene.plan), *uncompared, *skipped), monotonic() - began)
