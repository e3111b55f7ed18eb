"""What a backfill did: per day, and in all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace

from zipline.engines.contract import KeyCount, Report, most_keys
from zipline.orchestration.snapshots import Backwards
from zipline.orchestration.validity import Reason
from zipline.values import dataclass


@dataclass(frozen=True)
class DayReport:
    """One published day; `bytes` is the size of its rows in memory, `warnings` what its checks complained of.

    `computed` are the columns that were computed, None where all were, with the rows; all others were carried over.
    """

    day: str
    rows: int
    bytes: int
    checks: int
    warnings: tuple[str, ...] = ()
    computed: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Progress:
    """How far a backfill is: `done` of `total` days, skipped ones included; or only the `step` an engine is at."""

    done: int
    total: int
    day: str | None = None
    rows: int = 0
    step: str = ""


@dataclass(frozen=True)
class BackfillReport:
    """What a backfill did. `null_keys` counts rows with a null key per set of keys, `null_times` those without a time.

    `reasons` say why days were done again, `carried` which columns were carried over on which days. `kept` are the
    days that need work and were left as they are, since partitions they were made from are gone (`vanished`), or since
    they were `changed` by somebody else, who perhaps restored an older version (a run wrote them last in `written`).
    With a new definition `pending` are the days that must still be done before the output changes, `blocked` those
    among them that would be kept too; `succeeded` says that it did. `immature` are the rows left out because their
    labels were not complete, `undated` the left rows that are in no day because they have no time or no partition.
    `without_time` counts the rows of a source that are never seen because a clock is null, `orphan_reversals` the most
    of any step per table of mutations: reversals of rows that were not there, `bootstrapped` the left rows that took
    values from a bootstrap table. `repeated_keys` and `older_keys` are the most of any step too: keys with several
    rows in one snapshot, and keys that went back in time from one snapshot to the next. `backwards` are the snapshots
    asked for that are older than the ones before them, as a whole.
    """

    name: str
    fingerprint: str
    published: tuple[DayReport, ...] = ()
    skipped: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    vanished: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    changed: tuple[str, ...] = ()
    written: int | None = None
    pending: tuple[str, ...] = ()
    blocked: tuple[str, ...] = ()
    succeeded: bool = False
    reasons: tuple[tuple[Reason, tuple[str, ...]], ...] = ()
    carried: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    steps: int = 0
    seconds: float = 0.0
    immature: int = 0
    undated: int = 0
    null_times: int = 0
    null_keys: Mapping[str, int] | None = None
    without_time: Mapping[str, int] | None = None
    orphan_reversals: Mapping[str, int] | None = None
    repeated_keys: Mapping[str, KeyCount] | None = None
    older_keys: Mapping[str, KeyCount] | None = None
    backwards: tuple[Backwards, ...] = ()
    bootstrapped: Mapping[str, int] | None = None

    def _repr_html_(self) -> str:
        from zipline.orchestration.notebook import backfill_page

        return backfill_page(self)

    @property
    def rows(self) -> int:
        return sum(day.rows for day in self.published)

    @property
    def bytes(self) -> int:
        return sum(day.bytes for day in self.published)

    @property
    def checks(self) -> int:
        return sum(day.checks for day in self.published)

    @property
    def empty(self) -> tuple[str, ...]:
        """The published days that have no rows."""
        return tuple(day.day for day in self.published if not day.rows)

    @property
    def warnings(self) -> tuple[str, ...]:
        return tuple(f"{day.day}: {warning}" for day in self.published for warning in day.warnings)

    def with_step(self, found: Report) -> BackfillReport:
        """The report with the counts of one more run of the engine."""
        return replace(
            self,
            steps=self.steps + 1,
            immature=self.immature + found.immature,
            undated=max(self.undated, found.undated),
            null_times=self.null_times + found.null_times,
            null_keys=_summed(self.null_keys, found.null_keys),
            without_time=_most(self.without_time, found.without_time),
            orphan_reversals=_most(self.orphan_reversals, found.orphan_reversals),
            repeated_keys=most_keys(self.repeated_keys or {}, found.repeated_keys),
            older_keys=most_keys(self.older_keys or {}, found.older_keys),
            bootstrapped=_summed(self.bootstrapped, found.bootstrapped),
        )


def _summed(one: Mapping[str, int] | None, other: Mapping[str, int]) -> dict[str, int]:
    total = dict(one or {})
    for name, count in other.items():
        total[name] = total.get(name, 0) + count
    return total


def _most(one: Mapping[str, int] | None, other: Mapping[str, int]) -> dict[str, int]:
    """Steps read overlapping source rows, so their counts are not added up (nor are `undated` left rows)."""
    names = {*(one or {}), *other}
    return {name: max((one or {}).get(name, 0), other.get(name, 0)) for name in sorted(names)}
