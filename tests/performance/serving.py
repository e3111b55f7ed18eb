"""The feature server over HTTP: one worker, five TEMPORAL group-bys of ten features with a month of hops, in LMDB.

    python -m tests.performance.serving [KEYS]

The caller is another process on the same machine: one connection for latency, sixteen for throughput, and for
what a call takes at 60 % of it, counted from when it was due. Beside it stand the same fetch in process, so the
difference is what HTTP costs, and a server of as many requests a second that does nothing: its longest calls are the
machine's.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from tests.performance.bare import busy_server
from tests.performance.calling import measured, request
from tests.performance.online import GROUP_BYS, events
from zipline import Fetcher
from zipline.clock import DAY, day_text, monotonic, now
from zipline.project import load_project
from zipline.tables.delta import write_source

JOIN = "bench.features.join"
SHARE = 0.6
"""Of the throughput, at which the longest calls are looked at."""
_CONFIG = '''"""Fifty features of five group-bys."""

from zipline import Aggregation, EventSource, GroupBy, Join, JoinPart, Operation, Query, Topic

group_bys = [
    GroupBy(
        ["key"],
        [EventSource(f"events{n}", topic=Topic(f"events{n}"), query=Query(select=["key", "x", "n"], time="t"))],
        [
            Aggregation("x", Operation.SUM, windows=["1h", "1d", "7d", "30d"]),
            Aggregation("x", Operation.AVERAGE, windows=["1d", "7d"]),
            Aggregation("n", Operation.MAX, windows=["1d", "7d"]),
            Aggregation("n", Operation.COUNT, windows=["1d", "30d"]),
        ],
        freshness="3d",
        online=True,
        owner="bench",
    )
    for n in range(5)
]
join = Join(
    EventSource("events0", query=Query(select=["key"], time="t")),
    [JoinPart(each) for each in group_bys],
    online=True,
    owner="bench",
)
'''


def project(folder: Path, keys: int, of_a_key: int) -> Path:
    """A project whose group-bys are uploaded as of yesterday."""
    (folder / "configs" / "bench").mkdir(parents=True)
    (folder / "configs" / "bench" / "features.py").write_text(_CONFIG)
    (folder / "zipline.toml").write_text('name = "bench"\n')
    opened = load_project(folder)
    end = now() // DAY * DAY
    for number in range(GROUP_BYS):
        rows = events(end - 30 * DAY, end, keys * of_a_key, keys, number)
        write_source(f"events{number}", rows, None, project=opened)
        command = [
            "upload",
            f"bench.features.group_bys.{number}",
            "--ds",
            day_text(end - DAY),
            "--project",
            str(folder),
        ]
        subprocess.run([sys.executable, "-m", "zipline.cli.main", *command], check=True, stdout=subprocess.DEVNULL)
    return folder


def body(draw: random.Random, keys: int, rows: int) -> bytes:
    content = json.dumps({"rows": [{"key": draw.randrange(keys)} for _ in range(rows)]}).encode()
    return request(f"/v1/features/{JOIN}", content)


def bodies(keys: int, rows: int) -> list[bytes]:
    draw = random.Random(1)
    return [body(draw, keys, rows) for _ in range(500)]


def in_process(folder: Path, keys: int, rows: int) -> float:
    fetcher = Fetcher(folder)
    draw = random.Random(1)
    seconds = []
    for _ in range(200):
        asked = [{"key": draw.randrange(keys)} for _ in range(rows)]
        began = monotonic()
        fetcher.fetch(JOIN, asked).rows()
        seconds.append(monotonic() - began)
    fetcher.close()
    return float(np.median(seconds[50:]) * 1e3)


def under_load(what: str, port: int, requests: list[bytes]) -> float:
    """What sixteen callers get out of a server in a second, and what calls take at a share of it."""
    most = len(measured(port, requests, 16, 5.0)) / 5
    seconds = np.array(measured(port, requests, 16, 20.0, SHARE * most)) * 1e3
    half, longest = np.quantile(seconds, [0.5, 0.99])
    print(f"{what}, sixteen callers: {most:,.0f} requests/s")
    print(
        f"{what}, {SHARE * most:,.0f} requests/s, evenly: p50 {half:.2f} ms, p99 {longest:.2f} ms "
        f"({longest / half:.1f} x p50)"
    )
    return most


def main(keys: int = 2_000, of_a_key: int = 60) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = project(Path(place), keys, of_a_key)
        command = [sys.executable, "-m", "zipline.cli.main", "serve", "--port", "0", "--json", "--project", str(folder)]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            said = ""
            while not said.rstrip().endswith("}"):
                said += server.stdout.readline()
            port = int(json.loads(said)["url"].rpartition(":")[2])
            measured(port, bodies(keys, 1), 1, 2.0)
            for rows in (1, 100):
                seconds = np.array(measured(port, bodies(keys, rows), 1, 5.0)) * 1e3
                print(
                    f"HTTP, {rows:>3} x 50: p50 {np.median(seconds):.2f} ms, p99 {np.quantile(seconds, 0.99):.2f} ms; "
                    f"in process {in_process(folder, keys, rows):.2f} ms"
                )
            rate = under_load("HTTP, 1 x 50", port, bodies(keys, 1))
        finally:
            server.terminate()
            server.wait(timeout=60)
    with busy_server(1 / rate) as port:
        under_load(f"a server that is busy for {1e3 / rate:.2f} ms and does nothing", port, bodies(keys, 1))


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
