"""A project on the disk with a chain: shops see what share of a user's recent spending each of their orders was."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from textwrap import dedent
from typing import Any

import pyarrow as pa
from confluent_kafka import Producer

from zipline import Fetcher, aggregate
from zipline.clock import to_datetime, to_micros
from zipline.fetch.results import Result
from zipline.plan.definitions import load
from zipline.project import Project, load_project
from zipline.tables.delta import write_source

SPENDING, SHOPS, ORDERS = "mall.chain.spending", "mall.chain.shops", "mall.chain.orders"
CONFIGS = {
    "mall/team.py": 'from zipline import Team\n\nteam = Team(owner="mall")\n',
    "mall/chain.py": """
        from zipline import (
            Aggregation, Derivation, EventSource, GroupBy, Join, JoinPart, JoinSource, Operation, Query, Topic,
        )

        spending = GroupBy(
            keys=["user"],
            sources=[
                EventSource(
                    "purchases", topic=Topic("{topics}purchases"), query=Query(["user", "amount"], time="bought_at")
                )
            ],
            aggregations=[Aggregation("amount", Operation.SUM, windows=["7d"])],
            online=True,
        )
        orders = Join(
            left=EventSource(
                "orders",
                topic=Topic("{topics}orders"),
                query=Query(
                    select=["user", "shop", "price"], where=["price > 0"], time="placed_at", event_id={event_id}
                ),
            ),
            parts=[JoinPart(spending)],
            derivations=[
                Derivation("share", "price / spending_amount_sum_7d"),
                Derivation("is_morning", "hour(ts) < 12"),
            ],
            online=True,
        )
        shops = GroupBy(
            keys=["shop"],
            sources=[
                JoinSource(
                    orders,
                    Query(select={"shop": "shop", "share": "share", "morning": "CAST(is_morning AS INT)"},
                          where=["share < 100"]),
                )
            ],
            aggregations=[
                Aggregation("share", Operation.SUM, windows=["1d", "7d"]),
                Aggregation("share", Operation.LAST_K, k=3, windows=["7d"]),
                Aggregation("morning", Operation.COUNT, windows=["7d"]),
                Aggregation("morning", Operation.SUM, windows=["7d"]),
            ],
            online=True,
        )
        board = Join(
            left=EventSource("looks", Query(["shop"], time="at")), parts=[JoinPart(shops)], online=True
        )
    """,
}
DEEP = """
    from configs.mall.chain import orders, shops
    from zipline import Aggregation, Derivation, EventSource, GroupBy, Join, JoinPart, JoinSource, Operation, Query

    ranked = Join(
        left=JoinSource(orders, Query(["user", "shop", "share"], where=["share < 2"])),
        parts=[JoinPart(shops, features=["share_sum_7d"])],
        derivations=[Derivation("before", "COALESCE(shops_share_sum_7d, 0)")],
        online=True,
    )
    users = GroupBy(
        keys=["user"],
        sources=[JoinSource(ranked, Query(["user", "before", "share"]))],
        aggregations=[Aggregation(name, Operation.LAST_K, k=9, windows=["7d"]) for name in ("before", "share")],
        online=True,
    )
    people = Join(left=EventSource("orders", Query(["user"], time="placed_at")), parts=[JoinPart(users)], online=True)
"""
"""A chain over the chain: of a user's orders what the shop had seen before."""
PURCHASES = pa.schema(
    {"user": pa.string(), "amount": pa.float64(), "bought_at": pa.timestamp("us", "UTC"), "ds": pa.string()}
)
PLACED = pa.schema(
    {
        "order": pa.string(),
        "user": pa.string(),
        "shop": pa.string(),
        "price": pa.float64(),
        "placed_at": pa.timestamp("us", "UTC"),
        "ds": pa.string(),
    }
)
LOOKS = pa.schema({"shop": pa.string(), "at": pa.timestamp("us", "UTC")})


def make_mall(
    folder: Path,
    purchases: Sequence[dict[str, Any]],
    *,
    with_ids: bool = True,
    is_deep: bool = False,
    topics: str = "",
    settings: str = "",
) -> Project:
    """`purchases` are in the warehouse before anything comes."""
    for name, text in (CONFIGS | ({"mall/deep.py": DEEP} if is_deep else {})).items():
        path = folder / "configs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = dedent(text).replace("{event_id}", repr("order" if with_ids else None)).replace("{topics}", topics)
        path.write_text(text)
    (folder / "zipline.toml").write_text(f'name = "{topics or "mall"}"\n{settings}')
    project = load_project(folder)
    write_source("purchases", typed(purchases, PURCHASES), "ds", project=project)
    write_source("orders", typed([], PLACED), "ds", project=project)
    write_source("looks", typed([{"shop": "north", "at": "2024-05-05T00:00:00Z"}], LOOKS), project=project)
    return project


def typed(rows: Sequence[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    """Rows whose instants are text; the day of a partition is that of their time."""
    instants = [field.name for field in schema if pa.types.is_timestamp(field.type)]
    found = []
    for row in rows:
        made = row | {name: to_datetime(to_micros(row[name])) for name in instants}
        found.append(made | {"ds": row[instants[0]][:10]})
    return pa.Table.from_pylist(found, schema=schema)


def bought(user: str, amount: float, at: str) -> dict[str, Any]:
    return {"user": user, "amount": amount, "bought_at": at}


def placed(number: int, user: str, shop: str, price: float, at: str) -> dict[str, Any]:
    return {"order": f"o{number}", "user": user, "shop": shop, "price": price, "placed_at": at}


def produce(project: Project, table: str, events: Sequence[dict[str, Any] | bytes], at: int | None = None) -> None:
    """Messages of the topic of a table, in two partitions in turn."""
    producer = Producer({"bootstrap.servers": project.brokers.servers, "linger.ms": 1})
    for number, each in enumerate(events):
        text = each if isinstance(each, bytes) else json.dumps(each).encode()
        stamp = {} if at is None else {"timestamp": at // 1000}
        producer.produce(project.name + table, text, partition=number % 2, **stamp)
    assert producer.flush(30) == 0


def seen(project: Project, *shops: str, at: str) -> Result:
    """The features of these shops; the store is given back, for a process opens a folder of LMDB once."""
    fetcher = Fetcher(project)
    try:
        return fetcher.fetch("mall.chain.board", [{"shop": shop} for shop in shops], at=at)
    finally:
        fetcher.close()


def values(project: Project, *shops: str, at: str) -> list[dict[str, Any]]:
    """Those of the one group-by, under their own names."""
    return [
        {name.removeprefix("shops_"): value for name, value in row.items()}
        for row in seen(project, *shops, at=at).rows()
    ]


def backfilled(project: Project, *shops: str, at: str) -> list[dict[str, Any]]:
    """What the warehouse says of these shops at that time."""
    queries = pa.table(
        {
            "shop": list(shops),
            "ts": pa.array([to_datetime(to_micros(at))] * len(shops), pa.timestamp("us", "UTC")),
        }
    )
    tables = {name: str(project.root / ".zipline" / "warehouse" / name) for name in ("purchases", "orders")}
    found = aggregate(load(project.root / "configs")[SHOPS], queries, tables).to_pylist()
    return [{name: value for name, value in row.items() if name not in ("shop", "ts")} for row in found]
