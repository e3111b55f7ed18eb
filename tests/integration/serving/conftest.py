from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.servers.features import Server, project, serving


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return project(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="session")
def server(shop: Path) -> Iterator[Server]:
    """One for all tests that change nothing of it."""
    with serving(shop) as running:
        yield running
