"""The environments of LMDB that this process has open: one of a file, whoever asks for it.

LMDB has a file open once in a process. So all stores of one folder in a process (two fetchers, a fetcher beside a
stream) take their environments from here. One is closed when the last store that has it closes; one that a store has
dropped while threads may be reading it, when nothing knows it any more.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias
from weakref import WeakKeyDictionary, WeakValueDictionary

import lmdb

DATA = "data.mdb"
_File: TypeAlias = "tuple[int, int, int]"
_open: WeakValueDictionary[_File, lmdb.Environment] = WeakValueDictionary()
_holders: WeakKeyDictionary[lmdb.Environment, int] = WeakKeyDictionary()
_files: WeakKeyDictionary[lmdb.Environment, tuple[int, int]] = WeakKeyDictionary()
_lock = threading.Lock()


def taken(folder: Path, opened: Callable[[], lmdb.Environment]) -> lmdb.Environment:
    """The environment in a folder, opened by `opened` where nobody here has it yet."""
    with _lock:
        file = _file(folder)
        found = None if file is None else _open.get(file)
        if found is None:
            found = opened()
            file = _file(folder)
            if file is not None:
                _open[file], _files[found] = found, file[1:]
        _holders[found] = _holders.get(found, 0) + 1
        return found


def is_of(environment: lmdb.Environment, folder: Path) -> bool:
    """Whether it is still that of the file that lies in a folder: this may be gone, or be another one by now."""
    file = _file(folder)
    return file is not None and _files.get(environment) == file[1:]


def given_back(environment: lmdb.Environment) -> None:
    """Closes it, unless another store has it too."""
    with _lock:
        _holders[environment] -= 1
        if not _holders[environment]:
            for file in [file for file, each in _open.items() if each is environment]:
                del _open[file]
            environment.close()


def _file(folder: Path) -> _File | None:
    """Which file it is, whatever became of its name; a process that was forked off has none of its parent's."""
    try:
        facts = os.stat(folder / DATA)
    except OSError:
        return None
    return os.getpid(), facts.st_dev, facts.st_ino
