"""The folder of compiled definitions on disk, read once and replaced as a whole.

`overrides.json` in it holds the breaking changes that were forced, oldest first. What each file was made of is kept
apart, in a cache that may be lost at any time: with it unchanged definitions are neither typed nor written again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path

from zipline.errors import UsageError
from zipline.plan.canonical import Json, compact, pretty
from zipline.plan.descriptions import Description, Descriptions

OVERRIDES = "overrides.json"


class Folder:
    """A compiled folder as it was found. `cache` says what its files were made of."""

    def __init__(self, path: Path, cache: Path | None = None) -> None:
        self.path = path
        self._files = dict(_texts_in(path))
        self._texts = {where.partition("/")[2].removesuffix(".json"): text for where, text in self._files.items()}
        self._cache = _read_cache(cache)

    def kept(self, name: str, key: str) -> tuple[str, str | None] | None:
        """The text of a definition that was made of what has this key, and why it is untyped if it is."""
        text, known = self._texts.get(name), self._cache.get(name)
        if text is None or known is None or known[:2] != (key, _digest(text)):
            return None
        return text, known[2]

    def others_than(self, now: Descriptions) -> dict[str, Description]:
        """The descriptions by name that are others now, or none."""
        return {name: self._described(name) for name, text in self._texts.items() if now.texts.get(name) != text}

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._texts)

    @cached_property
    def overrides(self) -> list[Json]:
        path = self.path / OVERRIDES
        kept: list[Json] = json.loads(path.read_text("utf-8")) if path.exists() else []
        return kept

    def publish(self, files: Mapping[str, str], overrides: Sequence[Json]) -> None:
        """Puts these files in place of all that are there."""
        texts = {**files, **({OVERRIDES: pretty([*overrides])} if overrides else {})}
        if texts == {**self._files, **({OVERRIDES: pretty(self.overrides)} if self.overrides else {})}:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{self.path.name}-", dir=self.path.parent))
        try:
            self._write(beside / "new", texts)
            self._replace(beside / "new", beside / "old")
        finally:
            shutil.rmtree(beside, ignore_errors=True)

    def _described(self, name: str) -> Description:
        try:
            described: Description = json.loads(self._texts[name])
        except ValueError:
            raise UsageError(
                f"the compiled file of {name} in {self.path} is damaged",
                hint="remove the file, or the whole folder: it is made anew by zipline compile",
            ) from None
        return described

    def _write(self, fresh: Path, texts: Mapping[str, str]) -> None:
        for folder in {where.rpartition("/")[0] for where in texts}:
            (fresh / folder).mkdir(parents=True, exist_ok=True)
        for where, text in texts.items():
            if self._files.get(where) != text or not _linked(f"{self.path}/{where}", f"{fresh}/{where}"):
                (fresh / where).write_bytes(text.encode("utf-8", "surrogatepass"))

    def _replace(self, fresh: Path, former: Path) -> None:
        try:
            if self.path.exists():
                self.path.rename(former)
            fresh.rename(self.path)
        except BaseException:
            if former.exists() and not self.path.exists():
                former.rename(self.path)
            raise


def remember(cache: Path, now: Descriptions) -> None:
    """Keeps what the texts were made of."""
    made: dict[str, Json] = {
        name: [now.made_of[name], _digest(text), now.untyped.get(name)] for name, text in now.texts.items()
    }
    cache.parent.mkdir(parents=True, exist_ok=True)
    beside = cache.with_name(f".{cache.name}-{os.getpid()}")
    beside.write_text(compact(made), "utf-8")
    beside.replace(cache)


def _read_cache(cache: Path | None) -> dict[str, tuple[str, str, str | None]]:
    """Name -> what its text was made of, the text's digest, why it is untyped; nothing where that cannot be read."""
    try:
        known = json.loads(cache.read_text("utf-8")) if cache is not None else {}
        return {name: (made_of, text, untyped) for name, (made_of, text, untyped) in known.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _texts_in(path: Path) -> Iterator[tuple[str, str]]:
    """The compiled files as `kind/name.json` -> text; thousands, so without a Path for each."""
    for folder in sorted(_entries(path), key=lambda entry: entry.name):
        for entry in _entries(folder.path) if folder.is_dir() else ():
            if entry.name.endswith(".json"):
                with open(entry.path, "rb", buffering=0) as file:
                    yield f"{folder.name}/{entry.name}", file.read().decode("utf-8", "surrogatepass")


def _entries(path: str | os.PathLike[str]) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(path) as found:
            return list(found)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _linked(there: str, here: str) -> bool:
    """Whether a file could be taken over as it is; not every storage can."""
    try:
        os.link(there, here)
    except OSError:
        return False
    return True


@cache
def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
