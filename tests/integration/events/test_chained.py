"""A group-by over a join, fed by events of the join's left: with the features as served, healed by the next upload."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.integration.events.chained import (
    ORDERS,
    SHOPS,
    SPENDING,
    backfilled,
    bought,
    make_mall,
    placed,
    produce,
    seen,
    values,
)
from tests.integration.streaming.jobs import make_topic
from zipline import Fetcher
from zipline.cli.main import execute
from zipline.clock import DAY, SECOND, day_text, monotonic, now, to_micros, to_text
from zipline.errors import UsageError
from zipline.orchestration.events.opening import Wanted, open_stream
from zipline.orchestration.events.posting import EventLog
from zipline.orchestration.events.stream import Report
from zipline.project import Project

BEFORE = [bought("ann", 10.0, "2024-05-03T09:00:00Z"), bought("bob", 40.0, "2024-05-03T10:00:00Z")]


def run(project: Project, *arguments: str) -> None:
    assert execute([*arguments, "--project", str(project.root)]) == 0, arguments


def upload(project: Project, day: str) -> None:
    for name in (SPENDING, SHOPS):
        run(project, "upload", name, "--ds", day, "--allow-missing")


def follow(project: Project, at: str, **wanted: Any) -> Report:
    """A stream over all that came, at that time."""
    with open_stream(project, Wanted(**wanted), clock=lambda: to_micros(at)) as stream:
        return stream.once()


@pytest.fixture
def mall(tmp_path: Path) -> Project:
    project = make_mall(tmp_path, BEFORE)
    upload(project, "2024-05-03")
    return project


def test_where_the_parents_features_stay_what_is_fetched_is_what_a_backfill_says(mall: Project) -> None:
    log = EventLog(mall)
    orders = [
        placed(1, "ann", "north", 5.0, "2024-05-04T08:00:00Z"),
        placed(2, "bob", "north", 10.0, "2024-05-04T13:00:00Z"),
        placed(3, "ann", "south", 2.5, "2024-05-04T09:30:00Z"),
        placed(4, "ann", "south", -1.0, "2024-05-04T09:31:00Z"),
        placed(5, "eve", "south", 3.0, "2024-05-04T09:32:00Z"),
    ]
    assert log.post("orders", orders).delivery == "exactly-once"
    log.post("orders", orders[:2])
    report = follow(mall, "2024-05-04T13:00:05Z")
    assert report.group_bys[SHOPS].rows == 3
    assert report.group_bys[SHOPS].repeated == 2
    at = "2024-05-04T14:00:00Z"
    found = values(mall, "north", "south", "west", at=at)
    assert found == backfilled(mall, "north", "south", "west", at=at)
    assert found[0] == {
        "share_sum_1d": 0.75,
        "share_sum_7d": 0.75,
        "share_last_k3_7d": [0.25, 0.5],
        "morning_count_7d": 2,
        "morning_sum_7d": 1,
    }
    assert seen(mall, "north", at="2024-05-04T13:00:06Z").status(0, "shops_share_sum_1d") == "ok"


def test_an_event_has_the_features_that_were_served_when_it_was_processed_until_the_next_upload(mall: Project) -> None:
    log = EventLog(mall)
    log.post("orders", [placed(1, "ann", "north", 5.0, "2024-05-04T08:00:00Z")])
    follow(mall, "2024-05-04T08:00:01Z")
    log.post("purchases", [bought("ann", 10.0, "2024-05-04T08:30:00Z")])
    follow(mall, "2024-05-04T08:30:01Z")
    # This one happened before the purchase, and comes after it.
    log.post("orders", [placed(2, "ann", "north", 5.0, "2024-05-04T08:15:00Z")])
    follow(mall, "2024-05-04T08:40:00Z")
    at = "2024-05-04T09:00:00Z"
    assert values(mall, "north", at=at)[0]["share_last_k3_7d"] == [0.25, 0.5], "as served"
    assert backfilled(mall, "north", at=at)[0]["share_last_k3_7d"] == [0.5, 0.5]
    upload(mall, "2024-05-04")
    later = "2024-05-05T01:00:00Z"
    assert values(mall, "north", at=later) == backfilled(mall, "north", at=later)
    assert values(mall, "north", at=later)[0]["share_last_k3_7d"] == [0.5, 0.5], "healed"


def test_events_wait_for_features_that_are_unavailable_and_progress_with_them(tmp_path: Path) -> None:
    mall = make_mall(tmp_path, BEFORE)
    run(mall, "upload", SHOPS, "--ds", "2024-05-03", "--allow-missing")
    log = EventLog(mall)
    log.post("orders", [placed(1, "ann", "north", 5.0, "2024-05-04T08:00:00Z")])
    with open_stream(mall, clock=lambda: to_micros("2024-05-04T08:00:01Z")) as stream:
        stream.step()
        (said,) = stream.report.troubles.values()
        assert said == f"share of the join {ORDERS} is unavailable: events of orders wait for it"
    at = "2024-05-04T08:01:00Z"
    assert values(mall, "north", at=at)[0]["share_sum_1d"] is None
    assert seen(mall, "north", at=at).status(0, "shops_share_sum_1d") == "stale"
    run(mall, "upload", SPENDING, "--ds", "2024-05-03")
    follow(mall, "2024-05-04T08:00:02Z")
    assert values(mall, "north", at=at)[0]["share_sum_1d"] == 0.5


def test_what_is_no_event_of_the_left_is_kept_once_whoever_reads_it(mall: Project, tmp_path: Path) -> None:
    file = tmp_path / "orders.jsonl"
    lines = [json.dumps(placed(1, "ann", "north", 5.0, "2024-05-04T08:00:00Z")), "nonsense", '{"user": "ann"}']
    file.write_text("\n".join(lines) + "\n")
    report = follow(mall, "2024-05-04T08:00:01Z", tables=("orders",), file=file)
    assert report.group_bys[SHOPS].rows == 1
    kept = list((tmp_path / ".zipline" / "events").rglob("refused.jsonl"))
    assert [path.parent.name for path in kept] == ["orders"]
    assert len(kept[0].read_text().splitlines()) == 2


def test_an_event_counts_once_however_often_the_stream_begins(tmp_path: Path) -> None:
    mall = make_mall(tmp_path, BEFORE, with_ids=False)
    upload(mall, "2024-05-03")
    log = EventLog(mall)
    for number in range(6):
        log.post("orders", [placed(number, "ann", "north", 10.0 * 2**number, "2024-05-04T08:00:00Z")])
        if number % 2:
            follow(mall, "2024-05-04T08:00:01Z")
    follow(mall, "2024-05-04T08:00:01Z")
    assert values(mall, "north", at="2024-05-04T09:00:00Z")[0]["share_sum_7d"] == 63.0


def test_a_chain_over_a_chain_gets_each_event_once_with_what_the_first_served_before_it(tmp_path: Path) -> None:
    mall = make_mall(tmp_path, BEFORE, is_deep=True)
    upload(mall, "2024-05-03")
    run(mall, "upload", "mall.deep.users", "--ds", "2024-05-03", "--allow-missing")
    log = EventLog(mall)
    for number, price in enumerate([5.0, 2.5, 30.0, 5.0]):
        minute = f"2024-05-04T08:0{number}"
        log.post("orders", [placed(number, "ann", "north", price, f"{minute}:00Z")] * 2)
        report = follow(mall, f"{minute}:01Z")
    assert report.group_bys["mall.deep.users"].repeated == 1
    fetcher = Fetcher(mall)
    found = fetcher.fetch("mall.deep.people", [{"user": "ann"}], at="2024-05-04T08:10:00Z").rows()[0]
    fetcher.close()
    assert found == {"users_before_last_k9_7d": [3.75, 0.5, 0.0], "users_share_last_k9_7d": [0.5, 0.25, 0.5]}


def test_an_error_is_null_and_so_is_what_json_has_no_word_for(tmp_path: Path) -> None:
    mall = make_mall(tmp_path, [bought("ann", 1e-300, "2024-05-03T09:00:00Z")])
    file = tmp_path / "configs" / "mall" / "chain.py"
    file.write_text(file.read_text().replace('where=["share < 100"]', 'where=["share IS NULL OR share < 100"]'))
    upload(mall, "2024-05-03")
    EventLog(mall).post(
        "orders",
        [
            placed(1, "ann", "north", 1e200, "2024-05-04T08:00:00Z"),
            placed(2, "eve", "north", 1.0, "2024-05-04T08:00:00Z"),
        ],
    )
    assert follow(mall, "2024-05-04T08:00:01Z").group_bys[SHOPS].rows == 2
    found = values(mall, "north", at="2024-05-04T08:01:00Z")[0]
    assert (found["share_sum_7d"], found["morning_count_7d"]) == (None, 2)


@pytest.mark.parametrize("name", ["orders", SHOPS, "mall.chain.board"])
def test_a_chained_group_by_is_found_by_its_name_and_by_the_table_of_the_left(mall: Project, name: str) -> None:
    EventLog(mall).post("orders", [placed(1, "ann", "north", 5.0, "2024-05-04T08:00:00Z")])
    report = _streamed(mall, name)
    assert set(report["group_bys"]) == {SHOPS}
    assert report["tables"]["orders"]["appended"] == 1


def _streamed(mall: Project, name: str) -> Any:
    from zipline.orchestration.events.sources import named_tables
    from zipline.plan.definitions import load

    tables = tuple(named_tables(load(mall.root / "configs"), [name]))
    report = follow(mall, "2024-05-04T08:00:01Z", tables=tables)
    return {
        "group_bys": report.group_bys,
        "tables": {table: {"appended": counts.appended} for table, counts in report.tables.items()},
    }


def test_what_is_posted_now_is_in_the_next_fetch(tmp_path: Path) -> None:
    yesterday = now() - DAY
    mall = make_mall(tmp_path, [bought("ann", 10.0, to_text(yesterday - yesterday % DAY))])
    upload(mall, day_text(yesterday))
    log, fetcher = EventLog(mall), Fetcher(mall)
    with log.following(fetcher.store):
        log.post("orders", [placed(1, "ann", "north", 5.0, to_text(now() - SECOND))])
        until = monotonic() + 60
        while (found := fetcher.fetch("mall.chain.board", [{"shop": "north"}])).rows()[0]["shops_share_sum_1d"] is None:
            assert monotonic() < until, "it is not online"
    assert found.rows()[0]["shops_share_sum_1d"] == 0.5
    fetcher.close()


def test_events_of_a_topic_are_enriched_in_the_same_process_and_appended_by_whoever_fills_the_table(
    tmp_path: Path, kafka_servers: str
) -> None:
    topics = f"mall-{uuid.uuid4().hex[:8]}-"
    for name in ("purchases", "orders"):
        make_topic(kafka_servers, topics + name)
    mall = make_mall(tmp_path, BEFORE, topics=topics, settings=f'[brokers]\nservers = "{kafka_servers}"\n')
    upload(mall, "2024-05-03")
    events = [placed(number, "ann", "north", 5.0, "2024-05-04T08:00:00Z") for number in range(4)]
    for some in (events[:3], events):
        produce(mall, "orders", [b"nonsense", *some])
        report = follow(mall, "2024-05-04T08:00:01Z")
    assert (report.group_bys[SHOPS].rows, report.group_bys[SHOPS].repeated) == (1, 3)
    found = values(mall, "north", at="2024-05-04T08:01:00Z")[0]
    assert (found["share_sum_7d"], found["morning_count_7d"]) == (2.0, 4)
    kept = (tmp_path / ".zipline" / "events" / "orders" / "refused.jsonl").read_text().splitlines()
    assert [json.loads(line)["event"] for line in kept] == ["nonsense"] * 2


def test_nobody_posts_to_a_join(mall: Project) -> None:
    log = EventLog(mall)
    assert set(log.sources) == {"purchases", "orders"}
    with pytest.raises(UsageError, match="there is no source 'mall\\.chain\\.orders' that takes events"):
        log.post(ORDERS, [])
