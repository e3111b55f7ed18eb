"""Where the compiled copies of kernels lie: in one folder for equal sources, wherever they are imported from.

Numba's own way takes the place of a module for a part of their name. A second environment, and every application of
Spark with an archive of its own, would compile all anew. The folder is named by the sources already, so that nothing
else need be compared.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import Any

from zipline.algebra.columnar import kernel


def archived_sources() -> list[bytes]:
    """Those of the kernels where an archive has them, in the order in which folders do."""
    columnar, algebra = files("zipline.algebra.columnar"), files("zipline.algebra")
    own = sorted((each for each in columnar.iterdir() if each.name.endswith(".py")), key=lambda each: each.name)
    return [each.read_bytes() for each in (*own, algebra / "moments.py", algebra / "compiled.py")]


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
