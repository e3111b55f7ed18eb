"""Lineage by hand: each use in its role, up and down, through every kind of definition."""

from typing import Any

import pytest

from zipline import (
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
    Model,
    Operation,
    Query,
    StagingQuery,
)
from zipline.errors import DefinitionError, TableError
from zipline.plan.lineage import Lineage, Use
from zipline.plan.lineage_graph import lineage_of
from zipline.plan.staging_lineage import columns_read
from zipline.types import BIGINT, BOOLEAN, DOUBLE, INT, STRING, TIMESTAMP, DataType

TABLES: dict[str, dict[str, DataType]] = {
    "flights": {
        "id": BIGINT,
        "carrier": STRING,
        "dest": STRING,
        "delay": DOUBLE,
        "diverted": BOOLEAN,
        "departs": TIMESTAMP,
        "arrives": TIMESTAMP,
        "reported": TIMESTAMP,
        "gate": STRING,
    },
    "airports": {"airport": STRING, "runways": INT, "ds": STRING},
    "airport_changes": {"airport": STRING, "runways": INT, "at": TIMESTAMP, "old": BOOLEAN},
    "served": {"id": BIGINT, "score": DOUBLE},
}

ARRIVALS = GroupBy(
    keys=["carrier"],
    sources=[
        EventSource(
            "flights",
            Query(
                select={"carrier": "UPPER(carrier)", "late": "CAST(delay > 15 AS INT)", "dest": "dest"},
                where=["NOT diverted"],
                time="arrives",
                known_at="reported",
                event_id="id",
            ),
        )
    ],
    aggregations=[Aggregation("late", Operation.SUM, windows=["1d", "7d"], buckets=["dest"])],
    derivations=[Derivation("some", "CARDINALITY(late_sum_1d_by_dest)")],
    name="f.arrivals",
)
AIRPORTS = GroupBy(
    keys=["airport"],
    sources=[
        EntitySource(
            "airports",
            Query(["airport", "runways"], mutation_time="at", is_before="old"),
            mutations="airport_changes",
        )
    ],
    name="f.airports",
)
OUTCOME = GroupBy(
    keys=["id"],
    sources=[EventSource("flights", Query(["id", "delay"], time="arrives"))],
    aggregations=[Aggregation("delay", Operation.MAX, windows=["1d"])],
    name="f.outcome",
)
DEPARTURES = Join(
    left=EventSource("flights", Query(["id", "carrier", "dest"], where=["delay < 900"], time="departs")),
    row_id=["id"],
    parts=[JoinPart(ARRIVALS, features=["some"]), JoinPart(AIRPORTS, key_map={"dest": "airport"}, prefix="to")],
    labels=LabelPart([JoinPart(OUTCOME)], offset="2d"),
    derivations=[Derivation("score", "arrivals_some + 1")],
    name="f.departures",
)
MODEL = Model(DEPARTURES, label="label_outcome_delay_max_1d", split="2024-06-01", name="f.delays")
COMPANY = (ARRIVALS, AIRPORTS, OUTCOME, DEPARTURES, MODEL)


def schema(table: str) -> dict[str, DataType]:
    if table not in TABLES:
        raise TableError(f"there is no table {table!r}")
    return TABLES[table]


def lineage(*definitions: Any) -> Lineage:
    return lineage_of(definitions or COMPANY, schema)


def above(graph: Lineage, column: str) -> set[tuple[str, str, str]]:
    return {(use.source, use.role, use.through) for use in graph.made_with[column]}


def below(graph: Lineage, column: str) -> set[tuple[str, str]]:
    return {(use.target, use.role) for use in graph.used_by.get(column, ())}


def test_a_feature_uses_columns_in_their_roles() -> None:
    assert above(lineage(), "f.arrivals.late_sum_7d_by_dest") == {
        ("flights.delay", "value", "SUM of CAST(delay > 15 AS INT) over 7d by dest"),
        ("flights.dest", "bucket", "dest"),
        ("flights.carrier", "key", "UPPER(carrier)"),
        ("flights.arrives", "time", "arrives"),
        ("flights.reported", "known_at", "reported"),
        ("flights.id", "event_id", "id"),
        ("flights.diverted", "filter", "NOT diverted"),
    }


def test_a_derivation_uses_the_columns_of_its_expression() -> None:
    graph = lineage()
    assert above(graph, "f.arrivals.some") == {
        ("f.arrivals.late_sum_1d_by_dest", "derivation", "CARDINALITY(late_sum_1d_by_dest)")
    }
    assert above(graph, "f.departures.score") == {("f.departures.arrivals_some", "derivation", "arrivals_some + 1")}


def test_a_column_of_a_join_uses_the_feature_its_keys_and_the_query_time() -> None:
    assert above(lineage(), "f.departures.to_airports_runways") == {
        ("f.airports.runways", "value", ""),
        ("f.departures.dest", "key", "dest"),
        ("f.departures.ts", "time", "ts"),
    }
    assert above(lineage(), "f.departures.label_outcome_delay_max_1d") == {
        ("f.outcome.delay_max_1d", "label", "2d after"),
        ("f.departures.id", "key", "id"),
        ("f.departures.ts", "time", "2d after"),
    }


def test_the_query_time_stands_for_the_rows() -> None:
    assert above(lineage(), "f.departures.ts") == {
        ("flights.departs", "time", "departs"),
        ("flights.delay", "filter", "delay < 900"),
    }


def test_a_lookup_uses_snapshots_and_changes() -> None:
    assert above(lineage(), "f.airports.runways") == {
        ("airports.runways", "value", "latest runways"),
        ("airports.airport", "key", "airport"),
        ("airports.ds", "snapshot", "ds"),
        ("airport_changes.runways", "value", "latest runways"),
        ("airport_changes.airport", "key", "airport"),
        ("airport_changes.at", "mutation_time", "at"),
        ("airport_changes.old", "is_before", "old"),
    }


def test_a_model_uses_all_features_its_label_and_the_time_of_the_split() -> None:
    assert above(lineage(), "f.delays") == {
        ("f.departures.arrivals_some", "feature", "arrivals_some"),
        ("f.departures.to_airports_runways", "feature", "to_airports_runways"),
        ("f.departures.score", "feature", "score"),
        ("f.departures.label_outcome_delay_max_1d", "label", "label_outcome_delay_max_1d"),
        ("f.departures.ts", "split", "2024-06-01"),
    }
    chosen = Model(DEPARTURES, label="label_outcome_delay_max_1d", split="2024-06-01", features=["score"], name="f.one")
    assert below(lineage(*COMPANY, chosen), "f.departures.score") == {("f.delays", "feature"), ("f.one", "feature")}


def test_a_model_of_a_column_that_is_not_there_is_refused() -> None:
    wrong = Model(DEPARTURES, label="label_outcome_delay_max_1d", split="2024-06-01", features=["scores"], name="f.m")
    with pytest.raises(DefinitionError, match="has no column 'scores'") as caught:
        lineage(wrong)
    assert caught.value.suggestion == "score"


def test_up_and_down_reach_as_far_as_there_is_something() -> None:
    graph = lineage()
    assert graph.downstream("flights.reported") == (
        "f.arrivals.late_sum_1d_by_dest",
        "f.arrivals.late_sum_7d_by_dest",
        "f.arrivals.some",
        "f.delays",
        "f.departures.arrivals_some",
        "f.departures.score",
    )
    assert graph.upstream("f.departures.to_airports_runways") == (
        "airport_changes.airport",
        "airport_changes.at",
        "airport_changes.old",
        "airport_changes.runways",
        "airports.airport",
        "airports.ds",
        "airports.runways",
        "f.airports.runways",
        "f.departures.dest",
        "f.departures.ts",
        "flights.delay",
        "flights.departs",
        "flights.dest",
    )
    assert graph.downstream("f.delays") == ()
    assert graph.upstream("flights.delay") == ()


def test_a_column_that_nothing_uses_is_known() -> None:
    graph = lineage()
    assert graph.find("flights.gate").type == "STRING"
    assert graph.downstream("flights.gate") == ()


def test_chaining_leads_through_the_parent() -> None:
    child = GroupBy(
        keys=["carrier"],
        sources=[JoinSource(DEPARTURES, Query(["carrier", "score"], where=["dest IS NOT NULL"]))],
        aggregations=[Aggregation("score", Operation.MAX, windows=["1d"])],
        name="f.scores",
    )
    graph = lineage(*COMPANY, child)
    assert above(graph, "f.scores.score_max_1d") == {
        ("f.departures.score", "value", "MAX of score over 1d"),
        ("f.departures.carrier", "key", "carrier"),
        ("f.departures.ts", "time", "ts"),
        ("f.departures.dest", "filter", "dest IS NOT NULL"),
    }
    assert "flights.reported" in graph.upstream("f.scores.score_max_1d")


def test_a_bootstrapped_column_uses_the_table_and_the_row_id() -> None:
    given = Join(
        left=DEPARTURES.left,
        row_id=["id"],
        parts=[],
        derivations=[Derivation("score", "CAST(id AS DOUBLE)")],
        bootstrap=[BootstrapPart("served", ["score"])],
        name="f.given",
    )
    assert above(lineage(given), "f.given.score") == {
        ("f.given.id", "derivation", "CAST(id AS DOUBLE)"),
        ("served.score", "bootstrap", "score"),
        ("served.id", "row_id", "id"),
    }


def handler(keys: object) -> object:
    return keys


def test_external_values_and_their_twins() -> None:
    twin = GroupBy(
        keys=["dest"],
        sources=[EventSource("flights", Query(["dest", "delay"], time="arrives"))],
        aggregations=[Aggregation("delay", Operation.MAX)],
        name="f.twin",
    )
    weather = ExternalSource({"dest": "STRING"}, {"wind": "DOUBLE"}, handler=handler, name="f.weather")
    delays = ExternalSource(
        {"dest": "STRING"}, {"delay_max": "DOUBLE"}, handler=handler, offline=twin, name="f.delays_now"
    )
    joined = Join(left=DEPARTURES.left, parts=[JoinPart(weather), JoinPart(delays)], name="f.live")
    graph = lineage(twin, joined)
    assert above(graph, "f.live.weather_wind") == {
        ("f.weather.wind", "value", "fetched with the request"),
        ("f.live.dest", "key", "dest"),
    }
    assert ("f.delays_now.delay_max", "value", "") in above(graph, "f.live.delays_now_delay_max")
    assert above(graph, "f.delays_now.delay_max") == {("f.twin.delay_max", "twin", "offline")}
    assert "flights.delay" in graph.upstream("f.live.delays_now_delay_max")


def test_a_column_of_the_request_has_nothing_above_it() -> None:
    joined = Join(
        left=DEPARTURES.left,
        parts=[],
        contextual=Contextual({"price": "DOUBLE"}),
        derivations=[Derivation("twice", "price * 2")],
        name="f.asked",
    )
    graph = lineage(joined)
    assert graph.find("f.asked.price").kind == "of the request"
    assert graph.upstream("f.asked.price") == ()
    assert graph.upstream("f.asked.twice") == ("f.asked.price",)


def test_a_staging_query_leads_to_the_tables_of_its_sql() -> None:
    staging = StagingQuery(
        "SELECT carrier, sum(delay) AS total, ds FROM flights WHERE ds = {{ end_date }} GROUP BY carrier, ds",
        name="f.daily",
    )
    totals = GroupBy(
        keys=["carrier"],
        sources=[EventSource(staging, Query(["carrier", "total"], time="ds"))],
        aggregations=[Aggregation("total", Operation.LAST)],
        name="f.totals",
    )
    graph = lineage(staging, totals)
    assert above(graph, "f.daily.total") == {
        ("flights.delay", "value", "SUM(delay)"),
        ("flights.ds", "filter", "ds = '{{ end_date }}'"),
        ("flights.carrier", "key", "carrier"),
        ("flights.ds", "key", "ds"),
    }
    assert graph.columns["f.daily.total"].kind == "staging query"
    assert "flights.delay" in graph.upstream("f.totals.total_last")


@pytest.mark.parametrize(
    ("asked", "words", "suggestion"),
    [
        ("flights.dely", "flights has no column 'dely'", "delay"),
        ("departures.score", "there is no column 'departures.score'", "f.departures.score"),
        ("score", "there is no column 'score'", "f.departures.score"),
        ("f.departures", "'f.departures' is no column; it has these", None),
        ("f.delayz", "there is no column 'f.delayz'", "f.delays"),
    ],
)
def test_an_unknown_column_says_which_was_meant(asked: str, words: str, suggestion: str | None) -> None:
    with pytest.raises(DefinitionError) as caught:
        lineage().find(asked)
    assert caught.value.what == words
    assert caught.value.suggestion == suggestion
    assert caught.value.valid


def read(sql: str) -> dict[str, list[tuple[str, str]]]:
    """Column -> (table.column, role) in the order found."""
    tables = TABLES | {"a.b.orders": {"Id": INT, "user": STRING, "amount": DOUBLE}, "people": {"user": STRING}}
    found = columns_read(sql, lambda table: tables.get(table, {}))
    return {name: [(f"{r.table}.{r.column}", r.role) for r in reads] for name, reads in found.items()}


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        (
            "WITH o AS (SELECT user, amount * 2 AS twice FROM a.b.orders) SELECT sum(twice) AS total FROM o",
            {"total": [("a.b.orders.amount", "value")]},
        ),
        (
            "SELECT p.user, o.amount FROM a.b.orders o JOIN people p ON p.user = o.user",
            {
                "user": [("people.user", "value"), ("people.user", "filter"), ("a.b.orders.user", "filter")],
                "amount": [("a.b.orders.amount", "value"), ("people.user", "filter"), ("a.b.orders.user", "filter")],
            },
        ),
        (
            "SELECT * FROM a.b.orders",
            {
                "Id": [("a.b.orders.Id", "value")],
                "user": [("a.b.orders.user", "value")],
                "amount": [("a.b.orders.amount", "value")],
            },
        ),
        (
            "SELECT user FROM people UNION ALL SELECT airport FROM airports WHERE runways > 2",
            {"user": [("people.user", "value"), ("airports.airport", "value"), ("airports.runways", "filter")]},
        ),
        (
            "SELECT user FROM people WHERE user IN (SELECT user FROM a.b.orders)",
            {"user": [("people.user", "value"), ("people.user", "filter"), ("a.b.orders.user", "filter")]},
        ),
        (
            "SELECT amount FROM orders WHERE day = {{ latest_date(calendar, day) }}",
            {"amount": [("orders.amount", "value"), ("orders.day", "filter"), ("calendar.day", "filter")]},
        ),
        (
            "WITH RECURSIVE n AS (SELECT runways AS k FROM airports UNION ALL SELECT k - 1 FROM n WHERE k > 0) "
            "SELECT k FROM n",
            {"k": [("airports.runways", "value"), ("airports.runways", "filter")]},
        ),
        ("SELECT nothing FROM", {}),
    ],
)
def test_names_of_sql_are_resolved_down_to_tables(sql: str, expected: dict[str, list[tuple[str, str]]]) -> None:
    assert read(sql) == expected


def test_uses_are_values() -> None:
    assert lineage().uses == lineage().uses
    assert len(set(lineage().uses)) == len(lineage().uses)
    assert isinstance(lineage().uses[0], Use)
