"""Kernels that are imported from an archive, as Spark ships them: their compiled copies lie where all others do.

Numba's own way takes the place of the archive for a part of their name: it is another one for every application, and
each would compile all anew. The folder is named by the sources already, so that nothing else need be compared.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

from zipline.algebra.columnar import kernel


def sources() -> list[bytes]:
    """Those of the kernels, in the order in which folders have them."""
    columnar, algebra = files("zipline.algebra.columnar"), files("zipline.algebra")
    own = sorted((each for each in columnar.iterdir() if each.name.endswith(".py")), key=lambda each: each.name)
    return [each.read_bytes() for each in (*own, algebra / "moments.py", algebra / "compiled.py")]


class ArchivedKernel:
    """Where the compiled copy of one kernel lies; what Numba asks of a locator."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._line = function.__code__.co_firstlineno

    @classmethod
    def from_function(cls, function: Callable[..., Any], file: str) -> ArchivedKernel:
        del file
        return cls(function)

    def get_cache_path(self) -> str:
        return str(Path(kernel.cache_folder()) / "archived")

    def ensure_cache_path(self) -> None:
        os.makedirs(self.get_cache_path(), exist_ok=True)

    def get_source_stamp(self) -> int:
        return 0

    def get_disambiguator(self) -> str:
        return str(self._line)
