"""What a plan says of each part: from stored partials, or from rows and why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from zipline import (
    Aggregation,
    BootstrapPart,
    EntitySource,
    EventSource,
    GroupBy,
    Join,
    JoinPart,
    JoinSource,
    LabelPart,
    Query,
)
from zipline.orchestration import partials
from zipline.orchestration.partials import uses_of_partials
from zipline.plan.build import plan_join
from zipline.tables.catalog import open_catalog

TIME = Query(time="t")
SUM = [Aggregation("x", "SUM", windows=["1d"])]


def sums(table: str, name: str = "g", **query: Any) -> GroupBy:
    return GroupBy(["k"], [EventSource(table, Query(time="t", **query))], SUM, name=name)


@pytest.fixture(autouse=True)
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr(partials, "LEAST_ROWS", 3)
    instants = pa.array([0, 1, 2], pa.timestamp("us", tz="UTC"))
    three = pa.table({"k": ["a"] * 3, "t": instants, "x": [1, 2, 3], "id": [1, 2, 3], "ds": ["1970-01-01"] * 3})
    pq.write_table(three, tmp_path / "three.parquet")
    pq.write_table(three.slice(0, 2), tmp_path / "two.parquet")
    (tmp_path / "text.csv").write_text("k,t,x,id,ds\na,1970-01-01T00:00:00Z,1,1,1970-01-01\n")
    files = {name: str(tmp_path / f"{name}.parquet") for name in ("three", "two")}
    return files | {"held": three, "text": str(tmp_path / "text.csv")}


def uses(join: Join, tables: dict[str, Any], *, training: bool = True) -> dict[str, str]:
    catalog = open_catalog(tables)
    plan = plan_join(join, lambda name: catalog.table(name).schema)
    return dict(uses_of_partials(plan, catalog, training=training))


def daily(*parts: JoinPart, left: Any = None, **others: Any) -> Join:
    return Join(left or EventSource("three", TIME), list(parts), name="daily", **others)


def test_of_large_tables_of_files_partials_are_used(tables: dict[str, Any]) -> None:
    lookup = GroupBy(["k"], [EventSource("three", TIME)], name="latest")
    join = daily(JoinPart(sums("three"), prefix="mine"), JoinPart(lookup))
    assert uses(join, tables) == {"mine_g": "partials: 1 feature", "latest": "partials: the latest row of each hop"}


@pytest.mark.parametrize(
    ("group_by", "reason"),
    [
        (sums("two"), "rows: two has 2 rows and is read as quickly (partials are for 3 and more)"),
        (sums("text"), "rows: text does not tell its rows before it is read"),
        (sums("held"), "rows: held is not made of files"),
        (sums("three", event_id="id"), "rows: another row of an event_id may lie in any file"),
        (
            GroupBy(["k"], [EntitySource("three")], name="g"),
            "rows: an entity is its newest snapshot and the changes since",
        ),
        (
            GroupBy(["k"], [JoinSource(daily(JoinPart(sums("three", "inner"))), TIME)], SUM, name="g"),
            "rows: daily is computed in the same run",
        ),
    ],
)
def test_of_others_it_says_why_not(group_by: GroupBy, reason: str, tables: dict[str, Any]) -> None:
    assert uses(Join(EventSource("two", TIME), [JoinPart(group_by)], name="other"), tables)["g"] == reason


def test_labels_are_told_of_in_training_alone(tables: dict[str, Any]) -> None:
    labels = LabelPart([JoinPart(sums("three", "outcome"))], offset="1d")
    join = daily(JoinPart(sums("three")), labels=labels)
    assert uses(join, tables)["label_outcome"] == "rows: a label sees times that no hop bounds, few enough to read"
    assert uses(join, tables, training=False) == {"g": "partials: 1 feature"}


def test_parents_parts_are_told_of_too(tables: dict[str, Any]) -> None:
    parent = Join(EventSource("three", TIME), [JoinPart(sums("three", "inner"))], name="parent")
    outer = GroupBy(["k"], [JoinSource(parent, TIME)], [Aggregation("inner_x_sum_1d", "MAX")], name="outer")
    assert uses(daily(JoinPart(outer)), tables) == {
        "outer": "rows: parent is computed in the same run",
        "parent: inner": "partials: 1 feature",
    }


def test_a_part_that_bootstrap_gives_values_of_is_computed_from_rows(tables: dict[str, Any]) -> None:
    given = BootstrapPart("held", ["g_x_sum_1d"], Query(select={"id": "id", "g_x_sum_1d": "x"}))
    join = daily(JoinPart(sums("three")), JoinPart(sums("three", "h")), row_id=["id"], bootstrap=[given])
    assert uses(join, tables) == {"g": "rows: bootstrap gives values of it", "h": "partials: 1 feature"}
