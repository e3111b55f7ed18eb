"""`zipline fetch`: features by key, as the online store has them."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

from zipline.cli.options import Instant, open_project, project_options
from zipline.cli.screen import print_json, print_table
from zipline.errors import UsageError
from zipline.types import BINARY, DataType

if TYPE_CHECKING:
    from zipline.fetch.joins import JoinFetch
    from zipline.fetch.results import Result


@click.command()
@click.argument("join")
@click.option("--key", "keys", multiple=True, metavar="NAME=VALUE", help="A key of the row; VALUE is JSON, or a text.")
@click.option("--rows", metavar="JSON", help='Several rows: [{"carrier": "AA"}, {"carrier": "UA"}].')
@click.option("--at", type=Instant(), metavar="TIME", help="As of this time (default: now).")
@project_options
def command(
    join: str,
    keys: tuple[str, ...],
    rows: str | None,
    at: int | None,
    project: str | None,
    environment: str | None,
    as_json: bool,
) -> None:
    """Look up a join's features by key in the online store.

    \b
    Example:
      zipline fetch flights.departures.departures --key carrier=UA --key origin=JFK --key dest=LAX --key flight=1 \\
        --key tailnum=N595UA
    """
    asked = _rows(keys, rows)
    from zipline.fetch.fetcher import Fetcher

    fetcher = Fetcher(open_project(project, environment))
    try:
        fetch = fetcher.join(join)
        _check_names(asked, fetch)
        asked = [_with_bytes(row, dict(fetch.given)) for row in asked]
        found = fetcher.fetch(join, asked, at=at)
    finally:
        fetcher.close()
    if as_json:
        print_json({"rows": [_facts(found, number) for number in range(len(found))], "fingerprint": found.fingerprint})
        return
    for number, row in enumerate(found.rows()):
        title = ", ".join(f"{name}={value}" for name, value in asked[number].items())
        lines = [(name, _text(value), found.status(number, name)) for name, value in row.items()]
        print_table(title, ("feature", "value", "status"), lines)


def _rows(keys: tuple[str, ...], rows: str | None) -> list[dict[str, Any]]:
    if bool(keys) == (rows is not None):
        raise UsageError("a fetch needs keys", hint='write --key carrier=AA, or --rows \'[{"carrier": "AA"}]\'')
    if rows is not None:
        try:
            found = json.loads(rows, parse_float=Decimal)
        except ValueError as wrong:
            raise UsageError(f"--rows is no JSON: {wrong}") from None
        if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
            raise UsageError("--rows is no list of objects", hint='write [{"carrier": "AA"}]')
        return found
    row = {}
    for key in keys:
        name, equals, text = key.partition("=")
        if not equals:
            raise UsageError(f"--key {key!r} has no value", hint="write --key carrier=AA")
        try:
            row[name] = json.loads(text, parse_float=Decimal)
        except ValueError:
            row[name] = text
    return [row]


def _check_names(rows: list[dict[str, Any]], fetch: JoinFetch) -> None:
    """UsageError names what the join does not take; what it needs and a row lacks is told on stderr."""
    known = [name for name, _ in fetch.given]
    for number, row in enumerate(rows):
        for name in row:
            if name not in known:
                raise UsageError(f"{fetch.plan.name} does not take {name!r} (rows[{number}])", asked=name, valid=known)
        lacking = ", ".join(name for name in fetch.keys if name not in row)
        if lacking:
            click.echo(f"rows[{number}] has no {lacking}: the features of that key are in error", err=True)


def _facts(found: Result, number: int) -> dict[str, Any]:
    """Values in the forms of the feature server."""
    import msgspec

    from zipline.fetch.results import as_json

    row = found.rows()[number]
    statuses = {name: status for name in row if (status := found.status(number, name)) != "ok"}
    times = {name: None if (at := found.time(number, name)) is None else at.isoformat() for name in row}
    values = msgspec.to_builtins({name: as_json(value) for name, value in row.items()}, str_keys=True)
    return {"values": values, "status": statuses, "time": times}


def _with_bytes(row: dict[str, Any], types: Mapping[str, DataType]) -> dict[str, Any]:
    """JSON has no bytes: they are base64."""
    given = dict(row)
    for name, value in row.items():
        if types[name] == BINARY and isinstance(value, str):
            try:
                given[name] = base64.b64decode(value, validate=True)
            except ValueError:
                raise UsageError(f"{name} is BINARY, and {value!r} is no base64") from None
    return given


def _text(value: Any) -> str:
    return "null" if value is None else str(value)
