"""Our side: `python -m tests.performance.feast.ours PROJECT JOIN` takes its turns, with a `Fetcher` in this process."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from tests.performance.feast.turns import Values, take_turns
from zipline import Fetcher


def fetch(project: str, join: str) -> None:
    fetcher = Fetcher(project)

    def fetched(keys: Sequence[int]) -> list[dict[str, Any]]:
        return fetcher.fetch(join, [{"key": key} for key in keys]).rows()

    def values(keys: Sequence[int]) -> Values:
        return [[row[name] for name in sorted(row)] for row in fetched(keys)]

    take_turns(fetched, values)


if __name__ == "__main__":
    fetch(*sys.argv[1:])
