"""`zipline lineage`: where a column comes from, and what is made with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import click

from zipline.cli.options import load_definitions, open_project, project_options
from zipline.cli.screen import console, plural, print_json

if TYPE_CHECKING:
    from rich.tree import Tree

    from zipline.plan.definitions import Definitions
    from zipline.plan.lineage import Lineage, Use

_ROLES = ("value", "derivation", "label", "feature", "twin", "bootstrap", "key", "bucket")
"""Roles in the order in which they are read; the others follow."""
_MOST = 6
_NOWHERE = {
    "group-by": "no join takes it",
    "join": "no model and no other definition reads it",
    "model": "a model is where features end",
}


@click.command()
@click.argument("column")
@click.option("--up", is_flag=True, help="Only where it comes from.")
@click.option("--down", is_flag=True, help="Only what is made with it.")
@click.option("--all", "whole", is_flag=True, help="Every column by name, however many there are.")
@project_options
def command(
    column: str, up: bool, down: bool, whole: bool, project: str | None, environment: str | None, as_json: bool
) -> None:
    """Show where a column comes from and what is made with it.

    COLUMN is TABLE.COLUMN, GROUP_BY.FEATURE, JOIN.COLUMN or the name of a model. Up: one line for each use, with its
    role (value, key, time, filter, ...) and expression. Down: one entry for each definition, with its columns.

    \b
    Examples:
      zipline lineage flights.arr_delay --down
      zipline lineage flights.departures.departures.overdue --up
    """
    from zipline.cli.schemas import schemas_of
    from zipline.plan.lineage_graph import lineage_of

    opened = open_project(project, environment)
    definitions = load_definitions(opened)
    lineage = lineage_of(definitions.values(), schemas_of(opened, definitions))
    found = lineage.find(column)
    both = up == down
    if as_json:
        print_json(_facts(lineage, found.name, up or both, down or both))
        return
    shown = _Shown(lineage, definitions, None if whole else _MOST)
    click.secho(f"{found.name}   {shown.about(found.of)}{f'   {found.type}' if found.type else ''}", bold=True)
    if up or both:
        shown.up(found.name)
    if down or both:
        shown.down(found.name)


def _facts(lineage: Lineage, column: str, up: bool, down: bool) -> dict[str, Any]:
    facts: dict[str, Any] = dataclasses.asdict(lineage.columns[column])
    if up:
        above = {column, *lineage.upstream(column)}
        facts["upstream"] = [dataclasses.asdict(use) for use in lineage.uses if use.target in above]
    if down:
        below = {column, *lineage.downstream(column)}
        facts["downstream"] = [dataclasses.asdict(use) for use in lineage.uses if use.source in below]
    return facts


@dataclasses.dataclass(frozen=True)
class _Shown:
    """Lineage as trees; `most` is how many columns are listed by name (None: all)."""

    lineage: Lineage
    definitions: Definitions
    most: int | None

    def about(self, of: str) -> str:
        """What a definition or table is, who owns it, and the author's line."""
        kind = next(column.kind for column in self.lineage.columns.values() if column.of == of)
        if of not in self.definitions:
            return f"column of the table {of}" if kind == "table" else kind
        return f"{_kind_of(self.lineage, of)} of {self.definitions.owner(of)}, {self.definitions.site(of)}"

    def up(self, column: str) -> None:
        from rich.markup import escape
        from rich.tree import Tree

        if not self.lineage.made_with.get(column):
            click.echo("nothing is above it\n")
            return
        tree = Tree("made with", guide_style="dim")
        self._above(tree, column, {column}, escape)
        console().print(tree)
        click.echo()

    def _above(self, tree: Tree, column: str, seen: set[str], escape: Any) -> None:
        for role, uses in _by_role(self.lineage.made_with.get(column, ())).items():
            for use in uses[: self.most]:
                again = use.source in seen and bool(self.lineage.made_with.get(use.source))
                through = f"  [dim]{escape(use.through)}[/dim]" if use.through not in ("", _last(use.source)) else ""
                branch = tree.add(f"[dim]{role:9}[/dim] {escape(use.source)}{through}{'  (see above)' * again}")
                if use.source not in seen:
                    seen.add(use.source)
                    self._above(branch, use.source, seen, escape)
            self._add_more(tree, len(uses))

    def _add_more(self, tree: Tree, count: int) -> None:
        if self.most is not None and count > self.most:
            tree.add(f"and {count - self.most} more: --all lists them")

    def down(self, column: str) -> None:
        from rich.tree import Tree

        if not self.lineage.used_by.get(column):
            why = _NOWHERE.get(_kind_of(self.lineage, self.lineage.columns[column].of), "nothing is made with it")
            click.echo(f"used nowhere: {why}")
            return
        tree = Tree("used by", guide_style="dim")
        self._below(tree, self.lineage.columns[column].of, {column})
        console().print(tree)
        count = len(self.lineage.downstream(column))
        click.echo(f"\n{plural(count, 'column')} are made with it, directly or not")

    def _below(self, tree: Tree, of: str, columns: set[str]) -> None:
        """An entry for each definition that reads these columns of `of`, and below it those that read its columns."""
        from rich.markup import escape

        for other, uses in self._readers(of, columns).items():
            branch = tree.add(f"[bold]{escape(other)}[/bold]   [dim]{escape(self.about(other))}[/dim]")
            reached = {use.target for use in uses}
            uses += self._inside(other, reached)
            for role, same in _by_role(uses).items():
                names = list(dict.fromkeys(_last(use.target) for use in same if use.target != other))
                if names:
                    branch.add(f"[dim]{role:10}[/dim] {escape(self._listed(names))}")
            self._below(branch, other, reached)

    def _readers(self, of: str, columns: set[str]) -> dict[str, list[Use]]:
        readers: dict[str, list[Use]] = {}
        for name in (name for name in self.lineage.columns if name in columns):
            for use in self.lineage.used_by.get(name, ()):
                other = self.lineage.columns[use.target].of
                if other != of:
                    readers.setdefault(other, []).append(use)
        return dict(sorted(readers.items()))

    def _inside(self, of: str, reached: set[str]) -> list[Use]:
        """What a definition makes of its own columns; adds these to `reached`."""
        uses: list[Use] = []
        pending = [name for name in self.lineage.columns if name in reached]
        while pending:
            for use in self.lineage.used_by.get(pending.pop(0), ()):
                if self.lineage.columns[use.target].of == of and use.target not in reached:
                    uses.append(use)
                    reached.add(use.target)
                    pending.append(use.target)
        return uses

    def _listed(self, names: list[str]) -> str:
        if self.most is None or len(names) <= self.most + 1:
            return ", ".join(names)
        return f"{', '.join(names[: self.most])} and {len(names) - self.most} more"


def _kind_of(lineage: Lineage, of: str) -> str:
    """What the definition is, whatever kinds its columns are of."""
    kinds = {column.kind for column in lineage.columns.values() if column.of == of}
    return "join" if "label" in kinds or "of the request" in kinds else min(kinds, default="table")


def _last(column: str) -> str:
    return column.rpartition(".")[2]


def _by_role(uses: Iterable[Use]) -> Mapping[str, list[Use]]:
    grouped: dict[str, list[Use]] = {}
    for use in uses:
        grouped.setdefault(use.role, []).append(use)
    order = {role: place for place, role in enumerate(_ROLES)}
    return dict(sorted(grouped.items(), key=lambda item: order.get(item[0], len(order))))
