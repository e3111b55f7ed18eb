"""What a run met in the data that changes what its output means, as lines for people and facts for programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Protocol

from zipline.cli.screen import plural

if TYPE_CHECKING:
    from zipline.engines.contract import KeyCount


class Counts(Protocol):
    """The counts that a run reports, of one step or of all."""

    @property
    def immature(self) -> int: ...
    @property
    def undated(self) -> int: ...
    @property
    def null_times(self) -> int: ...
    @property
    def null_keys(self) -> Mapping[str, int] | None: ...
    @property
    def without_time(self) -> Mapping[str, int] | None: ...
    @property
    def orphan_reversals(self) -> Mapping[str, int] | None: ...
    @property
    def repeated_keys(self) -> Mapping[str, KeyCount] | None: ...
    @property
    def older_keys(self) -> Mapping[str, KeyCount] | None: ...
    @property
    def bootstrapped(self) -> Mapping[str, int] | None: ...


def finding_rows(found: Counts) -> list[tuple[str, str]]:
    """(what, how many rows of which) of every count that is not zero."""
    rows: list[tuple[str, str]] = []
    if found.immature:
        rows.append(("left out", f"{plural(found.immature, 'row')} whose labels are not complete yet"))
    if found.undated:
        rows.append(("in no day", f"{plural(found.undated, 'row')} of the left without a time"))
    for keys, count in (found.null_keys or {}).items():
        if count:
            rows.append(("null keys", f"{plural(count, 'row')} by {keys}: features as of no events"))
    if found.null_times:
        rows.append(("null times", f"{plural(found.null_times, 'row')}: features as of no events"))
    for table, count in (found.without_time or {}).items():
        if count:
            rows.append(("never seen", f"{plural(count, 'row')} of {table}: a clock is null"))
    for table, count in (found.orphan_reversals or {}).items():
        if count:
            rows.append(("orphans", f"{plural(count, 'reversal')} of {table} of rows that were not there"))
    for table, count in (found.bootstrapped or {}).items():
        rows.append(("bootstrap", f"{plural(count, 'row')} took values from {table}"))
    return rows


def warning_texts(found: Counts) -> list[str]:
    """What the snapshots of a run hold that is as a rule a mistake, an example each."""
    older, repeated = found.older_keys or {}, found.repeated_keys or {}
    return [
        *(
            f"{_keys(table, keys)} are older in a later snapshot than in one before: {keys.example}"
            for table, keys in older.items()
        ),
        *(
            f"{_keys(table, keys)} have several rows in one snapshot: {keys.example}; a lookup takes the latest, "
            "an aggregation all"
            for table, keys in repeated.items()
        ),
    ]


def _keys(table: str, keys: KeyCount) -> str:
    return f"{keys.count:,} of {plural(keys.of, 'key')} of {table}"


def finding_facts(found: Counts) -> dict[str, Any]:
    """Every count, by its name."""
    return {
        "immature": found.immature,
        "undated": found.undated,
        "null_times": found.null_times,
        "null_keys": dict(found.null_keys or {}),
        "without_time": dict(found.without_time or {}),
        "orphan_reversals": dict(found.orphan_reversals or {}),
        "repeated_keys": {name: asdict(keys) for name, keys in (found.repeated_keys or {}).items()},
        "older_keys": {name: asdict(keys) for name, keys in (found.older_keys or {}).items()},
        "bootstrapped": dict(found.bootstrapped or {}),
    }
