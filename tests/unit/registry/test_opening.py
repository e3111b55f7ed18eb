"""Where a registry is, who may open it at the same time, and what is said where it cannot be opened."""

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from zipline.errors import ProjectError, RegistryError
from zipline.project import load_project
from zipline.registry import Compiled, find_registry, open_registry

ROOT = Path(__file__).parents[3]
RECORD = """
import sys
from zipline.registry import Compiled, open_registry
url, name = sys.argv[1:]
for number in range(20):
    with open_registry(url) as registry:
        registry.override(f"{name}.{number}", "because")
"""


def file_of(url):
    return Path(url.removeprefix("sqlite:///"))


def test_a_project_without_settings_has_its_registry_in_its_own_folder(tmp_path):
    project = load_project(tmp_path)
    assert find_registry(project) is None
    open_registry(project).close()
    assert (tmp_path / ".zipline" / "registry.db").is_file()
    with find_registry(project) as registry:
        assert registry.versions.active() == ()


def test_processes_that_open_and_write_a_new_registry_at_once_lose_nothing(url):
    writers = [subprocess.Popen([sys.executable, "-c", RECORD, url, str(n)], cwd=ROOT) for n in range(3)]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    with open_registry(url) as registry:
        expected = {f"{writer}.{number}" for writer in range(3) for number in range(20)}
        assert {override.name for override in registry.overrides.of()} == expected


@pytest.mark.parametrize("content", [b"this is no database, but some text that is long enough" * 40, b"\0" * 5000])
def test_a_file_that_is_no_database_is_called_damaged(url, content):
    file_of(url).write_bytes(content)
    with pytest.raises(RegistryError, match="is damaged") as wrong:
        open_registry(url)
    assert f"mv {file_of(url)} {file_of(url)}.damaged" in wrong.value.hint
    assert wrong.value.next_command == "zipline doctor"
    assert file_of(url).read_bytes() == content


def test_a_database_with_a_torn_page_is_called_damaged(url):
    with open_registry(url) as registry:
        registry.record([Compiled(f"shop.n{number}", "Join", "1" * 64, "{}" * 500) for number in range(200)])
    with sqlite3.connect(file_of(url)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    pages = bytearray(file_of(url).read_bytes())
    pages[4096 * 4 :] = b"\xff" * (len(pages) - 4096 * 4)
    file_of(url).write_bytes(pages)
    with pytest.raises(RegistryError, match="is damaged"), open_registry(url) as registry:
        registry.versions.active()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RegistryError, match="cannot be opened for writing") as wrong:
        open_registry(f"sqlite:///{tmp_path}/file/registry.db")
    assert "make its folder writable" in wrong.value.hint
    assert wrong.value.next_command == "zipline doctor"


def test_a_folder_in_place_of_the_file_is_named(tmp_path):
    with pytest.raises(RegistryError, match="cannot be opened for writing"):
        open_registry(f"sqlite:///{tmp_path}")


@pytest.mark.parametrize("there", [False, True], ids=["new", "existing"])
def test_a_folder_without_the_right_to_write_is_named(tmp_path, there):
    folder = tmp_path / "registry"
    url = f"sqlite:///{folder}/registry.db"
    folder.mkdir()
    if there:
        open_registry(url).close()
    try:
        refused = opened_without_rights(url, folder)
    finally:
        folder.chmod(0o755)
    assert "RegistryError" in refused
    assert "cannot be opened for writing" in refused


def opened_without_rights(url, folder):
    """What is said to a user who may only read; root may write everywhere, so it gives up its rights first."""
    for path in (*folder.iterdir(), folder, *folder.parents[:-1]):
        if path.stat().st_uid == os.getuid():
            path.chmod(0o555 if path.is_relative_to(folder) else path.stat().st_mode | 0o555)
    code = f"""
import os
import zipline.registry
zipline.registry.open_registry("sqlite:///{folder.parent}/imported/registry.db").override("a", "all is imported now")
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
with zipline.registry.open_registry({url!r}) as registry:
    registry.override("a", "because")
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    return done.stderr


@pytest.mark.parametrize("url", ["mysql://host/db", "registry.db", "sqlite:///:memory:", "sqlite://", ""])
def test_a_url_that_is_neither_a_file_nor_postgresql_is_refused_with_what_is_valid(url):
    with pytest.raises(ProjectError) as wrong:
        open_registry(url)
    assert wrong.value.valid == ("sqlite:///path/registry.db", "postgresql://user@host/database")


def test_a_registry_that_lost_its_file_says_so(url):
    with open_registry(url) as registry:
        shutil.rmtree(file_of(url).parent)
        with pytest.raises(RegistryError, match="cannot be opened for writing"):
            registry.override("a", "because")
