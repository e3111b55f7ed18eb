"""What every store keeps of the contract."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from zipline.clock import DAY
from zipline.stores.contract import Place, Store, StoreError
from zipline.stores.lmdb import LmdbStore
from zipline.stores.memory import MemoryStore

END = 20_000 * DAY
Opening = Callable[..., Store]


@pytest.fixture(params=["memory", "lmdb"])
def opening(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opening]:
    opened: list[Store] = []

    def open_store(grace: float = 60.0) -> Store:
        opened.append(MemoryStore(grace) if request.param == "memory" else LmdbStore(tmp_path, grace))
        return opened[-1]

    yield open_store
    for store in opened:
        store.close()


def upload(store: Store, items: dict[bytes, bytes], end: int = END, space: str = "carriers") -> str:
    with store.upload(space, end=end, fingerprint="f") as writing:
        writing.put(sorted(items.items()))
        return writing.publish().name


def read(store: Store, generation: str | None, *keys: bytes, space: str = "carriers") -> list[bytes | None]:
    found = store.get([(Place(space, generation), keys)])[0]
    return [None if value is None else bytes(value) for value in found]


def test_before_the_first_upload_there_is_nothing(opening: Opening) -> None:
    store = opening()
    assert store.current("carriers") is None
    assert store.generations("carriers") == []
    assert read(store, None, b"a") == [None]
    with pytest.raises(StoreError, match="not there any more"):
        read(store, "17", b"a")


def test_an_upload_is_current_when_it_is_published(opening: Opening) -> None:
    store = opening()
    with store.upload("carriers", end=END, fingerprint="f") as writing:
        writing.put([(b"a", b"1")])
        writing.put([(b"b", b"22")])
        assert store.current("carriers") is None
        published = writing.publish()
    assert store.current("carriers") == published
    assert (published.end, published.fingerprint, published.rows, published.size) == (END, "f", 2, 5)
    assert read(store, published.name, b"b", b"x", b"a") == [b"22", None, b"1"]


def test_an_upload_that_is_left_is_never_seen(opening: Opening) -> None:
    store = opening()
    first = upload(store, {b"a": b"1"})
    with store.upload("carriers", end=END + DAY, fingerprint="f") as writing:
        writing.put([(b"a", b"2")])
    assert [each.name for each in store.generations("carriers")] == [first]
    assert read(store, first, b"a") == [b"1"]


def test_an_earlier_generation_can_be_read_for_the_grace(opening: Opening) -> None:
    store = opening()
    first = upload(store, {b"a": b"1"})
    second = upload(store, {b"a": b"2"}, END + DAY)
    assert [each.name for each in store.generations("carriers")] == [first, second]
    assert read(store, first, b"a") + read(store, second, b"a") == [b"1", b"2"]


def test_after_the_grace_it_is_dropped(opening: Opening) -> None:
    store = opening(grace=0.0)
    upload(store, {b"a": b"1"})
    upload(store, {b"a": b"2"})
    third = upload(store, {b"a": b"3"})
    assert store.generations("carriers")[-1].name == third
    assert len(store.generations("carriers")) <= 2


def test_spaces_are_apart_also_those_whose_names_are_strange(opening: Opening) -> None:
    store = opening()
    names = {
        space: upload(store, {b"a": space.encode()}, space=space) for space in ("a/b", "a%2Fb", "..", "ä b", "A/b")
    }
    for space, name in names.items():
        assert read(store, name, b"a", space=space) == [space.encode()]


def test_no_space_lies_outside_the_folder(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path / "online")
    for space in ("..", ".", "../x", "/x"):
        upload(store, {b"a": b"1"}, space=space)
    assert [path.name for path in tmp_path.iterdir()] == ["online"]
    assert len(list((tmp_path / "online").iterdir())) == 4
    store.close()


def test_tiles_are_overwritten_and_of_no_generation(opening: Opening) -> None:
    store = opening()
    store.put_tiles("carriers", [(b"a", b"1"), (b"b", b"2")])
    store.put_tiles("carriers", [(b"a", b"3")])
    assert read(store, None, b"a", b"b", b"c") == [b"3", b"2", None]
    name = upload(store, {b"a": b"0"})
    assert read(store, None, b"a") + read(store, name, b"a") == [b"3", b"0"]


def test_several_places_are_one_question(opening: Opening) -> None:
    store = opening()
    one, two = upload(store, {b"a": b"1"}), upload(store, {b"a": b"2"}, space="airports")
    store.put_tiles("carriers", [(b"a", b"t")])
    asks = [(Place("carriers", one), [b"a", b"x"]), (Place("airports", two), [b"a"]), (Place("carriers"), [b"a"])]
    found = [[None if value is None else bytes(value) for value in values] for values in store.get(asks)]
    assert found == [[b"1", None], [b"2"], [b"t"]]


def test_threads_read_while_others_publish(opening: Opening) -> None:
    """Every read is of one generation, whole."""
    store, keys, wrong = opening(), [b"%03d" % n for n in range(50)], []
    upload(store, dict.fromkeys(keys, b"0"))
    over = threading.Event()

    def reads() -> None:
        while not over.is_set():
            current = store.current("carriers")
            assert current is not None
            found = read(store, current.name, *keys)
            if len(set(found)) != 1:
                wrong.append(found)

    readers = [threading.Thread(target=reads) for _ in range(3)]
    for reader in readers:
        reader.start()
    for number in range(1, 30):
        upload(store, dict.fromkeys(keys, b"%d" % number))
    over.set()
    for reader in readers:
        reader.join()
    assert wrong == []


def test_what_another_process_publishes_is_seen(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path)
    assert store.current("carriers") is None
    code = f"""
        from tests.unit.stores.test_stores import upload
        from zipline.stores.lmdb import LmdbStore
        upload(LmdbStore({str(tmp_path)!r}), {{b"a": b"1"}})
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)
    deadline = threading.Event()
    for _ in range(100):
        if (found := store.current("carriers")) is not None:
            break
        deadline.wait(0.02)
    assert found is not None
    assert read(store, found.name, b"a") == [b"1"]
    store.close()


def test_an_upload_that_is_killed_is_never_seen_and_swept_by_the_next(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path)
    first = upload(store, {b"a": b"1"})
    code = f"""
        import os, signal
        from zipline.stores.lmdb import LmdbStore
        with LmdbStore({str(tmp_path)!r}).upload("carriers", end=0, fingerprint="f") as writing:
            writing.put([(b"a", b"2")])
            os.kill(os.getpid(), signal.SIGKILL)
    """
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert [each.name for each in store.generations("carriers")] == [first]
    assert any(name.startswith(".upload-") for name in os.listdir(tmp_path / "carriers"))
    upload(store, {b"a": b"3"})
    assert not any(name.startswith(".upload-") for name in os.listdir(tmp_path / "carriers"))
    store.close()


def test_two_uploads_of_a_space_do_not_meet(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path)
    with store.upload("carriers", end=0, fingerprint="f"):
        with pytest.raises(StoreError, match="another upload of carriers is going on"):
            upload(LmdbStore(tmp_path), {b"a": b"1"})
        upload(store, {b"a": b"1"}, space="airports")
    store.close()


def test_items_out_of_order_are_refused(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path)
    with pytest.raises(StoreError), store.upload("carriers", end=0, fingerprint="f") as writing:
        writing.put([(b"b", b"1"), (b"a", b"2")])
    store.close()


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff"])
def test_a_damaged_listing_is_a_store_error(content: bytes, tmp_path: Path) -> None:
    store = LmdbStore(tmp_path)
    upload(store, {b"a": b"1"})
    (tmp_path / "carriers" / "generations.json").write_bytes(content)
    with pytest.raises(StoreError, match="cannot be read"):
        LmdbStore(tmp_path).current("carriers")
    store.close()
