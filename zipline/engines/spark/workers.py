"""A Python process that Spark starts for tasks, made ready for ours: once, when the first of them comes."""

from __future__ import annotations

import gc
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


_tasks = 0
"""That this process has done."""


def _settle() -> None:
    """Keeps Spark from doing between tasks what takes several times as long as a small task.

    Before each it lets Python look anew at what is on its path; of archives it would read the directories, and one that
    a worker has opened does not change while it runs. There is a finder for every folder of an archive that anything
    was imported from, so more with time.

    After each it looks for garbage among all objects there are, most of which are our libraries': these are taken out
    of the search, at first, and a few times later for those that came since.
    """
    global _tasks
    _tasks += 1
    if _tasks & (_tasks - 1) == 0:
        gc.freeze()
    for finder in sys.path_importer_cache.values():
        if isinstance(finder, zipimporter):
            setattr(finder, "invalidate_caches", _unchanged)  # noqa: B010 (its own, not that of its class)


def _unchanged() -> None: ...
