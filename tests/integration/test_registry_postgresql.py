"""The registry on a PostgreSQL server: all that holds for a file, and what only a server can do wrong."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.servers.postgresql import postgresql  # noqa: F401
from tests.unit.registry.clocks import Clock
from tests.unit.registry.test_locks import *  # noqa: F403
from tests.unit.registry.test_migrations import *  # noqa: F403
from tests.unit.registry.test_opening import RECORD
from tests.unit.registry.test_runs import *  # noqa: F403
from tests.unit.registry.test_versions import *  # noqa: F403
from zipline import clock as system
from zipline.cli.doctor import WRONG, examine
from zipline.clock import HOUR
from zipline.errors import RegistryError
from zipline.project import load_project
from zipline.registry import open_registry

ROOT = Path(__file__).parents[2]


@pytest.fixture
def url(postgresql):  # noqa: F811
    return postgresql()


@pytest.fixture
def new_url(postgresql):  # noqa: F811
    return postgresql()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def registry(url, clock):
    with open_registry(url, clock=clock) as opened:
        yield opened


def test_leases_are_by_the_clock_of_the_server_so_machines_need_not_agree(url, monkeypatch):
    with open_registry(url) as registry:
        monkeypatch.setattr(system, "now", lambda: 5 * HOUR)
        with registry.locks.acquire("table", "backfill") as lock:
            lock.check()
            since = registry.locks.holder("table").since
        monkeypatch.undo()
        assert abs(since - system.now()) < HOUR


def test_processes_that_open_and_write_a_new_database_at_once_lose_nothing(url):
    writers = [subprocess.Popen([sys.executable, "-c", RECORD, url, str(n)], cwd=ROOT) for n in range(3)]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    with open_registry(url) as registry:
        assert len({override.name for override in registry.overrides.of()}) == 60


def test_a_server_that_is_not_there_is_named_without_its_password():
    with pytest.raises(RegistryError, match="failed: connection") as wrong:
        open_registry("postgresql://ann:secret@127.0.0.1:1/registry")
    assert "postgresql://ann:***@127.0.0.1:1/registry" in wrong.value.what
    assert "secret" not in str(wrong.value)
    assert "start the server, or mend [registry] url" in wrong.value.hint
    assert wrong.value.next_command == "zipline doctor"


def test_a_database_that_is_not_there_is_named(url):
    with pytest.raises(RegistryError, match='database "nowhere" does not exist'):
        open_registry(f"{url.rpartition('/')[0]}/nowhere")


def test_the_doctor_says_that_the_server_is_not_there(tmp_path):
    (tmp_path / "zipline.toml").write_text('[registry]\nurl = "postgresql://ann:secret@127.0.0.1:1/registry"\n')
    (finding,) = [each for each in examine(load_project(tmp_path)) if each.what == "registry"]
    assert finding.state == WRONG
    assert "127.0.0.1:1" in finding.detail
    assert "secret" not in finding.detail


def test_a_connection_that_the_server_ended_is_opened_again(url):
    with open_registry(url) as registry, open_registry(url) as other:
        assert registry.versions.active() == ()
        with other._database.writing() as connection:
            connection.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        assert registry.versions.active() == ()
