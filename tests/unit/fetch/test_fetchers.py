"""Fetchers of a project's folder: several of them, and several threads of one."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from tests.integration.servers.features import JOIN, project
from zipline import Fetcher
from zipline.errors import DefinitionError

ROW = {"user": "u1", "item": "a", "amount": 1.0, "basket": 1}
THREADS = 8


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return project(tmp_path_factory.mktemp("fetchers"))


def spent(fetcher: Fetcher) -> Any:
    return fetcher.fetch(JOIN, [ROW]).rows()[0]["spent_amount_sum_30d"]


def test_the_first_fetch_may_be_made_by_many_threads_at_once(shop: Path) -> None:
    """It loads the definitions, whose modules have one place in the process."""
    for _ in range(3):
        fetchers = [Fetcher(shop), Fetcher(shop)]
        told: list[Any] = []
        start = threading.Barrier(THREADS)

        def run(fetcher: Fetcher, start: threading.Barrier = start, told: list[Any] = told) -> None:
            start.wait()
            try:
                told.append(spent(fetcher))
            except Exception as wrong:
                told.append(wrong)

        threads = [threading.Thread(target=run, args=(fetchers[number % 2],)) for number in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for fetcher in fetchers:
            fetcher.close()
        assert told == [30.0] * THREADS


def test_definitions_that_cannot_be_loaded_are_told_at_every_fetch_until_they_can(tmp_path: Path) -> None:
    folder = project(tmp_path)
    file = folder / "configs" / "shop" / "orders.py"
    text = file.read_text()
    file.write_text(text.replace("GroupBy(", "GroupBi(", 1))
    fetcher = Fetcher(folder)
    for _ in range(2):
        with pytest.raises(DefinitionError, match="GroupBi"):
            spent(fetcher)
    file.write_text(text)
    assert spent(fetcher) == 30.0
    fetcher.close()


def test_a_fetcher_outlives_another_of_its_folder(shop: Path) -> None:
    first, second = Fetcher(shop), Fetcher(shop)
    assert spent(first) == spent(second) == 30.0
    first.close()
    assert spent(second) == 30.0
    second.close()
