"""The leak check against leaks planted in the real flights, one of each kind, and against the clean company."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from training.source_tables import source_tables
from zipline import (
    Aggregation,
    Derivation,
    EntitySource,
    EventSource,
    GroupBy,
    Join,
    JoinPart,
    JoinSource,
    LabelPart,
    Operation,
    Query,
    StagingQuery,
    load,
)
from zipline.quality.leaks import Leak, LeakReport, check_leaks
from zipline.tables.catalog import Catalog, open_catalog

CONFIGS = Path(__file__).parents[3] / "configs"


@pytest.fixture(scope="module")
def tables() -> dict[str, pa.Table]:
    """Two months of the flights."""
    found = source_tables()
    summer = {}
    for name, rows in found.items():
        if "ds" not in rows.column_names:
            summer[name] = rows
            continue
        days = rows.column("ds")
        kept = pc.and_(pc.greater_equal(days, "2013-05-31"), pc.less_equal(days, "2013-07-31"))
        summer[name] = rows.filter(kept)
    return summer


@pytest.fixture(scope="module")
def catalog(tables: dict[str, pa.Table]) -> Catalog:
    return open_catalog(tables)


def landed(**select: str) -> EventSource:
    columns = {"flight_id": "flight_id", "carrier": "carrier", "late": "CAST(arr_delay > 15 AS INT)", **select}
    return EventSource("flights", Query(select=columns, where=["arr_time IS NOT NULL"], time="arr_time"))


def outcome() -> GroupBy:
    return GroupBy(
        name="flight_outcome",
        keys=["flight_id"],
        sources=[landed()],
        aggregations=[Aggregation("late", Operation.MAX, windows=["2d"])],
    )


def departures(*parts: GroupBy, left: dict[str, str] | None = None, time: str = "sched_dep", **more: Any) -> Join:
    select = {name: name for name in ("flight_id", "carrier", "origin", "dest", "tailnum")}
    return Join(
        name="departures",
        left=EventSource("flights", Query(select={**select, **(left or {})}, time=time)),
        parts=[JoinPart(part) for part in parts],
        labels=LabelPart([JoinPart(outcome())], offset="2d"),
        row_id=["flight_id"],
        **more,
    )


def punctuality(source: EventSource, *aggregations: Aggregation) -> GroupBy:
    given = aggregations or (Aggregation("late", Operation.AVERAGE, windows=["7d"]),)
    return GroupBy(name="punctuality", keys=["carrier"], sources=[source], aggregations=given)


def found(join: Join, catalog: Catalog, *others: Any) -> LeakReport:
    return check_leaks(join, catalog, {other.title: other for other in others})


def only(report: LeakReport, kind: str) -> Leak:
    leaks = [leak for leak in report.leaks if leak.kind == kind]
    assert leaks, f"no {kind} among {[(leak.kind, leak.column) for leak in report.leaks]}"
    return leaks[0]


def test_nothing_is_found_in_a_join_that_waits_for_landings(catalog: Catalog) -> None:
    report = found(departures(punctuality(landed())), catalog)
    assert report.leaks == ()
    assert report.seconds < 30


@pytest.mark.parametrize(
    ("left", "derivations", "column"),
    [
        ({"arr_delay": "arr_delay"}, [], "arr_delay"),
        ({"speed": "CASE WHEN arr_delay > 15 THEN 1 ELSE 0 END"}, [], "speed"),
        ({"minutes": "arr_delay"}, [Derivation("was_bad", "minutes > 60")], "was_bad"),
    ],
)
def test_the_labels_column_on_the_left(
    catalog: Catalog, left: dict[str, str], derivations: list[Derivation], column: str
) -> None:
    report = found(departures(left=left, derivations=derivations), catalog)
    leaks = {leak.column: leak for leak in report.leaks if leak.kind == "label as feature"}
    assert column in leaks
    assert leaks[column].evidence["share_before_outcome"] > 0.99
    assert "flights.arr_delay" in leaks[column].message


def test_the_labels_column_in_a_source_whose_clock_is_the_timetable(catalog: Catalog) -> None:
    early = EventSource(
        "flights", Query({"carrier": "carrier", "late": "CAST(arr_delay > 15 AS INT)"}, time="sched_dep")
    )
    leak = only(found(departures(punctuality(early)), catalog), "label as feature")
    assert leak.column == "punctuality_late_average_7d"
    assert leak.evidence["share_before_outcome"] > 0.99
    assert "known_at" in leak.remedy


def test_the_labels_column_in_the_conditions_of_a_source(catalog: Catalog) -> None:
    bad = EventSource("flights", Query(["carrier", "dest"], where=["arr_delay > 15"], time="sched_dep"))
    report = found(departures(punctuality(bad, Aggregation("dest", Operation.COUNT, windows=["7d"]))), catalog)
    assert only(report, "label as feature").column == "punctuality_dest_count_7d"


@pytest.mark.parametrize(
    ("key", "time"),
    [
        ("CASE WHEN arr_delay > 15 THEN carrier END", "sched_dep"),
        ("carrier", "CASE WHEN arr_delay > 15 THEN sched_dep END"),
    ],
)
def test_the_labels_column_in_whose_and_when_a_row_is(catalog: Catalog, key: str, time: str) -> None:
    bad = EventSource("flights", Query({"carrier": key, "dest": "dest"}, time=time))
    report = found(departures(punctuality(bad, Aggregation("dest", Operation.COUNT, windows=["7d"]))), catalog)
    assert only(report, "label as feature").column == "punctuality_dest_count_7d"


def counted(where: list[str], column: str) -> LabelPart:
    select = {"flight_id": "flight_id", "counted": column}
    rows = EventSource("flights", Query(select, where=where, time="arr_time"))
    late = GroupBy(["flight_id"], [rows], [Aggregation("counted", Operation.COUNT, windows=["2d"])], name="late")
    return LabelPart([JoinPart(late)], offset="2d")


def test_a_label_that_counts_what_is_not_null(catalog: Catalog) -> None:
    left = EventSource("flights", Query(["flight_id", "carrier", "dest", "arr_delay"], time="sched_dep"))
    join = Join(left, [], labels=counted([], "arr_delay"), row_id=["flight_id"], name="departures")
    assert only(found(join, catalog), "label as feature").column == "arr_delay"
    never_null = Join(left, [], labels=counted([], "dest"), row_id=["flight_id"], name="departures")
    assert found(never_null, catalog).leaks == (), "how many of them there are says nothing of what they are"


def test_a_label_that_counts_tells_where_what_it_counts_is_null(catalog: Catalog) -> None:
    left = EventSource("flights", Query(["flight_id", "carrier", "dest", "arr_delay"], time="sched_dep"))

    def accused(*labels: LabelPart) -> list[str]:
        parts = [part for each in labels for part in each.parts]
        join = Join(left, [], labels=LabelPart(parts, offset="2d"), row_id=["flight_id"], name="departures")
        return [leak.column for leak in found(join, catalog).leaks if leak.kind == "label as feature"]

    assert accused(counted([], "CASE WHEN arr_delay > 15 THEN 1 END")) == ["arr_delay"]
    assert accused(counted([], "COALESCE(arr_delay, 0)")) == []
    assert accused(counted(["arr_delay IS NOT NULL"], "arr_delay")) == []


def test_of_several_labels_each_is_looked_at_whatever_the_others_do(catalog: Catalog) -> None:
    left = EventSource("flights", Query(["flight_id", "carrier", "dest"], time="sched_dep"))
    rows = EventSource("flights", Query({"flight_id": "flight_id", "v": "dest"}, time="arr_time"))
    last = GroupBy(["flight_id"], [rows], [Aggregation("v", Operation.LAST, windows=["2d"])], name="last")
    parts = [*counted([], "dest").parts, JoinPart(last)]
    for each in (parts, parts[::-1]):
        join = Join(left, [], labels=LabelPart(each, offset="2d"), row_id=["flight_id"], name="departures")
        assert only(found(join, catalog), "label as feature").column == "dest"


def test_what_a_label_is_counted_by_may_be_the_outcome_and_is_said(catalog: Catalog) -> None:
    left = EventSource("flights", Query(["flight_id", "carrier"], time="sched_dep"))
    join = Join(left, [], labels=counted(["arr_delay > 15"], "flight_id"), row_id=["flight_id"], name="departures")
    [said] = found(join, catalog).skipped
    assert "label_late_counted_count_2d" in said
    assert "(arr_delay)" in said


def test_the_labels_column_in_a_lookup(catalog: Catalog) -> None:
    state = GroupBy(
        name="state",
        keys=["carrier"],
        sources=[EventSource("flights", Query(["carrier", "arr_delay"], time="sched_dep"))],
    )
    assert only(found(departures(state), catalog), "label as feature").column == "state_arr_delay"


def test_the_labels_column_through_a_parent(catalog: Catalog) -> None:
    parent = Join(
        name="timetable",
        left=EventSource("flights", Query(["flight_id", "carrier", "arr_delay"], time="sched_dep")),
        parts=[],
        row_id=["flight_id"],
    )
    chained = GroupBy(
        name="chained",
        keys=["carrier"],
        sources=[JoinSource(parent, Query(["carrier", "arr_delay"]))],
        aggregations=[Aggregation("arr_delay", Operation.AVERAGE, windows=["1d"])],
    )
    assert only(found(departures(chained), catalog), "label as feature").column == "chained_arr_delay_average_1d"


def test_a_second_clock_that_waits_for_the_landing_is_no_leak(catalog: Catalog) -> None:
    waits = EventSource(
        "flights",
        Query({"carrier": "carrier", "late": "CAST(arr_delay > 15 AS INT)"}, time="sched_dep", known_at="arr_time"),
    )
    assert found(departures(punctuality(waits)), catalog).leaks == ()


def test_late_arrival_that_a_column_shows_and_nothing_declares(catalog: Catalog) -> None:
    weather = GroupBy(
        name="weather",
        keys=["origin"],
        sources=[EventSource("weather", Query({"origin": "airport", "rain": "rain"}, time="observed_at"))],
        aggregations=[Aggregation("rain", Operation.SUM, windows=["6h"])],
    )
    leak = only(found(departures(weather), catalog), "late arrival")
    assert leak.column == "weather.published_at"
    assert leak.evidence["share_later"] == 1.0
    assert leak.evidence["median_delay_seconds"] == 3600
    assert 'known_at="published_at"' in leak.remedy


def test_late_arrival_of_values_that_come_with_another_clock(catalog: Catalog) -> None:
    """A departure's delay is there exactly where its departure is, and counted from the timetable on."""
    delays = GroupBy(
        name="delays",
        keys=["origin"],
        sources=[EventSource("flights", Query(["origin", "dep_delay"], where=["NOT cancelled"], time="sched_dep"))],
        aggregations=[Aggregation("dep_delay", Operation.AVERAGE, windows=["1h"])],
    )
    leak = only(found(departures(delays), catalog), "late arrival")
    assert leak.column == "flights.dep_time"
    assert 0.2 < leak.evidence["share_later"] < 0.9
    assert "dep_delay exactly where it has dep_time" in leak.message


def test_late_arrival_that_the_day_folders_show(tables: dict[str, pa.Table]) -> None:
    weather = tables["weather"]
    late = pc.strftime(
        pc.add(weather.column("observed_at"), pa.scalar(36 * 3600 * 10**6, pa.duration("us"))), "%Y-%m-%d"
    )
    dumped = weather.drop_columns(["published_at", "ds"]).append_column("ds", late)
    climate = GroupBy(
        name="weather",
        keys=["origin"],
        sources=[EventSource("dumped", Query({"origin": "airport", "rain": "rain"}, time="observed_at"))],
        aggregations=[Aggregation("rain", Operation.SUM, windows=["6h"])],
    )
    leak = only(found(departures(climate), open_catalog({**tables, "dumped": dumped})), "late arrival")
    assert leak.column == "dumped.ds"
    assert leak.evidence["share_later"] == 1.0


def trained() -> Join:
    return replace(departures(punctuality(landed())), name="training")


def test_features_over_the_output_of_a_training_join(catalog: Catalog, tables: dict[str, pa.Table]) -> None:
    from zipline import backfill

    output = backfill(trained(), tables)
    again = GroupBy(
        name="again",
        keys=["carrier"],
        sources=[
            EventSource("training", Query({"carrier": "carrier", "y": "label_flight_outcome_late_max_2d"}, time="ts"))
        ],
        aggregations=[Aggregation("y", Operation.AVERAGE, windows=["1d"])],
    )
    leak = only(
        found(departures(again), catalog.with_tables({"training": output}), trained()), "label through chaining"
    )
    assert leak.column == "again_y_average_1d"
    assert leak.evidence["path"][-1] == "training.label_flight_outcome_late_max_2d"


def test_features_over_a_staging_query_of_a_training_join(tables: dict[str, pa.Table]) -> None:
    from zipline import backfill

    staging = StagingQuery(
        name="daily",
        sql="""SELECT carrier, avg(label_flight_outcome_late_max_2d) AS rate, date_trunc('day', ts) AS day
               FROM training GROUP BY carrier, day""",
    )
    output = backfill(trained(), tables)
    from zipline.engines.frames import open_tables

    rates = GroupBy(
        name="rates",
        keys=["carrier"],
        sources=[EventSource(staging, Query(["carrier", "rate"], time="day"))],
        aggregations=[Aggregation("rate", Operation.LAST, windows=["7d"])],
    )
    join = departures(rates)
    catalog = open_tables({**tables, "training": output}, join)
    leak = only(found(join, catalog, trained(), staging), "label through chaining")
    assert leak.column == "rates_rate_last_7d"
    assert "daily.rate" in leak.evidence["path"]


def test_features_over_a_parent_that_reads_a_training_join(catalog: Catalog, tables: dict[str, pa.Table]) -> None:
    from zipline import backfill

    again = GroupBy(
        name="again",
        keys=["carrier"],
        sources=[
            EventSource("training", Query({"carrier": "carrier", "y": "label_flight_outcome_late_max_2d"}, time="ts"))
        ],
        aggregations=[Aggregation("y", Operation.AVERAGE, windows=["1d"])],
    )
    parent = Join(
        name="parent",
        left=EventSource("flights", Query(["flight_id", "carrier"], time="sched_dep")),
        parts=[JoinPart(again)],
    )
    chained = GroupBy(
        name="chained",
        keys=["carrier"],
        sources=[JoinSource(parent, Query({"carrier": "carrier", "y": "again_y_average_1d"}))],
        aggregations=[Aggregation("y", Operation.LAST, windows=["1d"])],
    )
    output = backfill(trained(), tables)
    report = found(departures(chained), catalog.with_tables({"training": output}), trained(), parent)
    assert only(report, "label through chaining").column == "chained_y_last_1d"


def test_a_training_output_read_when_its_labels_are_complete_is_no_leak(
    catalog: Catalog, tables: dict[str, pa.Table]
) -> None:
    from zipline import backfill

    query = Query(
        {"carrier": "carrier", "y": "label_flight_outcome_late_max_2d"}, time="ts", known_at="ts + INTERVAL '2' DAY"
    )
    again = GroupBy(
        name="again",
        keys=["carrier"],
        sources=[EventSource("training", query)],
        aggregations=[Aggregation("y", Operation.AVERAGE, windows=["7d"])],
    )
    output = backfill(trained(), tables)
    assert found(departures(again), catalog.with_tables({"training": output}), trained()).leaks == ()


def test_a_left_time_that_is_the_landing(catalog: Catalog) -> None:
    leak = only(found(departures(time="arr_time"), catalog), "left after outcome")
    assert leak.evidence["share_at_or_after"] > 0.99
    assert "arr_time" in leak.message


def test_a_left_of_another_table_that_asks_after_the_outcome(tables: dict[str, pa.Table]) -> None:
    flights = tables["flights"]
    later = pc.add(flights.column("arr_time"), pa.scalar(3600 * 10**6, pa.duration("us")))
    claims = pa.table({"flight_id": flights.column("flight_id"), "filed_at": later})
    join = Join(
        name="claims_join",
        left=EventSource("claims", Query(["flight_id"], time="filed_at")),
        parts=[],
        labels=LabelPart([JoinPart(outcome())], offset="2d"),
    )
    leak = only(found(join, open_catalog({**tables, "claims": claims})), "left after outcome")
    assert leak.evidence["share_at_or_after"] > 0.99


def test_a_column_that_says_nothing_once_the_clock_is_a_day_late(tables: dict[str, pa.Table]) -> None:
    """The verdict, in a table of its own, stamped with the timetable: no lineage, no other clock shows it."""
    flights = tables["flights"]
    verdicts = pa.table(
        {
            "flight_id": flights.column("flight_id"),
            "score": pc.add(pc.cast(flights.column("arr_delay"), pa.float64()), 3.0),
            "at": pc.subtract(flights.column("sched_dep"), pa.scalar(60 * 10**6, pa.duration("us"))),
        }
    )
    scores = GroupBy(
        name="scores",
        keys=["flight_id"],
        sources=[EventSource("verdicts", Query(["flight_id", "score"], time="at"))],
        aggregations=[Aggregation("score", Operation.LAST, windows=["1d"])],
    )
    report = found(departures(scores, punctuality(landed())), open_catalog({**tables, "verdicts": verdicts}))
    assert [leak.column for leak in report.leaks] == ["scores_score_last_1d"]
    leak = only(report, "collapses when delayed")
    assert leak.evidence["strength"] > 0.95
    assert leak.evidence["strength_delayed"] < 0.1
    assert leak.evidence["rows"] > 1000


@contextmanager
def company() -> Iterator[Any]:
    yield load(CONFIGS)


@pytest.mark.parametrize(
    "join", ["flights.departures.departures", "flights.live.live_departures", "network.airports.airport_hours"]
)
def test_nothing_is_found_in_the_clean_company(join: str, tables: dict[str, pa.Table]) -> None:
    from zipline.engines.local.staging import with_staging

    with company() as definitions:
        subject = definitions.find(join, Join)
        report = check_leaks(subject, with_staging(tables, subject), definitions)
    assert [(leak.kind, leak.column, dict(leak.evidence)) for leak in report.leaks] == []


def test_an_entity_snapshot_with_the_labels_column(catalog: Catalog) -> None:
    state = GroupBy(
        name="state",
        keys=["carrier"],
        sources=[EntitySource("flights", Query(["carrier", "arr_delay"]))],
        aggregations=[Aggregation("arr_delay", Operation.AVERAGE)],
    )
    leak = only(found(departures(state), catalog), "label as feature")
    assert 0.01 < leak.evidence["share_before_outcome"] < 0.5, "flights that land after the midnight of their folder"


def test_the_report_is_json_and_text(catalog: Catalog) -> None:
    report = found(departures(left={"arr_delay": "arr_delay"}), catalog)
    facts = report.facts()
    assert facts["join"] == "departures"
    assert facts["leaks"][0]["kind"] == "label as feature"
    assert facts["leaks"][0]["remedy"]
    assert "label as feature" in str(report)
