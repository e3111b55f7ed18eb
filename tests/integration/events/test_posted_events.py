"""What is posted is online at once, in the warehouse before the upload, and the same in both afterwards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.integration.events.shop import event, fetched, make_shop, stored
from zipline import Fetcher, backfill
from zipline.cli.main import execute
from zipline.clock import DAY, SECOND, day_text, monotonic, now, to_text
from zipline.errors import EventError, LockedError
from zipline.orchestration.events import posting
from zipline.orchestration.events.logs import journal_line
from zipline.orchestration.events.opening import Wanted, open_stream
from zipline.orchestration.events.posting import EventLog
from zipline.orchestration.events.sources import journal_of
from zipline.plan.definitions import load
from zipline.ports import free_port
from zipline.project import Project

LATE_EVENING = [
    event(1, "ann", 5.0, "2024-05-04T23:50:00Z"),
    event(2, "ann", 2.5, "2024-05-04T23:55:30Z"),
    event(3, "eve", 100.0, "2024-05-04T22:00:00Z"),
    event(4, "ann", -1.0, "2024-05-04T23:51:00Z"),
]

NEWEST = """
from configs.shop.spending import purchases
from zipline import EventSource, GroupBy, Join, JoinPart, Query

newest = GroupBy(keys=["user"], sources=[purchases], online=True)
asked = Join(left=EventSource("visits", Query(["user"], time="at")), parts=[JoinPart(newest)], online=True)
"""


def run(project: object, *arguments: str) -> None:
    assert execute([*arguments, "--project", str(project)]) == 0, arguments


def test_an_event_that_is_posted_is_online_and_after_midnight_in_the_upload_and_the_backfill(tmp_path: Path) -> None:
    project = make_shop(tmp_path)
    run(tmp_path, "upload", "shop.spending.spending", "--ds", "2024-05-03")
    log = EventLog(project)
    posted = log.post("purchases", LATE_EVENING)
    assert (posted.accepted, posted.delivery) == (4, "exactly-once")
    assert log.post("purchases", LATE_EVENING[:1]).accepted == 1, "sent again, since the answer was lost"
    with open_stream(project) as stream:
        report = stream.once()
    assert (report.tables["purchases"].events, report.tables["purchases"].appended) == (5, 4)
    assert (report.group_bys["shop.spending.spending"].rows, report.group_bys["shop.spending.spending"].repeated) == (
        3,
        1,
    )
    evening = fetched(project, "ann", "eve", at="2024-05-04T23:58:00Z")
    ann, eve = evening.rows()
    sums = [ann[f"spending_amount_{name}"] for name in ("sum_1h", "sum_7d", "count", "last_k2_7d")]
    assert sums == [7.5, 27.5, 3, [2.5, 5.0]]
    assert (eve["spending_amount_sum_1h"], eve["spending_amount_sum_1d"]) == (None, 100.0)
    assert evening.status(0, "spending_amount_sum_1h") == "ok"

    run(tmp_path, "upload", "shop.spending.spending", "--ds", "2024-05-04")
    assert [row["event"] for row in stored(project)] == ["p1", "p2", "e3", "e1", "e4", "e2"]
    assert {row["ds"] for row in stored(project)} == {"2024-05-01", "2024-05-03", "2024-05-04"}
    online = fetched(project, "ann", at="2024-05-05T00:10:00Z").rows()[0]
    assert online["spending_amount_sum_1h"] == 7.5
    tables = {name: str(tmp_path / ".zipline" / "warehouse" / name) for name in ("purchases", "visits")}
    offline = backfill(load(project.root / "configs")["shop.visits.visits"], tables).to_pylist()[0]
    assert online == {name: offline[name] for name in online}


def test_a_posted_event_is_looked_up_at_once_and_after_midnight_in_the_upload_and_the_backfill(tmp_path: Path) -> None:
    project = make_shop(tmp_path)
    (tmp_path / "configs" / "shop" / "newest.py").write_text(NEWEST)
    run(tmp_path, "upload", "shop.newest.newest", "--ds", "2024-05-03")
    EventLog(project).post("purchases", LATE_EVENING[::-1])
    with open_stream(project) as stream:
        assert stream.once().group_bys["shop.newest.newest"].rows == 3
    asked = [{"user": user} for user in ("ann", "bob", "eve", "nobody")]

    def amounts(at: str) -> list[Any]:
        fetcher = Fetcher(project)
        try:
            return [row["newest_amount"] for row in fetcher.fetch("shop.newest.asked", asked, at=at).rows()]
        finally:
            fetcher.close()

    assert amounts("2024-05-04T22:30:00Z") == [20.0, 7.5, 100.0, None]
    assert amounts("2024-05-04T23:58:00Z") == amounts("2024-05-05T00:10:00Z") == [2.5, 7.5, 100.0, None]
    run(tmp_path, "upload", "shop.newest.newest", "--ds", "2024-05-04")
    assert amounts("2024-05-05T00:10:00Z") == [2.5, 7.5, 100.0, None]
    tables = {name: str(tmp_path / ".zipline" / "warehouse" / name) for name in ("purchases", "visits")}
    offline = backfill(load(project.root / "configs")["shop.newest.asked"], tables).to_pylist()
    assert [row["newest_amount"] for row in offline] == [2.5]


def test_what_was_posted_is_in_the_upload_though_no_stream_ran(tmp_path: Path) -> None:
    project = make_shop(tmp_path, with_ids=False)
    log = EventLog(project)
    assert log.post("purchases", json.dumps({"events": LATE_EVENING}).encode()).delivery == "at-least-once"
    run(tmp_path, "upload", "shop.spending.spending", "--ds", "2024-05-04")
    run(tmp_path, "upload", "shop.spending.spending", "--ds", "2024-05-04")
    assert len(stored(project)) == 6, "once, however often it is uploaded"
    assert fetched(project, "ann", at="2024-05-05").rows()[0]["spending_amount_sum_1h"] == 7.5


def test_a_stream_that_stalls_is_stale(tmp_path: Path) -> None:
    project = make_shop(tmp_path)
    yesterday = day_text(now() - DAY)
    run(tmp_path, "upload", "shop.spending.spending", "--ds", yesterday, "--allow-missing")
    with open_stream(project) as stream:
        stream.once()
    assert fetched(project, "ann", at=to_text(now())).status(0, "spending_amount_sum_7d") in ("ok", "default")
    later = fetched(project, "ann", at=to_text(now() + 61 * SECOND))
    assert later.status(0, "spending_amount_sum_7d") == "stale"


def test_a_server_follows_what_it_takes_within_a_second(tmp_path: Path) -> None:
    project = make_shop(tmp_path)
    run(tmp_path, "upload", "shop.spending.spending", "--ds", "2024-05-03")
    log, fetcher = EventLog(project), Fetcher(project)
    with log.following(fetcher.store) as follower:
        for number in range(20):
            log.post("purchases", [event(number, "ann", 1.0, "2024-05-04T10:00:00Z")])
        until = monotonic() + 60
        while follower.report.group_bys.get("shop.spending.spending") is None or (
            follower.report.group_bys["shop.spending.spending"].rows < 20
        ):
            assert monotonic() < until, follower.waits_for
        with pytest.raises(LockedError, match="another process writes the tiles"), open_stream(project):
            pass
    found = fetcher.fetch("shop.visits.visits", [{"user": "ann"}], at="2024-05-04T10:30:00Z").rows()[0]
    fetcher.close()
    assert found["spending_amount_sum_1h"] == 20.0
    assert len(stored(project)) == 22, "appended when it ended"


def test_a_server_takes_over_when_the_process_that_writes_the_tiles_has_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(posting, "TAKEN_OVER", 0.05)
    project = make_shop(tmp_path)
    log = EventLog(project)
    log.post("purchases", LATE_EVENING)
    with open_stream(project), log.following() as waiting:
        until = monotonic() + 60
        while not waiting.waits_for:
            assert monotonic() < until
        assert "another process writes the tiles" in waiting.waits_for
        assert waiting.report.tables == {}
    with log.following() as follower:
        until = monotonic() + 60
        while not follower.report.tables or follower.report.tables["purchases"].events < 4:
            assert monotonic() < until, follower.waits_for
        assert follower.waits_for == ""


def test_brokers_that_are_down_hold_up_nothing_that_is_posted_and_no_progress_is_claimed(tmp_path: Path) -> None:
    project = make_shop(tmp_path, settings=f'[brokers]\nservers = "127.0.0.1:{free_port()}"\n')
    run(tmp_path, "upload", "shop.spending.spending", "--ds", "2024-05-03")
    log = EventLog(project)
    with log.following() as follower:
        log.post("purchases", LATE_EVENING)
        until = monotonic() + 60
        while not follower.report.tables or follower.report.tables["purchases"].events < 4:
            assert monotonic() < until, follower.waits_for
        while "kafka:purchases" not in follower.report.troubles:
            assert monotonic() < until
        report = follower.report
    assert report.progress == {}
    found = fetched(project, "ann", at="2024-05-04T23:58:00Z")
    assert found.rows()[0]["spending_amount_sum_1h"] == 7.5
    assert found.status(0, "spending_amount_sum_1h") == "stale"


def make_casting_shop(folder: Path) -> Project:
    """A shop that counts on every event's name being a letter and a number."""
    project = make_shop(folder)
    config = folder / "configs" / "shop" / "spending.py"
    text = config.read_text().replace(
        'Query(["user", "amount"]',
        'Query({"user": "user", "amount": "amount", "number": "CAST(substring(event, 2, 9) AS BIGINT)"}',
    )
    number = 'Aggregation("number", Operation.MAX, windows=["7d"]),'
    config.write_text(text.replace("aggregations=[", f"aggregations=[{number}"))
    return project


def newest(project: Project) -> list[Any]:
    tables = {name: str(project.root / ".zipline" / "warehouse" / name) for name in ("purchases", "visits")}
    found = backfill(load(project.root / "configs")["shop.visits.visits"], tables)
    return found.column("spending_number_max_7d").to_pylist()


BAD = LATE_EVENING[1] | {"event": "nothing"}


def test_a_row_that_a_cast_of_a_select_cannot_take_is_refused_with_all_of_its_batch(tmp_path: Path) -> None:
    project = make_casting_shop(tmp_path)
    log = EventLog(project)
    with pytest.raises(EventError) as caught:
        log.post("purchases", [*LATE_EVENING[:1], BAD])
    assert caught.value.path == "$.events[1].event"
    assert "CAST(substring(event, 2, 9) AS BIGINT) cannot be computed" in caught.value.reason
    assert log.post("purchases", LATE_EVENING).accepted == 4
    run(tmp_path, "upload", "shop.spending.spending", "--ds", "2024-05-04")
    assert len(stored(project)) == 6
    assert newest(project) == [2]


def test_such_a_row_of_a_file_or_an_older_journal_is_a_dead_letter_and_not_in_the_table(tmp_path: Path) -> None:
    project = make_casting_shop(tmp_path)
    journal_of(project, "purchases").append(journal_line(now(), [json.dumps(BAD).encode()]))
    lines = [*LATE_EVENING[:2], BAD, LATE_EVENING[3]]
    (tmp_path / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with open_stream(project, Wanted(("purchases",), tmp_path / "events.jsonl", appends_topics=True)) as stream:
        report = stream.once()
    counts = report.tables["purchases"]
    assert (counts.events, counts.refused, counts.appended) == (3, 2, 3)
    letters = next((tmp_path / ".zipline" / "events" / "purchases").glob("*refused*")).read_text().splitlines()
    assert [json.loads(letter)["log"].partition(":")[0] for letter in letters] == ["journal", "file"]
    assert json.loads(json.loads(letters[1])["event"])["event"] == "nothing"
    assert newest(project) == [2]
