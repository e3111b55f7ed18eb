"""How kernels are compiled: by Numba, without the interpreter lock, and cached between runs.

The cache lies in the user's cache folder (ZIPLINE_KERNEL_CACHE overrides it), in a folder named by the sources of the
algebra: Numba itself does not see that a function called from another file has changed.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


@cache
def cache_folder() -> str:
    """Where the compiled kernels of these sources lie."""
    sources = hashlib.sha256()
    for path in sorted(Path(__file__).parent.parent.rglob("*.py")):
        sources.update(path.read_bytes())
    base = os.environ.get("ZIPLINE_KERNEL_CACHE")
    root = Path(base) if base else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "zipline"
    return str(root / f"kernels-{sources.hexdigest()[:16]}")


def is_compiled() -> bool:
    """Whether an earlier run has left kernels that this one can load."""
    folder = Path(cache_folder())
    return folder.is_dir() and next(folder.rglob("*.nbi"), None) is not None


def kernel(function: Function) -> Function:
    """The function, compiled for the types of its first call."""
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = cache_folder()
    try:
        compiled = numba.njit(cache=True, nogil=True)(function)
    finally:
        numba.config.CACHE_DIR = before
    return cast(Function, compiled)
