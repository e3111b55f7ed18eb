"""How facts look: tables for people, JSON for programs."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console

_LONG = 100_000
"""Characters from which on it matters how fast JSON is indented: more than importing msgspec takes."""
_LEAST_WIDTH = 160
"""Of what is no terminal."""
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def print_json(facts: Any) -> None:
    """Facts on stdout; what JSON has no form for is text."""
    text = json.dumps(facts, default=str, ensure_ascii=False)
    click.echo(_indented(text) if len(text) > _LONG else json.dumps(facts, indent=2, default=str, ensure_ascii=False))


def _indented(text: str) -> str:
    """What `indent=2` gives, which Python's own encoder takes several times as long for."""
    import msgspec

    try:
        return msgspec.json.format(text, indent=2)
    except (msgspec.DecodeError, UnicodeEncodeError):  # NaN, or half of a surrogate pair
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)


def console(*, stderr: bool = False) -> Console:
    """Where tables are drawn; wide enough for names when it is no terminal."""
    from rich.console import Console

    made = Console(stderr=stderr, highlight=False)
    return made if made.is_terminal else Console(stderr=stderr, highlight=False, width=max(made.width, _LEAST_WIDTH))


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A titled table; columns whose name begins with '>' are aligned to the right."""
    texts = [[str(cell) for cell in row] for row in rows]
    click.secho(title, bold=True)
    if _is_simple(columns, texts):
        _print_simple(columns, texts)
    else:
        _print_folded(columns, texts)
    click.echo()


def _is_simple(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Whether a table fits as it is: every character one place wide, every row one line."""
    plain = all(cell.isascii() and cell.isprintable() for row in (columns, *rows) for cell in row)
    room = shutil.get_terminal_size().columns
    return plain and sum(_widths(columns, rows)) + 2 * (len(columns) - 1) <= (
        room if sys.stdout.isatty() else max(room, _LEAST_WIDTH)
    )


def _widths(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(len, cells)) for cells in zip([name.lstrip(">") for name in columns], *rows, strict=True)]


def _print_simple(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Without rich, which takes longer than all else that is shown."""
    widths = _widths(columns, rows)
    headings = [column.lstrip(">") for column in columns]
    for row in ([headings] if any(headings) else []) + [*rows]:
        cells = [
            cell.rjust(width) if column.startswith(">") else cell.ljust(width)
            for cell, width, column in zip(row, widths, columns, strict=True)
        ]
        line = "  ".join(cells).rstrip()
        click.echo(click.style(line, dim=True) if row is headings else line)


def _print_folded(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    from rich.markup import escape
    from rich.table import Table

    headed = any(column.strip(">") for column in columns)
    table = Table(header_style="dim", show_header=headed, box=None, pad_edge=False)
    for column in columns:
        table.add_column(column.lstrip(">"), justify="right" if column.startswith(">") else "left", overflow="fold")
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    console().print(table)


def size(count: int | None) -> str:
    """Bytes with a unit: 1.5 MiB."""
    if count is None:
        return "unknown"
    amount, unit = float(count), 0
    while amount >= 1024 and unit < len(_UNITS) - 1:
        amount, unit = amount / 1024, unit + 1
    return f"{count} B" if unit == 0 else f"{amount:.1f} {_UNITS[unit]}"


def number(count: int | None) -> str:
    return "unknown" if count is None else f"{count:,}"


def plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def ranges(pairs: Iterable[Sequence[str]], most: int = 6) -> str:
    """Ranges of days in a line: 2013-07-01..2013-07-04, 2013-07-09."""
    texts = [first if first == last else f"{first}..{last}" for first, last in pairs]
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more if texts else "none"
