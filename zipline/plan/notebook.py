"""Plans in a notebook: the steps in order, and the columns with their types."""

from __future__ import annotations

from collections.abc import Sequence

from zipline.api.notebook import MOST, Html, code, faint, fields, folded, grid, heading, page
from zipline.plan.steps import Column, GroupByPlan, JoinPlan, Projection


def join_page(plan: JoinPlan) -> str:
    """The steps of a join and the columns of its output."""
    steps = [(n, step.title, step.detail) for n, step in enumerate(plan.steps(), 1)]
    columns = folded(f"{len(plan.columns):,} columns", columns_grid(plan.columns))
    return page(
        heading("JoinPlan", plan.name, plan.location or ""),
        grid((">", "step", "detail"), steps),
        columns,
        faint(f"fingerprint {plan.fingerprint[:16]}"),
    )


def group_by_page(plan: GroupByPlan) -> str:
    """What a group-by reads and gives."""
    facts = [
        ("keys", columns_grid(plan.keys) if plan.keys else faint("one global key")),
        ("accuracy", plan.accuracy),
        ("reads", Html("".join(map(_source, plan.sources)))),
        (
            "derivations",
            grid(("column", "expression"), [(code(d.name), code(d.expression.text)) for d in plan.derivations]),
        ),
    ]
    return page(
        heading("GroupByPlan", plan.name, plan.location or ""),
        fields(facts[: None if plan.derivations else -1]),
        folded(f"{len(plan.columns):,} columns", columns_grid(plan.columns), is_open=len(plan.columns) <= 20),
        faint(f"fingerprint {plan.fingerprint[:16]}"),
    )


def _source(source: Projection) -> Html:
    clocks = {"time": source.time, "known_at": source.known_at, "event_id": source.event_id}
    facts = [("table", code(source.parent.name if source.parent else source.table))]
    facts += [(name, code(each.text.strip('"'))) for name, each in clocks.items() if each is not None]
    facts += [("where", code(condition.text)) for condition in source.where]
    return fields(facts)


def columns_grid(columns: Sequence[Column]) -> Html:
    """Names with their types, of very many the first."""
    rows = [(code(name), code(dtype)) for name, dtype in columns[:MOST]]
    if len(columns) > MOST:
        rows.append((faint(f"... {len(columns) - MOST:,} more"), Html("")))
    return grid(("column", "type"), rows)
