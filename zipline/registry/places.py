"""Where a registry is and which part of it is a project's, as far as that needs no database."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zipline.project import Project

_FILE = "sqlite:///"


def url_of(where: Project | str) -> str:
    return where if isinstance(where, str) else where.registry


def scope_of(where: Project | str) -> str:
    """Projects and their environments may share a registry."""
    return "" if isinstance(where, str) else f"{where.name}/{where.environment}"


def file_of(url: str) -> Path | None:
    """SQLite's file; None for a server."""
    return Path(url.removeprefix(_FILE)) if url.startswith(_FILE) else None
