"""A project whose every value says of which key and of which generation it is.

`levels` (SNAPSHOT) and `balances` (TEMPORAL) have one row for each key, whose `x` is the key and the generation in one
number and whose `y` is its negative: all eight features of a group-by must tell the same. `spent` sums events that are
posted while it is read.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from zipline.clock import DAY, day_text, now
from zipline.project import load_project
from zipline.tables.delta import write_source

JOIN = "bench.soak.join"
SWITCHED = ("levels", "balances")
"""Group-bys that are uploaded again and again."""
GENERATIONS = 1_000
"""More than there are uploads: what keys are multiplied by."""
BUYERS, BEFORE = 200, 7
"""Keys that have events, and what each has spent before anything is posted."""
_OPERATIONS = ("sum", "max")
_WINDOWS = ("7d", "30d")
_TEAM = 'from zipline import Team\n\nteam = Team(owner="bench")\n'
_CONFIG = '''"""Values that say of which generation they are, and sums of what is posted."""

from zipline import Accuracy, Aggregation, EventSource, GroupBy, Join, JoinPart, Operation, Query, Topic

states = EventSource("states", topic=Topic("states"), query=Query(select=["key", "x", "y"], time="t"))
purchases = EventSource("purchases", topic=Topic("purchases"), query=Query(select=["key", "amount"], time="t"))
told = [
    Aggregation(column, operation, windows=["7d", "30d"])
    for column in ("x", "y")
    for operation in (Operation.SUM, Operation.MAX)
]
levels = GroupBy(["key"], [states], told, accuracy=Accuracy.SNAPSHOT, online=True)
balances = GroupBy(["key"], [states], told, freshness="3d", online=True)
spent = GroupBy(
    ["key"], [purchases], [Aggregation("amount", Operation.SUM, windows=["30d"])], freshness="3d", online=True
)
join = Join(
    EventSource("states", query=Query(select=["key"], time="t")),
    [JoinPart(levels), JoinPart(balances), JoinPart(spent)],
    online=True,
)
'''


class World:
    """The project in a folder, for keys from 0 on."""

    def __init__(self, folder: Path, keys: int) -> None:
        self.folder, self.keys = folder, keys
        self.end = now() // DAY * DAY

    def make(self) -> None:
        """Everything uploaded, as generation 0."""
        (self.folder / "configs" / "bench").mkdir(parents=True)
        (self.folder / "configs" / "bench" / "soak.py").write_text(_CONFIG)
        (self.folder / "configs" / "bench" / "team.py").write_text(_TEAM)
        (self.folder / "zipline.toml").write_text('name = "bench"\n')
        buyers = np.arange(BUYERS)
        self._write("purchases", {"key": buyers, "amount": np.full(BUYERS, BEFORE)})
        self.change(0)
        for group_by in (*SWITCHED, "spent"):
            self.upload(group_by)

    def change(self, generation: int) -> None:
        """The source of `levels` and `balances` becomes that of another generation."""
        keys = np.arange(self.keys)
        told = keys * GENERATIONS + generation
        self._write("states", {"key": keys, "x": told, "y": -told.astype(np.float64)})

    def upload(self, group_by: str) -> None:
        """By the command, in a process of its own."""
        command = ["upload", f"bench.soak.{group_by}", "--ds", day_text(self.end - DAY), "--project", str(self.folder)]
        subprocess.run([sys.executable, "-m", "zipline.cli.main", *command], check=True, stdout=subprocess.DEVNULL)

    def _write(self, table: str, columns: Mapping[str, Any]) -> None:
        """With yesterday's noon as the time of all rows."""
        times = np.full(len(columns["key"]), self.end - DAY // 2)
        rows = pa.table({**columns, "t": pa.array(times).cast(pa.timestamp("us", tz="UTC"))})
        write_source(table, rows, project=load_project(self.folder))


def generation_of(group_by: str, key: int, values: Mapping[str, Any]) -> int | None:
    """The generation that a row's features of a group-by tell; None where they do not tell the same, or of this key."""
    told = values[_FIRST[group_by]]
    if told is None or any(values[name] != told for name in _SAME[group_by]):
        return None
    if any(values[name] != -told for name in _NEGATIVE[group_by]):
        return None
    generation = told - key * GENERATIONS
    return generation if 0 <= generation < GENERATIONS else None


def _names(group_by: str, column: str) -> tuple[str, ...]:
    return tuple(f"{group_by}_{column}_{operation}_{window}" for operation in _OPERATIONS for window in _WINDOWS)


SPENT = "spent_amount_sum_30d"
_FIRST = {group_by: _names(group_by, "x")[0] for group_by in SWITCHED}
_SAME = {group_by: _names(group_by, "x")[1:] for group_by in SWITCHED}
_NEGATIVE = {group_by: _names(group_by, "y") for group_by in SWITCHED}
