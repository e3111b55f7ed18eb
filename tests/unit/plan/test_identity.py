"""Which columns one change of a definition changes, by hand: those that depend on it, and no others."""

import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest

from zipline import (
    Accuracy,
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
from zipline.plan import identity
from zipline.plan.build import plan_join
from zipline.plan.identity import Identity, identity_of
from zipline.types import BIGINT, BOOLEAN, DOUBLE, INT, STRING, TIMESTAMP, DataType

TABLES: dict[str, dict[str, DataType]] = {
    "flights": {
        "id": BIGINT,
        "carrier": STRING,
        "dest": STRING,
        "km": DOUBLE,
        "delay": DOUBLE,
        "diverted": BOOLEAN,
        "departs": TIMESTAMP,
        "arrives": TIMESTAMP,
        "reported": TIMESTAMP,
        "ds": STRING,
    },
    "airports": {"airport": STRING, "city": STRING, "runways": INT, "built": INT, "ds": STRING},
}

AVERAGES = {"arrivals_delay_average_1d", "arrivals_delay_average_7d", "arrivals_trend"}
LATE = {"arrivals_late_sum_1d_by_dest"}
LAST = {"arrivals_delay_last_k2_7d"}
ARRIVALS = AVERAGES | LATE | LAST | {"score"}
LOOKUP = {"airports_city", "airports_runways", "large"}
LABELS = {"label_outcome_delay_max_1d", "label_outcome_delay_last_2d"}
SCORED = ARRIVALS | LOOKUP | {"far"}
ALL = SCORED | LABELS

ARRIVALS_SELECT = {"carrier": "carrier", "delay": "delay", "late": "CAST(delay > 15 AS INT)", "dest": "dest"}
LEFT_SELECT = {"id": "id", "carrier": "carrier", "dest": "dest", "km": "km"}


def arrivals(**changes: Any) -> GroupBy:
    query: dict[str, Any] = {
        "select": ARRIVALS_SELECT,
        "where": ["NOT diverted", "delay IS NOT NULL"],
        "time": "arrives",
        "known_at": "reported",
    }
    fields: dict[str, Any] = {
        "keys": ["carrier"],
        "aggregations": [
            Aggregation("delay", Operation.AVERAGE, windows=["1d", "7d"]),
            Aggregation("late", Operation.SUM, windows=["1d"], buckets=["dest"]),
            Aggregation("delay", Operation.LAST_K, k=2, windows=["7d"]),
        ],
        "derivations": [Derivation("trend", "delay_average_1d - delay_average_7d")],
    }
    fields |= {name: value for name, value in changes.items() if name not in Query.__dataclass_fields__}
    query |= {name: value for name, value in changes.items() if name in Query.__dataclass_fields__}
    fields.setdefault("sources", [EventSource("flights", Query(**query))])
    return GroupBy(**fields, name="arrivals")


def airports(**changes: Any) -> GroupBy:
    query: dict[str, Any] = {"select": {"airport": "airport", "city": "city", "runways": "runways"}} | changes
    return GroupBy(keys=["airport"], sources=[EntitySource("airports", Query(**query))], name="airports")


def outcome(**changes: Any) -> GroupBy:
    query: dict[str, Any] = {"select": ["id", "delay"], "time": "arrives", "known_at": "reported"}
    fields: dict[str, Any] = {"accuracy": Accuracy.TEMPORAL}
    fields |= {name: value for name, value in changes.items() if name not in Query.__dataclass_fields__}
    query |= {name: value for name, value in changes.items() if name in Query.__dataclass_fields__}
    return GroupBy(
        keys=["id"],
        sources=[EventSource("flights", Query(**query))],
        aggregations=[
            Aggregation("delay", Operation.MAX, windows=["1d"]),
            Aggregation("delay", Operation.LAST, windows=["2d"]),
        ],
        name="outcome",
        **fields,
    )


def left(**changes: Any) -> EventSource:
    query: dict[str, Any] = {"select": LEFT_SELECT, "time": "departs"} | changes
    return EventSource("flights", Query(**query))


def join(**changes: Any) -> Join:
    fields: dict[str, Any] = {
        "left": left(),
        "parts": [JoinPart(arrivals()), JoinPart(airports(), key_map={"dest": "airport"})],
        "labels": LabelPart([JoinPart(outcome())], offset="2d"),
        "derivations": [
            Derivation("score", "arrivals_trend + km"),
            Derivation("large", "airports_runways > 3"),
            Derivation("far", "km > 2000"),
        ],
    } | changes
    return Join(**fields, name="departures")


def with_arrivals(**changes: Any) -> Join:
    return join(parts=[JoinPart(arrivals(**changes)), JoinPart(airports(), key_map={"dest": "airport"})])


def with_airports(**changes: Any) -> Join:
    return join(parts=[JoinPart(arrivals()), JoinPart(airports(**changes), key_map={"dest": "airport"})])


def with_labels(offset: str = "2d", **changes: Any) -> Join:
    return join(labels=LabelPart([JoinPart(outcome(**changes))], offset=offset))


def identities(join: Join, tables: Mapping[str, Mapping[str, DataType]] = TABLES, **given: Any) -> Identity:
    return identity_of(plan_join(join, lambda table: tables[table]), **given)


def changed(after: Identity, before: Identity | None = None) -> set[str]:
    before = before or identities(join())
    names = {name for name, value in after.columns.items() if before.columns.get(name) != value}
    return names | ({"rows"} if after.rows != before.rows else set())


def aggregations(*changes: Aggregation) -> list[Aggregation]:
    """Those of `arrivals`, each replaced by the change in its place."""
    given = list(arrivals().aggregations)
    return [*changes, *given[len(changes) :]]


def table(**types: DataType) -> dict[str, dict[str, DataType]]:
    return TABLES | {"flights": TABLES["flights"] | types}


def test_there_is_an_identity_for_every_column_beyond_the_left() -> None:
    found = identities(join())
    assert set(found.columns) == ALL
    assert all(len(value) == 64 for value in (found.rows, *found.columns.values()))
    assert len(set(found.columns.values())) == len(ALL)


CHANGES: list[tuple[str, Join, set[str]]] = [
    # of one aggregation
    (
        "a window",
        with_arrivals(aggregations=aggregations(Aggregation("delay", Operation.AVERAGE, windows=["1d", "6d", "7d"]))),
        {"arrivals_delay_average_6d"},
    ),
    (
        "an operation",
        with_arrivals(aggregations=[*aggregations(), Aggregation("delay", Operation.MIN)]),
        {"arrivals_delay_min"},
    ),
    (
        "a default",
        with_arrivals(aggregations=aggregations(Aggregation("delay", Operation.AVERAGE, ["1d", "7d"], default=0.0))),
        AVERAGES | {"score"},
    ),
    (
        "an input of the same name",
        with_arrivals(select=ARRIVALS_SELECT | {"late": "CAST(delay > 30 AS INT)"}),
        LATE,
    ),
    (
        "the type of an input",
        with_arrivals(select=ARRIVALS_SELECT | {"late": "CAST(delay > 15 AS BIGINT)"}),
        LATE,
    ),
    ("the expression of the bucket", with_arrivals(select=ARRIVALS_SELECT | {"dest": "UPPER(dest)"}), LATE),
    (
        "the expression of a common input",
        with_arrivals(select=ARRIVALS_SELECT | {"delay": "ABS(delay)"}),
        ARRIVALS - LATE,
    ),
    ("a column that no feature reads", with_arrivals(select=ARRIVALS_SELECT | {"extra": "km * 2"}), set()),
    ("the order of columns", with_arrivals(select=dict(reversed(ARRIVALS_SELECT.items()))), set()),
    # of one group-by
    ("the expression of a key", with_arrivals(select=ARRIVALS_SELECT | {"carrier": "UPPER(carrier)"}), ARRIVALS),
    ("a condition", with_arrivals(where=["NOT diverted"]), ARRIVALS),
    ("the order of conditions", with_arrivals(where=["delay IS NOT NULL", "NOT diverted"]), set()),
    ("the time", with_arrivals(time="departs"), ARRIVALS),
    ("the second clock", with_arrivals(known_at=None), ARRIVALS),
    ("an event id", with_arrivals(event_id="id"), ARRIVALS),
    ("the first partition", with_arrivals(start="2024-01-01"), ARRIVALS),
    ("the last partition", with_arrivals(end="2024-12-31"), ARRIVALS),
    ("the partition column", with_arrivals(partition="dest"), ARRIVALS),
    ("the accuracy", with_arrivals(accuracy=Accuracy.SNAPSHOT), ARRIVALS),
    ("a second source", with_arrivals(sources=[*arrivals().sources, *arrivals(where=["diverted"]).sources]), ARRIVALS),
    ("a derivation", with_arrivals(derivations=[Derivation("trend", "delay_average_7d")]), {"arrivals_trend", "score"}),
    (
        "what is no part of a value",
        with_arrivals(description="new", owner="me", tags={"a": "b"}, freshness="1d", start=None),
        set(),
    ),
    # of a lookup
    (
        "a column beside in a lookup",
        with_airports(select=["airport", "city", "runways", "built"]),
        LOOKUP | {"airports_built"},
    ),
    ("the order of a lookup's columns", with_airports(select=["airport", "runways", "city"]), LOOKUP),
    ("a lookup's condition", with_airports(where=["runways > 0"]), LOOKUP),
    # of the join
    (
        "the left key's expression",
        join(left=left(select=LEFT_SELECT | {"carrier": "UPPER(carrier)"})),
        ARRIVALS | {"rows"},
    ),
    ("another left key", join(left=left(select=LEFT_SELECT | {"dest": "UPPER(dest)"})), LOOKUP | {"rows"}),
    (
        "a left column that derivations read",
        join(left=left(select=LEFT_SELECT | {"km": "km * 2"})),
        {"rows", "score", "far"},
    ),
    ("a further left column", join(left=left(select=LEFT_SELECT | {"ds": "ds"})), {"rows"}),
    ("the left's condition", join(left=left(where=["km > 0"])), {"rows"}),
    ("the left's bounds", join(left=left(start="2024-01-01")), {"rows"}),
    ("the query time", join(left=left(time="arrives")), (ALL - {"far"}) | {"rows"}),
    (
        "a prefix",
        join(
            parts=[JoinPart(arrivals()), JoinPart(airports(), key_map={"dest": "airport"}, prefix="to")], derivations=[]
        ),
        {"to_airports_city", "to_airports_runways"},
    ),
    ("fewer features", join(parts=[JoinPart(arrivals(), features=["trend"])], derivations=[]), set()),
    ("a derivation of the join", join(derivations=[Derivation("far", "km > 3000")]), {"far"}),
    # of labels
    ("the label's offset", with_labels("3d"), LABELS | {"rows"}),
    ("the label's time", with_labels(time="departs"), LABELS | {"rows"}),
    ("the label's condition", with_labels(where=["NOT diverted"]), LABELS),
    ("the label's accuracy", with_labels(accuracy=Accuracy.SNAPSHOT), set()),
    ("the label's second clock breaks ties", with_labels(known_at=None), {"label_outcome_delay_last_2d"}),
    ("no labels", join(labels=None), {"rows"}),
]


@pytest.mark.parametrize(("after", "expected"), [case[1:] for case in CHANGES], ids=[case[0] for case in CHANGES])
def test_a_change_changes_exactly_the_columns_that_depend_on_it(after: Join, expected: set[str]) -> None:
    assert changed(identities(after)) == expected


def test_a_type_of_the_table_changes_what_reads_it() -> None:
    after = identities(join(), table(delay=INT))
    assert changed(after) == ARRIVALS | LABELS
    assert changed(identities(join(), table(ds=INT))) == set()


def test_labels_are_no_part_of_what_is_scored() -> None:
    scored = identities(join(), training=False)
    assert set(scored.columns) == SCORED
    assert changed(scored, identities(with_labels("3d"), training=False)) == set()


def test_a_table_made_by_another_definition_brings_its_fingerprint() -> None:
    before = identities(join(), made_by={"airports": "a" * 64})
    assert changed(identities(join(), made_by={"airports": "b" * 64}), before) == LOOKUP
    assert changed(identities(join(), made_by={"flights": "a" * 64}), identities(join())) == {"rows"} | ALL


def test_the_order_of_parts_sources_and_keys_means_nothing() -> None:
    parts = [JoinPart(airports(), key_map={"dest": "airport"}), JoinPart(arrivals())]
    assert changed(identities(join(parts=parts))) == set()
    two = [*arrivals().sources, *arrivals(where=["diverted"]).sources]
    before, after = (identities(with_arrivals(sources=sources)) for sources in (two, two[::-1]))
    assert changed(after, before) == set()
    before, after = (identities(with_arrivals(keys=keys)) for keys in (["carrier", "dest"], ["dest", "carrier"]))
    assert changed(after, before) == set()


def test_swapped_keys_are_another_question() -> None:
    by_both = {"keys": ["carrier", "dest"]}
    straight = [JoinPart(arrivals(**by_both))]
    crossed = [JoinPart(arrivals(**by_both), key_map={"dest": "carrier", "carrier": "dest"})]
    before = identities(join(parts=straight, derivations=[]))
    assert changed(identities(join(parts=crossed, derivations=[])), before) == AVERAGES | LATE | LAST


def test_a_release_that_changes_values_changes_every_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    before = identities(join())
    monkeypatch.setattr(identity, "SEMANTICS", identity.SEMANTICS + 1)
    assert changed(identities(join()), before) == ALL | {"rows"}


def test_identities_are_the_same_in_every_process() -> None:
    program = "from tests.unit.plan.test_identity import *; print(dict(identities(join()).columns))"
    told = {
        subprocess.run([sys.executable, "-c", program], env=os.environ | {"PYTHONHASHSEED": seed}, stdout=-1).stdout
        for seed in ("1", "2")
    }
    assert told == {f"{dict(identities(join()).columns)}\n".encode()}
