"""Every failure a user can meet, and how it reads.

An error is built from facts (what, where, what is valid, what to run next), which stay readable as attributes;
the text is made from them in one place. `exit_code` is what the command line returns: 2 for a bad definition or
usage, 1 for work that failed.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any, ClassVar

from zipline.values import dataclass


@dataclass(frozen=True, slots=True)
class Location:
    """A line of an author's file."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def near(name: str, valid: Iterable[str]) -> str | None:
    """The valid name that `name` was probably meant to be, or None."""
    names = {candidate.lower(): candidate for candidate in valid}
    found = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.6)
    return names[found[0]] if found else None


class ZiplineError(Exception):
    """Base of all errors raised on purpose.

    `what` says what is wrong, `subject` names the object it is wrong in, `where` is the author's line, `valid` lists
    what would have been accepted, `hint` says how to mend it, `next_command` what to run.
    """

    exit_code: ClassVar[int] = 1

    def __init__(
        self,
        what: str,
        *,
        subject: str | None = None,
        where: Location | None = None,
        asked: str | None = None,
        valid: Iterable[str] = (),
        hint: str | None = None,
        next_command: str | None = None,
    ) -> None:
        self.what = what
        self.subject = subject
        self.where = where
        self.asked = asked
        self.valid = tuple(valid)
        self.suggestion = near(asked, self.valid) if asked is not None and asked not in self.valid else None
        self.hint = hint
        self.next_command = next_command
        super().__init__(what)

    def __str__(self) -> str:
        lines = [f"{self.subject}: {self.what}" if self.subject else self.what]
        if self.where:
            lines.append(f"  at {self.where}")
        if self.suggestion:
            lines.append(f"  did you mean {self.suggestion!r}?")
        if self.valid:
            lines.append(f"  valid: {_listed(self.valid)}")
        if self.hint:
            lines.append(f"  hint: {self.hint}")
        if self.next_command:
            lines.append(f"  next: {self.next_command}")
        return "\n".join(lines)

    def facts(self) -> dict[str, object]:
        """The error as JSON-ready facts, for `--json`."""
        named = {
            "error": type(self).__name__,
            "what": self.what,
            "subject": self.subject,
            "where": str(self.where) if self.where else None,
            "suggestion": self.suggestion,
            "valid": list(self.valid) or None,
            "hint": self.hint,
            "next": self.next_command,
        }
        return {name: fact for name, fact in named.items() if fact is not None}


def _listed(names: tuple[str, ...], most: int = 40) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown}, ... ({len(names)} in all)"


class DefinitionError(ZiplineError):
    """An author's definition is wrong: found when it is constructed, loaded, compiled or planned."""

    exit_code = 2


class ExpressionError(DefinitionError):
    """An expression does not parse, is not typed, or is outside the portable subset."""


class UnsupportedError(DefinitionError):
    """A valid definition asks for something that the chosen engine refuses, at plan time."""


class UsageError(ZiplineError):
    """A command or function was called with arguments that do not fit."""

    exit_code = 2


class ProjectError(UsageError):
    """`zipline.toml` or an environment variable that overrides it is wrong."""


class TableError(ZiplineError):
    """A table, file, partition or column is missing, unreadable, or not of the type it had."""


class DataError(ZiplineError):
    """The data make a result impossible: an overflow, a duplicate row id, an unparsable time."""


class EventError(DataError):
    """An event does not fit its source. `path` says where in what was sent (`$.events[3].amount`)."""

    exit_code = 2

    def __init__(self, what: str, *, path: str = "", **facts: Any) -> None:
        super().__init__(f"{path}: {what}" if path else what, **facts)
        self.path = path
        self.reason = what

    def facts(self) -> dict[str, object]:
        return {**super().facts(), "path": self.path}


class CheckError(ZiplineError):
    """A critical check failed; the old partition was kept."""


class BreakingChangeError(ZiplineError):
    """A change would break an online object for those who ask for it. `breaks` holds (object, what, where)."""

    def __init__(self, what: str, *, breaks: Iterable[tuple[str, str, str]] = (), **facts: Any) -> None:
        super().__init__(what, **facts)
        self.breaks = tuple(breaks)

    def facts(self) -> dict[str, object]:
        broken = [{"name": name, "what": what, "where": where} for name, what, where in self.breaks]
        return {**super().facts(), "breaks": broken}


class RegistryError(ZiplineError):
    """The registry cannot be reached, opened, read or written, or is of a newer version."""


class LockedError(RegistryError):
    """Another run holds the lock of a table."""


class LockLostError(RegistryError):
    """A run stood still for longer than its lease, so another may have taken its lock: it must not publish."""


class EngineError(ZiplineError):
    """What an engine stands on is missing, of the wrong version, or was lost: Java, a library, an executor, a disk."""
