"""Which columns a change upstream changes, by hand: parents, mutations, bootstrap, requests, staging queries."""

from collections.abc import Mapping
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
    StagingQuery,
)
from zipline.plan.build import plan_join
from zipline.plan.identity import Identity, identity_of
from zipline.types import BIGINT, BOOLEAN, DOUBLE, FLOAT, INT, STRING, TIMESTAMP, DataType

TABLES: dict[str, dict[str, DataType]] = {
    "flights": {"id": BIGINT, "carrier": STRING, "gate": STRING, "delay": DOUBLE, "departs": TIMESTAMP},
    "landings": {"id": BIGINT, "carrier": STRING, "delay": DOUBLE, "arrives": TIMESTAMP},
    "planes": {"carrier": STRING, "seats": INT, "owner": STRING, "ds": STRING},
    "changes": {"carrier": STRING, "seats": INT, "owner": STRING, "at": TIMESTAMP, "old": BOOLEAN},
    "served": {"id": BIGINT, "late": DOUBLE, "score": DOUBLE},
    "imported": {"id": BIGINT, "late": DOUBLE},
    "daily": {"carrier": STRING, "delay": DOUBLE, "day": TIMESTAMP},
}
LEFT = EventSource("flights", Query(["id", "carrier", "gate"], time="departs"))


def identities(join: Join, tables: Mapping[str, Mapping[str, DataType]] = TABLES) -> Identity:
    return identity_of(plan_join(join, lambda table: tables[table]))


def changed(before: Join, after: Join) -> set[str]:
    one, other = identities(before), identities(after)
    names = {name for name, value in other.columns.items() if one.columns.get(name) != value}
    return names | ({"rows"} if one.rows != other.rows else set())


# a parent join, whose columns a group-by aggregates beside the child's rows


def delays(**changes: Any) -> GroupBy:
    query = {"select": ["carrier", "delay"], "time": "arrives"} | changes
    return GroupBy(
        keys=["carrier"],
        sources=[EventSource("landings", Query(**query))],
        aggregations=[Aggregation("delay", Operation.AVERAGE, windows=["1d"]), Aggregation("delay", Operation.MAX)],
        name="delays",
    )


OUTCOME = GroupBy(
    keys=["id"],
    sources=[EventSource("landings", Query(["id", "delay"], time="arrives"))],
    aggregations=[Aggregation("delay", Operation.MAX, windows=["1d"])],
    name="outcome",
)


def parent(**changes: Any) -> Join:
    fields: dict[str, Any] = {
        "left": EventSource("landings", Query(["id", "carrier", "delay"], time="arrives")),
        "parts": [JoinPart(delays())],
        "derivations": [Derivation("surprise", "delay - delays_delay_average_1d"), Derivation("twice", "delay * 2")],
    } | changes
    return Join(**fields, name="landed")


def child(above: Join, **changes: Any) -> Join:
    query = {"select": ["carrier", "surprise", "twice"], "where": ["id > 0"]} | changes
    surprises = GroupBy(
        keys=["carrier"],
        sources=[JoinSource(above, Query(**query))],
        aggregations=[Aggregation(name, Operation.MAX, windows=["1d"]) for name in ("surprise", "twice")],
        name="surprises",
    )
    return Join(left=LEFT, parts=[JoinPart(surprises), JoinPart(delays())], name="departures")


SURPRISE, TWICE = {"surprises_surprise_max_1d"}, {"surprises_twice_max_1d"}
PARENTS: list[tuple[str, Join, set[str]]] = [
    ("a feature that only one column is made with", parent(parts=[JoinPart(delays(where=["delay > 0"]))]), SURPRISE),
    (
        "a derivation",
        parent(
            derivations=[
                Derivation("surprise", "delay - delays_delay_average_1d"),
                Derivation("twice", "delay * 3"),
            ]
        ),
        TWICE,
    ),
    (
        "a left column that both are made with",
        parent(
            left=EventSource("landings", Query({"id": "id", "carrier": "carrier", "delay": "-delay"}, time="arrives"))
        ),
        SURPRISE | TWICE,
    ),
    (
        "a column that the child's condition reads",
        parent(
            left=EventSource("landings", Query({"id": "-id", "carrier": "carrier", "delay": "delay"}, time="arrives"))
        ),
        SURPRISE | TWICE,
    ),
    (
        "which rows there are",
        parent(left=EventSource("landings", Query(["id", "carrier", "delay"], where=["delay < 9"], time="arrives"))),
        SURPRISE | TWICE,
    ),
    (
        "a further column",
        parent(
            derivations=[
                Derivation("surprise", "delay - delays_delay_average_1d"),
                Derivation("twice", "delay * 2"),
                Derivation("more", "delay * 4"),
            ]
        ),
        set(),
    ),
    (
        "labels, which no child sees",
        parent(labels=LabelPart([JoinPart(OUTCOME)], offset="1d")),
        set(),
    ),
]


@pytest.mark.parametrize(("above", "expected"), [case[1:] for case in PARENTS], ids=[case[0] for case in PARENTS])
def test_a_change_of_a_parent_changes_the_columns_that_read_what_changed(above: Join, expected: set[str]) -> None:
    assert changed(child(parent()), child(above)) == expected


def test_a_parent_as_left_hands_its_identities_down() -> None:
    def over(above: Join) -> Join:
        return Join(
            left=JoinSource(above, Query(["carrier", "twice"])),
            parts=[JoinPart(delays())],
            derivations=[Derivation("four", "twice * 2")],
            name="again",
        )

    delayed = parent(parts=[JoinPart(delays(where=["delay > 0"]))])
    assert changed(over(parent()), over(delayed)) == set()
    tripled = parent(
        derivations=[Derivation("surprise", "delay - delays_delay_average_1d"), Derivation("twice", "delay * 3")]
    )
    assert changed(over(parent()), over(tripled)) == {"rows", "four"}


# an entity with mutations


def seats(select: Any = ("carrier", "seats"), **changes: Any) -> Join:
    query = {"mutation_time": "at", "is_before": "old"} | changes
    accuracy = query.pop("accuracy", Accuracy.TEMPORAL)
    fleet = GroupBy(
        keys=["carrier"],
        sources=[EntitySource("planes", Query(list(select), **query), mutations="changes")],
        aggregations=[Aggregation("seats", Operation.SUM)],
        accuracy=accuracy,
        name="fleet",
    )
    return Join(left=LEFT, parts=[JoinPart(fleet), JoinPart(delays())], name="departures")


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (seats(mutation_time="at + INTERVAL 1 HOUR"), {"fleet_seats_sum"}),
        (seats(is_before="NOT old"), {"fleet_seats_sum"}),
        (seats(("carrier", "seats", "owner")), {"fleet_seats_sum"}),
        (seats(where=["seats > 0"]), {"fleet_seats_sum"}),
        (seats(accuracy=Accuracy.SNAPSHOT), {"fleet_seats_sum"}),
    ],
    ids=["time of changes", "which row they take", "what tells rows apart", "condition", "accuracy"],
)
def test_what_changes_of_an_entity_depend_on(after: Join, expected: set[str]) -> None:
    assert changed(seats(), after) == expected


def test_a_snapshot_feature_does_not_see_the_changes() -> None:
    before, after = (seats(accuracy=Accuracy.SNAPSHOT, mutation_time=clock) for clock in ("at", "at + INTERVAL 1 HOUR"))
    assert changed(before, after) == set()


# bootstrap


def given(*parts: BootstrapPart) -> Join:
    return Join(
        left=LEFT,
        row_id=["id"],
        parts=[JoinPart(delays(), features=["delay_max"])],
        derivations=[Derivation("late", "delays_delay_max / 60"), Derivation("score", "late * 2")],
        bootstrap=parts,
        name="departures",
    )


SERVED, IMPORTED = BootstrapPart("served", ["score"]), BootstrapPart("imported", ["late"])


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ([], [SERVED], {"score"}),
        ([], [IMPORTED], {"late", "score"}),
        ([IMPORTED], [IMPORTED, SERVED], {"score"}),
        ([IMPORTED], [BootstrapPart("imported", ["late"], Query(where=["late > 0"]))], {"late", "score"}),
        ([IMPORTED], [BootstrapPart("served", ["late"]), IMPORTED], {"late", "score"}),
        (
            [IMPORTED, BootstrapPart("served", ["late"])],
            [BootstrapPart("served", ["late"]), IMPORTED],
            {"late", "score"},
        ),
        ([IMPORTED, SERVED], [SERVED, IMPORTED], set()),
    ],
    ids=["given", "given to what others read", "given more", "condition", "another before", "priority", "no priority"],
)
def test_a_bootstrapped_column_depends_on_its_tables_in_their_order(
    before: list[BootstrapPart], after: list[BootstrapPart], expected: set[str]
) -> None:
    assert changed(given(*before), given(*after)) == expected


# what comes with a request, and what is asked at its time


def handler(keys: object) -> object:
    return keys


def asked(value: str = "DOUBLE", price: str = "DOUBLE", twin: GroupBy | None = None) -> Join:
    service = ExternalSource({"carrier": "STRING"}, {"delay_max": value}, handler=handler, offline=twin, name="service")
    return Join(
        left=LEFT,
        parts=[JoinPart(service), JoinPart(delays(), features=["delay_average_1d"])],
        contextual=Contextual({"price": price}),
        derivations=[Derivation("total", "price + service_delay_max"), Derivation("double", "price * 2")],
        name="departures",
    )


def test_an_external_value_depends_on_its_type_and_its_twin() -> None:
    assert changed(asked(), asked("FLOAT")) == {"service_delay_max", "total"}
    assert changed(asked(), asked(twin=delays())) == {"service_delay_max", "total"}
    assert changed(asked(twin=delays()), asked(twin=delays(where=["delay > 0"]))) == {"service_delay_max", "total"}


def test_a_column_of_the_request_depends_on_its_type() -> None:
    assert changed(asked(), asked(price="BIGINT")) == {"price", "total", "double"}


# a table that a staging query makes


def staged(sql: str) -> Join:
    daily = StagingQuery(sql, name="daily")
    totals = GroupBy(
        keys=["carrier"],
        sources=[EventSource(daily, Query(["carrier", "delay"], time="day"))],
        aggregations=[Aggregation("delay", Operation.SUM, windows=["1d"])],
        name="totals",
    )
    return Join(left=LEFT, parts=[JoinPart(totals), JoinPart(delays())], name="departures")


def test_another_sql_changes_what_reads_its_table() -> None:
    assert changed(staged("SELECT 1 FROM landings"), staged("SELECT 2 FROM landings")) == {"totals_delay_sum_1d"}


def test_a_narrower_type_upstream_is_another_value() -> None:
    narrower = TABLES | {"landings": TABLES["landings"] | {"delay": FLOAT}}
    one, other = identities(child(parent())), identities(child(parent()), narrower)
    assert {name for name in one.columns if one.columns[name] != other.columns[name]} == set(one.columns)
    assert one.rows == other.rows
