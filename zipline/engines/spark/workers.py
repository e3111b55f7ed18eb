"""A Python process that Spark starts for tasks, made ready for ours: once, when the first of them comes."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from zipimport import zipimporter

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


def _settle() -> None:
    """Before each task Spark lets Python look anew at what is on its path; of archives it would read the directories.

    That takes several times as long as a small task, and an archive that a worker has opened does not change while it
    runs. There is a finder for every folder of an archive that anything was imported from, so more with time.
    """
    for finder in sys.path_importer_cache.values():
        if isinstance(finder, zipimporter):
            setattr(finder, "invalidate_caches", _unchanged)  # noqa: B010 (its own, not that of its class)


def _unchanged() -> None: ...
