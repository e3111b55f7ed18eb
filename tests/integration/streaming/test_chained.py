"""A chain of joins through real Kafka and Flink: rows enriched once, whoever is killed, and as of when they came."""

from __future__ import annotations

import json
import random
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.integration.events.chained import ORDERS, SHOPS, SPENDING, bought, make_mall, placed, produce
from tests.integration.streaming.jobs import QUICK, make_topic, status, streaming, until
from tests.integration.streaming.test_killed import Keeper
from tests.integration.streaming.test_sent import read
from zipline import Fetcher
from zipline.cli.main import execute
from zipline.clock import DAY, SECOND, day_text, now, to_text
from zipline.orchestration.events.posting import EventLog
from zipline.project import Project

YESTERDAY = now() - DAY
USERS = {"ann": 16.0, "bob": 64.0}
"""What each had spent by yesterday."""


@pytest.fixture
def mall(tmp_path: Path, kafka_servers: str) -> Project:
    """Of which the shops are uploaded as of yesterday; its topics have two partitions."""
    return made(tmp_path, kafka_servers)


def made(folder: Path, kafka_servers: str, *, is_deep: bool = False) -> Project:
    topics = f"mall-{uuid.uuid4().hex[:8]}-"
    for name in ("purchases", "orders"):
        make_topic(kafka_servers, topics + name)
    settings = f'[brokers]\nservers = "{kafka_servers}"\n{QUICK}'
    spent = [bought(user, amount, to_text(YESTERDAY - YESTERDAY % DAY)) for user, amount in USERS.items()]
    project = make_mall(folder, spent, is_deep=is_deep, topics=topics, settings=settings)
    upload(project, SHOPS)
    return project


def upload(project: Project, name: str) -> None:
    asked = ["upload", name, "--ds", day_text(YESTERDAY), "--allow-missing", "--project", str(project.root)]
    assert execute(asked) == 0


def order(number: int, user: str, price: float, shop: str = "north", ago: int = SECOND) -> dict[str, Any]:
    return placed(number, user, shop, price, to_text(now() - ago))


def topic_of_rows(project: Project) -> str:
    """Of the join's rows."""
    from zipline.orchestration.events.sources import event_sources
    from zipline.orchestration.streaming.jobs import stream_job
    from zipline.plan.definitions import load
    from zipline.tables.catalog import open_catalog

    sources = event_sources(project, load(project.root / "configs"), open_catalog(project=project))
    (topic,) = stream_job(project, sources).enriched.values()
    return topic


@contextmanager
def looking(project: Project) -> Iterator[Any]:
    """Features of shops as they are now."""
    fetcher = Fetcher(project)

    def look(shop: str = "north") -> dict[str, Any]:
        row = fetcher.fetch("mall.chain.board", [{"shop": shop}]).rows()[0]
        return {name.removeprefix("shops_"): value for name, value in row.items()}

    try:
        yield look
    finally:
        fetcher.close()


def test_orders_come_by_topics_and_posts_and_what_is_put_aside_is_so_once(
    mall: Project, kafka_servers: str, capsys: pytest.CaptureFixture[str]
) -> None:
    upload(mall, SPENDING)
    came = now() - 10 * SECOND
    first = [order(1, "ann", 8.0, ago=20 * SECOND), order(2, "bob", 16.0, "south", ago=20 * SECOND)]
    produce(mall, "orders", first, at=came)
    late, ahead = order(3, "ann", 1.0, ago=2 * DAY), order(4, "ann", 1.0, ago=-2 * DAY)
    produce(mall, "orders", [b"{", b'{"user": 7}', late, ahead, *first, order(5, "ann", -1.0)])
    EventLog(mall).post("orders", [order(6, "ann", 4.0), order(1, "ann", 8.0)])
    once = ["stream", SHOPS, "--engine", "flink", "--once", "--json", "--project", str(mall.root)]
    capsys.readouterr()
    assert execute(once) == 0
    told = json.loads(capsys.readouterr().out)
    with looking(mall) as look:
        north, south = look(), look("south")
    assert (north["share_sum_1d"], north["morning_count_7d"]) == (0.75, 2)
    assert (south["share_sum_1d"], south["share_last_k3_7d"]) == (0.25, [0.25])
    rows = read(kafka_servers, topic_of_rows(mall))
    assert sorted({stamp for _, stamp in rows})[0] == came // 1000, "the time of the message that it was made of"
    assert set(json.loads(rows[0][0] or b"")) == {"shop", "ts", "share", "is_morning", "zipline__id"}
    assert told["dead"]["orders"] == 3
    assert told["late"]["orders"] == 1
    assert sum(told["dead"].values()) + sum(told["late"].values()) == 4, "by whoever reads them"
    assert execute(once) == 0
    assert read(kafka_servers, topic_of_rows(mall)) == rows, "what was enriched is not enriched again"
    produce(mall, "orders", [order(5, "ann", 4.0), order(7, "ann", 4.0)])
    assert execute(once) == 0
    with looking(mall) as look:
        north = look()
    assert (north["share_sum_1d"], north["morning_count_7d"]) == (1.0, 3), "5 is the one that a condition left out"


def test_a_chain_over_a_chain_is_two_topics_and_the_job_is_printed(
    tmp_path: Path, kafka_servers: str, capsys: pytest.CaptureFixture[str]
) -> None:
    mall = made(tmp_path, kafka_servers, is_deep=True)
    for name in (SPENDING, "mall.deep.users"):
        upload(mall, name)
    produce(mall, "orders", [order(n, "ann", price) for n, price in enumerate([8.0, 64.0, 4.0, 8.0])] * 2)
    asked = ["stream", "mall.deep.users", "--engine", "flink", "--project", str(tmp_path)]
    capsys.readouterr()
    assert execute([*asked, "--dry-run"]) == 0
    shown = capsys.readouterr().out
    for name in ("scan:orders", "scan:mall.chain.orders#", "scan:mall.deep.ranked#", "tiles:mall.deep.users"):
        assert f"CREATE TEMPORARY TABLE `{name}" in shown
    assert execute([*asked, "--once"]) == 0
    fetcher = Fetcher(mall)
    found = fetcher.fetch("mall.deep.people", [{"user": "ann"}]).rows()[0]
    fetcher.close()
    assert sorted(found["users_share_last_k9_7d"]) == [0.25, 0.5, 0.5]
    assert found["users_before_last_k9_7d"] == [0.0] * 3


def test_rows_are_enriched_as_served_and_once_whatever_is_killed(mall: Project) -> None:
    upload(mall, SPENDING)
    draw = random.Random(time.time_ns())
    keeper = Keeper(mall)
    expected, number = 0.0, 0
    try:
        until(lambda: status(mall).get("report", {}).get("state") == "running", within=180)
        for kill in (keeper.kill, keeper.kill_job, keeper.kill):
            for _ in range(8):
                some = [order(number + n, draw.choice(list(USERS)), 2.0 ** draw.randrange(4)) for n in range(40)]
                expected += sum(each["price"] / USERS[each["user"]] for each in some)
                number += len(some)
                produce(mall, "orders", some)
                time.sleep(draw.random() * 0.3)
            kill()
        with looking(mall) as look:

            def is_right() -> bool:
                found = look()
                assert found["morning_count_7d"] <= number, "counted twice"
                return (found["morning_count_7d"], found["share_sum_1d"]) == (number, expected)

            until(is_right, within=180)
            # Ann spends as much again: what she orders from now on is half the share.
            produce(mall, "purchases", [bought("ann", 16.0, to_text(now() - SECOND))])
            until(lambda: _spent(mall, "ann") == 32.0)
            produce(mall, "orders", [order(number, "ann", 8.0)])
            until(lambda: look()["morning_count_7d"] == number + 1)
            assert look()["share_sum_1d"] == expected + 0.25
    finally:
        keeper.end()


def _spent(project: Project, user: str) -> float | None:
    fetcher = Fetcher(project)
    try:
        row = fetcher.fetch(ORDERS, [{"user": user, "price": 1.0}]).rows()[0]
    finally:
        fetcher.close()
    found: float | None = row["spending_amount_sum_7d"]
    return found


def test_rows_wait_for_what_is_unavailable_and_progress_for_the_rows(mall: Project) -> None:
    with streaming(mall), looking(mall) as look:
        until(lambda: (status(mall)["report"]["until"] or 0) > now() - 5 * SECOND)
        produce(mall, "orders", [order(1, "ann", 8.0)])
        ordered = now()
        until(lambda: "sending on" in status(mall)["report"]["troubles"])
        assert "is unavailable: events of orders wait for it" in status(mall)["report"]["troubles"]["sending on"]
        time.sleep(4)
        assert status(mall)["report"]["until"] <= ordered
        upload(mall, SPENDING)
        until(lambda: look()["share_sum_1d"] == 0.5)
        until(lambda: status(mall)["report"]["until"] > ordered)
        assert "sending on" not in status(mall)["report"]["troubles"]
