"""The command: `python -m tests.performance [--only NAME] [--scale small|full] [--out FILE]`."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.performance.cases import CASES, SCALES, Bench, Row


def main(arguments: Sequence[str] | None = None) -> int:
    """0 where every aim is met."""
    asked = _parse(arguments)
    console = Console(stderr=True)
    bench = Bench(Path(asked.data), SCALES[asked.scale])
    rows: list[Row] = []
    for name in asked.only or CASES:
        console.print(f"measuring {name} ...")
        for row in CASES[name](bench):
            rows.append(row)
            console.print(f"  {row.case}: {_seconds(row)}  {_ratio(row)} {row.alternative}")
            _write(Path(asked.out), asked.scale, rows)
    Console(width=160 if not sys.stdout.isatty() else None).print(_table(rows))
    return 0 if all(row.is_met is not False for row in rows) else 1


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.performance", description=__doc__)
    parser.add_argument("--only", action="append", choices=list(CASES), help="one case; may be repeated")
    parser.add_argument("--scale", choices=list(SCALES), default="full")
    parser.add_argument("--out", default="build/bench.json", help="where the figures are written as JSON")
    parser.add_argument("--data", default="build/bench", help="where the measured files are kept")
    return parser.parse_args(arguments)


def _seconds(row: Row) -> str:
    if row.note in ("GB", "times"):
        return f"{row.seconds:.2f} {row.note}"
    return f"{row.seconds * 1000:.1f} ms" if row.seconds < 0.5 else f"{row.seconds:.2f} s"


def _ratio(row: Row) -> str:
    return f"{'> ' if row.is_bound else ''}{row.ratio:.1f}x" if row.ratio is not None else ""


def _table(rows: Sequence[Row]) -> Table:
    table = Table(title="ours against a named alternative, same files in, same values out")
    for heading in ("case", "ours", "alternative", "its time", "ratio", "aim", "met", "note"):
        table.add_column(heading, justify="right" if heading in ("ours", "its time", "ratio") else "left")
    for row in rows:
        table.add_row(
            row.case,
            _seconds(row),
            row.alternative,
            f"{'> ' if row.is_bound else ''}{row.alternative_seconds:.2f} s" if row.alternative_seconds else "",
            _ratio(row),
            row.aim,
            {True: "yes", False: "NO", None: ""}[row.is_met],
            "" if row.note in ("GB", "times") else row.note,
        )
    return table


def _write(path: Path, scale: str, rows: Sequence[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    machine = {"cores": os.cpu_count(), "python": platform.python_version(), "system": platform.platform()}
    found: dict[str, Any] = {"scale": scale, "machine": machine, "rows": [_plain(row) for row in rows]}
    path.write_text(json.dumps(found, indent=1))


def _plain(row: Row) -> dict[str, Any]:
    return {**asdict(row), "ratio": row.ratio}


if __name__ == "__main__":
    sys.exit(main())
