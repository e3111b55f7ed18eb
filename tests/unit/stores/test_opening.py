"""Which store a project has, and what is said where its client is missing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from zipline.errors import ProjectError
from zipline.project import OnlineStore, Project
from zipline.stores.opening import open_store

URLS = {
    "lmdb": "online",
    "memory": "",
    "redis": "redis://127.0.0.1:1/0",
    "cassandra": "cassandra://127.0.0.1:1/features",
}


def project(root: Path, store: str) -> Project:
    url = str(root / URLS[store]) if store == "lmdb" else URLS[store]
    return Project(root, "p", "", online=OnlineStore(store, url, "me", "secret"))


@pytest.mark.parametrize("store", URLS)
def test_a_project_has_the_store_that_it_names(store: str, tmp_path: Path) -> None:
    opened = open_store(project(tmp_path, store))
    assert type(opened).__name__.lower() == f"{store}store"
    opened.close()


@pytest.mark.parametrize("store", ["redis", "cassandra"])
def test_a_client_that_is_missing_is_named_by_its_extra(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith(f"zipline.stores.{store}")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, store, None)
    with pytest.raises(ProjectError, match=f"the online store is {store.capitalize()}, and its client") as told:
        open_store(project(tmp_path, store))
    assert told.value.hint == f"pip install 'zipline-features[{store}]'"
