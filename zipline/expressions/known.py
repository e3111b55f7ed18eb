"""Typed trees that were made before, kept in a file from one command to the next.

Making a tree needs sqlglot, whose import takes a tenth of a second. A tree depends on its text, on the types of the
columns that the text may mention, and on the software, ours and sqlglot: these are its key, so what is found is what
would be made. Trees are bytes until they are asked for. Losing the file costs only time; it is trusted like the
definitions beside it, though no class is made of it but those that trees consist of.
"""

from __future__ import annotations

import hashlib
import io
import marshal
import os
import pickle
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from zipline.errors import ExpressionError, Location
from zipline.expressions.declarations import Overload
from zipline.expressions.functions import FUNCTIONS
from zipline.expressions.nodes import Node
from zipline.types import DataType

_MOST = 20_000
"""Trees in a file; of more, those stay that were asked for."""
_MODULES = ("zipline", "datetime", "decimal")
_PATTERN = ("re", "_compile")

_found: dict[str, bytes] = {}
"""What files gave, by key."""
_asked: dict[str, bytes] = {}
"""What was asked for since, found or made."""
_open: list[Path] = []
"""The files to be written at the end."""


def typed(
    text: str, columns: Mapping[str, DataType], *, subject: str | None = None, where: Location | None = None
) -> Node:
    """The typed tree of an expression over columns. Thousands of definitions share few texts: each is parsed once."""
    try:
        mentioned = tuple((name, dtype) for name, dtype in columns.items() if name in text or '"' in name)
        return _typed(text, mentioned)
    except (ExpressionError, TypeError):
        return _made(text, columns, subject, where)


@contextmanager
def kept_in(file: Path) -> Iterator[None]:
    """While it lasts, trees are taken from the file; when it ends well the file has those made meanwhile too."""
    before = _read(file)
    _found.update(before)
    _open.append(file)
    try:
        yield
    finally:
        _open.remove(file)
    if not _asked.keys() <= before.keys():
        _write(file, before | _asked if len(before) < _MOST else _asked)


@lru_cache(maxsize=16384)
def _typed(text: str, columns: tuple[tuple[str, DataType], ...]) -> Node:
    key = repr((text, columns))
    found = _found.get(key)
    tree = _tree(found) if found is not None else None
    if found is None or tree is None:
        tree = _made(text, dict(columns), None, None)
        found = _bytes(tree) if _open else None
    if found is not None:
        _asked[key] = found
    return tree


def _made(text: str, columns: Mapping[str, DataType], subject: str | None, where: Location | None) -> Node:
    from zipline.expressions.grammar import checked

    return checked(text, columns, subject, where)


class _Pickler(pickle.Pickler):
    """Overloads hold functions: they are written as their place in the table of functions."""

    def persistent_id(self, value: Any) -> tuple[str, int] | None:
        return _places()[id(value)] if isinstance(value, Overload) else None


class _Unpickler(pickle.Unpickler):
    def persistent_load(self, place: tuple[str, int]) -> Overload:
        return FUNCTIONS[place[0]].overloads[place[1]]

    def find_class(self, module: str, name: str) -> Any:
        if module.partition(".")[0] not in _MODULES and (module, name) != _PATTERN:
            raise pickle.UnpicklingError(module)
        return super().find_class(module, name)


@cache
def _places() -> dict[int, tuple[str, int]]:
    return {id(each): (name, n) for name, function in FUNCTIONS.items() for n, each in enumerate(function.overloads)}


def _bytes(tree: Node) -> bytes | None:
    """None of a tree that holds what has no place in a file."""
    written = io.BytesIO()
    try:
        _Pickler(written, pickle.HIGHEST_PROTOCOL).dump(tree)
    except (pickle.PicklingError, TypeError, AttributeError, KeyError):
        return None
    return written.getvalue() if _tree(written.getvalue()) == tree else None


def _tree(written: bytes) -> Node | None:
    try:
        tree = _Unpickler(io.BytesIO(written)).load()
    except Exception:  # bytes that are none of ours can raise anything
        return None
    return tree if isinstance(tree, Node) else None


def _read(file: Path) -> dict[str, bytes]:
    with suppress(OSError, ValueError, EOFError, TypeError):
        software, trees = marshal.loads(file.read_bytes())
        return dict(trees) if software == _software() else {}
    return {}


def _write(file: Path, trees: Mapping[str, bytes]) -> None:
    """Nothing depends on it, so a folder that cannot be written is no failure."""
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        beside = file.with_name(f".{file.name}-{uuid.uuid4().hex}")
        beside.write_bytes(marshal.dumps((_software(), dict(trees))))
        os.replace(beside, file)


@cache
def _software() -> str:
    """What tells one state of the software from another: the sizes and times of its files."""
    here, parser = Path(__file__).parent, find_spec("sqlglot")
    folders = [here, here.parent, *(parser.submodule_search_locations or () if parser else ())]
    files = [
        (entry.path, entry.stat().st_size, entry.stat().st_mtime_ns)
        for folder in folders
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name)
        if entry.is_file()
    ]
    return hashlib.sha256(repr((sys.version, files)).encode()).hexdigest()
