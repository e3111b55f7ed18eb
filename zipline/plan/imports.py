"""Importing the files of a folder of definitions, afresh each time.

The folder is a package under its own name: `configs/flights/carriers.py` is the module `configs.flights.carriers`, and
files import each other by that name or relatively. Source is always compiled anew (a file rewritten within a second
is not mistaken for its byte code). Afterwards the modules of this load are the ones that `import` gives; after a
failure the former ones are. Every failure is a DefinitionError with the author's file and line.
"""

from __future__ import annotations

import ast
import importlib
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from zipline.errors import DefinitionError, Location
from zipline.plan.files import ConfigFile, config_files, readable
from zipline.plan.import_failures import explain_failure

_importing = threading.RLock()
Finished = Callable[[ConfigFile, ModuleType], None]

_NAMED_KINDS = frozenset(
    {"EntitySource", "EventSource", "ExternalSource", "GroupBy", "Join", "JoinSource", "Model", "StagingQuery"}
)


def import_files(root: Path, finished: Finished) -> None:
    """Imports every file under `root`; `finished` is told of each module when it has run, imported ones first.

    One thread at a time: the modules have one place in the process.
    """
    package = root.name if root.name.isidentifier() else "configs"
    files = {_full(package, file.name): file for file in config_files(root)}
    finder = _Finder(package, root, files, finished)
    with _importing, _afresh(package, root, finder):
        try:
            for name in files:
                importlib.import_module(name)
        except DefinitionError:
            raise
        except (Exception, SystemExit) as error:
            raise explain_failure(error, root, package, tuple(files)) from error


def _full(package: str, name: str) -> str:
    return f"{package}.{name}" if name else package


class _Finder(MetaPathFinder):
    """Finds the files and folders under the root, and nothing else."""

    def __init__(self, package: str, root: Path, files: Mapping[str, ConfigFile], finished: Finished) -> None:
        self._files, self._finished = files, finished
        self._folders = {package: root}
        for file in files.values():
            name, folder = _full(package, file.folder), file.path.parent
            while name not in self._folders:
                self._folders[name] = folder
                name, folder = name.rpartition(".")[0], folder.parent

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:  # noqa: ARG002
        folder = self._folders.get(fullname)
        within = [str(folder)] if folder else None
        file = self._files.get(fullname)
        if file is not None:
            loader = _FileLoader(fullname, file, self._finished)
            return spec_from_file_location(fullname, file.path, loader=loader, submodule_search_locations=within)
        if within is None:
            return None
        spec = ModuleSpec(fullname, _FolderLoader(), is_package=True)
        spec.submodule_search_locations = within
        return spec


class _FolderLoader(Loader):
    """A folder without an __init__.py."""

    def create_module(self, spec: ModuleSpec) -> None:
        """The usual module."""

    def exec_module(self, module: ModuleType) -> None:
        """Nothing to run."""


class _FileLoader(SourceFileLoader):
    def __init__(self, fullname: str, file: ConfigFile, finished: Finished) -> None:
        super().__init__(fullname, str(file.path))
        self._file, self._finished = file, finished

    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002
        try:
            tree = ast.parse(self.get_data(self.path), self.path)
        except OSError as error:
            where = Location(readable(self.path), 1)
            raise DefinitionError(f"the file cannot be read: {error.strerror}", where=where) from error
        except (SyntaxError, ValueError) as error:
            if getattr(error, "filename", None) == self.path:
                raise
            raise DefinitionError(f"this is no Python text: {error}", where=Location(readable(self.path), 1)) from error
        _refuse_rebound(tree, self._file)
        return compile(tree, self.path, "exec", dont_inherit=True)

    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        self._finished(self._file, module)


def _refuse_rebound(tree: ast.Module, file: ConfigFile) -> None:
    """Two definitions assigned to one variable of a file: the first would be lost without a word."""
    lines: dict[str, int] = {}
    for statement in tree.body:
        for variable in _defined_by(statement):
            if variable in lines:
                raise DefinitionError(
                    f"two objects of one name: the first is at line {lines[variable]}",
                    subject=_full(file.name, variable) if file.name else variable,
                    where=Location(readable(file.path), statement.lineno),
                    hint="give one of them another variable",
                )
            lines[variable] = statement.lineno


def _defined_by(statement: ast.stmt) -> Iterator[str]:
    if isinstance(statement, (ast.Assign, ast.AnnAssign)) and isinstance(statement.value, ast.Call):
        called = statement.value.func
        kind = called.id if isinstance(called, ast.Name) else called.attr if isinstance(called, ast.Attribute) else ""
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        if kind in _NAMED_KINDS:
            yield from (target.id for target in targets if isinstance(target, ast.Name))


@contextmanager
def _afresh(package: str, root: Path, finder: _Finder) -> Iterator[None]:
    """While it lasts the package is imported through `finder`, beginning with nothing."""
    before = _modules_of(package)
    foreign = package in before and not _is_definitions(before[package], root)
    for name in before:
        del sys.modules[name]
    sys.meta_path.insert(0, finder)
    done = False
    try:
        yield
        done = True
    finally:
        sys.meta_path.remove(finder)
        if foreign or not done:
            for name in _modules_of(package):
                del sys.modules[name]
            sys.modules.update(before)


def _modules_of(package: str) -> dict[str, ModuleType]:
    return {name: m for name, m in sys.modules.items() if name == package or name.startswith(package + ".")}


def _is_definitions(module: ModuleType, root: Path) -> bool:
    """True for a folder of definitions: this one, or another that was loaded here before."""
    loader = module.__spec__.loader if module.__spec__ else None
    places = [os.path.abspath(place) for place in getattr(module, "__path__", ())]
    return isinstance(loader, (_FileLoader, _FolderLoader)) or places == [str(root)]
