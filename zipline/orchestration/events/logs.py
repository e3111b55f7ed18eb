"""Logs of events, read in one way: what stands behind a position, and whether that was all.

A position maps each part of a log to an offset: a journal and a file have one part, a topic has one for each partition.
A part that a position lacks is read from where the log begins for a new reader. A reader that has got as far as
`Read.position` and goes on from there misses nothing and gets nothing twice.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias

import msgspec

from zipline.algebra.layout import EVER_BEFORE
from zipline.clock import now
from zipline.errors import DataError, UsageError
from zipline.orchestration.events.journal import AT_ONCE, Journal
from zipline.stores.contract import TILES_KEPT

Position: TypeAlias = Mapping[str, int]
"""Part -> the offset behind what was read of it."""


EVENTS, CHANGES = "json", "debezium-json"
"""What a log holds: events, or changes as Debezium tells them, of which each is a record of its own."""


class Record(NamedTuple):
    """What a log holds at one place: events as JSON, and when they came (None where the log does not say)."""

    part: str
    after: int
    at: int | None
    events: Sequence[Any]


class Lost(NamedTuple):
    """What stood before an offset is gone; all of it came before `since` (microseconds)."""

    before: int
    since: int


class Read(NamedTuple):
    """Records in order, the position behind them, the parts that held more at the moment `asked`, and those of which
    something is gone: who has not read that, has lost it. `ends` are where parts end, where that may be before a
    position: then it is one in an earlier log of this name, all of which is gone."""

    records: Sequence[Record]
    position: dict[str, int]
    behind: frozenset[str]
    asked: int
    lost: Mapping[str, Lost] = {}
    ends: Mapping[str, int] = {}

    def known(self, position: Position) -> dict[str, int]:
        """What of a position is one in this log."""
        return {part: offset for part, offset in position.items() if offset <= self.ends.get(part, offset)}

    def lost_behind(self, position: Position) -> int:
        """Since when nothing is missing that stood behind a position."""
        lost = [each.since for part, each in self.lost.items() if position.get(part, 0) < each.before]
        anew = [] if self.known(position) == position else [self.asked]
        return max([*lost, *anew], default=EVER_BEFORE)

    @property
    def is_all(self) -> bool:
        """Whether nothing more was there."""
        return not self.behind


class Log(Protocol):
    """Events of one table, in order. One thread reads a log."""

    name: str
    table: str
    format: str

    def parts(self) -> list[str]:
        """Those that there are now."""
        ...

    def read(self, position: Position) -> Read:
        """What stands behind a position, as much of it as is handled well at once; it does not wait for long."""
        ...

    def forget(self, position: Position) -> None:
        """What lies before a position is in the warehouse, or is in no need of being there."""
        ...

    def close(self) -> None: ...


class _Line(msgspec.Struct):
    at: int
    events: list[msgspec.Raw]


class JournalLog:
    """What was posted to a source."""

    format = EVENTS

    def __init__(self, table: str, journal: Journal) -> None:
        self.name, self.table, self.journal = f"journal:{table}", table, journal
        self._decode = msgspec.json.Decoder(_Line).decode

    def parts(self) -> list[str]:
        return [self.journal.identity] if self.journal.exists else []

    def read(self, position: Position) -> Read:
        asked, part = now(), self.journal.identity
        offset, end = position.get(part, 0), self.journal.end()
        lines = self.journal.read(offset, end) if part else []
        behind = lines[-1][0] if lines else offset
        records = [self._record(part, after, line) for after, line in lines]
        is_behind = lines and behind < end
        return Read(records, {part: behind} if part else {}, frozenset([part] if is_behind else []), asked)

    def _record(self, part: str, after: int, line: bytes) -> Record:
        try:
            found = self._decode(line)
        except msgspec.MsgspecError:
            return Record(part, after, None, [line])
        return Record(part, after, found.at, found.events)

    def forget(self, position: Position) -> None:
        """Deletes the files before it that are older than tiles are kept."""
        self.journal.drop(position.get(self.journal.identity, 0), TILES_KEPT)

    def close(self) -> None:
        """Nothing is held."""


def journal_line(at: int, events: Sequence[bytes]) -> bytes:
    """What a journal keeps of a batch that came at `at`."""
    return b'{"at":%d,"events":[%s]}' % (at, b",".join(events))


class FileLog:
    """A file of JSON lines, which may grow. A last line without its end counts once it is a whole object."""

    def __init__(self, table: str, path: Path, format: str = EVENTS) -> None:
        self.format = format
        self._path = Path(os.path.abspath(path))
        self.name, self.table = f"file:{self._path}", table
        if not self._path.is_file():
            raise UsageError(f"there is no file {path}", hint="it holds one JSON object on each line")

    def parts(self) -> list[str]:
        return [""]

    def read(self, position: Position) -> Read:
        asked, offset = now(), position.get("", 0)
        with open(self._path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            if size < offset:
                raise DataError(f"{self._path} was read up to {offset}, and is shorter now", hint="follow a new file")
            file.seek(offset)
            content = file.read(AT_ONCE)
            while content and b"\n" not in content and offset + len(content) < size:
                content += file.read(AT_ONCE)
        lines = content.split(b"\n")
        if offset + len(content) < size or not _is_object(lines[-1]):
            lines.pop()
            lines.append(b"")
        records, behind = [], offset
        for number, line in enumerate(lines):
            behind += len(line) + (number < len(lines) - 1)
            if line.strip():
                records.append(Record("", behind, None, [line]))
        is_behind = records and behind < size
        return Read(records, {"": behind}, frozenset([""] if is_behind else []), asked)

    def forget(self, position: Position) -> None:
        """The file is its owner's."""

    def close(self) -> None:
        """Nothing is held."""


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(msgspec.json.decode(line), dict)
    except (msgspec.MsgspecError, UnicodeError):
        return False


Clock: TypeAlias = Callable[[], int]
