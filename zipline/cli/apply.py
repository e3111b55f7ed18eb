"""`zipline apply`: brings what is online to what the definitions say."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import click

from zipline.cli.options import Day, arguments_again, open_project, project_options
from zipline.cli.screen import plural, print_json, print_table

if TYPE_CHECKING:
    from zipline.orchestration.applying.steps import Steps


@click.command()
@click.option("--ds", type=Day(), help="The day as of whose end features are uploaded (default: the newest there is).")
@click.option("--allow-missing", is_flag=True, help="Upload also where a source has nothing of the day yet.")
@click.option("--within", type=float, default=900.0, show_default=True, help="Seconds to wait for streams.")
@click.option("--dry-run", is_flag=True, help="Show what would be done, and do nothing.")
@project_options
def command(
    ds: str | None,
    allow_missing: bool,
    within: float,
    dry_run: bool,
    project: str | None,
    environment: str | None,
    as_json: bool,
) -> None:
    """Bring the online definitions to what the files say: uploaded, streamed, served.

    From the first apply on, servers, fetches, streams and uploads work on what was applied last, whatever becomes of
    the files. A group-by whose definition changed is built beside the one that is served: uploaded, and streamed where
    it has a topic; then the definitions are exchanged in one step. What was served before is kept until the next
    exchange, so to go back is to apply the former files. Done again it changes nothing.

    \b
    Examples:
      zipline apply --dry-run
      zipline apply --ds 2013-07-31
    """
    from zipline.orchestration.applying.apply import apply
    from zipline.orchestration.applying.state import state_of
    from zipline.orchestration.applying.steps import steps_to
    from zipline.registry import open_registry
    from zipline.stores.opening import open_store
    from zipline.tables.catalog import open_catalog

    opened = open_project(project, environment)
    catalog = open_catalog(project=opened)
    state = state_of(opened, catalog)
    store = open_store(opened)
    done: list[str] = []

    def tell(what: str) -> None:
        done.append(what)
        if not as_json:
            click.echo(what)

    try:
        with open_registry(opened) as registry, ExitStack() as held:
            if not dry_run:  # before it is asked what there is to do: another apply may be at it
                held.enter_context(registry.locks.acquire(f"apply {opened.environment}", "zipline apply"))
            steps = steps_to(state, opened, catalog, store, registry, ds, allow_missing=allow_missing)
            if not as_json:
                _print(steps)
            if not dry_run and not steps.is_nothing:
                apply(steps, opened, catalog, store, tell, within=within, allow_missing=allow_missing)
    finally:
        store.close()
    if as_json:
        print_json({**_facts(steps), "done": done})
    elif dry_run:
        again = f"zipline apply{f' --ds {ds}' if ds else ''}{arguments_again(True, project, environment)}"
        click.echo("\nnothing was done" + ("" if steps.is_nothing else f"; next: {again}"))
    elif steps.is_nothing:
        click.echo("\nnothing to do")


def _facts(steps: Steps) -> dict[str, Any]:
    days = {version.name: day for version, day in steps.uploads}
    names = sorted({*steps.spaces, *steps.made.spaces})
    return {
        "exchanges": steps.exchanges,
        "group_bys": [
            {"name": name, "is": steps.change(name), "space": steps.spaces.get(name), "upload": days.get(name)}
            for name in names
        ],
        "fills": [version.name for version in (*steps.fills, *steps.refills)],
        "jobs": [{"name": job.name, "version": job.version, "starts": job in steps.starts} for job in steps.state.jobs],
        "ends": [*steps.ends, *steps.leaves],
    }


def _print(steps: Steps) -> None:
    facts = _facts(steps)
    fills = set(facts["fills"])
    rows = [
        (
            each["name"],
            each["is"],
            (each["space"] or "").rpartition("@")[2],
            f"as of {each['upload']}" if each["upload"] else "",
            "from what came since" if each["name"] in fills else "",
        )
        for each in facts["group_bys"]
    ]
    print_table("online group-bys", ("group-by", "", "version", "upload", "tiles"), rows)
    for job in facts["jobs"]:
        click.echo(f"job {job['name']}: {'starts' if job['starts'] else 'goes on'}")
    for name in facts["ends"]:
        click.echo(f"job {name}: ends")
    if steps.exchanges:
        changed = sum(each["is"] != "unchanged" for each in facts["group_bys"])
        click.echo(f"definitions: exchanged, {plural(changed, 'group-by')} new, changed or removed")
