"""The files of a folder of definitions, and the dotted names that their places give them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from zipline.errors import DefinitionError, Location
from zipline.values import dataclass


@dataclass(frozen=True)
class ConfigFile:
    """A file under the folder: `name` is its dotted path below it ("" for the folder's own __init__.py)."""

    name: str
    path: Path

    @property
    def is_package(self) -> bool:
        return self.path.name == "__init__.py"

    @property
    def folder(self) -> str:
        """The dotted path of the folder that the file lies in."""
        return self.name if self.is_package else self.name.rpartition(".")[0]


def config_files(root: Path) -> tuple[ConfigFile, ...]:
    """Every .py file under `root` in the order of names; hidden files and folders are no part of it."""
    files: list[ConfigFile] = []
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(f for f in folders if not f.startswith(".") and f != "__pycache__")
        parts = Path(folder).relative_to(root).parts
        for name in (n for n in names if n.endswith(".py") and not n.startswith(".")):
            path = Path(folder, name)
            dotted = (*parts, *(() if name == "__init__.py" else (name.removesuffix(".py"),)))
            _check_parts(dotted, path)
            files.append(ConfigFile(".".join(dotted), path))
    _refuse_twins(files)
    return tuple(sorted(files, key=lambda file: file.name))


def readable(path: str | os.PathLike[str]) -> str:
    """A path as it is shown: relative to the working folder where it lies below it."""
    return os.path.abspath(path).removeprefix(os.getcwd() + os.sep)


def _check_parts(parts: Sequence[str], path: Path) -> None:
    for part in parts:
        if not part.isidentifier():
            raise DefinitionError(
                f"{part!r} is no Python name, and the names of definitions are made of their folders and files",
                where=Location(readable(path), 1),
                hint="rename it: letters, digits and underscores, not beginning with a digit",
            )


def _refuse_twins(files: Sequence[ConfigFile]) -> None:
    folders = {".".join(name[: n + 1]) for name in (f.folder.split(".") for f in files) for n in range(len(name))}
    for file in files:
        if not file.is_package and file.name in folders:
            raise DefinitionError(
                f"{file.path.name} and the folder {file.path.stem}/ beside it have one name, {file.name!r}",
                where=Location(readable(file.path), 1),
                hint="rename one of them",
            )
