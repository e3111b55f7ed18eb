"""A Python process that Spark starts for tasks, made ready for ours: once, when the first of them comes."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import duckdb

from zipline.algebra.columnar import parallel
from zipline.engines.local.session import connect


def one_core() -> tuple[duckdb.DuckDBPyConnection, ThreadPoolExecutor]:
    """What a task computes with: the other cores belong to the tasks beside it."""
    _settle()
    parallel.THREADS = 1
    connection = connect()
    connection.execute("SET threads = 1")
    return connection, ThreadPoolExecutor(1)


@cache
def _settle() -> None:
    """Before each task Spark lets Python look anew at what is on its path; of archives it would read the directories.

    That takes longer than a small task, and an archive that a worker has opened does not change while it runs.
    """
    for place, finder in sys.path_importer_cache.items():
        if finder is not None and place.endswith((".jar", ".zip")):
            setattr(finder, "invalidate_caches", _unchanged)  # noqa: B010 (its own, not that of its class)


def _unchanged() -> None: ...
