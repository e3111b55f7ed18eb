"""The journal of a source: lines that are on the disk when `append` returns, read by their place in it.

    <folder>/identity                    a name of its own: a journal that was deleted and begun anew is another one
    <folder>/00000000000000000000.jsonl  the lines from that offset on; a new file every day, or when one is full
    <folder>/.lock                       held by who writes, and shared by who looks where the end is

Offsets count bytes from the journal's beginning, over all files, so they stay when old files are dropped. Any number of
processes may append: each batch is one line, written and synced under the lock, several at a time where several
threads wait. What a killed writer left of a line was answered to nobody; the next writer cuts it off.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

from zipline.clock import day_text, now
from zipline.errors import DataError, ZiplineError

SUFFIX, LOCK, IDENTITY = ".jsonl", ".lock", "identity"
FULL = 64 << 20
"""Bytes after which a file is followed by the next."""
AT_ONCE = 8 << 20
"""Bytes that are read at once, or one line where that is longer."""
_BLOCK = 1 << 16
_FULL_DISK = (errno.ENOSPC, errno.EDQUOT)


class JournalError(ZiplineError):
    """A journal cannot be written or read: then nothing of the batch was accepted."""


class JournalFullError(JournalError):
    """There is no space on the disk for a batch."""


class Journal:
    """See the module. Thread-safe."""

    def __init__(self, folder: Path, *, full: int = FULL) -> None:
        self.folder, self._full = folder, full
        self._waiting: list[_Line] = []
        self._queue, self._writing = threading.Lock(), threading.Lock()
        self.appended = threading.Event()
        """Set when this process has appended something."""

    @property
    def exists(self) -> bool:
        return (self.folder / IDENTITY).exists()

    @property
    def identity(self) -> str:
        """The journal's own name; "" where nothing was ever appended."""
        try:
            return (self.folder / IDENTITY).read_text("ascii")
        except FileNotFoundError:
            return ""

    def append(self, line: bytes) -> None:
        """Keeps a line (without its end); JournalError where it could not be kept."""
        mine = _Line(line)
        with self._queue:
            self._waiting.append(mine)
        with self._writing:
            if not mine.is_done:
                with self._queue:
                    lines, self._waiting = self._waiting, []
                self._write(lines)
        if mine.wrong is not None:
            kind = JournalFullError if mine.wrong.errno in _FULL_DISK else JournalError
            raise kind(f"nothing was accepted: {self.folder} cannot be written: {mine.wrong}", hint="is the disk full?")
        self.appended.set()

    def end(self) -> int:
        """The offset behind the last whole line."""
        if not self.exists:
            return 0
        with self._locked(fcntl.LOCK_SH):
            return self._end()

    def read(self, offset: int, end: int, most: int = AT_ONCE) -> list[tuple[int, bytes]]:
        """Lines from an offset to before `end`, each with the offset behind it: of one file, and about `most` bytes.

        What was dropped is passed over. DataError for an offset that the journal never had.
        """
        files = self._files()
        if offset > end:
            raise DataError(
                f"{self.folder} ends at {end}, and was read up to {offset}: its files were changed",
                hint="delete the whole folder, and what is posted from then on begins a new journal",
            )
        later = [start for start in files if start > offset]
        earlier = [start for start in files if start <= offset]
        if earlier and (found := self._lines(earlier[-1], offset, min([*later, end]), most)):
            return found
        return self.read(later[0], end, most) if later and later[0] < end else []

    def drop(self, before: int, age: int) -> list[Path]:
        """Deletes files that lie wholly before an offset and were last written longer ago than `age`; gives them."""
        files = self._files()
        dropped = []
        for start, following in pairwise(files):
            path = self._path(start)
            if following <= before and path.stat().st_mtime_ns // 1000 < now() - age:
                path.unlink(missing_ok=True)
                dropped.append(path)
        return dropped

    def _write(self, lines: Sequence[_Line]) -> None:
        content = b"".join(line.content + b"\n" for line in lines)
        wrong: OSError | None = None
        try:
            self._begin()
            with self._locked(fcntl.LOCK_EX):
                self._put(content)
        except OSError as error:
            wrong = error
        for line in lines:
            line.is_done, line.wrong = True, wrong

    def _begin(self) -> None:
        """The folder, and the journal's name: written whole, or not at all."""
        if self.exists:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        beside = self.folder / f"{IDENTITY}.{uuid.uuid4().hex}"
        beside.write_text(uuid.uuid4().hex[:16], "ascii")
        _sync(beside)
        try:
            os.link(beside, self.folder / IDENTITY)
        except FileExistsError:
            pass
        finally:
            beside.unlink()
        _sync(self.folder)

    def _put(self, content: bytes) -> None:
        start = max(self._files(), default=-1)
        end = 0 if start < 0 else start + self._healed(start)
        is_new = start < 0 or end - start >= self._full or (end > start and self._day_of(start) != day_text(now()))
        start = end if is_new else start
        file = os.open(self._path(start), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            _write_all(file, content, end - start)
        finally:
            os.close(file)
        if is_new:
            _sync(self.folder)

    def _healed(self, start: int) -> int:
        """The length of a file, after what is left of a line without an end is cut off."""
        path = self._path(start)
        whole = _length(path)
        if whole != path.stat().st_size:
            os.truncate(path, whole)
        return whole

    def _lines(self, start: int, offset: int, end: int, most: int) -> list[tuple[int, bytes]]:
        size = most
        while True:
            try:
                with open(self._path(start), "rb") as file:
                    file.seek(offset - start)
                    content = file.read(min(size, end - offset))
            except FileNotFoundError:  # dropped since: whoever reads is asked to go on with the next
                return []
            whole = content.rfind(b"\n") + 1
            if whole or size >= end - offset:
                return _placed(content[:whole], offset)
            size *= 2

    def _end(self) -> int:
        start = max(self._files(), default=0)
        return start + _length(self._path(start))

    def _files(self) -> list[int]:
        """Where the files begin, in order."""
        try:
            names = os.listdir(self.folder)
        except FileNotFoundError:
            return []
        stems = (name.removesuffix(SUFFIX) for name in names if name.endswith(SUFFIX))
        return sorted(int(stem) for stem in stems if stem.isdigit())

    def _path(self, start: int) -> Path:
        return self.folder / f"{start:020}{SUFFIX}"

    def _day_of(self, start: int) -> str:
        return day_text(self._path(start).stat().st_mtime_ns // 1000)

    @contextmanager
    def _locked(self, how: int) -> Iterator[None]:
        file = os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(file, how)
            yield
        finally:
            os.close(file)


class _Line:
    """A line that waits to be written."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.is_done = False
        self.wrong: OSError | None = None


def _placed(content: bytes, offset: int) -> list[tuple[int, bytes]]:
    """Whole lines, each with the offset behind it."""
    found = []
    for line in content.split(b"\n")[:-1]:
        offset += len(line) + 1
        found.append((offset, line))
    return found


def _length(path: Path) -> int:
    """The bytes of a file up to the end of its last whole line."""
    try:
        with open(path, "rb") as file:
            end = file.seek(0, os.SEEK_END)
            while end > 0:
                begin = max(0, end - _BLOCK)
                file.seek(begin)
                place = file.read(end - begin).rfind(b"\n")
                if place >= 0:
                    return begin + place + 1
                end = begin
    except FileNotFoundError:
        pass
    return 0


def _write_all(file: int, content: bytes, size: int) -> None:
    """Writes and syncs behind `size` bytes, or takes it all back."""
    try:
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(file, rest) :]
        os.fsync(file)
    except OSError:
        os.ftruncate(file, size)
        raise


def _sync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
