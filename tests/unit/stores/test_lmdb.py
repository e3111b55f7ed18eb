"""What LMDB keeps beside the contract: other processes, killed uploads, damaged files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.stores.opened import read, upload
from zipline.clock import DAY
from zipline.stores.contract import TILES_KEPT, Place, StoreError
from zipline.stores.keys import key_writer
from zipline.stores.lmdb import LmdbStore
from zipline.stores.tiles import PROGRESS, coarse, fine
from zipline.types import BIGINT, STRING


def test_no_space_lies_outside_the_folder(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path / "online")
    for space in ("..", ".", "../x", "/x"):
        upload(store, {b"a": b"1"}, space=space)
    assert [path.name for path in tmp_path.iterdir()] == ["online"]
    assert len(list((tmp_path / "online").iterdir())) == 4
    store.close()


def test_what_another_process_publishes_is_seen(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path)
    assert store.current("carriers") is None
    code = f"""
        from tests.integration.stores.opened import upload
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


def test_a_place_that_is_asked_twice_in_one_question_is_read_in_one_state(tmp_path: Path) -> None:
    """As by a join that looks up one group-by by two of its columns, while another process writes."""
    store = LmdbStore(tmp_path)
    store.put_tiles("carriers", [(b"a", b"1")])

    class Keys(list[bytes]):
        def __iter__(self) -> Iterator[bytes]:
            yield from super().__iter__()
            store.put_tiles("carriers", [(b"a", b"2")])

    place = Place("carriers")
    first, second = store.get([(place, Keys([b"a"])), (place, [b"a"])])
    assert [bytes(value) for value in (*first, *second)] == [b"1", b"1"]
    assert read(store, None, b"a") == [b"2"]
    store.close()


def mapped(folder: Path) -> int:
    """Files below the folder that this process has mapped."""
    return sum(str(folder) in line for line in Path("/proc/self/maps").read_text().splitlines())


def test_generations_that_are_dropped_are_closed_when_their_readers_ask_again(tmp_path: Path) -> None:
    store, reader = LmdbStore(tmp_path, grace=0.0), LmdbStore(tmp_path)
    turn = threading.Barrier(4, timeout=60)

    def reads() -> None:
        for number in range(20):
            turn.wait()
            while newest() != b"%d" % number:
                pass
            turn.wait()

    def newest() -> bytes | None:
        current = reader.current("carriers")
        try:
            return None if current is None else read(reader, current.name, b"a")[0]
        except StoreError:
            return None  # it was dropped in this moment, for there is no grace

    threads = [threading.Thread(target=reads, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(20):
        upload(store, {b"a": b"%d" % number})
        turn.wait()
        turn.wait()
        assert mapped(tmp_path) <= 4
    for thread in threads:
        thread.join()
    store.close()
    reader.close()
    assert mapped(tmp_path) == 0


def test_what_a_thread_was_given_holds_until_it_asks_again_even_if_the_generation_is_dropped(tmp_path: Path) -> None:
    store, reader = LmdbStore(tmp_path, grace=0.0), LmdbStore(tmp_path)
    name = upload(store, {b"a": b"1" * 1_000_000})
    (view,) = reader.get([(Place("carriers", name), [b"a"])])[0]
    for _ in range(3):
        upload(store, {b"a": b"2"})
        time.sleep(0.06)
        assert reader.current("carriers") is not None
    assert bytes(view) == b"1" * 1_000_000
    del view
    assert reader.get([]) == []
    assert mapped(tmp_path) == 0
    with pytest.raises(StoreError, match="not there any more"):
        read(reader, name, b"a")
    store.close()
    reader.close()


def test_tiles_that_no_upload_needs_any_more_are_deleted_when_the_next_is_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zipline.stores.lmdb.AT_ONCE", 7)
    store, today = LmdbStore(tmp_path), 20_000 * DAY
    write = key_writer([STRING, BIGINT])
    keys = [b"\0", *(write((text, n)) or b"" for text in ("", "a", "aa", "b" * 600) for n in (-1, 0, 1 << 40))]
    days = [today - n * DAY for n in range(10)]
    tiles = {key + suffix: day for day in days for key in keys for suffix in (coarse(day), fine(day, day))}
    store.put_tiles("carriers", [(PROGRESS, b"p"), *((key, b"v") for key in tiles)])
    store.put_tiles("airports", [(key, b"v") for key in tiles])
    upload(store, {b"a": b"1"}, today)
    kept = {key for key, day in tiles.items() if day >= today - TILES_KEPT}
    assert {key for key in tiles if read(store, None, key) == [b"v"]} == kept
    assert 0 < len(kept) < len(tiles)
    assert read(store, None, PROGRESS) == [b"p"]
    assert all(read(store, None, key, space="airports") == [b"v"] for key in tiles)
    store.close()


def test_an_upload_of_a_space_without_tiles_makes_none(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path)
    upload(store, {b"a": b"1"})
    assert not (tmp_path / "carriers" / "tiles").exists()
    store.close()
