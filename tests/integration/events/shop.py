"""A project on the disk whose purchases come as events: a Delta table, LMDB, a registry."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent
from typing import Any

import pyarrow as pa

from zipline import Fetcher
from zipline.clock import to_datetime, to_micros
from zipline.engines.local.session import connect
from zipline.fetch.results import Result
from zipline.project import Project, load_project
from zipline.tables.catalog import open_catalog
from zipline.tables.delta import write_source

CONFIGS = {
    "shop/team.py": 'from zipline import Team\n\nteam = Team(owner="shop")\n',
    "shop/spending.py": """
        from zipline import Aggregation, EventSource, GroupBy, Operation, Query, Topic

        purchases = EventSource(
            "purchases",
            topic=Topic("{topic}"),
            query=Query(["user", "amount"], where=["amount > 0"], time="bought_at", event_id={event_id}),
        )
        spending = GroupBy(
            keys=["user"],
            sources=[purchases],
            aggregations=[
                Aggregation("amount", Operation.SUM, windows=["1h", "1d", "7d"]),
                Aggregation("amount", Operation.COUNT, windows=["7d", None]),
                Aggregation("amount", Operation.LAST_K, k=2, windows=["7d"]),
            ],
            online=True,
        )
    """,
    "shop/visits.py": """
        from configs.shop.spending import spending
        from zipline import EventSource, Join, JoinPart, Query

        visits = Join(left=EventSource("visits", Query(["user"], time="at")), parts=[JoinPart(spending)], online=True)
    """,
}
PURCHASES: list[dict[str, Any]] = [
    {"event": "p1", "user": "ann", "amount": 20.0, "bought_at": "2024-05-01T09:00:00Z", "ds": "2024-05-01"},
    {"event": "p2", "user": "bob", "amount": 7.5, "bought_at": "2024-05-03T10:00:00Z", "ds": "2024-05-03"},
]
SCHEMA = pa.schema(
    {
        "event": pa.string(),
        "user": pa.string(),
        "amount": pa.float64(),
        "bought_at": pa.timestamp("us", "UTC"),
        "ds": pa.string(),
    }
)


def make_shop(folder: Path, *, with_ids: bool = True, topic: str = "purchases", settings: str = "") -> Project:
    for name, text in CONFIGS.items():
        path = folder / "configs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            dedent(text).replace("{event_id}", repr("event" if with_ids else None)).replace("{topic}", topic)
        )
    (folder / "zipline.toml").write_text('name = "shop"\n' + settings)
    project = load_project(folder)
    write_source("purchases", purchases(PURCHASES), "ds", project=project)
    write_source("visits", visits([("ann", "2024-05-05T00:10:00Z")]), project=project)
    return project


def purchases(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(
        [row | {"bought_at": to_datetime(to_micros(row["bought_at"]))} for row in rows], schema=SCHEMA
    )


def visits(rows: list[tuple[str, str]]) -> pa.Table:
    return pa.table(
        {
            "user": [user for user, _ in rows],
            "at": pa.array([to_datetime(to_micros(at)) for _, at in rows], pa.timestamp("us", "UTC")),
        }
    )


def event(number: int, user: str, amount: float, at: str) -> dict[str, Any]:
    return {"event": f"e{number}", "user": user, "amount": amount, "bought_at": at}


def stored(project: Project) -> list[dict[str, Any]]:
    """The rows of the warehouse's table."""
    table = open_catalog(project=project).table("purchases")
    connection = connect()
    found = connection.sql(f"SELECT * FROM {table.relation(connection)}").to_arrow_table()
    return sorted(found.to_pylist(), key=lambda row: (row["bought_at"], row["event"]))


def fetched(project: Project, *users: str, at: str) -> Result:
    """The features of these users; the store is given back, for a process opens a folder of LMDB once."""
    fetcher = Fetcher(project)
    try:
        return fetcher.fetch("shop.visits.visits", [{"user": user} for user in users], at=at)
    finally:
        fetcher.close()
