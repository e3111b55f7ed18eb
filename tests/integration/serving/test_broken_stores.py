"""Stores that fail behind a running server: their features are unavailable, nothing else is, and it ends by itself."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.servers.features import JOIN, Server, project, rows_of, serving, upload
from tests.integration.servers.redis import running_redis
from tests.integration.serving.test_events import bought
from tests.integration.serving.test_life import until
from zipline.ports import free_port
from zipline.stores.redis import TIMEOUT

SPENT, SOLD = "spent_amount_sum_7d", "sold_amount_max_30d"
"""A feature of each of the two group-bys."""
JSON = {"content-type": "application/json"}


def ask(server: Server, user: str = "u1", client: Any = httpx) -> tuple[int, dict[str, Any], dict[str, str]]:
    """(status of HTTP, values, statuses but for `ok`) of one row."""
    body = json.dumps({"rows": rows_of((user, "a"))})
    answer = client.post(f"{server.url}/v1/features/{JOIN}", content=body, headers=JSON, timeout=60)
    (row,) = answer.json().get("rows") or [{"values": {}, "status": {}}]
    return answer.status_code, row["values"], row.get("status", {})


def state(server: Server, user: str = "u1") -> tuple[Any, str, Any, str]:
    """(value, status) of the features of both group-bys."""
    code, values, statuses = ask(server, user)
    assert code == 200
    return values[SPENT], statuses.get(SPENT, "ok"), values[SOLD], statuses.get(SOLD, "ok")


ALL_THERE = (30.0, "ok", 10.0, "ok")
UNAVAILABLE = (None, "unavailable", None, "unavailable")
SPENT_UNAVAILABLE = (None, "unavailable", 10.0, "ok")


def ready(server: Server) -> tuple[int, str]:
    answer = httpx.get(f"{server.url}/v2/health/ready", timeout=60)
    return answer.status_code, " ".join(answer.json()["reasons"])


def counted(server: Server, name: str) -> float:
    page = httpx.get(f"{server.url}/metrics", timeout=60).text
    return sum(float(line.rsplit(" ", 1)[1]) for line in page.splitlines() if line.startswith(name))


def post(server: Server, user: str, amount: float) -> httpx.Response:
    event = bought(user, amount)
    body = json.dumps({"events": [event | {"t": event["t"].isoformat()}]})
    return httpx.post(f"{server.url}/v1/events/orders", content=body, headers=JSON, timeout=60)


# Redis


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def uploaded_to_redis(port: int, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project, uploaded into a server of Redis, which has ended since; and beside it what that server has kept."""
    folder = tmp_path_factory.mktemp("uploaded_to_redis")
    (folder / "redis").mkdir()
    with running_redis(port, folder / "redis"):
        project(folder / "shop", f'[online]\nstore = "redis"\nurl = "redis://127.0.0.1:{port}/0"\n', 'deadline = "1s"')
    return folder


@pytest.fixture
def data(uploaded_to_redis: Path, tmp_path: Path) -> Path:
    """Where the server of Redis keeps its data: a copy for each test."""
    return Path(shutil.copytree(uploaded_to_redis / "redis", tmp_path / "redis"))


@pytest.fixture
def in_redis(uploaded_to_redis: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(uploaded_to_redis / "shop", tmp_path / "shop"))


def test_a_server_that_starts_without_redis_says_so_and_is_there_when_redis_is(
    in_redis: Path, port: int, data: Path
) -> None:
    with serving(in_redis) as server:
        until(lambda: ready(server)[0] == 503 and "Redis: " in ready(server)[1])
        assert httpx.get(f"{server.url}/v2/health/live").status_code == 200
        assert state(server) == UNAVAILABLE
        assert counted(server, 'zipline_store_failures_total{store="redis"}') > 0
        with running_redis(port, data):
            until(lambda: state(server) == ALL_THERE)
            assert ready(server) == (200, "")


def test_a_redis_that_is_killed_and_comes_back_empty_or_with_its_data(in_redis: Path, port: int, data: Path) -> None:
    with serving(in_redis) as server:
        with running_redis(port, data) as (_, redis):
            until(lambda: state(server) == ALL_THERE)
            redis.send_signal(signal.SIGKILL)
            redis.wait()
            assert state(server) == UNAVAILABLE
            until(lambda: ready(server)[0] == 503)
            assert post(server, "while down", 4.0).status_code == 200
        with running_redis(port):
            until(lambda: ready(server)[0] == 200)
            assert state(server) == UNAVAILABLE
        with running_redis(port, data):
            until(lambda: state(server) == ALL_THERE)
            until(lambda: state(server, "while down")[:2] == (4.0, "ok"))
        assert server.process.poll() is None


def test_a_redis_that_hangs_holds_up_nobody_for_longer_than_its_timeout(in_redis: Path, port: int, data: Path) -> None:
    answers: list[tuple[float, float, int, str]] = []
    is_over = threading.Event()

    def asks(server: Server, number: int) -> None:
        with httpx.Client() as client:
            while not is_over.wait(0.01):
                began = time.monotonic()
                code, _, statuses = ask(server, f"u{number}", client)
                answers.append((began, time.monotonic() - began, code, statuses.get(SPENT, "ok")))

    def lasts(path: str) -> float:
        began = time.monotonic()
        other.get(server.url + path, timeout=60)
        return time.monotonic() - began

    with running_redis(port, data) as (_, redis), serving(in_redis) as server, httpx.Client() as other:
        until(lambda: state(server) == ALL_THERE)
        asking = [threading.Thread(target=asks, args=(server, number)) for number in range(8)]
        for thread in asking:
            thread.start()
        redis.send_signal(signal.SIGSTOP)
        hung = time.monotonic()
        slowest = max(lasts(path) for _ in range(20) for path in ("/v2/health/live", "/v2/health/ready", "/metrics"))
        time.sleep(max(0.0, hung + 8 - time.monotonic()))
        redis.send_signal(signal.SIGCONT)
        mended = time.monotonic()
        until(lambda: state(server) == ALL_THERE)
        is_over.set()
        for thread in asking:
            thread.join()
        assert {code for _, _, code, _ in answers} == {200}
        assert max(seconds for _, seconds, _, _ in answers) < 2 * TIMEOUT + 4.0
        assert slowest < 2 * TIMEOUT + 4.0
        later = [(seconds, status) for began, seconds, _, status in answers if hung + 2 < began < mended - 1]
        assert {status for _, status in later} == {"unavailable"}
        assert sum(seconds < TIMEOUT / 2 for seconds, _ in later) > 0.75 * len(later)
        assert 8 * counted(server, 'zipline_store_failures_total{store="redis"}') >= len(later), (
            "eight may be asked for at once"
        )


def test_what_a_cache_has_is_answered_while_redis_is_down(in_redis: Path, port: int, data: Path) -> None:
    config = in_redis / "configs" / "shop" / "orders.py"
    config.write_text(config.read_text().replace('freshness="3d"', 'freshness="3d", cache="10m"'))
    with running_redis(port, data) as (_, redis):
        upload(in_redis, "shop.orders.spent")
        with serving(in_redis) as server:
            until(lambda: state(server) == ALL_THERE)
            redis.send_signal(signal.SIGKILL)
            redis.wait()
            assert state(server) == (30.0, "ok", None, "unavailable")
            assert state(server, "u3") == UNAVAILABLE
            assert state(server) == (30.0, "ok", None, "unavailable")
            assert counted(server, 'zipline_cache_lookups_total{group_by="shop.orders.spent",outcome="hit"}') >= 2
            assert counted(server, 'zipline_cache_lookups_total{group_by="shop.orders.spent",outcome="miss"}') >= 2
            assert counted(server, 'zipline_cache_lookups_total{group_by="shop.orders.sold"') == 0


# LMDB


def spent_in(folder: Path) -> Path:
    """The folder of one of the two group-bys."""
    (found,) = (folder / ".zipline" / "online").glob("shop.orders.spent@*")
    return found


def data_of(folder: Path) -> Path:
    """The file of its generation."""
    (found,) = spent_in(folder).glob("[0-9]*/data.mdb")
    return found


def over(path: Path, content: bytes) -> None:
    """Writes into the same file, as damage does."""
    with open(path, "r+b") as file:
        file.write(content)


def size(path: Path) -> int:
    return path.stat().st_size


DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut behind its head": lambda folder: os.truncate(data_of(folder), 8192),
    "cut by one byte": lambda folder: os.truncate(data_of(folder), size(data_of(folder)) - 1),
    "emptied": lambda folder: os.truncate(data_of(folder), 0),
    "overwritten": lambda folder: over(data_of(folder), b"\xa5" * size(data_of(folder))),
    "another file": lambda folder: data_of(folder).write_text("hello"),
    "gone": lambda folder: shutil.rmtree(data_of(folder).parent),
    "a listing of garbage": lambda folder: over(spent_in(folder) / "generations.json", b"\xff{{"),
    "no listing": lambda folder: (spent_in(folder) / "generations.json").unlink(),
}


@pytest.fixture(scope="module")
def uploaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that nobody serves: who serves it holds locks, which a copy would have too."""
    return project(tmp_path_factory.mktemp("uploaded"))


@pytest.fixture
def shop_copy(uploaded: Path, tmp_path: Path) -> Path:
    """A project of its own, uploaded."""
    return Path(shutil.copytree(uploaded, tmp_path / "copy"))


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_was_damaged_before_is_unavailable_and_an_upload_mends_it(damage: str, shop_copy: Path) -> None:
    DAMAGES[damage](shop_copy)
    with serving(shop_copy) as server:
        assert state(server) == SPENT_UNAVAILABLE
        assert state(server, "nobody")[:2] == (None, "unavailable")
        assert ready(server)[0] == 200
        upload(shop_copy, "shop.orders.spent")
        until(lambda: state(server) == ALL_THERE)


@pytest.mark.parametrize("damage", ["overwritten", "gone", "a listing of garbage", "no listing"])
def test_what_is_damaged_under_a_server_is_no_number_and_an_upload_mends_it(damage: str, shop_copy: Path) -> None:
    with serving(shop_copy) as server:
        assert state(server) == ALL_THERE
        DAMAGES[damage](shop_copy)
        # What has been mapped may still be read whole, where its name alone is gone.
        until(lambda: state(server)[:2] in {(None, "unavailable"), (None, "error"), (30.0, "ok")})
        assert state(server)[2:] == (10.0, "ok")
        upload(shop_copy, "shop.orders.spent")
        until(lambda: state(server) == ALL_THERE)
        assert server.process.poll() is None


def test_a_file_that_is_cut_off_under_a_worker_ends_it_and_the_next_one_says_unavailable(shop_copy: Path) -> None:
    """The promise for a mapped file: no number, and with several workers somebody starts another one."""
    with serving(shop_copy, "--workers", "2") as server:
        assert state(server) == ALL_THERE
        os.truncate(data_of(shop_copy), 8192)

        def is_told() -> bool:
            try:
                found = state(server)
            except httpx.TransportError:
                return False
            assert found[0] is None
            return found == SPENT_UNAVAILABLE

        until(is_told, 60)
        upload(shop_copy, "shop.orders.spent")
        until(lambda: _mended(server), 60)


def _mended(server: Server) -> bool:
    try:
        return all(state(server) == ALL_THERE for _ in range(5))
    except httpx.TransportError:
        return False


# A full disk


@contextmanager
def small_disk(place: Path) -> Iterator[Path]:
    """A file system of one MiB; the test is skipped where none can be made."""
    place.mkdir(parents=True, exist_ok=True)
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True)
    if made.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place: Path) -> Path:
    """Takes all that is free."""
    path = place / "full"
    with open(path, "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return path


def test_a_post_on_a_full_disk_is_refused_whole_and_taken_once_there_is_room(shop_copy: Path) -> None:
    with small_disk(shop_copy / ".zipline" / "events") as disk, serving(shop_copy) as server:
        assert post(server, "before", 1.0).status_code == 200
        journal = next(disk.rglob("*.jsonl"))
        kept, full = journal.read_bytes(), fill(disk)
        refused = [post(server, "refused", 2.0) for _ in range(50)][-1]
        assert (refused.status_code, refused.json()["error"]["code"]) == (507, "disk_full")
        assert "room" in refused.json()["error"]["hint"]
        assert int(refused.headers["retry-after"]) > 0
        lines = journal.read_bytes().removeprefix(kept).splitlines()
        assert all(json.loads(line) for line in lines), "half a line is left"
        assert state(server) == ALL_THERE
        full.unlink()
        assert post(server, "after", 3.0).status_code == 200
        until(lambda: state(server, "after")[:2] == (3.0, "ok"))
        taken = sum(len(json.loads(line)["events"]) for line in lines)
        assert state(server, "refused")[0] == (2.0 * taken or None)


def test_tiles_on_a_full_disk_hold_up_no_fetch_and_no_post_and_come_once_there_is_room(shop_copy: Path) -> None:
    with small_disk(spent_in(shop_copy) / "tiles") as disk:
        full = fill(disk)
        with serving(shop_copy) as server:
            assert post(server, "later", 5.0).status_code == 200
            time.sleep(1.5)
            code, values, statuses = ask(server)
            assert (code, values[SOLD]) == (200, 10.0)
            assert (values[SPENT], statuses.get(SPENT)) in {(None, "unavailable"), (30.0, None)}
            assert server.process.poll() is None
            full.unlink()
            until(lambda: state(server, "later")[:2] == (5.0, "ok"))
            assert state(server) == ALL_THERE
            full = fill(disk)
            assert post(server, "later", 1.0).status_code == 200
            time.sleep(1.5)
            assert state(server, "later")[0] in (5.0, 6.0)
            full.unlink()
            until(lambda: state(server, "later")[:2] == (6.0, "ok"))


# A definition that has changed


def test_a_changed_definition_is_unavailable_until_its_upload(shop_copy: Path) -> None:
    config = shop_copy / "configs" / "shop" / "orders.py"
    config.write_text(config.read_text().replace('time="t"', 'where=["amount > 15"], time="t"', 1))
    with serving(shop_copy) as server:
        assert state(server) == UNAVAILABLE
        for name in ("spent", "sold"):
            upload(shop_copy, f"shop.orders.{name}")
        until(lambda: state(server) == (20.0, "ok", None, "default"))
