"""Values that were computed before, and columns that come with the request: DESIGN sections 2 and 3."""

from __future__ import annotations

from typing import Any

import pytest

from zipline import (
    Aggregation,
    BootstrapPart,
    Contextual,
    Derivation,
    EventSource,
    ExternalSource,
    GroupBy,
    Join,
    JoinPart,
    JoinSource,
    LabelPart,
    Operation,
    Query,
)
from zipline.errors import ZiplineError

from .adapters import Adapter, Arrow
from .oracle import DuplicateRowId, Result
from .questions import NOON
from .tables import BackfillCase, Functions, Table, table

ASKED = table(
    "id BIGINT, user STRING, asked TIMESTAMP",
    (1, "ann", NOON),
    (2, "bob", NOON),
    (3, "ann", NOON),
    (4, "eve", NOON),
)
EVENTS = table(
    "user STRING, value BIGINT, t TIMESTAMP",
    ("ann", 1, "2024-03-05 10:00"),
    ("ann", 2, "2024-03-05 11:00"),
    ("bob", 5, "2024-03-05 11:00"),
    ("bob", 8, "2024-03-06 11:00"),
)
LEFT = EventSource("left", query=Query(select={"id": "id", "user": "user"}, time="asked"))
TOTALS = GroupBy(
    keys=["user"],
    sources=[EventSource("events", query=Query(select={"user": "user", "value": "value"}, time="t"))],
    aggregations=[Aggregation("value", Operation.SUM), Aggregation("value", Operation.MAX)],
    name="own",
)
SUM, MAX = "own_value_sum", "own_value_max"
SCHEMA = f"id BIGINT, {SUM} BIGINT, {MAX} BIGINT"
NEXT = f"{SUM} + 1"
AGAIN = "next * 10"
FUNCTIONS: Functions = {
    NEXT: lambda row: None if row[SUM] is None else row[SUM] + 1,
    AGAIN: lambda row: None if row["next"] is None else row["next"] * 10,
    "channel": lambda row: row["channel"],
    "UPPER(channel)": lambda row: None if row["channel"] is None else row["channel"].upper(),
    "kept": lambda row: row["kept"],
}


def join(*bootstrap: BootstrapPart, **fields: Any) -> Join:
    given = {"left": LEFT, "row_id": ["id"], "parts": [JoinPart(TOTALS)], "bootstrap": bootstrap, "name": "j"}
    return Join(**{**given, **fields})


def part(name: str, *columns: str, **query: Any) -> BootstrapPart:
    return BootstrapPart(name, columns=columns, query=Query(**query))


def backfill(adapter: Adapter, made: Join, training: bool = True, as_of: str | None = None, **tables: Table) -> Result:
    given = {"left": ASKED, "events": EVENTS, **tables}
    return adapter.run(BackfillCase(made, given, training=training, as_of=as_of, functions=FUNCTIONS))


def values(result: Result, *columns: str) -> list[tuple[Any, ...]]:
    return [tuple(row[column] for column in columns) for row in result.rows]


# Bootstrap

SERVED = table(SCHEMA, (3, 30, 300), (1, 10, 100), (9, 90, 900))


def test_rows_that_are_in_a_part_take_its_columns_by_row_id(adapter: Adapter) -> None:
    result = backfill(adapter, join(part("served", SUM, MAX)), served=SERVED)
    assert result.columns == ("id", "user", "ts", SUM, MAX)
    assert values(result, "id", SUM, MAX) == [(1, 10, 100), (2, 5, 5), (3, 30, 300), (4, None, None)]


def test_columns_that_a_part_does_not_list_are_computed(adapter: Adapter) -> None:
    result = backfill(adapter, join(part("served", MAX)), served=SERVED)
    assert values(result, SUM, MAX) == [(3, 100), (5, 5), (3, 300), (None, None)]


def test_a_row_that_is_there_with_a_null_is_covered_by_the_null(adapter: Adapter) -> None:
    served = table(SCHEMA, (1, None, 100), (4, 40, None))
    result = backfill(adapter, join(part("served", SUM, MAX)), served=served)
    assert values(result, SUM, MAX) == [(None, 100), (5, 5), (3, 2), (40, None)]


def test_the_first_part_that_has_row_and_column_wins(adapter: Adapter) -> None:
    first, second = table(SCHEMA, (1, 10, 100), (2, None, None)), table(SCHEMA, (1, 11, 111), (2, 22, 222), (3, 33, 3))
    both = (part("first", SUM), part("second", SUM, MAX))
    result = backfill(adapter, join(*both), first=first, second=second)
    assert values(result, SUM, MAX) == [(10, 111), (None, 222), (33, 3), (None, None)]
    result = backfill(adapter, join(*both[::-1]), first=first, second=second)
    assert values(result, SUM, MAX) == [(11, 111), (22, 222), (33, 3), (None, None)]


def test_an_empty_part_covers_nothing(adapter: Adapter) -> None:
    result = backfill(adapter, join(part("served", SUM)), served=SERVED.with_rows([]))
    assert values(result, SUM) == [(3,), (5,), (3,), (None,)]


def test_the_query_of_a_part_names_and_filters(adapter: Adapter) -> None:
    log = table("request BIGINT, total BIGINT, kept BOOLEAN", (1, 7, True), (2, 2, False), (2, 22, True), (3, 9, None))
    made = join(part("log", SUM, select={"id": "request", SUM: "total"}, where=["kept"]))
    assert values(backfill(adapter, made, log=log), SUM) == [(7,), (22,), (3,), (None,)]


def test_bounds_of_partitions_hold_for_parts(adapter: Adapter) -> None:
    log = table(f"id BIGINT, {SUM} BIGINT, ds STRING", (1, 10, "2024-03-04"), (2, 20, "2024-03-05"))
    made = join(part("log", SUM, start="2024-03-05"))
    assert values(backfill(adapter, made, log=log), SUM) == [(3,), (20,), (3,), (None,)]


def test_ids_of_several_columns_compare_by_every_part_and_never_when_null(adapter: Adapter) -> None:
    asked = table(
        "a STRING, b STRING, user STRING, asked TIMESTAMP",
        ("a", "bc", "ann", NOON),
        ("ab", "c", "ann", NOON),
        ("ab", None, "ann", NOON),
    )
    served = table(f"a STRING, b STRING, {SUM} BIGINT", ("ab", "c", 7), ("abc", "", 8), ("ab", None, 9))
    left = EventSource("left", query=Query(select={"a": "a", "b": "b", "user": "user"}, time="asked"))
    made = join(part("served", SUM), left=left, row_id=["a", "b"])
    assert values(backfill(adapter, made, left=asked, served=served), SUM) == [(3,), (7,), (3,)]


def test_rows_without_a_query_time_may_be_covered(adapter: Adapter) -> None:
    asked = table("id BIGINT, user STRING, asked TIMESTAMP", (1, "ann", None), (2, None, NOON))
    made = join(part("served", SUM))
    served = table(SCHEMA, (1, 10, 100), (2, 20, 200))
    assert values(backfill(adapter, made, left=asked, served=served), SUM, MAX) == [(10, None), (20, None)]


def test_derivations_see_what_was_bootstrapped_and_keep_what_was_theirs(adapter: Adapter) -> None:
    served = table(f"id BIGINT, {SUM} BIGINT, next BIGINT", (1, 10, 99), (2, 20, None))
    derivations = [Derivation("next", NEXT), Derivation("again", AGAIN)]
    result = backfill(adapter, join(part("served", SUM), derivations=derivations), served=served)
    assert values(result, SUM, "next", "again") == [(10, 11, 110), (20, 21, 210), (3, 4, 40), (None, None, None)]
    result = backfill(adapter, join(part("served", "next"), derivations=derivations), served=served)
    assert values(result, SUM, "next", "again") == [(3, 99, 990), (5, None, None), (3, 4, 40), (None, None, None)]


PLUS = "value_sum + 1"
DERIVED = GroupBy(
    keys=["user"],
    sources=TOTALS.sources,
    aggregations=[Aggregation("value", Operation.SUM)],
    derivations=[Derivation("plus", PLUS)],
    name="own",
)


@pytest.mark.parametrize(
    ("covered", "expected"),
    [
        (SUM, [(10, 11), (5, 6), (30, 31), (None, None)]),  # as if the sum had been computed
        ("own_plus", [(3, 10), (5, 6), (3, 30), (None, None)]),
    ],
)
def test_derivations_of_a_group_by_see_what_was_bootstrapped_too(
    adapter: Adapter, covered: str, expected: list[tuple[Any, ...]]
) -> None:
    functions: Functions = {PLUS: lambda row: None if row["value_sum"] is None else row["value_sum"] + 1}
    made = join(part("served", covered), parts=[JoinPart(DERIVED), JoinPart(DERIVED, prefix="other")])
    served = table(f"id BIGINT, {covered} BIGINT", (1, 10), (3, 30))
    case = BackfillCase(made, {"left": ASKED, "events": EVENTS, "served": served}, functions=functions)
    result = adapter.run(case)
    assert values(result, SUM, "own_plus") == expected
    assert values(result, "other_own_plus") == [(4,), (6,), (4,), (None,)]


def test_labels_stand_beside_what_was_bootstrapped(adapter: Adapter) -> None:
    label = GroupBy(
        keys=["user"],
        sources=TOTALS.sources,
        aggregations=[Aggregation("value", Operation.SUM, windows=["1d"])],
        name="outcome",
    )
    made = join(part("served", SUM), labels=LabelPart([JoinPart(label)], offset="1d"))
    result = backfill(adapter, made, as_of="2024-04-01", served=SERVED)
    assert values(result, SUM, "label_outcome_value_sum_1d") == [(10, None), (5, 8), (30, None), (None, None)]


def test_a_childs_group_by_sees_what_was_bootstrapped(adapter: Adapter) -> None:
    source = JoinSource(join(part("served", SUM)), query=Query(select={"user": "user", "total": SUM}))
    child = GroupBy(keys=["user"], sources=[source], aggregations=[Aggregation("total", Operation.SUM)], name="child")
    left = EventSource("late", query=Query(select={"user": "user"}, time="asked"))
    late = table("user STRING, asked TIMESTAMP", ("ann", "2024-03-06"), ("bob", "2024-03-06"))
    made = Join(left=left, parts=[JoinPart(child)], name="k")
    assert values(backfill(adapter, made, served=SERVED, late=late), "child_total_sum") == [(40,), (5,)]


def refused(adapter: Adapter, made: Join, **tables: Table) -> None:
    given = {"left": ASKED, "events": EVENTS, **tables}
    with pytest.raises((ZiplineError, DuplicateRowId)):
        adapter.run(BackfillCase(made, given, functions=FUNCTIONS))


def test_two_rows_of_one_id_in_a_part_are_an_error(adapter: Adapter) -> None:
    twice = table(SCHEMA, (1, 10, 100), (2, 20, 200), (1, 10, 100))
    refused(adapter, join(part("served", SUM)), served=twice)


def test_two_left_rows_of_one_id_are_an_error_where_bootstrap_uses_it(adapter: Adapter) -> None:
    twice = ASKED.with_rows([*ASKED.rows, ASKED.rows[0]])
    refused(adapter, join(part("served", SUM)), left=twice, served=SERVED)
    assert len(backfill(adapter, join(), left=twice).rows) == 5


@pytest.mark.parametrize(
    "wrong",
    [
        table(f"id BIGINT, {SUM} STRING", (1, "ten")),
        table(f"id STRING, {SUM} BIGINT", ("1", 10)),
        table(f"{SUM} BIGINT", (10,)),
        table("id BIGINT, other BIGINT", (1, 10)),
    ],
    ids=["another type", "an id of another kind", "no id", "no such column"],
)
def test_parts_that_do_not_fit_are_refused(engine: Arrow, wrong: Table) -> None:
    refused(engine, join(part("served", SUM)), served=wrong)


def test_only_columns_that_the_join_makes_can_be_bootstrapped(engine: Arrow) -> None:
    label = GroupBy(
        keys=["user"],
        sources=TOTALS.sources,
        aggregations=[Aggregation("value", Operation.SUM, windows=["1d"])],
        name="outcome",
    )
    labels = LabelPart([JoinPart(label)], offset="1d")
    for column in ("nothing", "user", "ts", "label_outcome_value_sum_1d"):
        served = table(f"id BIGINT, {column} BIGINT", (1, 1))
        with pytest.raises(ZiplineError, match=column):
            backfill(engine, join(part("served", column), labels=labels), served=served)


# Contextual columns

CHANNEL = Contextual({"channel": "STRING", "user": "STRING"})


def test_contextual_columns_stand_after_features_and_before_derivations(adapter: Adapter) -> None:
    # `user` is a column of the left and stays there; `channel` comes from nowhere.
    made = join(contextual=CHANNEL, derivations=[Derivation("shout", "UPPER(channel)")])
    result = backfill(adapter, made)
    assert result.columns == ("id", "user", "ts", SUM, MAX, "channel", "shout")
    assert values(result, "user", "channel", "shout") == [(user, None, None) for user in ("ann", "bob", "ann", "eve")]


def test_contextual_columns_may_be_bootstrapped_from_what_was_logged(adapter: Adapter) -> None:
    served = table("id BIGINT, channel STRING", (1, "web"), (3, None))
    made = join(part("served", "channel"), contextual=CHANNEL, derivations=[Derivation("shout", "UPPER(channel)")])
    result = backfill(adapter, made, served=served)
    assert values(result, "channel", "shout") == [("web", "WEB"), (None, None), (None, None), (None, None)]


def test_a_contextual_column_of_the_left_is_the_lefts(adapter: Adapter) -> None:
    asked = table("id BIGINT, user STRING, channel STRING, asked TIMESTAMP", (1, "ann", "shop", NOON))
    left = EventSource("left", query=Query(select={"id": "id", "channel": "channel", "user": "user"}, time="asked"))
    made = join(left=left, contextual=CHANNEL, derivations=[Derivation("shout", "UPPER(channel)")])
    result = backfill(adapter, made, left=asked)
    assert result.columns == ("id", "channel", "user", "ts", SUM, MAX, "shout")
    assert values(result, "channel", "shout") == [("shop", "SHOP")]


# External sources

TWIN = GroupBy(
    keys=["who"],
    sources=[EventSource("scores", query=Query(select={"who": "who", "score": "score", "band": "band"}, time="t"))],
    name="twin",
)
SCORES = table(
    "who STRING, score INT, band STRING, t TIMESTAMP",
    ("ann", 1, "low", "2024-03-05 10:00"),
    ("ann", 7, "high", "2024-03-05 11:00"),
    ("ann", 9, "top", NOON),
    ("bob", None, "low", "2024-03-05 10:00"),
)


def external(**fields: Any) -> ExternalSource:
    given = {"keys": {"who": "STRING"}, "values": {"band": "STRING", "score": "DOUBLE"}, "handler": "http://scores"}
    return ExternalSource(**{**given, "offline": TWIN, "name": "risk.bureau", **fields})


def test_an_external_source_is_answered_by_its_offline_twin_as_declared(adapter: Adapter) -> None:
    parts = [JoinPart(TOTALS), JoinPart(external(), key_map={"user": "who"}, prefix="own")]
    result = backfill(adapter, join(parts=parts), scores=SCORES)
    assert result.columns == ("id", "user", "ts", SUM, MAX, "own_bureau_band", "own_bureau_score")
    expected = [("high", 7.0), ("low", None), ("high", 7.0), (None, None)]
    assert values(result, "own_bureau_band", "own_bureau_score") == expected
    assert [type(row["own_bureau_score"]) for row in result.rows[:1]] == [float]


def test_some_values_of_an_external_source_may_be_taken(adapter: Adapter) -> None:
    parts = [JoinPart(external(), key_map={"user": "who"}, features=["score"])]
    result = backfill(adapter, join(parts=parts), scores=SCORES)
    assert result.columns == ("id", "user", "ts", "bureau_score")
    assert values(result, "bureau_score") == [(7.0,), (None,), (7.0,), (None,)]


def test_values_of_an_external_source_are_seen_by_derivations_and_may_be_bootstrapped(adapter: Adapter) -> None:
    served = table("id BIGINT, bureau_score DOUBLE", (1, 0.5), (4, None))
    derived = "bureau_score + 1"
    functions: Functions = {derived: lambda row: None if row["bureau_score"] is None else row["bureau_score"] + 1}
    made = join(
        part("served", "bureau_score"),
        parts=[JoinPart(external(), key_map={"user": "who"})],
        derivations=[Derivation("plus", derived)],
    )
    tables = {"left": ASKED, "scores": SCORES, "served": served}
    result = adapter.run(BackfillCase(made, tables, functions=functions))
    assert values(result, "bureau_score", "plus") == [(0.5, 1.5), (None, None), (7.0, 8.0), (None, None)]


def test_a_twin_may_aggregate_and_derive(adapter: Adapter) -> None:
    twin = GroupBy(
        keys=["who"],
        sources=TWIN.sources,
        aggregations=[Aggregation("score", Operation.COUNT, windows=["1h"])],
        derivations=[Derivation("calls", "score_count_1h")],
        name="twin",
    )
    source = external(values={"calls": "BIGINT"}, offline=twin)
    parts = [JoinPart(source, key_map={"user": "who"})]
    assert values(backfill(adapter, join(parts=parts), scores=SCORES), "bureau_calls") == [(1,), (0,), (1,), (0,)]


def test_a_value_that_the_twin_does_not_have_is_a_compile_error(engine: Arrow) -> None:
    with pytest.raises(ZiplineError, match="grade"):
        backfill(
            engine,
            join(parts=[JoinPart(external(values={"grade": "STRING"}), key_map={"user": "who"})]),
            scores=SCORES,
        )
