"""What a fetch gives: of every row its features, each with a value, a status and a data time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import pyarrow as pa

from zipline.arrow import to_arrow
from zipline.clock import to_datetime
from zipline.errors import UsageError
from zipline.plan.steps import Column
from zipline.values import dataclass

Status: TypeAlias = Literal["ok", "default", "stale", "unavailable", "error"]
WORST: tuple[Status, ...] = ("default", "ok", "stale", "unavailable", "error")
"""From the least to the worst: what is computed of several features has the worst of their statuses."""


@dataclass(frozen=True, eq=False)
class Values:
    """One feature of every row: values, statuses, and until when its input is complete (microseconds, or None)."""

    values: list[Any]
    statuses: Sequence[Status]
    times: Sequence[int | None]


class Result:
    """The features of the rows of one request, in their order."""

    def __init__(self, columns: Sequence[Column], found: dict[str, Values], count: int, fingerprint: str) -> None:
        self._columns, self._found, self._count = columns, found, count
        self.fingerprint = fingerprint

    def __len__(self) -> int:
        return self._count

    @property
    def features(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self._columns)

    def rows(self) -> list[dict[str, Any]]:
        """Of every row its values by feature; instants are zoned datetimes."""
        names = self.features
        if not names:
            return [{} for _ in range(self._count)]
        columns = [self._found[name].values for name in names]
        return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]

    def status(self, row: int, feature: str) -> Status:
        """`ok`, `default`, `stale`, `unavailable` or `error`."""
        return self._of(feature).statuses[row]

    def time(self, row: int, feature: str) -> Any:
        """Up to when the feature's input is complete, a zoned datetime; None where it has no time."""
        micros = self._of(feature).times[row]
        return None if micros is None else to_datetime(micros)

    def columns(self) -> pa.Table:
        """The values as Arrow columns, a row for each of the request's."""
        arrays = [pa.array(_pairs(self._found[name].values), to_arrow(dtype)) for name, dtype in self._columns]
        return pa.table(arrays, names=list(self.features))

    def _of(self, feature: str) -> Values:
        if feature not in self._found:
            raise UsageError(f"there is no feature {feature!r}", asked=feature, valid=self.features)
        return self._found[feature]


def _pairs(values: list[Any]) -> list[Any]:
    """Maps as Arrow takes them."""
    return [list(value.items()) if isinstance(value, dict) else value for value in values]
