"""`zipline diff`: what the definitions now would change of what was compiled before, and how changes are shown."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from zipline.cli.options import load_definitions, open_project, project_options, without_collection
from zipline.cli.screen import plural, print_json, ranges

if TYPE_CHECKING:
    from zipline.plan.changes import Changes, ColumnChange, Consumer, DaysOf, DefinitionChange, JoinChange
    from zipline.plan.field_changes import FieldChange
    from zipline.project import Project

COMPILED, CACHE = (".zipline", "compiled"), (".zipline", "cache", "compiled.json")
"""Below the project's folder: what was accepted last, and what its files were made of."""

_MOST = 6
_NEAREST = {"Model": -2, "Join": -1}
"""Who is named first: those nearest to what values are for."""
_GREEN, _YELLOW, _RED = "green", "yellow", "red"


@click.command()
@click.option("--exit-code", is_flag=True, help="Exit with 1 where anything changed.")
@project_options
def command(exit_code: bool, project: str | None, environment: str | None, as_json: bool) -> None:
    """Show what changed since the last compile.

    Which definitions were created, changed or deleted, field by field; for each join, which columns would be
    recomputed, why, for which stored days, and who consumes them; and what would break online. Nothing is written.

    \b
    Example:
      zipline diff
    """
    from zipline.cli.schemas import schemas_of
    from zipline.plan.compiled import compare

    opened = open_project(project, environment)
    with without_collection():
        definitions = load_definitions(opened)
        compared = compare(
            definitions,
            opened.root.joinpath(*COMPILED),
            schemas_of(opened, definitions),
            cache=opened.root.joinpath(*CACHE),
            days_of=stored_days(opened),
        )
    if as_json:
        print_json({**changes_facts(compared.changes), "untyped": compared.now.untyped})
    else:
        show_changes(compared.changes)
        show_untyped(compared.now.untyped)
    if exit_code and compared.changes:
        click.get_current_context().exit(1)


def stored_days(project: Project) -> DaysOf:
    """Join -> the days that its output holds, for training or for scoring."""

    def days_of(join: str) -> Sequence[str]:
        from zipline.tables.delta import DeltaOutput
        from zipline.tables.stored_rows import output_name

        tables = (project.table_uri(output_name(join, training)) for training in (True, False))
        return sorted(set[str]().union(*(DeltaOutput(uri, project.storage_options).days() for uri in tables)))

    return days_of


def changes_facts(changes: Changes) -> dict[str, Any]:
    """The changes as JSON-ready facts."""
    facts = dataclasses.asdict(changes)
    for change in (*facts["created"], *facts["changed"], *facts["deleted"]):
        change["fields"] = [_field_facts(each) for each in change["fields"]]
    for join in facts["joins"]:
        join["rows"] = None if join["rows"] is None else [_field_facts(each) for each in join["rows"]]
        for column in join["columns"]:
            column["reasons"] = [_field_facts(each) for each in column["reasons"]]
    return facts


def _field_facts(change: dict[str, Any]) -> dict[str, Any]:
    from zipline.plan.field_changes import FieldChange

    return {**change, "path": list(change["path"]), "field": FieldChange(**change).field}


def show_changes(changes: Changes) -> None:
    """Everything that changed, for a person."""
    if not changes:
        click.echo(f"nothing changed: {plural(len(changes.unchanged), 'definition')} as compiled")
        return
    for sign, definitions in (("+", changes.created), ("~", changes.changed), ("-", changes.deleted)):
        for same in _alike(each for each in definitions if each.fields or sign != "~"):
            _show_definitions(sign, same)
    for join in changes.joins:
        _show_join(join)
    for name in _unknown_joins(changes):
        click.echo(f"\n{click.style(name, bold=True)}   changes; which columns do is unknown without its tables")
    _show_consumers(changes)
    show_breaking(changes)


def summary(changes: Changes) -> Iterator[str]:
    """Created, changed and deleted in a line each."""
    for what in ("created", "changed", "deleted"):
        names = [each.name for each in getattr(changes, what)]
        if names:
            yield f"{what} {len(names)}: {_listed(names, 12)}"
    if changes.unchanged:
        yield f"unchanged {len(changes.unchanged)}"
    for join in changes.joins:
        yield f"{join.name}: {_counts(join)}"
    for name in _unknown_joins(changes):
        yield f"{name}: which columns change is unknown without its tables"


def show_breaking(changes: Changes) -> None:
    """What would break for those who ask online."""
    if changes.breaking:
        click.secho("\nbreaks online", fg=_RED, bold=True)
        for each in changes.breaking:
            click.echo(f"  {each.name} {each.what}   {_dim(each.where)}")
        click.echo('  next: zipline compile --force --reason "..."')


def show_untyped(untyped: dict[str, str]) -> None:
    """Which objects could not be typed, by why."""
    for why in dict.fromkeys(untyped.values()):
        count = sum(reason == why for reason in untyped.values())
        click.echo(click.style("warning: ", fg=_YELLOW) + f"{plural(count, 'object')} without types: {why}")


def _unknown_joins(changes: Changes) -> list[str]:
    known = {join.name for join in changes.joins}
    return [each.name for each in changes.changed if each.kind == "Join" and each.name not in known]


def _alike(definitions: Iterable[DefinitionChange]) -> Iterator[list[DefinitionChange]]:
    """Definitions of one kind with the same changes, as of a source that they share."""
    grouped: dict[tuple[str, ...], list[DefinitionChange]] = {}
    for each in definitions:
        changed = tuple(f"{field} {field.where}" for field in each.fields)
        grouped.setdefault((each.kind, *changed) if changed else (each.name,), []).append(each)
    yield from grouped.values()


def _show_definitions(sign: str, same: list[DefinitionChange]) -> None:
    first, colour = same[0], {"+": _GREEN, "~": _YELLOW, "-": _RED}[sign]
    names = _listed([each.name for each in same], 3)
    about = _dim(f"{_kind(first.kind)} of {first.owner}" + (f", {first.where}" if len(same) == 1 else ""))
    click.echo(f"{click.style(sign, fg=colour, bold=True)} {click.style(names, bold=True)}   {about}")
    for field in first.fields:
        click.echo(f"    {field}   {_dim(field.where or '')}".rstrip())


def _show_join(join: JoinChange) -> None:
    click.echo(f"\n{click.style(join.name, bold=True)}   {_dim(f'join of {join.owner}')}")
    click.echo(f"  {_counts(join)}")
    if join.rows is not None:
        _show_reasons(join.rows)
    for what, colour in (("new", _GREEN), ("recomputed", _YELLOW), ("dropped", _RED)):
        if join.rows is not None and what == "recomputed":
            continue
        for reasons, columns in _by_reasons(each for each in join.columns if each.what == what):
            click.echo(f"  {click.style(f'{what:10}', fg=colour)} {_listed([each.name for each in columns], _MOST)}")
            _show_reasons(reasons)


def _counts(join: JoinChange) -> str:
    """What becomes of the columns, and on which days."""
    counted = [(sum(each.what == what for each in join.columns), what) for what in ("new", "recomputed", "dropped")]
    parts = [f"{count} {what}" for count, what in counted if count]
    rows = "other rows, " if join.rows is not None else ""
    return f"{rows}{', '.join([*parts, f'{join.kept} carried over'])}; {_days(join.days)}"


def _show_reasons(reasons: Sequence[FieldChange]) -> None:
    alike: dict[str, list[FieldChange]] = {}
    for each in reasons:
        alike.setdefault(f"{each}   {_dim(each.where or '')}".rstrip(), []).append(each)
    for text, same in list(alike.items())[:_MOST]:
        click.echo(f"    because {_listed(list(dict.fromkeys(each.of for each in same)), 2)}: {text}")
    if len(alike) > _MOST:
        click.echo(f"    and {len(alike) - _MOST} more reasons")


def _days(days: tuple[str, ...]) -> str:
    from zipline.orchestration.coverage import as_ranges

    return f"{plural(len(days), 'stored day')}: {ranges(as_ranges(days))}" if days else "no stored day to make again"


def _show_consumers(changes: Changes) -> None:
    """Everybody downstream of a change, by owner."""
    users = {user.name: user for each in changes.consumers.values() for user in each}
    owners: dict[str, list[Consumer]] = {}
    for user in sorted(users.values(), key=lambda user: (_NEAREST.get(user.kind, 0), user.name)):
        owners.setdefault(user.owner, []).append(user)
    if owners:
        click.secho("\nconsumers", bold=True)
    for owner, theirs in sorted(owners.items()):
        click.echo(f"  {owner}: {_listed([f'{_kind(user.kind)} {user.name}' for user in theirs], _MOST)}")


def _by_reasons(columns: Iterable[ColumnChange]) -> Iterator[tuple[list[FieldChange], list[ColumnChange]]]:
    """Columns of the same reasons, whichever definitions share them."""
    grouped: dict[tuple[str, ...], list[ColumnChange]] = {}
    for column in columns:
        key = tuple(dict.fromkeys(f"{each} {each.where}" for each in column.reasons))
        grouped.setdefault(key, []).append(column)
    for same in grouped.values():
        reasons = {(each.of, each.path): each for column in same for each in column.reasons}
        yield list(reasons.values()), same


def _listed(names: list[str], most: int) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _kind(kind: str) -> str:
    return {"GroupBy": "group-by", "StagingQuery": "staging query", "EventSource": "source"}.get(kind, kind.lower())


def _dim(text: str) -> str:
    return click.style(text, dim=True)
