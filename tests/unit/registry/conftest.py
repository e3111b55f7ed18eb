"""A registry in a file of its own, and a clock that tests set."""

from pathlib import Path

import pytest

from tests.unit.registry.clocks import Clock
from zipline.registry import open_registry


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/registry.db"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def registry(url: str, clock: Clock):
    with open_registry(url, clock=clock) as opened:
        yield opened


@pytest.fixture
def new_url(tmp_path: Path) -> str:
    """Another registry."""
    return f"sqlite:///{tmp_path}/another.db"
