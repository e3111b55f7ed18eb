"""What must not change an answer by a single bit, for states that change and for whole definitions.

Order, splitting and chunking of the rows, other features beside, repetition, and in how many steps of days a backfill
runs.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from zipline import Aggregation, EventSource, GroupBy, JoinPart, JoinSource, Operation, Query

from .adapters import Arrow, arrow_table
from .batches import are_batchable, merged
from .bits import assert_identical, shuffled, split
from .generate import LOOKUPS
from .generate_entities import STATE_MODES, StateScenario
from .tables import AggregateCase, BackfillCase, Case, Row, Table
from .worlds import BASE, Definition

pytestmark = pytest.mark.usefixtures("interpreted")
TEMPORAL, WHERE, SNAPSHOT, UNION = STATE_MODES
STATES = [
    StateScenario("totals", TEMPORAL, "text"),
    StateScenario("moments", UNION, "pair"),
    StateScenario("order", WHERE, "mixed"),
    StateScenario("lists", UNION, "number"),
    StateScenario("buckets", SNAPSHOT, "text"),
    StateScenario(LOOKUPS, WHERE, "text"),
]
DEFINITIONS = [Definition(number) for number in (0, 1, 3, 6, 7, 11, 22, 23)]
CASES = 8


@cache
def case_of(drawn: StateScenario | Definition) -> Case:
    """Several cases as one, or the first where they cannot share a job."""
    cases = drawn.cases(CASES)
    return merged(cases) if are_batchable(cases) else cases[0]


@cache
def answer(engine: Arrow, drawn: StateScenario | Definition) -> pa.Table:
    return engine.table(case_of(drawn))


@pytest.fixture(params=[*STATES, *DEFINITIONS], ids=lambda drawn: drawn.name)
def drawn(request: pytest.FixtureRequest) -> StateScenario | Definition:
    return request.param  # type: ignore[no-any-return]


def lefts(drawn: StateScenario | Definition) -> tuple[str, ...]:
    """The tables whose order is the order of the output, or of a parent's."""
    return ("asked", "visits", "stock") if isinstance(drawn, Definition) else ()


def arrow_tables(case: Case) -> dict[str, pa.Table]:
    return {name: arrow_table(table) for name, table in case.tables.items()}


def called(engine: Arrow, case: Case, tables: Mapping[str, Any]) -> pa.Table:
    queries = arrow_table(case.queries) if isinstance(case, AggregateCase) else None
    return engine.call(case, queries, dict(tables))


def test_the_order_of_rows_changes_no_bit(engine: Arrow, drawn: StateScenario | Definition) -> None:
    case = case_of(drawn)
    for seed in "ab":
        tables = {
            name: table if name in lefts(drawn) else shuffled(table, seed + name) for name, table in case.tables.items()
        }
        assert_identical(answer(engine, drawn), engine.table(dataclasses.replace(case, tables=tables)))


def test_chunks_change_no_bit(engine: Arrow, drawn: StateScenario | Definition) -> None:
    def chunked(table: pa.Table) -> pa.Table:
        cuts = sorted(min(cut, table.num_rows) for cut in (0, 1, 1, 2, table.num_rows // 2 + 1, table.num_rows))
        return pa.concat_tables([table.slice(start, end - start) for start, end in pairwise(cuts)])

    case = case_of(drawn)
    tables = {name: chunked(table) for name, table in arrow_tables(case).items()}
    assert_identical(answer(engine, drawn), called(engine, case, tables))


def test_files_change_no_bit(engine: Arrow, drawn: StateScenario | Definition, tmp_path: Path) -> None:
    case = case_of(drawn)
    tables = {
        name: table if name in lefts(drawn) else str(split(table, tmp_path / name, parts=3))
        for name, table in arrow_tables(case).items()
    }
    assert_identical(answer(engine, drawn), called(engine, case, tables))


def test_runs_are_repeatable_to_the_bit(engine: Arrow, drawn: StateScenario | Definition) -> None:
    assert_identical(answer(engine, drawn), engine.table(case_of(drawn)))


@pytest.mark.parametrize("scenario", [one for one in STATES if one.theme != LOOKUPS], ids=lambda one: one.name)
def test_an_unrelated_feature_changes_no_bit_of_a_state(engine: Arrow, scenario: StateScenario) -> None:
    case = case_of(scenario)
    assert isinstance(case, AggregateCase)
    beside = Aggregation(case.group_by.aggregations[0].input, Operation.COUNT, windows=["3d", "45d"])
    group_by = dataclasses.replace(case.group_by, aggregations=[beside, *case.group_by.aggregations])
    more = engine.table(dataclasses.replace(case, group_by=group_by))
    assert_identical(answer(engine, scenario), more.select(answer(engine, scenario).column_names))


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda definition: definition.name)
def test_a_part_more_changes_no_bit_of_the_others(engine: Arrow, definition: Definition) -> None:
    case = case_of(definition)
    assert isinstance(case, BackfillCase)
    source = EventSource("orders", query=Query(select={"user": "user", "n": "n"}, time="t"))
    aggregations = [Aggregation("n", Operation.COUNT, windows=["3d", None])]
    beside = JoinPart(GroupBy(keys=["user"], sources=[source], aggregations=aggregations, name="beside"))
    join = dataclasses.replace(case.join, parts=[beside, *case.join.parts])
    more = engine.table(dataclasses.replace(case, join=join))
    assert_identical(answer(engine, definition), more.select(answer(engine, definition).column_names))


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda definition: definition.name)
def test_training_and_scoring_give_the_same_features(engine: Arrow, definition: Definition) -> None:
    case = case_of(definition)
    assert isinstance(case, BackfillCase)
    training = engine.table(dataclasses.replace(case, training=True, as_of="2100-01-01"))
    scoring = engine.table(dataclasses.replace(case, training=False))
    kept = scoring if case.join.labels is None else scoring.filter(pc.is_valid(scoring["ts"]))
    assert_identical(training.select(scoring.column_names), kept)


# Steps of days

FIRST, DAYS = dt.date.fromisoformat(BASE) - dt.timedelta(days=4), 8
"""The days of the lefts; what is older is put into the first, what is newer into the last."""
AS_OF = "2024-03-03T18:00:00"
STEPPED = [
    (definition, None if number == 0 else AS_OF)
    for number, definition in enumerate(DEFINITIONS)
    if number in (0, 1, 2, 3, 5)
]


def by_days(definition: Definition, as_of: str | None) -> BackfillCase:
    """The case with its lefts, and events as they came to be known, in partitions of days."""
    case = case_of(definition)
    assert isinstance(case, BackfillCase)
    clocks = {"asked": "asked", "visits": "asked", "orders": "known", "views": "known", "outcomes": "t"}
    tables = dict(case.tables) | {name: _partitioned(case.tables[name], clock) for name, clock in clocks.items()}
    return dataclasses.replace(case, tables=tables, join=_with_day(case.join), as_of=as_of)


def _partitioned(table: Table, clock: str) -> Table:
    return Table({**table.schema, "ds": "STRING"}, tuple(row | {"ds": _day(row, clock)} for row in table.rows))


def _day(row: Row, clock: str) -> str:
    day = row[clock].date() if row[clock] else dt.date.fromisoformat(BASE)
    return str(min(max(day, FIRST), FIRST + dt.timedelta(days=DAYS - 1)))


def _with_day(join: Any) -> Any:
    """The join with the day of its left among its columns, all the way up."""
    left, query = join.left, join.left.query
    if isinstance(left, JoinSource):
        left = dataclasses.replace(left, join=_with_day(left.join))
    if query.select is not None:
        left = dataclasses.replace(left, query=dataclasses.replace(query, select={**dict(query.select), "ds": "ds"}))
    return dataclasses.replace(join, left=left)


def in_steps(engine: Arrow, case: BackfillCase, size: int) -> list[pa.Table]:
    """The rows of each day, of a backfill in steps of `size` days."""
    made: list[pa.Table] = []
    for start in range(0, DAYS, size):
        days = [str(FIRST + dt.timedelta(days=day)) for day in range(start, min(start + size, DAYS))]
        step = engine.days(case, days[0], days[-1])
        made += [step.filter(pc.equal(step["ds"], day)) for day in days]
    return made


@pytest.mark.parametrize(("definition", "as_of"), STEPPED, ids=lambda one: getattr(one, "name", str(one)))
def test_the_size_of_steps_changes_no_bit(engine: Arrow, definition: Definition, as_of: str | None) -> None:
    case = by_days(definition, as_of)
    whole = engine.table(case)
    daily = in_steps(engine, case, 1)
    assert sum(day.num_rows for day in daily) == whole.num_rows > 0
    for day in daily:
        if day.num_rows:
            kept = whole.filter(pc.equal(whole["ds"], day["ds"][0]))
            assert_identical(kept, day.select(whole.column_names))
    for size in (3, 30):
        assert_identical(pa.concat_tables(daily), pa.concat_tables(in_steps(engine, case, size)))
