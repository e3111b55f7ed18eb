"""What both sides serve: our project, its events, and the values of every key that Feast is given.

The windows are of whole days, so that at midnight a SNAPSHOT and a TEMPORAL group-by see the same events: as of that
moment all three must give the same values.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.performance.feast.turns import Values
from tests.performance.online import GROUP_BYS, events
from zipline import Fetcher, GroupBy, aggregate
from zipline.cli.upload import upload
from zipline.clock import DAY, MINUTE, day_text, now, to_datetime
from zipline.orchestration.events.opening import open_stream
from zipline.orchestration.events.posting import EventLog
from zipline.plan.definitions import load
from zipline.project import load_project
from zipline.tables.delta import write_source

KINDS = ("stored", "merged")
"""SNAPSHOT and TEMPORAL group-bys, and the joins of them."""
POSTED_AT_ONCE = 2_000
WHOLE_TILE = 10 * MINUTE
"""After midnight nothing happens for so long: what is in a query's own tile is seen by one in the past too."""
_CONFIG = '''"""Fifty features of five group-bys, as of midnight and as of now."""

from zipline import Accuracy, Aggregation, EventSource, GroupBy, Join, JoinPart, Operation, Query, Topic


def group_by(n, accuracy, freshness=None):
    source = EventSource(f"events{n}", topic=Topic(f"events{n}"), query=Query(select=["key", "x", "n"], time="t"))
    return GroupBy(
        ["key"],
        [source],
        [
            Aggregation("x", Operation.SUM, windows=["1d", "3d", "7d", "30d"]),
            Aggregation("x", Operation.AVERAGE, windows=["1d", "7d"]),
            Aggregation("n", Operation.MAX, windows=["1d", "7d"]),
            Aggregation("n", Operation.COUNT, windows=["1d", "30d"]),
        ],
        accuracy=accuracy,
        freshness=freshness,
        online=True,
    )


def joined(parts):
    left = EventSource("events0", query=Query(select=["key"], time="t"))
    return Join(left, [JoinPart(each) for each in parts], online=True)


g = [group_by(n, Accuracy.SNAPSHOT) for n in range(5)]
m = [group_by(n, Accuracy.TEMPORAL, "3d") for n in range(5)]
stored, merged = joined(g), joined(m)
'''
_TEAM = 'from zipline import Team\n\nteam = Team(owner="bench")\n'


def join_name(kind: str) -> str:
    return f"bench.features.{kind}"


class World:
    """`keys` keys with `of_a_key` events in the month before midnight, and their share of them since."""

    def __init__(self, keys: int, of_a_key: int) -> None:
        self.keys, self.end = keys, now() // DAY * DAY
        self._count = keys * of_a_key
        first = self.end - 30 * DAY
        self._before = [events(first, self.end, self._count, keys, n) for n in range(GROUP_BYS)]
        first = self.end + WHOLE_TILE
        arrived = self._count // 30 if now() > first else 0
        self._since = [events(first, max(first + 1, now()), arrived, keys, 100 + n) for n in range(GROUP_BYS)]

    def project(self, folder: Path, settings: str = "") -> Path:
        """Ours: uploaded as of midnight, with the day's events in the tiles."""
        team = folder / "configs" / "bench"
        team.mkdir(parents=True)
        (team / "features.py").write_text(_CONFIG)
        (team / "team.py").write_text(_TEAM)
        (folder / "zipline.toml").write_text(f'name = "bench"\n{settings}')
        project = load_project(folder)
        for number, rows in enumerate(self._before):
            write_source(f"events{number}", rows, project=project)
        for name in (f"bench.features.{of}.{number}" for of in "gm" for number in range(GROUP_BYS)):
            upload(project, name, day_text(self.end - DAY), allow_missing=False)
        log = EventLog(project)
        for number, rows in enumerate(self._since):
            for some in rows.to_batches(POSTED_AT_ONCE):
                log.post(f"events{number}", [{**row, "t": row["t"].isoformat()} for row in some.to_pylist()])
        with open_stream(project) as stream:
            stream.once()
        return folder

    def write_values(self, project: Path, file: Path) -> None:
        """What Feast is given: the features of our SNAPSHOT group-bys as of midnight, by a backfill, in one file."""
        keys = pa.array(range(self.keys))
        found = {"key": keys, "event_timestamp": pa.array([to_datetime(self.end)] * self.keys)}
        for number in range(GROUP_BYS):
            own = self._backfill(project, "g", number, range(self.keys), self.end, self._before[number])
            found |= {f"g{number}_{name}": own.column(name) for name in own.column_names if name not in ("key", "ts")}
        pq.write_table(pa.table(found), file)

    def expected(self, project: Path, keys: Sequence[int], at: int) -> Values:
        """The features of the TEMPORAL group-bys at a moment, by a backfill over all events."""
        columns: dict[str, list[Any]] = {}
        for number in range(GROUP_BYS):
            rows = pa.concat_tables([self._before[number], self._since[number]])
            own = self._backfill(project, "m", number, keys, at, rows)
            names = (name for name in own.column_names if name not in ("key", "ts"))
            columns |= {f"m_{number}_{name}": own.column(name).to_pylist() for name in names}
        return [list(row) for row in zip(*(columns[name] for name in sorted(columns)), strict=True)]

    def _backfill(self, project: Path, of: str, number: int, keys: Sequence[int], at: int, rows: pa.Table) -> pa.Table:
        group_by = load(project / "configs").find(f"bench.features.{of}.{number}", GroupBy)
        queries = pa.table({"key": pa.array(keys), "ts": pa.array([to_datetime(at)] * len(keys))})
        return aggregate(group_by, queries, {f"events{number}": rows})


def fetched(project: Path, kind: str, keys: Sequence[int], at: int) -> Values:
    """Ours at a moment, in the order of names."""
    fetcher = Fetcher(project)
    rows = fetcher.fetch(join_name(kind), [{"key": key} for key in keys], at=at).rows()
    fetcher.close()
    return [[row[name] for name in sorted(row)] for row in rows]
