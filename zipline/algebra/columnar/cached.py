"""Where the compiled copies of kernels lie: in one folder for equal sources, wherever they are imported from.

Numba's own way takes the place of a module for a part of their name. A second environment, and every application of
Spark with an archive of its own, would compile all anew. The folder is named by the sources already, so that nothing
else need be compared.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from zipline.algebra.columnar import kernel


def archived_sources() -> list[bytes]:
    """Those of the kernels where an archive has them, in the order in which folders do."""
    columnar = files("zipline.algebra.columnar")
    own = sorted((each for each in columnar.iterdir() if each.name.endswith(".py")), key=lambda each: each.name)
    more = (
        files("zipline" if name.startswith("../") else "zipline.algebra") / Path(name).name
        for name in kernel.COMPILED_IN
    )
    return [each.read_bytes() for each in (*own, *more)]


def save_alone(compiled: Any) -> None:
    """Lets one process at a time keep what it has compiled of a kernel. Two that had compiled it for other types would
    number their files alike, and the next one take either for the other."""
    cache = compiled._cache
    save = cache.save_overload

    def saved(signature: Any, data: Any) -> None:
        with suppress(OSError), Path(cache.cache_path, ".saving").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            save(signature, data)

    cache.save_overload = saved


class CachedKernel:
    """Where the compiled copy of one kernel lies; what Numba asks of a locator. None where that cannot be written."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._line = function.__code__.co_firstlineno

    @classmethod
    def from_function(cls, function: Callable[..., Any], file: str) -> CachedKernel | None:
        del file
        return cls(function) if _is_writable(kernel.cache_folder()) else None

    def get_cache_path(self) -> str:
        return kernel.cache_folder()

    def ensure_cache_path(self) -> None:
        os.makedirs(self.get_cache_path(), exist_ok=True)

    def get_source_stamp(self) -> int:
        return 0

    def get_disambiguator(self) -> str:
        return str(self._line)


@cache
def _is_writable(folder: str) -> bool:
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False
