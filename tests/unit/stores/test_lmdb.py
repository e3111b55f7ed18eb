"""What LMDB keeps beside the contract: other processes, killed uploads, damaged files."""

from __future__ import annotations

import os
import random
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
from zipline.stores.contract import TILES_KEPT, Place, PlaceError, StoreError
from zipline.stores.keys import key_writer
from zipline.stores.lmdb import LmdbStore
from zipline.stores.tiles import POSITION, PROGRESS, coarse, fine
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


@pytest.mark.parametrize("content", [b"", b"{", b"\xff"])
def test_an_upload_begins_a_damaged_listing_anew_and_sweeps_what_it_listed(content: bytes, tmp_path: Path) -> None:
    store = LmdbStore(tmp_path)
    upload(store, {b"a": b"1"})
    (tmp_path / "carriers" / "generations.json").write_bytes(content)
    second = upload(store, {b"a": b"2"})
    assert [each.name for each in store.generations("carriers")] == [second]
    assert read(store, second, b"a") == [b"2"]
    assert [path.name for path in (tmp_path / "carriers").glob("[0-9]*")] == [second]
    store.close()


def test_a_folder_that_is_none_is_the_trouble_of_its_space_alone(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path)
    upload(store, {b"a": b"1"}, space="airports")
    (tmp_path / "carriers").write_text("a file")
    with pytest.raises(PlaceError, match="cannot be read: Not a directory"):
        store.current("carriers")
    assert store.current("airports") is not None
    store.close()


CUTS = [0, 100, 4096, 8192, 12_288, -4096, -1]


@pytest.mark.parametrize("cut", CUTS)
def test_a_file_that_was_cut_off_is_a_place_error_before_anything_is_read(cut: int, tmp_path: Path) -> None:
    """In a process of its own: reading behind the end of a mapped file ends it."""
    store = LmdbStore(tmp_path)
    name = upload(store, {b"%05d" % n: bytes(100) for n in range(2_000)})
    store.put_tiles("carriers", [(b"%05d" % n, bytes(100)) for n in range(2_000)])
    store.close()
    for folder in (name, "tiles"):
        data = tmp_path / "carriers" / folder / "data.mdb"
        os.truncate(data, cut if cut >= 0 else data.stat().st_size + cut)
    code = f"""
        from zipline.stores.contract import Place, PlaceError
        from zipline.stores.lmdb import LmdbStore
        store = LmdbStore({str(tmp_path)!r})
        for generation in ({name!r}, None):
            try:
                store.get([(Place("carriers", generation), [b"00001", b"01999"])])
            except PlaceError as wrong:
                print(wrong.hint)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = done.stdout.splitlines()
    assert "upload again" in told[0]
    # Of an empty file LMDB makes new tiles, in which a stream finds no position: it makes them anew.
    assert len(told) == (1 if cut == 0 else 2)


def test_files_that_nobody_cut_are_whole_whatever_was_written_and_deleted(tmp_path: Path) -> None:
    for seed in range(20):
        draw = random.Random(seed)
        store = LmdbStore(tmp_path / str(seed))
        for _ in range(draw.randrange(1, 30)):
            keys = [b"%04d" % draw.randrange(500) for _ in range(draw.randrange(1, 100))]
            store.put_tiles("carriers", [(key, bytes(draw.choice([9, 300, 9_000, 40_000]))) for key in keys])
        name = upload(store, {b"%04d" % n: bytes(draw.choice([9, 300, 9_000])) for n in range(draw.randrange(300))})
        store.close()
        again = LmdbStore(tmp_path / str(seed))
        read(again, name, b"0001")
        read(again, None, b"0001")
        again.close()


def test_a_map_that_is_full_is_a_store_error_and_what_was_there_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zipline.stores.lmdb.MAP_SIZE", 1 << 18)
    store = LmdbStore(tmp_path)
    store.put_tiles("carriers", [(b"a", b"1")])
    with pytest.raises(StoreError, match="MDB_MAP_FULL") as caught:
        store.put_tiles("carriers", [(b"a", b"2"), *((b"%05d" % n, bytes(1_000)) for n in range(1_000))])
    assert "end of its addresses" in str(caught.value.hint)
    assert read(store, None, b"a", b"00001") == [b"1", None]
    store.put_tiles("carriers", [(b"a", b"3")])
    assert read(store, None, b"a") == [b"3"]
    with pytest.raises(StoreError, match="MDB_MAP_FULL"):
        upload(store, {b"%05d" % n: bytes(1_000) for n in range(1_000)})
    assert store.current("carriers") is None
    assert not list((tmp_path / "carriers").glob(".upload-*"))
    store.close()


def test_an_upload_that_cannot_begin_holds_up_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LmdbStore(tmp_path)
    with monkeypatch.context() as broken:
        broken.setattr("zipline.stores.lmdb.MAP_SIZE", -1)
        with pytest.raises(Exception, match=r".") as caught:
            upload(store, {b"a": b"1"})
        assert "another upload" not in str(caught.value)
    upload(store, {b"a": b"1"})
    store.close()


def test_tiles_of_a_space_that_was_removed_and_came_back_are_the_new_ones(tmp_path: Path) -> None:
    """A definition that comes back has its space again; whoever had its former tiles open must not go on with them."""
    writer, reader, other = (LmdbStore(tmp_path) for _ in range(3))
    upload(writer, {b"a": b"1"})
    for store in (reader, other):
        store.put_tiles("carriers", [(b"a", b"old"), (b"b", b"old")])
        assert read(store, None, b"a", b"b") == [b"old", b"old"]
    writer.remove("carriers")
    assert read(writer, None, b"a") == [None]
    upload(writer, {b"a": b"2"})
    writer.put_tiles("carriers", [(b"a", b"new")])
    with pytest.raises(StoreError, match="removed while they were written"):
        other.put_tiles("carriers", [(b"c", b"new")])
    other.put_tiles("carriers", [(b"c", b"new")])
    ends = time.monotonic() + 60
    while read(reader, None, b"a", b"b", b"c") != [b"new", None, b"new"]:
        reader.current("carriers")
        assert time.monotonic() < ends
        time.sleep(0.01)
    assert read(other, None, b"a", b"b", b"c") == [b"new", None, b"new"]
    for store in (writer, reader, other):
        store.close()


def test_who_writes_tiles_that_were_removed_begins_anew(tmp_path: Path) -> None:
    """Whoever goes on where he was would make tiles that lack what came before, and say that they are complete."""
    writer, other = LmdbStore(tmp_path), LmdbStore(tmp_path)
    writer.put_tiles("carriers", [(POSITION, b"7"), (b"a", b"1")])
    assert read(writer, None, POSITION) == [b"7"]
    other.remove("carriers")
    assert read(writer, None, POSITION) == [None]
    assert not (tmp_path / "carriers").exists()
    for store in (writer, other):
        store.close()


def test_stores_of_a_folder_in_one_process_share_what_is_open(tmp_path: Path) -> None:
    """LMDB has a file open once in a process: a stream beside a fetcher, or two fetchers, are two stores."""
    one, other = LmdbStore(tmp_path), LmdbStore(tmp_path)
    name = upload(one, {b"a": b"1"})
    assert read(one, name, b"a") == read(other, name, b"a") == [b"1"]
    for store, tile in ((one, b"2"), (other, b"3")):
        store.put_tiles("carriers", [(b"a", tile)])
        assert read(one, None, b"a") == read(other, None, b"a") == [tile]
    one.close()
    assert read(other, name, b"a") == [b"1"]
    assert read(other, None, b"a") == [b"3"]
    last = LmdbStore(tmp_path)
    assert read(last, name, b"a") == [b"1"]
    other.close()
    assert read(last, name, b"a") == [b"1"]
    last.close()
