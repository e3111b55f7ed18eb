"""The stores that the tests of the contract open, each empty, and how they write and read them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from zipline.clock import DAY
from zipline.stores.contract import Place, Store
from zipline.stores.lmdb import LmdbStore
from zipline.stores.memory import MemoryStore

END = 20_000 * DAY
STORES = ("memory", "lmdb", "redis")
Opening = Callable[..., Store]


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
    import redis

    from zipline.stores.redis import RedisStore

    url = request.getfixturevalue("redis_url")
    redis.Redis.from_url(url).flushall()
    return RedisStore(url, grace=grace)


def upload(store: Store, items: dict[bytes, bytes], end: int = END, space: str = "carriers") -> str:
    with store.upload(space, end=end, fingerprint="f") as writing:
        writing.put(sorted(items.items()))
        return writing.publish().name


def read(store: Store, generation: str | None, *keys: bytes, space: str = "carriers") -> list[bytes | None]:
    found = store.get([(Place(space, generation), keys)])[0]
    return [None if value is None else bytes(value) for value in found]
