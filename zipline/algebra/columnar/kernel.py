"""How kernels are compiled: by Numba, without the interpreter lock, and cached between runs.

The cache lies in the user's cache folder (ZIPLINE_KERNEL_CACHE overrides it), in a folder named by the sources of the
kernels: Numba itself does not see that a function called from another file has changed (`cached`). Whoever has to wait
for a compilation is told so on stderr, once per process; `warm_up` compiles everything ahead.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numba.core import event

from zipline.clock import monotonic

Function = TypeVar("Function", bound=Callable[..., Any])

ZERO = np.int64(0)
"""A literal is a type of its own to Numba: whatever it is given to would be compiled once more."""

NOTICE = "compiling kernels, once per machine (a few seconds for each kind of operation) ..."
_LOCATORS = "zipline.algebra.columnar.cached.CachedKernel,InTreeCacheLocator,UserWideCacheLocator"
"""Where Numba looks for what it has compiled, the first of these that can be written."""
COMPILED_IN = ("moments.py", "compiled.py", "layout.py", "windows.py", "../clock.py")
"""Of what else kernels are made, beside this folder: functions, and constants, which are compiled into them."""
PATIENCE = 1.0
"""Seconds of compilation before the notice."""


@cache
def cache_folder() -> str:
    """Where the compiled kernels of these sources lie, as this release of Numba compiles them."""
    sources = hashlib.sha256(numba.__version__.encode())
    for text in _sources():
        sources.update(text)
    base = os.environ.get("ZIPLINE_KERNEL_CACHE")
    root = Path(base) if base else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "zipline"
    return str(root / f"kernels-{sources.hexdigest()[:16]}")


def _sources() -> list[bytes]:
    here = Path(__file__).parent
    if not here.is_dir():
        from zipline.algebra.columnar.cached import archived_sources

        return archived_sources()
    paths = [*sorted(here.glob("*.py")), *(here.parent / name for name in COMPILED_IN)]
    return [path.read_bytes() for path in paths]


def kernel(function: Function) -> Function:
    """The function, compiled for the types of its first call."""
    config = numba.config
    before, config.CACHE_LOCATOR_CLASSES = config.CACHE_LOCATOR_CLASSES, _LOCATORS
    try:
        compiled = numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    finally:
        config.CACHE_LOCATOR_CLASSES = before
    from zipline.algebra.columnar.cached import save_alone

    save_alone(compiled)
    return cast(Function, compiled)


def warm_up(progress: Callable[[int, int], None] | None = None, scenes: Sequence[str] = ()) -> None:
    """Compiles the kernels of all operations over the ordinary types into the cache, in processes side by side.

    `scenes` are the parts of that which are wanted (`rehearsal.SCENES`), by default all. `progress(done, all)` is
    called as they finish. Nothing happens for what is in the cache already. Where the folder of the cache cannot be
    written that is not remembered, and nothing else: Numba looks for another one.
    """
    from zipline.algebra.columnar.rehearsal import SCENES

    waiting = [scene for scene in scenes or SCENES if not _is_rehearsed(scene)]
    wanted, done = len(waiting), 0
    running: list[tuple[str, subprocess.Popen[bytes]]] = []
    while waiting or running:
        while waiting and len(running) < (os.cpu_count() or 1):
            running.append((waiting[0], _rehearse(waiting.pop(0))))
        scene, process = running.pop(0)
        if process.wait() == 0:
            with suppress(OSError):
                _marker(scene).touch()
        done += 1
        if progress is not None:
            progress(done, wanted)


def _marker(scene: str) -> Path:
    """The file that says that a scene was rehearsed to its end, for these sources."""
    return Path(cache_folder(), f"{scene}.rehearsed")


def _is_rehearsed(scene: str) -> bool:
    try:
        return _marker(scene).exists()
    except OSError:  # who may not look into a folder
        return False


def _rehearse(scene: str) -> subprocess.Popen[bytes]:
    quiet = {**os.environ, _QUIET: "1"}
    return subprocess.Popen([sys.executable, "-m", "zipline.algebra.columnar.rehearsal", scene], env=quiet)


_QUIET = "ZIPLINE_KERNELS_QUIET"


class _Announcer(event.Listener):  # type: ignore[misc]
    """Says once that kernels are being compiled, when that has taken longer than a pause that nobody notices."""

    def __init__(self) -> None:
        self._under_way: list[Any] = []
        self._began = 0.0
        self._spent = 0.0
        self._timer: threading.Timer | None = None
        self._is_said = _QUIET in os.environ

    def on_start(self, event: Any) -> None:
        self._under_way.append(event.data["dispatcher"])
        if len(self._under_way) > 1 or self._is_said or not _is_ours(self._under_way[0]):
            return
        self._began = monotonic()
        self._timer = threading.Timer(max(0.0, PATIENCE - self._spent), self._say)
        self._timer.daemon = True
        self._timer.start()

    def on_end(self, event: Any) -> None:  # noqa: ARG002
        self._under_way.pop()
        if not self._under_way and self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._spent += monotonic() - self._began

    def _say(self) -> None:
        self._is_said = True
        print(NOTICE, file=sys.stderr, flush=True)


def _is_ours(dispatcher: Any) -> bool:
    return str(dispatcher.py_func.__module__).startswith("zipline.")


event.register("numba:compile", _Announcer())
