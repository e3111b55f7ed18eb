"""The command: `python -m tests.performance.spark.scale FOLDER` makes the project and says how to ask for its cost.

A row of events takes a hundred bytes in columns, so 20 billion of them are two terabytes.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

CONFIGS = Path(__file__).parent / "configs"
KEYS = ("user", "item", "shop", "device", "city")
LEFT_ROWS, EVENT_ROWS = 1_000_000_000, 20_000_000_000
START, END = "2024-01-01", "2024-01-31"
CORES = 2_000


def write_project(folder: Path) -> None:
    """The definitions and their tables, without a row."""
    shutil.copytree(CONFIGS, folder / "configs", ignore=shutil.ignore_patterns("__pycache__"))
    instant = pa.timestamp("us", "UTC")
    left = pa.schema([*((key, pa.int64()) for key in KEYS), ("at", instant)])
    tables = {"orders": left}
    for key in KEYS:
        values = [(f"v{number}", pa.float64()) for number in range(4)]
        others = [("n", pa.int64()), ("kind", pa.int32()), ("channel", pa.string()), ("page", pa.string())]
        tables[f"{key}_events"] = pa.schema([(key, pa.int64()), ("at", instant), *values, *others])
    for name, schema in tables.items():
        place = folder / ".zipline" / "warehouse" / name
        place.mkdir(parents=True)
        pq.write_table(schema.empty_table(), place / "part-0.parquet")


def asked(folder: Path) -> list[str]:
    """The arguments of `zipline`."""
    rows = {"orders": LEFT_ROWS} | {f"{key}_events": EVENT_ROWS for key in KEYS}
    supposed = [argument for table, count in rows.items() for argument in ("--rows", f"{table}={count}")]
    of_days = ["--start", START, "--end", END, "--project", str(folder)]
    return ["plan", "scale.joins.wide", "--engine", "spark", "--estimate", "--cores", str(CORES), *supposed, *of_days]


if __name__ == "__main__":
    write_project(Path(sys.argv[1]))
    print("zipline", *asked(Path(sys.argv[1])))
