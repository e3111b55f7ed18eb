"""A feature server as a user starts it: the command, in a process of its own, over a small project."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa

from zipline.cli.main import execute
from zipline.clock import DAY, MINUTE, SECOND, day_text, now
from zipline.project import load_project
from zipline.tables.delta import write_source

JOIN = "shop.orders.checkout"
PATIENT = 'deadline = "60s"'
CONFIG = '''"""A shop: what a user has spent, and what an item costs."""

from zipline import Accuracy, Aggregation, Contextual, Derivation, EventSource, GroupBy, Join, JoinPart, Operation
from zipline import Query, Topic

orders = EventSource("orders", topic=Topic("orders"), query=Query(select=["user", "amount", "item"], time="t"))
spent = GroupBy(
    ["user"],
    [orders],
    [
        Aggregation("amount", Operation.SUM, windows=["7d", "30d"]),
        Aggregation("item", Operation.LAST_K, k=3, windows=["30d"]),
    ],
    freshness="3d",
    online=True,
)
sold = GroupBy(
    ["item"],
    [orders],
    [Aggregation("amount", Operation.MAX, windows=["30d"])],
    accuracy=Accuracy.SNAPSHOT,
    online=True,
)
checkout = Join(
    EventSource("visits", query=Query(select=["user", "item", "amount"], time="t")),
    [JoinPart(spent), JoinPart(sold)],
    contextual=Contextual({"basket": "BIGINT"}),
    derivations=[Derivation("share", "amount / spent_amount_sum_30d")],
    online=True,
    owner="shop",
)
'''
ROWS = [
    ("u1", 10.0, "a", 1),
    ("u1", 20.0, "b", 3),
    ("u2", 5.0, "a", 2),
    ("u2", float("inf"), "c", 2),
    ("u3", 7.0, "b", 9),
]
"""(user, amount, item, days before today)"""


def today() -> int:
    return now() // DAY * DAY


def project(folder: Path, settings: str = "", serve: str = "") -> Path:
    """The project, uploaded as of yesterday. Not just before midnight, when that is soon the day before yesterday.

    `serve` is what its servers are to do otherwise; by default they have more time than a busy machine takes.
    """
    if (left := DAY - now() % DAY) < 2 * MINUTE:
        time.sleep(left / SECOND + 1)
    (folder / "configs" / "shop").mkdir(parents=True)
    (folder / "configs" / "shop" / "team.py").write_text('from zipline import Team\n\nteam = Team(owner="shop")\n')
    (folder / "configs" / "shop" / "orders.py").write_text(CONFIG)
    (folder / "zipline.toml").write_text(f'name = "shop"\n{settings}\n[serve]\n{serve or PATIENT}\n')
    for table in ("orders", "visits"):
        write_source(table, orders(), None, project=load_project(folder))
    for name in ("spent", "sold"):
        upload(folder, f"shop.orders.{name}")
    return folder


def orders() -> pa.Table:
    """What was bought."""
    times = [dt.datetime.fromtimestamp((today() - days * DAY + DAY // 2) / 1e6, dt.timezone.utc) for *_, days in ROWS]
    users, amounts, items, _ = zip(*ROWS, strict=True)
    rows = {"user": users, "amount": amounts, "item": items, "t": pa.array(times, pa.timestamp("us", "UTC"))}
    return pa.table(rows)


def upload(folder: Path, group_by: str) -> None:
    """By the command, in this process: one of its own spends fifty times as long on what it imports."""
    arguments = ["upload", group_by, "--ds", day_text(today() - DAY), "--allow-missing", "--project", str(folder)]
    assert execute(arguments) == 0


def command(*arguments: str) -> str:
    """What a command of the platform says."""
    done = subprocess.run([sys.executable, "-m", "zipline.cli.main", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def serving(folder: Path, *options: str, env: dict[str, str] | None = None) -> Iterator[Server]:
    """The running server; it ends with the block, and nothing may stand on its stderr that is not expected."""
    arguments = ["serve", "--port", "0", "--json", "--project", str(folder), *options]
    with subprocess.Popen(
        [sys.executable, "-m", "zipline.cli.main", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
    ) as process:
        try:
            server = Server(process, _said(process)["url"])
            httpx.get(f"{server.url}/v2/health/live", timeout=60)  # it says its address before it has loaded anything
            yield server
        finally:
            process.terminate()
            process.wait(timeout=60)


class Server:
    """Its process, and its address."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.process, self.url = process, url

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])


def _said(process: subprocess.Popen[str]) -> Any:
    said: list[str] = []
    assert process.stdout is not None
    while not said or not said[-1].startswith("}"):
        line = process.stdout.readline()
        if not line:
            assert process.stderr is not None
            raise AssertionError(f"the server did not start: {process.stderr.read()}")
        said.append(line)
    return json.loads("".join(said))


def rows_of(*keys: Sequence[Any]) -> list[dict[str, Any]]:
    """Rows of a request, from (user, item)."""
    return [{"user": user, "item": item, "amount": 1.0, "basket": 2} for user, item in keys]
