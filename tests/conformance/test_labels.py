"""What happened after the query: DESIGN section 2, "Labels"."""

from __future__ import annotations

from typing import Any

import pytest

from zipline import (
    Aggregation,
    Derivation,
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

from .adapters import Adapter
from .instants import at
from .oracle import Result
from .questions import NOON, SNAPSHOT, events, group_by_of, known_events, operation, source_of
from .tables import BackfillCase, Functions, Table, table

AFTER = "2024-03-20"
"""Late enough for every label to be mature."""


def backfill(
    adapter: Adapter,
    label: GroupBy,
    tables: dict[str, Table],
    *,
    offset: str = "2d",
    times: tuple[str | None, ...] = (NOON,),
    training: bool = True,
    as_of: str | None = AFTER,
    **join: Any,
) -> Result:
    """The label of "ann" at each query time, beside no features unless `parts` gives them."""
    asked = table("user STRING, asked TIMESTAMP", *(("ann", time) for time in times))
    left = EventSource("left", query=Query(select={"user": "user"}, time="asked"))
    made = Join(
        **{"left": left, "parts": [], "labels": LabelPart([JoinPart(label)], offset=offset), "name": "j", **join}
    )
    return adapter.run(BackfillCase(made, {"left": asked, **tables}, training=training, as_of=as_of))


def label_of(rows: Table, window: str = "1d", name: str = "SUM", **fields: Any) -> GroupBy:
    return group_by_of(rows, operation(name, window), **{"name": "outcome", **fields})


def labels(result: Result) -> list[Any]:
    return [row[result.columns[-1]] for row in result.rows]


EDGES = events(
    "BIGINT",
    ("2024-03-06 11:59:59.999999", 1),
    ("2024-03-06 12:00", 2),  # q + O - W: inclusive
    ("2024-03-07 11:59:59.999999", 4),
    ("2024-03-07 12:00", 8),  # q + O: exclusive
)


def test_a_label_sees_from_q_plus_o_minus_w_up_to_q_plus_o(adapter: Adapter) -> None:
    result = backfill(adapter, label_of(EDGES), {"events": EDGES})
    assert result.columns == ("user", "ts", "label_outcome_value_sum_1d")
    assert labels(result) == [6]


def test_labels_have_no_hop_rounding(adapter: Adapter) -> None:
    # At 12:34:56 the day before q + 2 d starts at 12:34:56 of March 6, where a feature's would start at 12:00.
    rows = events("BIGINT", ("2024-03-06 12:34:55", 1), ("2024-03-06 12:34:56", 2), ("2024-03-07 12:34:55", 4))
    assert labels(backfill(adapter, label_of(rows), {"events": rows}, times=("2024-03-05 12:34:56",))) == [6]


def test_a_window_as_long_as_the_offset_starts_at_the_query_inclusive(adapter: Adapter) -> None:
    rows = events("BIGINT", ("2024-03-05 11:59", 1), (NOON, 2), ("2024-03-07 11:59", 4))
    assert labels(backfill(adapter, label_of(rows, "2d"), {"events": rows})) == [6]


def test_a_window_longer_than_its_offset_is_refused() -> None:
    with pytest.raises(DefinitionError):
        LabelPart([JoinPart(label_of(EDGES, "3d"))], offset="2d")


def test_a_label_window_is_required() -> None:
    with pytest.raises(DefinitionError):
        LabelPart([JoinPart(group_by_of(EDGES, operation("SUM"), name="outcome"))], offset="2d")


def test_a_label_over_events_needs_aggregations() -> None:
    with pytest.raises(DefinitionError, match="aggregations"):
        LabelPart([JoinPart(GroupBy(keys=["user"], sources=[source_of(EDGES)], name="outcome"))], offset="2d")


def test_known_at_does_not_filter_labels_null_or_not(adapter: Adapter) -> None:
    rows = known_events(
        "BIGINT",
        ("2024-03-06 13:00", "2024-03-06 13:00", 1),
        ("2024-03-06 13:00", "2024-04-01", 2),  # known long after q + O
        ("2024-03-06 13:00", None, 4),
        (None, "2024-03-06 13:00", 8),  # without a time it never happened
    )
    assert labels(backfill(adapter, label_of(rows), {"events": rows})) == [7]


def test_accuracy_does_not_filter_labels(adapter: Adapter) -> None:
    assert labels(backfill(adapter, label_of(EDGES, accuracy=SNAPSHOT), {"events": EDGES})) == [6]


def test_an_empty_label_window_gives_the_empty_value(adapter: Adapter) -> None:
    rows = events("BIGINT", ("2024-03-05 13:00", 1))
    assert labels(backfill(adapter, label_of(rows), {"events": rows})) == [None]
    assert labels(backfill(adapter, label_of(rows, name="COUNT"), {"events": rows})) == [0]


def test_features_and_labels_of_one_group_by_look_to_different_sides(adapter: Adapter) -> None:
    rows = events("BIGINT", ("2024-03-05 11:00", 1), ("2024-03-05 13:00", 2), ("2024-03-07 11:00", 4))
    group_by = label_of(rows, "1d")
    result = backfill(adapter, group_by, {"events": rows}, parts=[JoinPart(group_by)])
    assert result.columns == ("user", "ts", "outcome_value_sum_1d", "label_outcome_value_sum_1d")
    assert [tuple(row.values()) for row in result.rows] == [("ann", at(NOON), 1, 4)]


def test_labels_stand_last_after_derivations_which_do_not_see_them(adapter: Adapter) -> None:
    rows = events("BIGINT", ("2024-03-05 11:00", 1), ("2024-03-07 11:00", 4))
    group_by = label_of(rows, "1d")
    twice = "outcome_value_sum_1d * 2"
    functions: Functions = {twice: lambda row: row["outcome_value_sum_1d"] * 2}
    join = Join(
        left=EventSource("left", query=Query(select={"user": "user"}, time="asked")),
        parts=[JoinPart(group_by)],
        labels=LabelPart([JoinPart(group_by, prefix="two")], offset="2d"),
        derivations=[Derivation("twice", twice)],
        name="j",
    )
    asked = table("user STRING, asked TIMESTAMP", ("ann", NOON))
    result = adapter.run(BackfillCase(join, {"left": asked, "events": rows}, as_of=AFTER, functions=functions))
    assert result.columns == ("user", "ts", "outcome_value_sum_1d", "twice", "label_two_outcome_value_sum_1d")
    assert tuple(result.rows[0].values())[2:] == (1, 2, 4)


def test_label_parts_have_key_maps_prefixes_and_features(adapter: Adapter) -> None:
    rows = table(
        "place STRING, value BIGINT, t TIMESTAMP", ("rome", 1, "2024-03-06 13:00"), ("oslo", 2, "2024-03-06 13:00")
    )
    outcome = group_by_of(rows, operation("SUM", "1d"), operation("COUNT", "1d"), keys=["place"], name="outcome")
    parts = [
        JoinPart(outcome, key_map={"home": "place"}, prefix="home", features=["value_sum_1d"]),
        JoinPart(outcome, key_map={"away": "place"}, prefix="away", features=["value_sum_1d"]),
    ]
    asked = table("home STRING, away STRING, asked TIMESTAMP", ("rome", "oslo", NOON), ("oslo", None, NOON))
    left = EventSource("left", query=Query(select={"home": "home", "away": "away"}, time="asked"))
    join = Join(left=left, parts=[], labels=LabelPart(parts, offset="2d"), name="j")
    result = adapter.run(BackfillCase(join, {"left": asked, "events": rows}, as_of=AFTER))
    assert result.columns[3:] == ("label_home_outcome_value_sum_1d", "label_away_outcome_value_sum_1d")
    assert [tuple(row.values())[3:] for row in result.rows] == [(1, 2), (2, None)]


# Maturity

QUERIES = ("2024-03-04 12:00", "2024-03-05 12:00", "2024-03-05 12:00:00.000001", "2024-03-06 12:00")


def ages(result: Result) -> list[str]:
    return [row["ts"].isoformat(sep=" ")[:26].removesuffix("+00:00") for row in result.rows]


def test_label_data_end_at_as_of(adapter: Adapter) -> None:
    # q + 2 d = as_of is mature, a microsecond later is not; what the source holds does not matter.
    result = backfill(adapter, label_of(EDGES), {"events": EDGES}, times=QUERIES, as_of="2024-03-07 12:00")
    assert [row["ts"] for row in result.rows] == [at(time) for time in QUERIES[:2]]


def test_without_as_of_label_data_end_at_the_newest_time_of_the_source(adapter: Adapter) -> None:
    result = backfill(adapter, label_of(EDGES), {"events": EDGES}, times=QUERIES, as_of=None)
    assert [row["ts"] for row in result.rows] == [at(time) for time in QUERIES[:2]]


def test_the_newest_time_is_of_the_source_before_its_where(adapter: Adapter) -> None:
    rows = events("BIGINT", ("2024-03-06 13:00", 5), ("2024-03-07 12:00", 0))
    label = label_of(rows, query={"where": ["value > 1"]})
    asked = table("user STRING, asked TIMESTAMP", *(("ann", time) for time in QUERIES))
    join = Join(
        left=EventSource("left", query=Query(select={"user": "user"}, time="asked")),
        parts=[],
        labels=LabelPart([JoinPart(label)], offset="2d"),
        name="j",
    )
    functions: Functions = {"value > 1": lambda row: row["value"] > 1}
    result = adapter.run(BackfillCase(join, {"left": asked, "events": rows}, functions=functions))
    # The second query's label starts at 12:00 of March 6 and so holds the 5 as well; the first's ends there.
    assert [(row["ts"], row["label_outcome_value_sum_1d"]) for row in result.rows] == [
        (at(QUERIES[0]), None),
        (at(QUERIES[1]), 5),
    ]


def test_the_newest_time_is_of_any_key_and_no_null(adapter: Adapter) -> None:
    rows = table(
        "user STRING, value BIGINT, t TIMESTAMP",
        ("bob", 1, "2024-03-07 12:00"),
        (None, 1, None),
        ("ann", 1, "2024-03-05"),
    )
    result = backfill(adapter, label_of(rows), {"events": rows}, times=QUERIES, as_of=None)
    assert len(result.rows) == 2


def test_the_least_end_of_several_label_sources_counts(adapter: Adapter) -> None:
    early = events("BIGINT", ("2024-03-07 12:00", 1))
    late = events("BIGINT", ("2024-03-09 12:00", 1))
    first, second = (
        GroupBy(keys=["user"], sources=[source_of(rows, name)], aggregations=[operation("SUM", "1d")], name=name)
        for rows, name in ((early, "early"), (late, "late"))
    )
    parts = LabelPart([JoinPart(first), JoinPart(second)], offset="2d")
    result = backfill(adapter, first, {"early": early, "late": late}, times=QUERIES, as_of=None, labels=parts)
    assert len(result.rows) == 2
    union = GroupBy(
        keys=["user"],
        sources=[source_of(early, "early"), source_of(late, "late")],
        aggregations=[operation("SUM", "1d")],
        name="outcome",
    )
    assert len(backfill(adapter, union, {"early": early, "late": late}, times=QUERIES, as_of=None).rows) == 2


def test_an_empty_label_source_makes_every_row_immature(adapter: Adapter) -> None:
    rows = events("BIGINT")
    result = backfill(adapter, label_of(rows), {"events": rows}, times=QUERIES, as_of=None)
    assert result == Result(("user", "ts", "label_outcome_value_sum_1d"), ())


def test_as_of_says_how_far_an_empty_label_source_reaches(adapter: Adapter) -> None:
    rows = events("BIGINT")
    assert labels(backfill(adapter, label_of(rows), {"events": rows}, as_of="2024-03-07 12:00")) == [None]


def test_a_row_without_a_query_time_is_immature(adapter: Adapter) -> None:
    result = backfill(adapter, label_of(EDGES), {"events": EDGES}, times=(None, NOON))
    assert labels(result) == [6]


def test_scoring_keeps_every_row_and_has_no_label_columns(adapter: Adapter) -> None:
    times = (None, *QUERIES, "2030-01-01")
    result = backfill(adapter, label_of(EDGES), {"events": EDGES}, times=times, training=False, as_of=None)
    assert result.columns == ("user", "ts")
    assert len(result.rows) == 6


def test_scoring_reads_no_label_source(adapter: Adapter) -> None:
    result = backfill(adapter, label_of(EDGES), {"events": EDGES.with_rows([])}, training=False, as_of=None)
    assert len(result.rows) == 1


def test_training_without_labels_drops_nothing(adapter: Adapter) -> None:
    result = backfill(adapter, label_of(EDGES), {"events": EDGES}, times=(None, NOON), labels=None, as_of=None)
    assert len(result.rows) == 2


def test_as_of_may_be_a_datetime_or_text_zoned_or_not(adapter: Adapter) -> None:
    for as_of in ("2024-03-07T12:00:00", "2024-03-07T13:00:00+01:00", at("2024-03-07 12:00")):
        result = backfill(adapter, label_of(EDGES), {"events": EDGES}, times=QUERIES, as_of=as_of)  # type: ignore[arg-type]
        assert len(result.rows) == 2, as_of


# Labels over entities

STATUS = table(
    "user STRING, status STRING, ds STRING",
    ("ann", "new", "2024-03-05"),
    ("ann", "paid", "2024-03-06"),
    ("ann", "left", "2024-03-07"),
)
status = GroupBy(
    keys=["user"],
    sources=[EntitySource("users", query=Query(select={"user": "user", "status": "status"}))],
    name="state",
)


def test_an_entitys_label_is_its_state_as_of_q_plus_o(adapter: Adapter) -> None:
    # q + O is noon of March 7: the newest snapshot that had ended is March 6's.
    result = backfill(adapter, status, {"users": STATUS})
    assert result.columns == ("user", "ts", "label_state_status")
    assert labels(result) == ["paid"]


def test_an_entitys_label_data_end_with_its_newest_snapshots_day(adapter: Adapter) -> None:
    # The newest snapshot ends at midnight of March 8, two days after midnight of March 6.
    times = ("2024-03-05 12:00", "2024-03-06", "2024-03-06 00:00:00.000001")
    result = backfill(adapter, status, {"users": STATUS}, times=times, as_of=None)
    assert labels(result) == ["paid", "left"]


def test_labels_may_be_means_of_lists(adapter: Adapter) -> None:
    rows = events(
        "ARRAY<BIGINT>", ("2024-03-06 13:00", [1, 2]), ("2024-03-07 11:00", [6, None]), ("2024-03-07 12:00", [9])
    )
    label = group_by_of(rows, Aggregation("value", Operation.AVERAGE, windows=["24h"]), name="outcome")
    assert labels(backfill(adapter, label, {"events": rows})) == [3.0]
