"""What each commit of an output keeps: the days that it wrote, a digest of their files, and what its writer adds."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from zipline.clock import SECOND
from zipline.values import dataclass

if TYPE_CHECKING:
    from deltalake import CommitProperties
    from deltalake.transaction import AddAction

DAY, FILES = "ds", "files"
MILLISECOND = SECOND // 1000
_STANDARD_FACTS = frozenset(
    {"timestamp", "operation", "operationParameters", "operationMetrics", "engineInfo", "clientVersion", "version"}
    | {"readVersion", "isolationLevel", "isBlindAppend", "txnId", "userName", "userId", "notebook"}
)


@dataclass(frozen=True, slots=True)
class Version:
    """One commit of a table; `time` is microseconds UTC, `metadata` what its writer stored with it."""

    version: int
    time: int
    operation: str
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def days(self) -> tuple[str, ...]:
        """The days that the commit replaced."""
        return tuple(self.metadata.get(DAY, "").split()) if DAY in self.metadata else ()

    @property
    def files(self) -> Mapping[str, str]:
        """Day -> the digest of the files that the commit left in it; {} where its writer did not say."""
        return dict(zip(self.days, self.metadata.get(FILES, "").split(), strict=False))


def version_of(commit: Mapping[str, Any]) -> Version:
    """A commit as the log tells it."""
    facts = {name: str(value) for name, value in commit.items() if name not in _STANDARD_FACTS}
    return Version(int(commit["version"]), int(commit["timestamp"]) * MILLISECOND, str(commit["operation"]), facts)


def commit_of(written: Iterable[AddAction], metadata: Mapping[str, str]) -> CommitProperties:
    """What a commit of these files keeps: `metadata`, their days, and the digest of the names of each day's files.

    It is tried once: where another commit came first, what it replaces may be something else now.
    """
    from deltalake import CommitProperties

    names: dict[str, list[str]] = {}
    for action in sorted(written, key=lambda action: str(action.partition_values[DAY])):
        names.setdefault(str(action.partition_values[DAY]), []).append(unquote(action.path))
    digests = " ".join(map(digest_of_files, names.values()))
    return CommitProperties(custom_metadata={**metadata, DAY: " ".join(names), FILES: digests}, max_commit_retries=0)


def digest_of_files(names: Iterable[str]) -> str:
    """Names are never used again, so equal names are equal files."""
    return hashlib.sha256("\0".join(sorted(names)).encode()).hexdigest()[:8]
