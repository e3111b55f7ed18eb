"""What must not change an answer by a single bit: order, splitting, chunking, company and repetition of the rows."""

from __future__ import annotations

import dataclasses
import random
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from zipline import Aggregation, Operation

from .adapters import Arrow, arrow_table
from .batches import merged
from .bits import assert_identical, shuffled, split
from .generate import MODES, Scenario
from .generate_joins import join_scenarios
from .tables import AggregateCase, BackfillCase, Case, Table

pytestmark = pytest.mark.usefixtures("interpreted")
SCENARIOS = [
    Scenario("totals", MODES[1], "text"),
    Scenario("moments", MODES[0], "float"),
    Scenario("ends", MODES[2], "pair"),
    Scenario("order", MODES[5], "text"),
    Scenario("ranks", MODES[3], "mixed"),
    Scenario("distinct", MODES[4], "number"),
    Scenario("shapes", MODES[1], "text"),
    Scenario("lists", MODES[0], "pair"),
    Scenario("buckets", MODES[3], "text"),
]


@cache
def case_of(scenario: Scenario) -> AggregateCase:
    case = merged(scenario.cases(12))
    assert isinstance(case, AggregateCase)
    return case


@cache
def answer_of(engine: Arrow, scenario: Scenario) -> pa.Table:
    return engine.table(case_of(scenario))


@pytest.fixture(params=SCENARIOS, ids=lambda scenario: scenario.name)
def scenario(request: pytest.FixtureRequest) -> Scenario:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def case(scenario: Scenario) -> AggregateCase:
    return case_of(scenario)


@pytest.fixture
def answer(engine: Arrow, scenario: Scenario) -> pa.Table:
    """What is given for the case as it stands, computed once."""
    return answer_of(engine, scenario)


def with_tables(case: AggregateCase, change: Any) -> AggregateCase:
    return dataclasses.replace(case, tables={name: change(table) for name, table in case.tables.items()})


@pytest.mark.parametrize("seed", ["a", "b"])
def test_the_order_of_the_rows_changes_no_bit(engine: Arrow, case: AggregateCase, answer: pa.Table, seed: str) -> None:
    assert_identical(answer, engine.table(with_tables(case, lambda table: shuffled(table, seed))))


def test_rows_in_time_order_and_in_the_reverse_give_the_same_bits(engine: Arrow, case: AggregateCase) -> None:
    def by_time(table: Table) -> Table:
        return table.with_rows(sorted(table.rows, key=lambda row: (row["t"] is None, str(row["t"]))))

    ordered = with_tables(case, by_time)
    backwards = with_tables(ordered, lambda table: table.with_rows(table.rows[::-1]))
    assert_identical(engine.table(ordered), engine.table(backwards))


def test_the_order_of_the_queries_changes_only_the_order_of_the_answers(
    engine: Arrow, case: AggregateCase, answer: pa.Table
) -> None:
    order = list(range(len(case.queries.rows)))
    random.Random("queries").shuffle(order)
    moved = dataclasses.replace(case, queries=case.queries.with_rows([case.queries.rows[place] for place in order]))
    assert_identical(answer.take(pa.array(order)), engine.table(moved))


def test_chunked_tables_give_the_same_bits(engine: Arrow, case: AggregateCase, answer: pa.Table) -> None:
    def chunked(table: pa.Table) -> pa.Table:
        cuts = sorted(min(cut, table.num_rows) for cut in (0, 1, 1, 2, table.num_rows // 2 + 1, table.num_rows))
        return pa.concat_tables([table.slice(start, end - start) for start, end in pairwise(cuts)])

    tables = {name: chunked(arrow_table(table)) for name, table in case.tables.items()}
    assert_identical(answer, engine.call(case, chunked(arrow_table(case.queries)), tables))


def test_a_source_split_into_several_files_gives_the_same_bits(
    engine: Arrow, case: AggregateCase, answer: pa.Table, tmp_path: Path
) -> None:
    paths = {name: split(arrow_table(table), tmp_path / name, parts=3) for name, table in case.tables.items()}
    single = {
        name: split(arrow_table(table), tmp_path / f"{name}_whole", parts=1) for name, table in case.tables.items()
    }
    queries = arrow_table(case.queries)
    assert_identical(answer, engine.call(case, queries, {name: str(path) for name, path in paths.items()}))
    assert_identical(answer, engine.call(case, queries, {name: str(path) for name, path in single.items()}))


def test_an_unrelated_feature_changes_no_bit(engine: Arrow, case: AggregateCase, answer: pa.Table) -> None:
    beside = Aggregation(case.group_by.aggregations[0].input, Operation.COUNT, windows=["3d", "45d"])
    aggregations = [beside, *case.group_by.aggregations]
    more = dataclasses.replace(case, group_by=dataclasses.replace(case.group_by, aggregations=aggregations))
    assert_identical(answer, engine.table(more).select(answer.column_names))


def test_a_feature_alone_gives_the_same_bits(engine: Arrow, case: AggregateCase, answer: pa.Table) -> None:
    for aggregation in case.group_by.aggregations[::5]:
        group_by = dataclasses.replace(case.group_by, aggregations=[aggregation])
        alone = engine.table(dataclasses.replace(case, group_by=group_by))
        assert_identical(answer.select(alone.column_names), alone)


def test_queries_asked_twice_are_answered_twice_with_the_same_bits(
    engine: Arrow, case: AggregateCase, answer: pa.Table
) -> None:
    twice = dataclasses.replace(case, queries=case.queries.with_rows(case.queries.rows * 2))
    assert_identical(pa.concat_tables([answer, answer]), engine.table(twice))


def test_a_query_asked_alone_gives_the_same_bits(engine: Arrow, case: AggregateCase, answer: pa.Table) -> None:
    for number in range(0, len(case.queries.rows), max(1, len(case.queries.rows) // 3)):
        alone = dataclasses.replace(case, queries=case.queries.with_rows(case.queries.rows[number : number + 1]))
        assert_identical(answer.slice(number, 1), engine.table(alone))


def test_events_of_other_keys_change_no_bit(engine: Arrow, case: AggregateCase, answer: pa.Table) -> None:
    """Keys that no query asks for, with values that would ruin any running total."""
    asked = {row["case_number"] for row in case.queries.rows}

    def crowded(table: Table) -> Table:
        others = [row | {"case_number": row["case_number"] + len(asked) + 1} for row in table.rows]
        ids = [row | ({"id": row["id"] + 10**9} if "id" in row else {}) for row in others]
        return table.with_rows([*ids, *table.rows])

    assert_identical(answer, engine.table(with_tables(case, crowded)))


def test_runs_are_repeatable_to_the_bit(engine: Arrow, case: AggregateCase, answer: pa.Table) -> None:
    assert_identical(answer, engine.table(case))


# Joins


@cache
def join_of(training: bool) -> BackfillCase:
    case: Case = merged(join_scenarios()[0].cases(12, training=training))
    assert isinstance(case, BackfillCase)
    return case


@cache
def output_of(engine: Arrow, training: bool) -> pa.Table:
    return engine.table(join_of(training))


@pytest.fixture(params=[True, False], ids=["training", "scoring"])
def training(request: pytest.FixtureRequest) -> bool:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def joined(training: bool) -> BackfillCase:
    return join_of(training)


@pytest.fixture
def output(engine: Arrow, training: bool) -> pa.Table:
    return output_of(engine, training)


def test_the_left_repeated_repeats_the_output(engine: Arrow, joined: BackfillCase, output: pa.Table) -> None:
    left = joined.tables["left"]
    twice = dataclasses.replace(joined, tables={**joined.tables, "left": left.with_rows(left.rows * 2)})
    assert_identical(pa.concat_tables([output, output]), engine.table(twice))


def test_shuffled_sources_of_a_join_change_no_bit(engine: Arrow, joined: BackfillCase, output: pa.Table) -> None:
    tables = {name: table if name == "left" else shuffled(table, name) for name, table in joined.tables.items()}
    assert_identical(output, engine.table(dataclasses.replace(joined, tables=tables)))


def test_a_part_more_changes_no_bit_of_the_others(engine: Arrow, joined: BackfillCase, output: pa.Table) -> None:
    fewer = dataclasses.replace(joined, join=dataclasses.replace(joined.join, parts=joined.join.parts[:1]))
    alone = engine.table(fewer)
    assert_identical(alone, output.select(alone.column_names))


def test_training_and_scoring_give_the_same_features(engine: Arrow) -> None:
    case = join_of(True)
    training = engine.table(dataclasses.replace(case, as_of="2100-01-01T00:00:00"))
    scoring = engine.table(dataclasses.replace(case, training=False))
    with_time = scoring.filter(pc.is_valid(scoring["ts"]))
    assert_identical(training.select(scoring.column_names), with_time)
