"""The plan of an entity with mutations: what is read of both tables, and by whom."""

from collections.abc import Mapping

import pytest

from zipline import (
    Accuracy,
    Aggregation,
    EntitySource,
    EventSource,
    GroupBy,
    Join,
    JoinPart,
    LabelPart,
    Operation,
    Query,
)
from zipline.errors import DefinitionError
from zipline.plan.build import plan_group_by, plan_join
from zipline.plan.steps import GroupByPlan, JoinPlan
from zipline.types import BIGINT, BOOLEAN, DOUBLE, INT, NULL, STRING, TIMESTAMP, DataType

LEFT = {"k": STRING, "q": TIMESTAMP}
DUMPS = {"k": STRING, "v": INT, "w": STRING, "t": TIMESTAMP, "ds": STRING}
CHANGES = {"k": STRING, "v": BIGINT, "w": STRING, "t": TIMESTAMP, "m": TIMESTAMP, "b": BOOLEAN}
TABLES: Mapping[str, Mapping[str, DataType]] = {"left": LEFT, "dumps": DUMPS, "changes": CHANGES, "none": {}}


def schema(name: str) -> Mapping[str, DataType]:
    return TABLES[name]


def source(snapshots: str = "dumps", mutations: str = "changes", **fields: object) -> EntitySource:
    query = {"select": ["k", "v", "w"], "time": "t", "mutation_time": "m", "is_before": "b", **fields}
    return EntitySource(snapshots, mutations=mutations, query=Query(**query))


def group_by(*sources: EntitySource, accuracy: Accuracy = Accuracy.TEMPORAL, lookup: bool = False) -> GroupBy:
    aggregations = [] if lookup else [Aggregation("v", Operation.SUM)]
    return GroupBy(["k"], list(sources), aggregations, accuracy=accuracy, name="state")


def planned(*sources: EntitySource) -> GroupByPlan:
    return plan_group_by(group_by(*sources), schema)


def join_of(part: GroupBy, **fields: object) -> JoinPlan:
    parts = [] if "labels" in fields else [JoinPart(part)]
    return plan_join(Join(EventSource("left", query=Query(time="q")), parts, name="joined", **fields), schema)


def test_both_tables_are_read_with_every_selected_column_in_one_type_each() -> None:
    (snapshots,) = planned(source()).sources
    changes = snapshots.mutations
    assert changes is not None
    assert (snapshots.kind, changes.kind, changes.table) == ("snapshots", "mutations", "changes")
    assert set(snapshots.columns) == set(changes.columns) == {"k", "v", "w"}
    assert snapshots.column_types["v"] == changes.column_types["v"] == BIGINT
    assert changes.table_columns == {"k", "v", "w", "t", "m", "b"}
    assert (changes.partition, changes.start, changes.end) == (None, None, None)


def test_types_are_those_of_all_sources_and_only_needed_columns_must_be_in_each() -> None:
    narrow = source(select={"k": "k", "v": "CAST(v AS DOUBLE)", "more": "w"})
    plan = planned(source(), narrow)
    for snapshots in plan.sources:
        assert snapshots.mutations is not None
        assert snapshots.column_types["v"] == snapshots.mutations.column_types["v"] == DOUBLE
    assert [set(snapshots.columns) for snapshots in plan.sources] == [{"k", "v", "w"}, {"k", "v", "more"}]


def test_of_a_table_of_which_nothing_is_known_the_other_gives_the_types() -> None:
    for unknown in (source("none"), source(mutations="none")):
        (snapshots,) = planned(unknown).sources
        assert snapshots.mutations is not None
        assert snapshots.column_types["v"] != NULL
        assert snapshots.column_types == snapshots.mutations.column_types


def test_the_steps_show_the_reading_of_changes() -> None:
    details = [step.detail for step in join_of(group_by(source())).steps()]
    assert details[1:3] == ["dumps: 5 columns for state", "changes: 6 columns for state, changes at m"]


@pytest.mark.parametrize(("accuracy", "tables"), [("TEMPORAL", ["dumps", "changes"]), ("SNAPSHOT", ["dumps"])])
def test_changes_are_read_at_temporal_accuracy(accuracy: str, tables: list[str]) -> None:
    plan = join_of(group_by(source(), accuracy=Accuracy[accuracy]))
    assert [read.first.table for read in plan.reads()] == tables


def test_labels_read_changes_at_any_accuracy() -> None:
    part = group_by(source(), accuracy=Accuracy.SNAPSHOT, lookup=True)
    plan = join_of(part, labels=LabelPart([JoinPart(part)], offset="1d"))
    assert [(read.first.table, read.lookahead > 0) for read in plan.reads()] == [("dumps", True), ("changes", True)]
    assert plan.reads(training=False) == ()


def test_group_bys_over_one_entity_share_both_readings() -> None:
    parts = [JoinPart(group_by(source(), lookup=lookup), prefix=f"p{lookup}") for lookup in (False, True)]
    plan = plan_join(Join(EventSource("left", query=Query(time="q")), parts, name="joined"), schema)
    assert [read.first.table for read in plan.reads()] == ["dumps", "changes"]


def test_an_event_id_is_refused() -> None:
    with pytest.raises(DefinitionError, match="count every row"):
        planned(source(event_id="w"))
