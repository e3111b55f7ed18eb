"""The stores that the tests of the contract open, each empty, and how they write and read them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.servers.cassandra import LOGIN
from zipline.clock import DAY
from zipline.stores.contract import Place, Store
from zipline.stores.lmdb import LmdbStore
from zipline.stores.memory import MemoryStore

END = 20_000 * DAY
STORES = ("memory", "lmdb", "redis", "cassandra")
KEYSPACE = "features"
Opening = Callable[..., Store]
PATIENT = 20.0
"""Seconds that a test waits for a server on a machine that has other things to do."""


@pytest.fixture(params=STORES)
def opening(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opening]:
    opened: list[Store] = []

    def open_store(grace: float = 60.0) -> Store:
        opened.append(_opened(request, tmp_path, grace))
        return opened[-1]

    yield open_store
    for store in opened:
        store.close()


def _opened(request: pytest.FixtureRequest, folder: Path, grace: float) -> Store:
    if request.param == "memory":
        return MemoryStore(grace)
    if request.param == "lmdb":
        return LmdbStore(folder, grace)
    return _of_servers(request.param, request.getfixturevalue(f"empty_{request.param}"), grace)


def _of_servers(kind: str, url: str, grace: float) -> Store:
    if kind == "redis":
        from zipline.stores.redis import RedisStore

        return RedisStore(url, grace=grace, timeout=PATIENT)
    from zipline.stores.cassandra import CassandraStore

    return CassandraStore(url, **LOGIN, grace=grace, timeout=PATIENT)


@pytest.fixture
def empty_redis(redis_url: str) -> str:
    import redis

    redis.Redis.from_url(redis_url).flushall()
    return redis_url


@pytest.fixture
def empty_cassandra(cassandra_address: str, cassandra_client: Any) -> str:
    """The URL of a keyspace whose tables, if it has any, are empty."""
    keyspace = cassandra_client.cluster.metadata.keyspaces.get(KEYSPACE)
    for table in list(keyspace.tables) if keyspace else ():
        cassandra_client.execute(f"TRUNCATE {KEYSPACE}.{table}")
    return f"cassandra://{cassandra_address}/{KEYSPACE}?local_dc=datacenter1"


def upload(store: Store, items: dict[bytes, bytes], end: int = END, space: str = "carriers") -> str:
    with store.upload(space, end=end, fingerprint="f") as writing:
        writing.put(sorted(items.items()))
        return writing.publish().name


def read(store: Store, generation: str | None, *keys: bytes, space: str = "carriers") -> list[bytes | None]:
    found = store.get([(Place(space, generation), keys)])[0]
    return [None if value is None else bytes(value) for value in found]
