"""Partials are written whole or not at all, and read back as they were, on disk and in an object store."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pyarrow as pa
import pytest

from zipline.clock import DAY, now
from zipline.errors import TableError
from zipline.tables.partials import PartialStore

ROWS = pa.table({"k": ["a", "b", None], "\0t": [1, 2, 3], "x": [0.1, None, -0.0], "s": [[1, 2], [], None]})


@pytest.fixture(params=["disk", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> PartialStore:
    return PartialStore(str(tmp_path / "partials") if request.param == "disk" else f"memory://{tmp_path.name}")


def test_what_is_written_is_read(store: PartialStore) -> None:
    assert store.names("group") == frozenset()
    store.write("group", "one", ROWS)
    assert store.names("group") == {"one"}
    assert store.names("other") == frozenset()
    found = store.read("group", "one")
    assert found is not None
    assert found.equals(ROWS)


def test_only_the_columns_asked_for_are_read(store: PartialStore) -> None:
    store.write("group", "one", ROWS)
    whole, some = PartialStore(store.location), PartialStore(store.location)
    assert whole.read("group", "one") is not None
    found = some.read("group", "one", ["k", "\0t"])
    assert found is not None
    assert found.column_names == ["k", "\0t"]
    assert 0 < some.bytes_read < whole.bytes_read


def test_what_is_not_there_or_was_removed_is_none(store: PartialStore) -> None:
    assert store.read("group", "one") is None
    store.write("group", "one", ROWS)
    store.remove("group", ["one", "never"])
    assert store.read("group", "one") is None
    assert store.names("group") == frozenset()


def age(location: str, group: str, days: float) -> None:
    for path in Path(location, group).iterdir():
        os.utime(path, times=(path.stat().st_mtime - days * 86400,) * 2)


def test_groups_in_which_nothing_is_written_any_more_are_swept(tmp_path: Path) -> None:
    store = PartialStore(str(tmp_path))
    for group, days in (("old", 61), ("used", 61), ("young", 59)):
        store.write(group, "one", ROWS)
        age(store.location, group, days)
    store.write("used", "two", ROWS)
    store.sweep(now())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["used", "young"]
    assert store.names("used") == {"one", "two"}
    assert store.removed == 1


def test_what_a_killed_writer_left_is_swept_after_a_day(tmp_path: Path) -> None:
    store = PartialStore(str(tmp_path))
    store.write("group", "one", ROWS)
    for name in ("killed", "living"):
        (tmp_path / "group" / f"{name}.unfinished").write_text("half")
    os.utime(tmp_path / "group" / "killed.unfinished", times=(0, time.time() - 90_000))
    store.sweep(now())
    assert sorted(path.name for path in tmp_path.glob("group/*")) == ["living.unfinished", "one.parquet"]


def test_an_object_store_is_swept_too(tmp_path: Path) -> None:
    store = PartialStore(f"memory://{tmp_path.name}-swept")
    store.write("group", "one", ROWS)
    store.sweep(now())
    assert store.names("group") == {"one"}
    store.sweep(now() + 61 * DAY)
    assert store.names("group") == frozenset()


def test_a_place_that_cannot_be_written_is_a_table_error_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "partials").write_text("a file where the folder should be")
    store = PartialStore(str(tmp_path / "partials"))
    with pytest.raises(TableError, match="cannot be written"):
        store.write("group", "one", ROWS)


def test_a_writer_killed_before_the_name_is_given_leaves_nothing_that_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = PartialStore(str(tmp_path))
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("no space left on device")))
    with pytest.raises(TableError, match="no space left"):
        store.write("group", "one", ROWS)
    assert list(tmp_path.glob("group/*")) == []
