"""Explanations of single values: verdicts, bounds, contributions, and where values come from."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest

from zipline import (
    Accuracy,
    Aggregation,
    BootstrapPart,
    Contextual,
    Derivation,
    EntitySource,
    EventSource,
    ExternalSource,
    GroupBy,
    Join,
    JoinPart,
    JoinSource,
    LabelPart,
    Operation,
    Query,
    aggregate,
    explain_value,
)
from zipline.engines.explain import Explanation
from zipline.errors import UsageError

Row = dict[str, Any]


def paid(**more: Any) -> EventSource:
    select = {"user": "user", "amount": "amount", "shop": "shop"}
    return EventSource("payments", Query(**{"select": select, "time": "at", "known_at": "settled", **more}))


def spending(*aggregations: Aggregation, **more: Any) -> GroupBy:
    source = more.pop("source", paid())
    return GroupBy(
        name="spending", keys=more.pop("keys", ["user"]), sources=[source], aggregations=aggregations, **more
    )


def payment(user: str | None, amount: Any, at: str | None, settled: str | None = "", shop: str | None = "a") -> Row:
    return {"user": user, "amount": amount, "at": at, "settled": at if settled == "" else settled, "shop": shop}


PAYMENTS = [
    payment("ann", 1.0, "2024-05-01T09:59:59.999999Z"),
    payment("ann", 2.0, "2024-05-01T10:00:00Z"),
    payment("ann", 3.0, "2024-05-01T12:00:00Z", "2024-05-02T10:30:00Z"),
    payment("ann", 4.0, "2024-05-02T10:00:00Z"),
    payment("ann", None, "2024-05-02T10:10:00Z"),
    payment("ann", float("nan"), "2024-05-02T10:11:00Z"),
    payment("ann", 5.0, "2024-05-02T10:30:00Z"),
    payment("ann", 6.0, None),
    payment("ann", 7.0, "2024-05-02T10:12:00Z", None),
    payment("bob", 8.0, "2024-05-02T10:00:00Z"),
    payment(None, 9.0, "2024-05-02T10:00:00Z"),
]
ANN = {"user": "ann", "ts": "2024-05-02T10:30:00Z"}
SUM_1D = Aggregation("amount", Operation.SUM, windows=["1d"])


def explained(
    group_by: Join | GroupBy, column: str, row: Row, rows: list[Row] | None = None, **tables: Any
) -> Explanation:
    found = explain_value(group_by, column, row, {"payments": PAYMENTS if rows is None else rows, **tables})
    assert isinstance(found, Explanation)
    assert found.is_consistent, str(found)
    return found


def verdicts(found: Explanation) -> dict[Any, str]:
    return {event.value: event.verdict for event in found.events}


def test_every_row_of_the_key_has_one_verdict() -> None:
    found = explained(spending(SUM_1D), "amount_sum_1d", ANN)
    assert found.value == 6.0
    assert dict(found.counts) == {
        "seen": 2,
        "before the window": 1,
        "after the query": 1,
        "not yet known": 1,
        "null": 2,
        "without a time": 1,
        "without a known_at": 1,
        "without a key": 1,
    }
    assert found.other_keys == 1
    seen = [(event.value, event.contribution) for event in found.seen]
    assert seen == [(2.0, 2.0), (4.0, 4.0)]


def test_the_bounds_are_those_of_the_window_with_its_hop() -> None:
    found = explained(spending(SUM_1D), "amount_sum_1d", {"user": "ann", "ts": "2024-05-02T10:30:00Z"})
    facts = found.facts()
    assert facts["window"] == {"start": "2024-05-01T10:00:00Z", "end": "2024-05-02T10:30:00Z", "length": "1d"}


def test_what_where_leaves_out_is_told_apart_from_what_is_null() -> None:
    rows = [
        payment("ann", 1.0, "2024-05-02T10:00:00Z", shop="a"),
        payment("ann", 2.0, "2024-05-02T10:00:00Z", shop=None),
    ]
    found = explained(spending(SUM_1D, source=paid(where=["shop = 'a'"])), "amount_sum_1d", ANN, rows)
    assert dict(found.counts) == {"seen": 1, "left out by where": 1}
    assert found.value == 1.0


def test_rows_of_one_event_id_are_one_event_whoever_has_the_key() -> None:
    rows = [
        payment("ann", 1.0, "2024-05-02T10:00:00Z") | {"id": 1},
        payment("ann", 2.0, "2024-05-02T10:00:01Z") | {"id": 1},
        payment("bob", 3.0, "2024-05-02T09:00:00Z") | {"id": 2},
        payment("ann", 4.0, "2024-05-02T10:00:00Z") | {"id": 2},
        payment("ann", 5.0, "2024-05-02T10:00:00Z") | {"id": None},
        payment("bob", 6.0, "2024-05-02T10:00:00Z") | {"id": 3},
    ]
    found = explained(spending(SUM_1D, source=paid(event_id="id")), "amount_sum_1d", ANN, rows)
    assert found.value == 6.0
    assert verdicts(found) == {
        1.0: "seen",
        2.0: "duplicate of an event_id",
        4.0: "duplicate of an event_id",
        5.0: "seen",
    }
    assert found.other_keys == 2


@pytest.mark.parametrize(
    ("operation", "more", "expected"),
    [
        ("COUNT", {}, [1, 1, 1, 1]),
        ("SUM", {}, [3.0, 1.0, 3.0, 5.0]),
        ("AVERAGE", {}, [0.75, 0.25, 0.75, 1.25]),
        ("VARIANCE", {}, [0.0, 4.0, 0.0, 4.0]),
        ("UNIQUE_COUNT", {}, [2, 1, 2, 1]),
        ("HISTOGRAM", {}, [2, 1, 2, 1]),
    ],
)
def test_what_each_event_contributes(operation: str, more: Row, expected: list[Any]) -> None:
    rows = [payment("ann", amount, f"2024-05-02T0{hour}:00:00Z") for hour, amount in enumerate((3.0, 1.0, 3.0, 5.0), 1)]
    group_by = spending(Aggregation("amount", Operation[operation], **more))
    found = explained(group_by, f"amount_{operation.lower()}", ANN, rows)
    assert [event.contribution for event in found.seen] == expected


@pytest.mark.parametrize(
    ("operation", "k", "expected"),
    [
        ("MIN", None, [1.0]),
        ("MAX", None, [5.0]),
        ("FIRST", None, [3.0]),
        ("LAST", None, [5.0]),
        ("FIRST_K", 2, [3.0, 1.0]),
        ("LAST_K", 2, [4.0, 5.0]),
        ("TOP_K", 2, [4.0, 5.0]),
        ("BOTTOM_K", 2, [3.0, 1.0, 3.0]),
    ],
)
def test_which_events_decide_the_value(operation: str, k: int | None, expected: list[float]) -> None:
    amounts = (3.0, 1.0, 3.0, 4.0, 5.0)
    rows = [payment("ann", amount, f"2024-05-02T0{hour}:00:00Z") for hour, amount in enumerate(amounts, 1)]
    group_by = spending(Aggregation("amount", Operation[operation], k=k))
    found = explained(group_by, f"amount_{operation.lower()}{k or ''}", ANN, rows)
    assert [event.value for event in found.seen if event.decides] == expected


def test_a_bucket_counts_on_its_own() -> None:
    rows = [
        payment("ann", 1.0, "2024-05-02T08:00:00Z", shop="a"),
        payment("ann", 3.0, "2024-05-02T09:00:00Z", shop="a"),
        payment("ann", 5.0, "2024-05-02T10:00:00Z", shop="b"),
        payment("ann", 7.0, "2024-05-02T10:00:00Z", shop=None),
    ]
    group_by = spending(Aggregation("amount", Operation.AVERAGE, buckets=["shop"]))
    found = explained(group_by, "amount_average_by_shop", ANN, rows)
    assert dict(found.value) == {"a": 2.0, "b": 5.0}
    assert [(event.bucket, event.contribution) for event in found.seen] == [("a", 0.5), ("a", 1.5), ("b", 5.0)]
    assert verdicts(found)[7.0] == "null"


def test_the_elements_of_a_list_count_each() -> None:
    rows = [
        {"user": "ann", "tags": ["x", None, "y"], "at": "2024-05-02T09:00:00Z"},
        {"user": "ann", "tags": ["x"], "at": "2024-05-02T10:00:00Z"},
        {"user": "ann", "tags": [], "at": "2024-05-02T10:00:00Z"},
        {"user": "ann", "tags": [None], "at": "2024-05-02T10:00:00Z"},
    ]
    source = EventSource("payments", Query(["user", "tags"], time="at"))
    found = explained(spending(Aggregation("tags", Operation.COUNT), source=source), "tags_count", ANN, rows)
    assert found.value == 3
    assert [event.contribution for event in found.seen] == [2, 1]
    assert found.counts["null"] == 2


@pytest.mark.parametrize(
    ("aggregation", "column", "value", "note"),
    [
        (SUM_1D, "amount_sum_1d", None, "nothing is in the window: SUM is then null"),
        (Aggregation("amount", Operation.COUNT), "amount_count", 0, "nothing is in the window: COUNT is then 0"),
        (
            Aggregation("amount", Operation.SUM, default=-1.0),
            "amount_sum",
            -1.0,
            "nothing is in the window: the default -1.0 of the aggregation is shown",
        ),
    ],
)
def test_an_empty_window_says_which_value_is_shown(
    aggregation: Aggregation, column: str, value: Any, note: str
) -> None:
    found = explained(spending(aggregation), column, {"user": "eve", "ts": "2024-05-02T10:30:00Z"})
    assert found.value == value
    assert note in found.notes
    assert found.other_keys == 10


def test_a_snapshot_accuracy_sees_whole_days() -> None:
    group_by = spending(SUM_1D, accuracy=Accuracy.SNAPSHOT)
    found = explained(group_by, "amount_sum_1d", ANN)
    assert found.value == 1.0 + 2.0
    assert found.facts()["window"]["start"] == "2024-05-01T00:00:00Z"
    assert found.facts()["window"]["end"] == "2024-05-02T00:00:00Z"
    assert "SNAPSHOT: whole UTC days before that of the query" in found.notes


def test_several_sources_are_judged_each_by_its_own_clocks() -> None:
    cash = EventSource("cash", Query({"user": "who", "amount": "CAST(cents AS DOUBLE) / 100"}, time="paid"))
    group_by = GroupBy(
        name="spending",
        keys=["user"],
        sources=[EventSource("payments", Query(["user", "amount"], time="at", known_at="settled")), cash],
        aggregations=[SUM_1D],
    )
    till = [
        {"who": "ann", "cents": 250, "paid": "2024-05-02T10:29:59Z"},
        {"who": "ann", "cents": 100, "paid": "2024-05-02T10:30:00Z"},
    ]
    found = explained(group_by, "amount_sum_1d", ANN, cash=till)
    assert found.value == 8.5
    assert [(event.table, event.value) for event in found.seen] == [("payments", 2.0), ("payments", 4.0), ("cash", 2.5)]
    assert found.counts["after the query"] == 2


def test_two_sources_over_one_table_are_two() -> None:
    given = EventSource("payments", Query({"user": "user", "amount": "amount"}, time="at"))
    got = EventSource("payments", Query({"user": "shop", "amount": "-amount"}, time="at"))
    group_by = GroupBy(name="balance", keys=["user"], sources=[given, got], aggregations=[SUM_1D])
    rows = [
        payment("ann", 5.0, "2024-05-02T09:00:00Z", shop="bob"),
        payment("bob", 2.0, "2024-05-02T09:00:00Z", shop="ann"),
    ]
    assert explained(group_by, "amount_sum_1d", ANN, rows).value == 3.0


def test_no_keys_take_every_row() -> None:
    found = explained(spending(SUM_1D, keys=[]), "amount_sum_1d", {"ts": "2024-05-02T10:30:00Z"})
    assert found.value == 2.0 + 4.0 + 8.0 + 9.0
    assert sum(found.counts.values()) == len(PAYMENTS)
    assert "other keys" not in str(found)


def test_keys_of_many_types_are_found_by_value() -> None:
    rows = [
        {"n": 1, "day": dt.date(2024, 1, 1), "x": -0.0, "v": 1, "at": "2024-05-01"},
        {"n": 1, "day": dt.date(2024, 1, 2), "x": 0.0, "v": 2, "at": "2024-05-01"},
    ]
    source = EventSource("payments", Query(["n", "day", "x", "v"], time="at"))
    group_by = spending(Aggregation("v", Operation.SUM), source=source, keys=["n", "day", "x"])
    row = {"n": 1, "day": "2024-01-01", "x": 0.0, "ts": "2024-05-02"}
    assert explained(group_by, "v_sum", row, rows).value == 1


def test_a_lookup_marks_the_latest_row_ties_by_the_columns_own_order() -> None:
    rows = [
        {"user": "ann", "tier": "tin", "level": 9, "at": "2024-05-01"},
        {"user": "ann", "tier": "gold", "level": 2, "at": "2024-05-02"},
        {"user": "ann", "tier": "gold", "level": 3, "at": "2024-05-02"},
        {"user": "ann", "tier": None, "level": 4, "at": "2024-05-02"},
    ]
    source = EventSource("payments", Query(["user", "tier", "level"], time="at"))
    found = explained(spending(source=source), "level", {"user": "ann", "ts": "2024-05-03"}, rows)
    assert found.value == 3
    assert [event.value for event in found.events if event.decides] == [3]


def test_a_derivation_is_explained_by_its_inputs() -> None:
    group_by = spending(
        SUM_1D,
        Aggregation("amount", Operation.COUNT, windows=["1d"]),
        derivations=[Derivation("mean", "amount_sum_1d / amount_count_1d"), Derivation("twice", "mean * 2")],
    )
    found = explained(group_by, "twice", ANN)
    assert found.value == 6.0
    assert found.expression == "mean * 2"
    (mean,) = found.inputs
    assert [each.column for each in mean.inputs] == ["amount_count_1d", "amount_sum_1d"]


VISITS = [{"visit": 1, "user": "ann", "age": 40, "at": "2024-05-02T10:30:00Z"}]


def visits(*parts: JoinPart, **more: Any) -> Join:
    left = EventSource("visits", Query({"visit": "visit", "user": "user", "age": "age + 1"}, time="at"))
    return Join(name="visits_join", left=more.pop("left", left), parts=parts, row_id=["visit"], **more)


def test_a_derivation_of_a_join_goes_through_parts_and_left_columns() -> None:
    join = visits(JoinPart(spending(SUM_1D)), derivations=[Derivation("per_year", "spending_amount_sum_1d / age")])
    found = explained(join, "per_year", {"user": "ann", "age": 60, "ts": "2024-05-02T10:30:00Z"}, visits=VISITS)
    assert found.value == pytest.approx(0.1)
    kinds = {each.column: (each.kind, each.value) for each in found.inputs}
    assert kinds == {"age": ("left column", 60), "spending_amount_sum_1d": ("aggregation", 6.0)}


def test_the_row_id_stands_for_the_left_row() -> None:
    join = visits(JoinPart(spending(SUM_1D)), derivations=[Derivation("older", "age > 40")])
    found = explained(join, "spending_amount_sum_1d", {"visit": 1}, visits=VISITS)
    assert (found.value, dict(found.keys)) == (6.0, {"user": "ann"})
    assert explained(join, "older", {"visit": 1}, visits=VISITS).inputs[0].value == 41
    with pytest.raises(UsageError, match="no row of 'visits' has visit=2"):
        explained(join, "spending_amount_sum_1d", {"visit": 2}, visits=VISITS)


def test_a_label_is_bounded_by_its_offset_and_says_when_training_leaves_it_out() -> None:
    label = GroupBy(
        name="later",
        keys=["user"],
        sources=[paid()],
        aggregations=[Aggregation("amount", Operation.SUM, windows=["1h"])],
    )
    join = visits(labels=LabelPart([JoinPart(label)], offset="2h"))
    rows = [
        payment("ann", 1.0, "2024-05-02T11:29:59Z"),
        payment("ann", 2.0, "2024-05-02T11:30:00Z", "2024-06-01"),
        payment("ann", 3.0, "2024-05-02T12:29:00Z", None),
        payment("ann", 4.0, "2024-05-02T12:30:00Z"),
    ]
    found = explained(join, "label_later_amount_sum_1h", ANN, rows, visits=VISITS)
    assert found.value == 5.0
    assert dict(found.counts) == {"seen": 2, "after the label": 1, "before the label": 1}
    assert not found.notes
    immature = explained(join, "label_later_amount_sum_1h", ANN, rows[:3], visits=VISITS)
    assert immature.notes[0].startswith("training leaves this row out")


def test_an_entity_sees_its_newest_snapshot_alone() -> None:
    rows = [{"user": "ann", "tier": tier, "ds": day} for tier, day in (("tin", "2024-05-01"), ("gold", "2024-05-03"))]
    group_by = spending(source=EntitySource("payments", Query(["user", "tier"])))
    found = explained(group_by, "tier", {"user": "ann", "ts": "2024-05-03T12:00:00Z"}, rows)
    assert found.value == "tin"
    assert verdicts(found) == {"tin": "seen", "gold": "of another snapshot"}


ACCOUNTS = [
    {"user": "ann", "kind": "card", "limit": 10, "ds": "2024-05-01"},
    {"user": "ann", "kind": "loan", "limit": 20, "ds": "2024-05-01"},
    {"user": "bob", "kind": "card", "limit": 30, "ds": "2024-05-01"},
    {"user": "ann", "kind": "card", "limit": 1, "ds": "2024-04-30"},
]


def change(user: str, kind: str, limit: int, at: str, *, before: bool) -> Row:
    return {"user": user, "kind": kind, "limit": limit, "changed": at, "before": before}


CHANGES = [
    change("ann", "card", 9, "2024-05-01T23:00:00Z", before=False),
    change("ann", "card", 10, "2024-05-02T08:00:00Z", before=True),
    change("ann", "card", 15, "2024-05-02T08:00:00Z", before=False),
    change("ann", "gift", 5, "2024-05-02T08:30:00Z", before=True),
    change("ann", "loan", 20, "2024-05-02T11:00:00Z", before=True),
    change("bob", "card", 30, "2024-05-02T08:00:00Z", before=True),
]


def accounts(*aggregations: Aggregation, **more: Any) -> GroupBy:
    query = Query(["user", "kind", "limit"], mutation_time="changed", is_before="before")
    source = EntitySource("accounts", query, mutations="changes")
    return GroupBy(name="accounts", keys=["user"], sources=[source], aggregations=aggregations, **more)


def test_changes_reverse_rows_of_the_snapshot_and_orphans_are_named() -> None:
    group_by = accounts(Aggregation("limit", Operation.SUM))
    found = explained(group_by, "limit_sum", ANN, accounts=ACCOUNTS, changes=CHANGES)
    assert found.value == 35
    assert [(event.value, event.contribution) for event in found.seen] == [(20, 20), (15, 15)]
    assert dict(found.counts) == {
        "seen": 2,
        "a change that the snapshot has": 1,
        "after the query": 1,
        "of another snapshot": 1,
        "reversal": 1,
        "reversal of a row that is not there": 1,
        "reversed": 1,
    }


def test_a_snapshot_accuracy_sees_no_changes() -> None:
    group_by = accounts(Aggregation("limit", Operation.SUM), accuracy=Accuracy.SNAPSHOT)
    found = explained(group_by, "limit_sum", ANN, accounts=ACCOUNTS, changes=CHANGES)
    assert (found.value, dict(found.counts)) == (30, {"seen": 2, "of another snapshot": 1})


def test_a_lookup_takes_the_state_with_its_changes() -> None:
    found = explained(accounts(), "limit", ANN, accounts=ACCOUNTS[:1], changes=CHANGES[:3])
    assert found.value == 15
    assert [(event.value, event.verdict) for event in found.events if event.decides] == [(15, "seen")]


def test_a_chained_value_is_explained_one_parent_down() -> None:
    parent = visits(JoinPart(spending(SUM_1D)))
    spent = GroupBy(
        name="spent",
        keys=["user"],
        sources=[JoinSource(parent, Query({"user": "user", "spent": "spending_amount_sum_1d"}))],
        aggregations=[Aggregation("spent", Operation.LAST, windows=["2d"])],
    )
    left = [*VISITS, {"visit": 2, "user": "ann", "age": 40, "at": "2024-05-02T11:00:00Z"}]
    left += [{"visit": 3, "user": "bob", "age": 1, "at": "2024-05-02T10:30:00Z"}]
    found = explained(spent, "spent_last_2d", {"user": "ann", "ts": "2024-05-02T11:00:00Z"}, visits=left)
    assert found.value == 6.0
    assert [(event.table, event.value) for event in found.seen] == [("visits_join", 6.0)]
    (below,) = found.inputs
    assert (below.column, below.value) == ("spending_amount_sum_1d", 6.0)
    assert [event.value for event in below.seen] == [2.0, 4.0]
    assert found.deeper == ("zipline explain visits_join spending_amount_sum_1d --row '{\"visit\": 1}'",)


def test_a_given_value_is_explained_by_the_table_that_gives_it() -> None:
    served = [{"visit": 1, "spending_amount_sum_1d": 99.0}]
    join = visits(
        JoinPart(spending(SUM_1D)),
        bootstrap=[BootstrapPart("served", ["spending_amount_sum_1d"])],
        derivations=[Derivation("twice", "spending_amount_sum_1d * 2")],
    )
    tables = {"visits": [*VISITS, VISITS[0] | {"visit": 2}], "served": served}
    found = explained(join, "spending_amount_sum_1d", {"visit": 1}, **tables)
    assert (found.value, found.kind) == (99.0, "bootstrap")
    assert found.expression == "taken from served, row visit=1; not computed"
    assert explained(join, "twice", {"visit": 1}, **tables).value == 198.0
    assert explained(join, "spending_amount_sum_1d", {"visit": 2}, **tables).value == 6.0
    unsure = explained(join, "spending_amount_sum_1d", ANN, **tables)
    assert any("bootstrap gives" in note for note in unsure.notes)


def fetch_nothing(**_: Any) -> Row:
    return {}


def test_columns_that_a_request_brings_say_so() -> None:
    twin = spending(Aggregation("amount", Operation.COUNT))
    known = ExternalSource({"user": "STRING"}, {"amount_count": "BIGINT"}, fetch_nothing, offline=twin, name="counts")
    unknown = ExternalSource({"user": "STRING"}, {"score": "DOUBLE"}, fetch_nothing, name="bureau")
    join = visits(JoinPart(known), JoinPart(unknown), contextual=Contextual({"device": "STRING"}))
    counted = explained(join, "counts_amount_count", ANN, visits=VISITS)
    assert counted.value == 3
    assert any("external source counts" in note for note in counted.notes)
    assert explained(join, "bureau_score", ANN, visits=VISITS).kind == "external"
    assert explained(join, "device", ANN, visits=VISITS).kind == "contextual"


def test_the_text_names_the_authors_line_and_the_facts_are_json() -> None:
    found = explained(spending(SUM_1D), "amount_sum_1d", ANN)
    text = str(found)
    assert "SUM(amount) over 1d, defined by spending" in text
    assert "test_explain.py:" in text
    assert "sees 2024-05-01T10:00:00Z <= time < 2024-05-02T10:30:00Z" in text
    assert json.loads(json.dumps(found.facts(), default=str))["agrees"] is True


def test_a_value_that_the_events_do_not_give_is_called_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zipline.engines.explanation.parts.recompute", lambda *_: 1.5)
    found = explain_value(spending(SUM_1D), "amount_sum_1d", ANN, {"payments": PAYMENTS})
    assert not found.is_consistent
    assert "A BUG" in str(found)


def test_few_rows_are_listed_of_what_was_not_seen_and_all_are_counted() -> None:
    rows = [payment("ann", 1.0, f"2024-04-{1 + n % 30:02}T{n % 24:02}:00:00Z") for n in range(500)]
    found = explained(spending(SUM_1D), "amount_sum_1d", ANN, rows)
    assert found.counts["before the window"] == 500
    assert len(found.events) == 20
    assert min(event.time or 0 for event in found.events) >= 1_714_400_000_000_000


@pytest.mark.parametrize("operation", [operation.name for operation in Operation])
def test_every_operation_is_explained_as_the_engine_computes_it(operation: str) -> None:
    chosen = Operation[operation]
    more: Row = {"k": 3} if chosen.takes_k else {}
    if operation == "APPROX_PERCENTILE":
        more = {"percentiles": [0.5]}
    aggregation = Aggregation("amount", chosen, windows=["1d", None], **more)
    group_by = spending(aggregation)
    rows = [payment("ann", float(n * n % 7), f"2024-05-0{1 + n % 2}T{n % 24:02}:15:00Z") for n in range(60)]
    for output in aggregation.outputs:
        found = explained(group_by, output.name, ANN, rows)
        direct = aggregate(group_by, [ANN], {"payments": rows}).column(output.name)[0].as_py()
        exact = operation not in ("VARIANCE", "SKEW", "KURTOSIS")
        assert found.value == (direct if exact else pytest.approx(direct, rel=1e-9))
        assert found.agrees is not False


def test_a_table_without_rows_gives_the_empty_window() -> None:
    found = explained(spending(SUM_1D), "amount_sum_1d", ANN, [])
    assert (found.value, dict(found.counts), found.other_keys) == (None, {}, 0)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ([ANN], "the row is list, not a mapping"),
        ({"ts": "2024-05-02"}, "the row needs 'user'"),
        ({"user": "ann"}, "the row needs 'ts'"),
        ({"user": 3, "ts": "2024-05-02"}, "the key 'user' is STRING, not 3"),
        ({"user": "ann", "ts": 3.5}, "3.5 is not an instant"),
    ],
)
def test_a_row_that_does_not_fit_is_refused_with_what_it_lacks(row: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        explain_value(spending(SUM_1D), "amount_sum_1d", row, {"payments": PAYMENTS})


def test_files_that_changed_are_read_again(tmp_path: Any) -> None:
    path = tmp_path / "payments.jsonl"
    for amount in (1.0, 2.0):
        rows = [payment("ann", amount, "2024-05-02T10:00:00Z")] * int(amount)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        assert explain_value(spending(SUM_1D), "amount_sum_1d", ANN, {"payments": path}).value == amount * amount


# Rows whose key or time is null


NO_KEY = {"user": None, "ts": "2024-05-02T10:30:00Z"}
NULL_KEY = "the key user is null, which is no key: no event is of it"


@pytest.mark.parametrize("null", [None, float("nan")])
@pytest.mark.parametrize(
    ("aggregation", "column", "value"),
    [
        (SUM_1D, "amount_sum_1d", None),
        (Aggregation("amount", Operation.COUNT, windows=["1d"]), "amount_count_1d", 0),
        (Aggregation("amount", Operation.SUM, windows=["1d"], default=-1.0), "amount_sum_1d", -1.0),
    ],
)
def test_a_null_key_has_the_value_of_an_empty_window_with_its_bounds(
    null: Any, aggregation: Aggregation, column: str, value: Any
) -> None:
    group_by, row = spending(aggregation), NO_KEY | {"user": null}
    found = explained(group_by, column, row, [*PAYMENTS, payment(None, 7.0, "2024-05-02T10:00:00Z")])
    assert (found.value, found.agrees, dict(found.counts), found.events) == (value, True, {}, ())
    assert aggregate(group_by, [NO_KEY], {"payments": PAYMENTS}).column(column).to_pylist() == [value]
    assert found.notes[0] == NULL_KEY
    assert found.facts()["keys"] == {"user": None}
    assert found.facts()["window"]["start"] == "2024-05-01T10:00:00Z"
    assert "sees 2024-05-01T10:00:00Z <= time < 2024-05-02T10:30:00Z" in str(found)
    assert "of other keys" not in str(found)


def test_one_null_part_of_a_key_is_enough() -> None:
    group_by = spending(SUM_1D, keys=["user", "shop"])
    found = explained(group_by, "amount_sum_1d", {"user": "ann", "shop": None, "ts": "2024-05-02T10:30:00Z"})
    assert (found.value, found.notes[0]) == (None, "the key shop is null, which is no key: no event is of it")


def test_a_null_query_time_sees_nothing_either() -> None:
    group_by = spending(Aggregation("amount", Operation.COUNT, windows=["1d"]))
    found = explained(group_by, "amount_count_1d", {"user": "ann", "ts": None})
    assert (found.value, found.has_bounds) == (0, False)
    assert found.notes[0] == "ts, the query time, is null: no event is before it"


def test_a_null_key_of_a_lookup_of_snapshots_and_of_changes() -> None:
    query = Query(["user", "tier"], mutation_time="at", is_before="gone")
    tables = {
        "tiers": [{"user": "ann", "tier": "gold", "ds": "2024-05-01"}],
        "changes": [{"user": None, "tier": "tin", "at": "2024-05-02T08:00:00Z", "gone": False}],
    }
    for source in (EntitySource("tiers", Query(["user", "tier"])), EntitySource("tiers", query, mutations="changes")):
        group_by = GroupBy(["user"], [source], name="tiers")
        found = explain_value(group_by, "tier", NO_KEY, tables)
        assert (found.value, found.agrees, found.notes) == (None, True, (NULL_KEY, "no row is seen: null"))


def test_a_null_key_of_a_chained_source_computes_no_parent() -> None:
    parent = Join(
        EventSource("visits", Query(["user", "pages"], time="at")), [JoinPart(spending(SUM_1D))], name="parent"
    )
    source = JoinSource(parent, Query({"user": "user", "spent": "spending_amount_sum_1d"}))
    chained = GroupBy(["user"], [source], [Aggregation("spent", Operation.COUNT, windows=["1d"])], name="chained")
    tables = {"payments": PAYMENTS, "visits": [{"user": "ann", "pages": 3, "at": "2024-05-02T09:00:00Z"}]}
    found = explain_value(chained, "spent_count_1d", NO_KEY, tables)
    assert (found.value, found.agrees, found.inputs) == (0, True, ())


def test_a_left_row_with_a_null_key_is_explained_by_its_row_id() -> None:
    visits = EventSource("visits", Query(["visit", "user"], time="at"))
    join = Join(visits, [JoinPart(spending(SUM_1D))], row_id=["visit"], name="visits")
    tables = {"payments": PAYMENTS, "visits": [{"visit": 7, "user": None, "at": "2024-05-02T10:30:00Z"}, VISIT_OF_ANN]}
    found = explain_value(join, "spending_amount_sum_1d", {"visit": 7}, tables)
    assert (found.value, found.notes[0]) == (None, NULL_KEY)


VISIT_OF_ANN = {"visit": 8, "user": "ann", "at": "2024-05-02T10:30:00Z"}


# Derivations of a join


def test_a_derivation_of_a_join_shows_the_row_its_inputs_and_how_to_explain_each() -> None:
    join = Join(
        EventSource("visits", Query(["user", "budget"], time="at")),
        [JoinPart(spending(SUM_1D))],
        derivations=[Derivation("rest", "budget - spending_amount_sum_1d"), Derivation("twice", "rest * 2")],
        name="visits",
    )
    row = {"user": "ann", "budget": 10.0, "ts": "2024-05-02T10:30:00Z"}
    found = explain_value(join, "twice", row, {"payments": PAYMENTS, "visits": [{**row, "at": row["ts"]}]})
    assert found.value == (10.0 - 6.0) * 2
    assert found.facts()["keys"] == {"user": "ann", "budget": 10.0}
    assert found.facts()["ts"] == "2024-05-02T10:30:00Z"
    [rest] = found.inputs
    assert {each.column: each.value for each in rest.inputs} == {"budget": 10.0, "spending_amount_sum_1d": 6.0}
    shown = json.dumps(row)
    assert found.deeper == (f"zipline explain visits rest --row '{shown}'",)
    assert rest.deeper == (f"zipline explain visits spending_amount_sum_1d --row '{shown}'",)
    assert "(all rows)" not in str(found)
    assert "for user='ann', budget=10.0 at 2024-05-02T10:30:00Z" in str(found)


def test_a_derivation_of_a_row_that_its_row_id_names_shows_when_the_row_is() -> None:
    visits = EventSource("visits", Query(["visit", "user"], time="at"))
    derivations = [Derivation("twice", "spending_amount_sum_1d * 2")]
    join = Join(visits, [JoinPart(spending(SUM_1D))], row_id=["visit"], name="visits", derivations=derivations)
    found = explain_value(join, "twice", {"visit": 8}, {"payments": PAYMENTS, "visits": [VISIT_OF_ANN]})
    assert "for visit=8 at 2024-05-02T10:30:00Z" in str(found)
    assert found.deeper == ("zipline explain visits spending_amount_sum_1d --row '{\"visit\": 8}'",)
