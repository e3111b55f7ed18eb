"""The engine `flink`: what the suite asks of an engine, answered by one streaming job and by fetches after it.

A job takes many group-bys at once and seconds to start. So every test is called once to learn what it asks, with the
oracle to answer; then the job runs, and each test runs with what was fetched. Cases of one table, asked in one way,
are one topic: a case's number is one more key (`batches`), as long as its definition has keys.

What nobody can ask online is skipped, and counted by its reason.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from tests.integration.servers.kafka import running_kafka
from tests.integration.streaming.streamed import DAY, Batch, answers, as_json, comparable, streamed
from zipline import Accuracy
from zipline.errors import ZiplineError

from .adapters import FLINK, LAYOUTS, ORACLE, Adapter
from .batches import CASE, KIND, _group_by
from .comparison import same
from .oracle import Result
from .tables import AggregateCase, BackfillCase, Case, Row, Table
from .tallies import TALLIES


class Asking(Adapter):
    """Notes what is asked; the oracle answers."""

    name = FLINK

    def __init__(self) -> None:
        self.cases: list[Case] = []

    def run(self, case: Case) -> Result:
        self.cases.append(case)
        return ORACLE.run(case)


class Answering(Adapter):
    """Gives the answers to what a test asks, in the order in which it asks."""

    name = FLINK

    def __init__(self, given: Iterable[tuple[Case | None, Result | ZiplineError | str]]) -> None:
        self._given = iter(given)

    def run(self, case: Case) -> Result:
        asked, found = next(self._given)
        assert asked is None or _told(asked) == _told(case), "another case than was asked"
        if isinstance(found, str):
            pytest.skip(found)
        if isinstance(found, ZiplineError):
            raise found
        return found


@dataclasses.dataclass(eq=False)
class Asked:
    """Rows of a case that are asked at one time, without what a fetch at a past time may see otherwise."""

    case: AggregateCase
    rows: list[int]
    ago: int
    answer: Result | None = None


Fate: TypeAlias = "list[Asked] | ZiplineError | str"
"""What becomes of a case: it is asked, it is no definition, or nobody can ask it, for this reason."""


class Suite:
    """Every test with the engine, and what became of each case that it asks."""

    def __init__(self, items: Iterable[pytest.Item], folder: Path) -> None:
        self._found: dict[str, list[tuple[Case | None, Fate]]] = {}
        asked: list[Asked] = []
        for item in items:
            found = self._found[item.nodeid] = _asked_by(item, len(asked))
            asked += [part for _, each in found if isinstance(each, list) for part in each]
        counts = Counter[str]()
        worlds = list(_worlds(asked))
        with running_kafka() as servers:
            _answer(worlds, servers, folder, counts)
        every = [each for found in self._found.values() for _, each in found]
        reasons = Counter(each for each in every if isinstance(each, str))
        answered = sum(isinstance(each, list) for each in every)
        TALLIES["cases of the suite on flink"] = {"answered": answered, **dict(counts), **reasons}

    def of(self, nodeid: str) -> Answering:
        """The engine as one test sees it."""
        found = self._found[nodeid]
        return Answering((case, _joined(each) if isinstance(each, list) else each) for case, each in found)


def _asked_by(item: pytest.Item, first: int) -> list[tuple[Case | None, Fate]]:
    """The cases of a test, which takes nothing but the engine and its parameters; its failures are its own."""
    if item.path.name.startswith("test_random"):
        return [(None, "drawn: streamed by test_random_streams.py")]
    asking, function = Asking(), item
    assert isinstance(function, pytest.Function)
    given = {**function.callspec.params, "adapter": asking}
    names = set(function._fixtureinfo.argnames)
    try:
        function.obj(**{name: value for name, value in given.items() if name in names})
    except BaseException as wrong:
        if isinstance(wrong, (KeyboardInterrupt, SystemExit)):
            raise
    return [(case, _parts(case, first + number)) for number, case in enumerate(asking.cases)]


def _parts(case: Case, number: int) -> list[Asked] | ZiplineError | str:
    """A case time by time; why it is no case of a stream; or what the platform says to its definition."""
    reason = _unasked(case)
    if reason is not None:
        return reason
    assert isinstance(case, AggregateCase)
    found = []
    for time in dict.fromkeys(row["ts"] for row in case.queries.rows):
        rows = [place for place, row in enumerate(case.queries.rows) if row["ts"] == time]
        own = [case.queries.rows[place] for place in rows]
        alone = dataclasses.replace(case, queries=case.queries.with_rows(own))
        ago = number % 2 * DAY if case.group_by.accuracy is not Accuracy.SNAPSHOT else 0
        try:
            fit = comparable(alone, streamed(alone, "asked").kept().tile, ago)
        except ZiplineError as wrong:
            return wrong
        assert fit is not None
        expected = ORACLE.run(alone)
        if not _are_same(expected, ORACLE.run(as_json(alone))):
            return "NaN and infinities, which JSON has not"
        if not _are_same(expected, ORACLE.run(fit)):
            return "a fetch at a past time sees otherwise what came in its tile, or was taken back before it was there"
        found.append(Asked(fit, rows, ago))
    return found


def _unasked(case: Case) -> str | None:
    if isinstance(case, BackfillCase):
        return "training output"
    if not case.queries.rows:
        return "nothing is asked"
    if any(hasattr(source, "join") for source in case.group_by.sources):
        return "a chain: its rows are tested by test_chained.py of the streaming tests"
    if any(hasattr(source, "snapshots") and not source.mutations for source in case.group_by.sources):
        return "snapshots alone: nothing streams"
    if any(kind in LAYOUTS for each in (case.queries, *case.tables.values()) for kind in each.schema.values()):
        return "a layout of Arrow"
    if any(row["ts"] is None for row in case.queries.rows):
        return "a query without a time"
    if any(_magnitudes(table) > sys.float_info.max for table in case.tables.values()):
        return "a float total that goes beyond DOUBLE on its way: an error online"
    try:
        ORACLE.run(case)
    except Exception:
        return "refused as a whole: of a stream it is a letter"
    return None


def _magnitudes(table: Table) -> float:
    """The sum of those of all finite numbers."""
    numbers = (value for row in table.rows for value in row.values() if isinstance(value, float))
    return sum(abs(value) for value in numbers if math.isfinite(value))


def _are_same(one: Result, other: Result) -> bool:
    return all(same(a, b) for a, b in zip(one.rows, other.rows, strict=True))


def _worlds(asked: Sequence[Asked]) -> Iterator[tuple[Batch, list[Asked]]]:
    """Group-bys over the cases that each is asked of, and over all those beside which these can stand."""
    together: dict[str, list[Asked]] = {}
    for number, each in enumerate(asked):
        group_by = each.case.group_by
        # What belongs to a whole table is of one case: all keys, and events of one id.
        is_alone = not group_by.keys or any(source.query.event_id for source in group_by.sources)
        together.setdefault(f"alone {number}" if is_alone else _beside(each.case), []).append(each)
    for world, members in enumerate(together.values()):
        tables = {name: _numbered([each.case.tables[name] for each in members]) for name in members[0].case.tables}
        of: dict[tuple[str, int], list[int]] = {}
        for number, each in enumerate(members):
            of.setdefault((_definition(each.case), each.ago), []).append(number)
        for name, numbers in enumerate(of.values()):
            yield _batch(f"w{world}", f"suite.w{world}_{name}", members, numbers, tables), members


def _beside(case: AggregateCase) -> str:
    """What the tables of cases have in common that are one."""
    sources = [(type(source).__name__, _table_names(source), repr(source.query)) for source in case.group_by.sources]
    schemas = [(name, list(table.schema.items())) for name, table in case.tables.items()]
    days = [
        sorted({str(row[source.query.partition]) for row in case.tables[str(source.snapshots)].rows})
        for source in case.group_by.sources
        if hasattr(source, "snapshots")
    ]
    return repr((sources, schemas, days))


def _told(case: Case) -> str:
    given = (case.group_by, case.queries) if isinstance(case, AggregateCase) else (case.join, case.as_of)
    return repr((given, case.tables))


def _definition(case: AggregateCase) -> str:
    return repr((case.group_by, list(case.queries.schema.items())))


def _table_names(source: Any) -> list[str]:
    return [str(getattr(source, name)) for name in ("table", "snapshots", "mutations") if hasattr(source, name)]


def _numbered(tables: Sequence[Table]) -> Table:
    rows = [row | {CASE: number} for number, table in enumerate(tables) for row in table.rows]
    return Table({**tables[0].schema, CASE: KIND}, tuple(rows))


def _batch(world: str, name: str, members: Sequence[Asked], numbers: Sequence[int], tables: dict[str, Table]) -> Batch:
    cases = [each.case for each in members]
    first = members[numbers[0]]
    group_by = _group_by(first.case.group_by) if first.case.group_by.keys else first.case.group_by
    rows: list[Row] = [row | {CASE: number} for number in numbers for row in cases[number].queries.rows]
    asked = Table({**first.case.queries.schema, CASE: KIND}, tuple(rows))
    own = AggregateCase(group_by, asked, tables)
    made = streamed(own, name, cases=cases, ago=first.ago, rename=lambda table: f"{world}_{table}")
    of_these = {
        name: Table(table.schema, tuple(row for row in table.rows if row[CASE] in numbers))
        for name, table in made.tables.items()
    }
    return dataclasses.replace(made, uploaded=of_these)


def _answer(worlds: Sequence[tuple[Batch, list[Asked]]], servers: str, folder: Path, counts: Counter[str]) -> None:
    batches = [batch for batch, _ in worlds]
    for (batch, members), results in zip(worlds, answers(batches, servers, folder, counts), strict=True):
        for number in {row[CASE] for row in batch.queries.rows}:
            members[number].answer = results[number]


def _joined(parts: Sequence[Asked]) -> Result:
    """The answer to a case, its rows in their order."""
    rows: dict[int, Row] = {}
    columns: tuple[str, ...] = ()
    for part in parts:
        assert part.answer is not None, "the job has ended"
        columns = part.answer.columns
        rows |= dict(zip(part.rows, part.answer.rows, strict=True))
    return Result(columns, tuple(rows[place] for place in range(len(rows))))
