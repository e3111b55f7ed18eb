"""What is posted is online at once, in the warehouse before the upload, and the same in both afterwards."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.integration.events.shop import event, fetched, make_shop, stored
from tests.integration.servers.ports import free_port
from zipline import Fetcher, backfill
from zipline.cli.main import execute
from zipline.clock import DAY, SECOND, monotonic, now, to_text
from zipline.errors import LockedError
from zipline.orchestration.events import posting
from zipline.orchestration.events.opening import open_stream
from zipline.orchestration.events.posting import EventLog
from zipline.plan.definitions import load

LATE_EVENING = [
    event(1, "ann", 5.0, "2024-05-04T23:50:00Z"),
    event(2, "ann", 2.5, "2024-05-04T23:55:30Z"),
    event(3, "eve", 100.0, "2024-05-04T22:00:00Z"),
    event(4, "ann", -1.0, "2024-05-04T23:51:00Z"),
]


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
    today = to_text(now() - now() % DAY - DAY)[:10]
    run(tmp_path, "upload", "shop.spending.spending", "--ds", today, "--allow-missing")
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
        until = monotonic() + 20
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
        until = monotonic() + 20
        while not waiting.waits_for:
            assert monotonic() < until
        assert "another process writes the tiles" in waiting.waits_for
        assert waiting.report.tables == {}
    with log.following() as follower:
        until = monotonic() + 20
        while not follower.report.tables or follower.report.tables["purchases"].events < 4:
            assert monotonic() < until, follower.waits_for
        assert follower.waits_for == ""


def test_brokers_that_are_down_hold_up_nothing_that_is_posted_and_no_progress_is_claimed(tmp_path: Path) -> None:
    project = make_shop(tmp_path, settings=f'[brokers]\nservers = "127.0.0.1:{free_port()}"\n')
    run(tmp_path, "upload", "shop.spending.spending", "--ds", "2024-05-03")
    log = EventLog(project)
    with log.following() as follower:
        log.post("purchases", LATE_EVENING)
        until = monotonic() + 30
        while not follower.report.tables or follower.report.tables["purchases"].events < 4:
            assert monotonic() < until, follower.waits_for
        while "kafka:purchases" not in follower.report.troubles:
            assert monotonic() < until
        report = follower.report
    assert report.progress == {}
    found = fetched(project, "ann", at="2024-05-04T23:58:00Z")
    assert found.rows()[0]["spending_amount_sum_1h"] == 7.5
    assert found.status(0, "spending_amount_sum_1h") == "stale"
