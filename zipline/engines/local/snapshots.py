"""What is strange about the snapshots that queries see: several rows of one key, and states that go back in time.

Neither makes a wrong value, so both are counted and none is refused. A snapshot may hold several rows of a key: of a
lookup the latest counts (ties by the columns' own order), an aggregation takes them all. It is a mistake where the keys
are meant to name one row. A key of which two snapshots have one row each went back in time where the row of the later
one has the older `time`: perhaps an old dump lies under a new day.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from zipline.clock import DAY, day_text, to_text
from zipline.engines.contract import KeyCount
from zipline.engines.local.read import Rows
from zipline.engines.local.stream import BEGINNING
from zipline.plan.steps import Projection
from zipline.values import dataclass

Ints = NDArray[np.int64]
Codes = NDArray[np.int32]


@dataclass(frozen=True)
class States:
    """What the left rows ask for, each key and day of a snapshot once: numbers of them, and the left's columns."""

    names: tuple[str, ...]
    columns: list[pa.Array]
    key: Codes
    day: Ints
    left_row: Ints

    @property
    def count(self) -> int:
        return len(self.key)

    def text(self, state: int) -> str:
        """The key of a state."""
        row = int(self.left_row[state])
        return ", ".join(f"{n}={c[row].as_py()!r}" for n, c in zip(self.names, self.columns, strict=True))


def states_of(
    names: tuple[str, ...], columns: list[pa.Array], keys: Codes, days: Ints, codes: Codes, count: int
) -> States:
    """The states, `codes` of the left rows (-1: none), whose `columns` are the key and whose snapshot is `days`."""
    asked = np.flatnonzero(codes >= 0)[::-1]
    row = np.zeros(count, np.int64)
    row[codes[asked]] = asked
    return States(names, columns, keys[row], days[row], row)


def notice(snapshots: Rows, source: Projection, rows: Rows, codes: Codes, states: States) -> None:
    """Counts in `snapshots` what is strange about them; `rows` are those of their states, numbered by `codes`."""
    if not states.names:
        return
    kept = _of_snapshots(rows, source, codes)
    counts = np.bincount(codes[kept], minlength=states.count)
    keys, label = len(np.unique(states.key[counts > 0])), ", ".join(states.names)
    if found := _repeated(counts, snapshots, states, keys):
        _note(snapshots.repeated, label, found)
    if rows.t is None or source.time is None:
        return
    times = np.zeros(states.count, np.int64)
    times[codes[kept]] = rows.t[kept]
    if found := _older(times, np.flatnonzero(counts == 1), snapshots, states, keys):
        _note(snapshots.older, label, found)


def _of_snapshots(rows: Rows, source: Projection, codes: Codes) -> NDArray[np.bool_]:
    """The rows that queries can see and that no change made."""
    kept = codes >= 0
    for mask in (rows.seen, rows.mask(source), None if rows.born is None else rows.born == BEGINNING):
        kept = kept if mask is None else kept & mask
    return kept


def _repeated(counts: Ints, snapshots: Rows, states: States, keys: int) -> KeyCount | None:
    several = np.flatnonzero(counts > 1)
    if not len(several):
        return None
    most = int(several[np.argmax(counts[several])])
    example = f"{states.text(most)} has {counts[most]:,} rows in that of {_day(snapshots, states, most)}"
    return KeyCount(len(np.unique(states.key[several])), keys, example)


def _older(times: Ints, single: Ints, snapshots: Rows, states: States, keys: int) -> KeyCount | None:
    """Of the states with one row those with an older one than the state before of the same key."""
    ordered = single[np.lexsort((states.day[single], states.key[single]))]
    before, after = ordered[:-1], ordered[1:]
    back = np.flatnonzero((states.key[before] == states.key[after]) & (times[after] < times[before]))
    if not len(back):
        return None
    was, now = int(before[back[0]]), int(after[back[0]])
    example = (
        f"{states.text(now)} is of {to_text(int(times[now]))} in that of {_day(snapshots, states, now)}, "
        f"of {to_text(int(times[was]))} in that of {_day(snapshots, states, was)}"
    )
    return KeyCount(len(np.unique(states.key[after[back]])), keys, example)


def _day(snapshots: Rows, states: States, state: int) -> str:
    """The day of the source's own snapshot: a state of several sources is as new as the newest of them."""
    place = int(np.searchsorted(snapshots.partitions, states.day[state], side="right")) - 1
    return day_text(int(snapshots.partitions[place]) * DAY)


def _note(found: dict[str, KeyCount], label: str, count: KeyCount) -> None:
    """Parts with the same keys may ask for other days (a label's are later): the most that one of them met."""
    if label not in found or found[label].count < count.count:
        found[label] = count
