"""What Redis keeps beside the contract: a server that goes and comes back, killed uploads, nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.integration.servers.redis import running_redis
from tests.integration.stores.opened import END, read, upload
from zipline import breaker
from zipline.breaker import PAUSE
from zipline.clock import DAY
from zipline.ports import free_port
from zipline.stores.contract import TILES_KEPT, DamagedError, Place, StoreError
from zipline.stores.keys import key_writer
from zipline.stores.redis import RedisStore
from zipline.stores.sparing import TOLERATED
from zipline.stores.tiles import POSITION, PROGRESS, coarse, fine, seen
from zipline.types import STRING


@pytest.fixture
def client(redis_url: str) -> Any:
    found = redis.Redis.from_url(redis_url)
    found.flushall()
    return found


def test_a_server_that_is_not_there_is_a_store_error_and_its_return_is_seen() -> None:
    port = free_port()
    store = RedisStore(f"redis://127.0.0.1:{port}/0", timeout=0.5)
    for ask in (lambda: store.current("carriers"), lambda: store.get([(Place("carriers"), [b"a"])])):
        with pytest.raises(StoreError, match="Redis: "):
            ask()
    with running_redis(port) as (_, server):
        upload(store, {b"a": b"1"})
        current = store.current("carriers")
        assert current is not None
        assert read(store, current.name, b"a") == [b"1"]
        server.kill()
        server.wait()
        with pytest.raises(StoreError, match="Redis: "):
            read(store, current.name, b"a")
    store.close()


def test_with_tls_the_server_is_who_the_authority_says(tmp_path: Path) -> None:
    made, key = tmp_path / "server.pem", tmp_path / "server.key"
    names = ["-subj", "/CN=redis", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names]
    subprocess.run([*command, "-out", str(made), "-keyout", str(key)], check=True, capture_output=True)
    with running_redis(certificate=(made, key)) as (url, _):
        store = RedisStore(f"{url}?ssl_ca_certs={made}")
        upload(store, {b"a": b"1"})
        current = store.current("carriers")
        assert current is not None
        assert read(store, current.name, b"a") == [b"1"]
        store.put_tiles("carriers", [(b"2", b"two")])
        assert tile(store, 2) == b"two"
        store.close()
        plain = url.replace("rediss://", "redis://")
        named = f"{url.replace('127.0.0.1', 'localhost')}?ssl_ca_certs={made}"  # a name that is not in the certificate
        for other in (url, plain, named):
            stranger = RedisStore(other)
            with pytest.raises(StoreError, match="Redis: "):
                stranger.current("carriers")
            stranger.close()
        unchecked = RedisStore(f"{named}&ssl_check_hostname=false")
        assert unchecked.current("carriers") == current
        unchecked.close()


@pytest.fixture
def tiled(redis_url: str, client: Any) -> Iterator[RedisStore]:
    """A store with tiles 0 to 99 of a space, each its number, of which this thread has read one."""
    store = RedisStore(redis_url)
    store.put_tiles("carriers", [(b"%d" % n, b"%d" % n) for n in range(100)])
    assert tile(store, 7) == b"7"
    yield store
    store.close()


def tile(store: RedisStore, number: int) -> Any:
    return store.get([(Place("carriers"), [b"%d" % number])])[0][0]


def test_a_connection_that_the_server_closed_meanwhile_is_made_anew_unseen(tiled: RedisStore, client: Any) -> None:
    for number in range(3):
        readers = [each["id"] for each in client.client_list() if each["cmd"] == "mget"]
        assert [client.client_kill_filter(_id=each) for each in readers] == [1]
        assert tile(tiled, number) == b"%d" % number


def test_an_answer_that_nobody_took_is_not_that_of_the_next_question(
    tiled: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(redis.Connection, "read_response", interrupted)
        with pytest.raises(KeyboardInterrupt):
            tile(tiled, 1)
    assert [tile(tiled, number) for number in (2, 3)] == [b"2", b"3"]


def test_threads_and_processes_have_connections_of_their_own(
    tiled: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [number % 100 for number in range(2000)]
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(partial(tile, tiled), asked)) == [b"%d" % number for number in asked]
    of_parent = tiled._reader()
    assert tiled._reader() is of_parent
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert tiled._reader() is not of_parent


def test_a_generation_that_is_dropped_leaves_nothing(redis_url: str, client: Any) -> None:
    store = RedisStore(redis_url, grace=0.0)
    for number in range(4):
        upload(store, {b"%05d" % n: b"x" for n in range(5_000)}, END + number * DAY)
    names = {each.name for each in store.generations("carriers")}
    kept = {key.split(b":")[1].decode() for key in client.scan_iter("carriers:0*", count=10_000)}
    assert kept == names
    assert len(names) <= 2
    store.close()


def test_what_a_killed_upload_has_left_is_swept_by_the_next(redis_url: str, client: Any) -> None:
    store = RedisStore(redis_url)
    killed = store.upload("carriers", end=END, fingerprint="f")
    killed.__enter__()
    killed.put([(b"a", b"1")])
    left = [key for key in client.keys("carriers:*") if b":alive:" in key]
    upload(store, {b"b": b"1"})
    assert len(client.keys("carriers:*:a")) == 1, "it may be going on"
    client.delete(*left)
    upload(store, {b"b": b"2"})
    assert client.keys("carriers:*:a") == []
    assert client.hkeys("carriers:begun") == []
    store.close()


@pytest.mark.parametrize("space", ["carriers", "a[b-c]*?^\\d"])
def test_old_tiles_go_with_an_upload_and_all_with_their_space(space: str, redis_url: str, client: Any) -> None:
    store = RedisStore(redis_url)
    key = key_writer([STRING])(["AA"])
    assert key is not None
    old, kept = key + coarse(END - TILES_KEPT - DAY), key + fine(END - TILES_KEPT, END - TILES_KEPT)
    others = [PROGRESS, POSITION, seen(0, b"bucket"), kept]
    for name in (space, "abcd"):  # which the other would be as a pattern
        store.put_tiles(name, [(each, b"1") for each in (old, *others)])
    assert client.ttl(f"{space}::".encode() + kept) == -1
    upload(store, {b"a": b"1"}, END, space=space)
    assert store.get([(Place(space), [old, *others])]) == [[None, *[b"1"] * len(others)]]
    assert store.get([(Place("abcd"), [old, *others])]) == [[b"1"] * (len(others) + 1)]
    store.remove(space)
    assert list(client.scan_iter("abcd*", count=1000)) != []
    assert [name for name in client.scan_iter(count=1000) if name.startswith(space.encode() + b"::")] == []
    store.close()


def test_who_is_stopped_while_old_tiles_are_looked_for_has_published(redis_url: str, client: Any) -> None:
    store = RedisStore(redis_url)
    store.put_tiles("carriers", [(PROGRESS, b"1")])

    def stopped(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    store._patient.scan_iter = stopped
    with pytest.raises(KeyboardInterrupt):
        upload(store, {b"a": b"1"})
    again = RedisStore(redis_url)
    (generation,) = again.generations("carriers")
    assert read(again, generation.name, b"a") == [b"1"]
    for each in (store, again):
        each.close()


def test_a_url_of_something_else_is_a_store_error() -> None:
    with pytest.raises(StoreError, match="no URL of Redis"):
        RedisStore("http://127.0.0.1/")


def test_a_server_that_hangs_is_waited_for_a_few_times_and_then_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(breaker, "monotonic", lambda: clock[0])
    with running_redis() as (url, server):
        store = RedisStore(url, timeout=0.2)
        name = upload(store, {b"a": b"1"})
        server.send_signal(signal.SIGSTOP)
        told = [_told(store, name) for _ in range(40)]
        assert all("Redis: " in each for each in told)
        refused = ["asked again within a second" in each for each in told]
        assert refused == [False] * TOLERATED + [True] * (40 - TOLERATED)
        server.send_signal(signal.SIGCONT)
        assert "asked again" in _told(store, name)
        clock[0] += PAUSE
        assert read(store, name, b"a") == [b"1"]
        store.close()


def _told(store: RedisStore, name: str) -> str:
    with pytest.raises(StoreError) as caught:
        read(store, name, b"a")
    return caught.value.what


@pytest.mark.parametrize("content", [b"", b"{", b"\xff"])
def test_a_damaged_listing_is_of_its_space_alone_and_the_next_upload_begins_a_new_one(
    content: bytes, redis_url: str, client: Any
) -> None:
    store = RedisStore(redis_url)
    upload(store, {b"a": b"1"}, space="airports")
    client.set("carriers:generations", content)
    with pytest.raises(DamagedError, match="cannot be read"):
        store.current("carriers")
    assert store.current("airports") is not None
    name = upload(store, {b"a": b"1"})
    assert [each.name for each in store.generations("carriers")] == [name]
    store.close()
