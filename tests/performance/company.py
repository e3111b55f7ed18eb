"""A large company made up: a project with tables and the definitions over them, for how fast they compile."""

from __future__ import annotations

import datetime as dt
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

TABLES = 20
PARTS = 10
_COLUMNS = ("user", "item", "amount", "quantity", "channel", "happened_at", "known_at", "ds")

_TEAM = 'from zipline import Team\n\nteam = Team(owner="shop")\n'
_GROUP_BYS = '''"""Group-bys over table {table}."""

from zipline import Aggregation, Derivation, EventSource, GroupBy, Operation, Query

events = EventSource(
    "events_{table}",
    Query(
        select={{
            "user": "user",
            "item": "item",
            "amount": "amount",
            "late": "CAST(known_at > happened_at AS INT)",
            "spent": "amount * quantity",
            "channel": "COALESCE(channel, 'none')",
        }},
        where=["amount IS NOT NULL", "quantity > {file}"],
        time="happened_at",
        known_at="known_at",
    ),
)

purchases = {{
    f"n{{number}}": GroupBy(
        keys=["user"] if number % 2 else ["user", "item"],
        sources=[events],
        aggregations=[
            Aggregation("amount", Operation.AVERAGE, windows=["1h", "1d", f"{{number + 2}}d"]),
            Aggregation("spent", Operation.SUM, windows=["1d", "7d"]),
            Aggregation("late", Operation.SUM, windows=["7d"], buckets=["channel"]),
            Aggregation("channel", Operation.TOP_K, k=3, windows=["30d"]),
            Aggregation("item", Operation.UNIQUE_COUNT, windows=["7d"]),
            Aggregation("amount", Operation.MAX, windows=["1d", "30d"]),
        ],
        derivations=[Derivation("trend", "amount_average_1h - amount_average_1d")],
    )
    for number in range({group_bys})
}}
'''
_JOINS = """

visits = {{
    f"n{{number}}": Join(
        left=EventSource("events_{table}", Query(["user", "item"], time="happened_at")),
        parts=[JoinPart(purchases[f"n{{(number * {parts} + part) % {group_bys}}}"]) for part in range({parts})],
        derivations=[Derivation("double", "purchases_n{{}}_trend * 2".format((number * {parts}) % {group_bys}))],
    )
    for number in range({joins})
}}
"""


def make(folder: Path, group_bys: int, joins: int, files: int) -> Path:
    """A project of so many definitions in so many files, afresh."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "configs" / "shop").mkdir(parents=True)
    (folder / "configs" / "shop" / "team.py").write_text(_TEAM)
    for file in range(files):
        path = folder / "configs" / "shop" / f"purchases_{file}.py"
        path.write_text(text(file, group_bys // files, joins // files))
    _write_tables(folder)
    return folder


def text(file: int, group_bys: int, joins: int) -> str:
    """One file: its group-bys, and joins over them."""
    parts = min(PARTS, group_bys)
    named = {"table": file % TABLES, "file": file, "group_bys": group_bys, "joins": joins, "parts": parts}
    written = _GROUP_BYS.format(**named) + _JOINS.format(**named)
    return written.replace("GroupBy, Operation", "GroupBy, Join, JoinPart, Operation", 1)


def _write_tables(folder: Path) -> None:
    at = dt.datetime(2024, 5, 1, tzinfo=dt.UTC)
    row = dict(zip(_COLUMNS, ("ann", "tea", 1.5, 2, "web", at, at, "2024-05-01"), strict=True))
    (folder / "data").mkdir()
    settings = []
    for table in range(TABLES):
        pq.write_table(pa.Table.from_pylist([row]), folder / "data" / f"events_{table}.parquet")
        settings.append(f'[tables.events_{table}]\npath = "data/events_{table}.parquet"\n')
    (folder / "zipline.toml").write_text("\n".join(settings))
