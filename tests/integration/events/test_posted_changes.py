"""A posted change is online with what it changes, in the warehouse before the upload, and then as in a backfill."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import dedent
from typing import Any

import pyarrow as pa
import pytest

from tests.integration.events.test_posted_events import run
from zipline import Fetcher, backfill
from zipline.clock import monotonic, to_datetime, to_micros
from zipline.engines.local.session import connect
from zipline.errors import EventError
from zipline.fetch.results import Result
from zipline.orchestration.events.logs import journal_line
from zipline.orchestration.events.opening import open_stream
from zipline.orchestration.events.posting import EventLog
from zipline.orchestration.events.sources import journal_of
from zipline.plan.definitions import load
from zipline.project import Project, load_project
from zipline.tables.catalog import open_catalog
from zipline.tables.delta import write_source

CONFIGS = {
    "bank/team.py": 'from zipline import Team\n\nteam = Team(owner="bank")\n',
    "bank/accounts.py": """
        from zipline import Aggregation, EntitySource, EventSource, GroupBy, Join, JoinPart, Operation, Query, Topic

        accounts = EntitySource(
            "accounts",
            mutations="account_changes",
            topic=Topic("account-changes"),
            query=Query(
                ["user", "account", "balance"],
                where=["balance >= 0"],
                time="opened_at",
                mutation_time="changed_at",
                is_before="was_before",
            ),
        )
        wealth = GroupBy(
            keys=["user"],
            sources=[accounts],
            aggregations=[
                Aggregation("balance", Operation.SUM),
                Aggregation("balance", Operation.MAX, windows=["30d"]),
                Aggregation("account", Operation.COUNT, windows=["1d"]),
            ],
            online=True,
        )
        newest = GroupBy(keys=["user"], sources=[accounts], online=True)
        visits = Join(
            left=EventSource("visits", Query(["user"], time="at")),
            parts=[JoinPart(wealth), JoinPart(newest)],
            online=True,
        )
    """,
}
ROW = {"user": pa.string(), "account": pa.string(), "balance": pa.float64(), "opened_at": pa.timestamp("us", "UTC")}
DUMP = pa.schema(ROW | {"ds": pa.string()})
CHANGES = pa.schema(ROW | {"changed_at": pa.timestamp("us", "UTC"), "was_before": pa.bool_(), "ds": pa.string()})
GROUP_BYS = ("bank.accounts.wealth", "bank.accounts.newest")
JAN, TODAY = "2024-01-01T00:00:00Z", "2024-05-04T09:00:00Z"


def row(user: str, account: str, balance: float, opened_at: str) -> dict[str, Any]:
    return {"user": user, "account": account, "balance": balance, "opened_at": opened_at}


def change(at: str, was_before: bool, *values: Any) -> dict[str, Any]:
    return row(*values) | {"changed_at": f"2024-05-04T{at}Z", "was_before": was_before}


BEFORE = [row("ann", "a1", 100.0, JAN), row("ann", "a2", 30.0, TODAY), row("bob", "b1", 7.0, JAN)]
CHANGED = [
    change("23:50:00", True, "ann", "a2", 30.0, TODAY),
    change("23:50:00", False, "bob", "a2", 35.0, TODAY),
    change("23:59:30", False, "eve", "e1", 0.5, TODAY),
]
AFTER = [row("ann", "a1", 100.0, JAN), row("bob", "b1", 7.0, JAN), *(row("bob", "a2", 35.0, TODAY),)]


def dumped(day: str, rows: list[dict[str, Any]]) -> pa.Table:
    typed = [each | {"opened_at": to_datetime(to_micros(each["opened_at"])), "ds": day} for each in rows]
    return pa.Table.from_pylist(typed, schema=DUMP)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    for name, text in CONFIGS.items():
        path = tmp_path / "configs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text))
    (tmp_path / "zipline.toml").write_text('name = "bank"\n')
    project = load_project(tmp_path)
    write_source("accounts", dumped("2024-05-03", BEFORE), "ds", project=project)
    write_source("account_changes", CHANGES.empty_table(), "ds", project=project)
    at = pa.array([to_datetime(to_micros("2024-05-05T00:10:00Z"))] * 3, pa.timestamp("us", "UTC"))
    write_source("visits", pa.table({"user": ["ann", "bob", "eve"], "at": at}), project=project)
    for name in GROUP_BYS:
        run(tmp_path, "upload", name, "--ds", "2024-05-03")
    return project


def fetched(project: Project, at: str) -> Result:
    fetcher = Fetcher(project)
    try:
        users = ("ann", "bob", "eve", "nobody")
        return fetcher.fetch("bank.accounts.visits", [{"user": user} for user in users], at=at)
    finally:
        fetcher.close()


def stored(project: Project) -> list[tuple[Any, ...]]:
    connection = connect()
    table = open_catalog(project=project).table("account_changes")
    sql = f"SELECT account, was_before, ds FROM {table.relation(connection)} ORDER BY changed_at, was_before DESC"
    return connection.sql(sql).fetchall()


def summed(found: Result) -> list[Any]:
    return [row["wealth_balance_sum"] for row in found.rows()]


def test_a_change_that_is_posted_is_online_and_after_midnight_in_the_upload_and_the_backfill(project: Project) -> None:
    assert summed(fetched(project, "2024-05-04T23:00:00Z")) == [130.0, 7.0, None, None]
    posted = EventLog(project).post("account_changes", CHANGED)
    assert (posted.accepted, posted.delivery) == (3, "at-least-once")
    with open_stream(project) as stream:
        report = stream.once()
    assert report.tables["account_changes"].appended == 3
    assert {name: counts.rows for name, counts in report.group_bys.items()} == dict.fromkeys(GROUP_BYS, 3)
    evening = fetched(project, "2024-05-04T23:59:59Z")
    assert summed(evening) == [100.0, 42.0, 0.5, None]
    assert [row["newest_account"] for row in evening.rows()] == ["a1", "a2", "e1", None]
    assert [row["wealth_account_count_1d"] for row in evening.rows()] == [0, 1, 1, 0]
    assert evening.status(0, "wealth_balance_sum") == "ok"
    assert {evening.status(3, name) for name in evening.features} == {"default"}
    assert stored(project) == [("a2", True, "2024-05-04"), ("a2", False, "2024-05-04"), ("e1", False, "2024-05-04")]

    write_source("accounts", dumped("2024-05-04", [*AFTER, row("eve", "e1", 0.5, TODAY)]), "ds", project=project)
    before_upload = fetched(project, "2024-05-05T00:10:00Z").rows()
    for name in GROUP_BYS:
        run(project.root, "upload", name, "--ds", "2024-05-04")
    online = fetched(project, "2024-05-05T00:10:00Z").rows()
    assert online == before_upload
    names = ("accounts", "account_changes", "visits")
    tables = {name: str(project.root / ".zipline" / "warehouse" / name) for name in names}
    offline = backfill(load(project.root / "configs")["bank.accounts.visits"], tables).to_pylist()
    assert online[:3] == [{name: each[name] for name in online[0]} for each in offline]


def test_a_change_that_was_posted_is_in_an_upload_without_a_snapshot_though_no_stream_ran(project: Project) -> None:
    EventLog(project).post("account_changes", CHANGED)
    for name in GROUP_BYS:
        run(project.root, "upload", name, "--ds", "2024-05-04", "--allow-missing")
    assert len(stored(project)) == 3
    found = fetched(project, "2024-05-05T00:00:00Z")
    assert summed(found) == [100.0, 42.0, 0.5, None]
    assert [row["newest_account"] for row in found.rows()] == ["a1", "a2", "e1", None]


def test_a_server_shows_a_change_within_moments(project: Project) -> None:
    log, fetcher = EventLog(project), Fetcher(project)
    asked = [{"user": "bob"}]
    with log.following(fetcher.store) as follower:
        log.post("account_changes", CHANGED)
        until = monotonic() + 60
        while (
            fetcher.fetch("bank.accounts.visits", asked, at="2024-05-04T23:59:59Z").rows()[0]["wealth_balance_sum"]
            != 42.0
        ):
            assert monotonic() < until, follower.waits_for
    fetcher.close()


@pytest.mark.parametrize("missing", ["changed_at", "was_before"])
def test_a_change_must_say_when_it_was_made_and_which_way_it_goes(project: Project, missing: str) -> None:
    with pytest.raises(EventError, match=rf"\$\.events\[0\]\.{missing}"):
        EventLog(project).post("account_changes", [{**CHANGED[0], missing: None}])
    timeless = {name: value for name, value in CHANGED[0].items() if name != "opened_at"}
    assert EventLog(project).post("account_changes", [timeless]).accepted == 1, "a row that is never seen"


def test_a_change_that_goes_no_way_stops_nobody_and_is_kept_apart(project: Project) -> None:
    """As a topic may bring one, which nobody has checked."""
    broken = b'{"user": "ann", "account": "a1", "balance": 1.0, "changed_at": "2024-05-04T10:00:00Z"}'
    journal_of(project, "account_changes").append(journal_line(to_micros("2024-05-04T10:00:00Z"), [broken]))
    EventLog(project).post("account_changes", CHANGED)
    with open_stream(project) as stream:
        report = stream.once()
    assert (report.tables["account_changes"].refused, report.tables["account_changes"].appended) == (1, 3)
    assert summed(fetched(project, "2024-05-04T23:59:59Z")) == [100.0, 42.0, 0.5, None]


def test_nor_does_one_of_which_an_expression_cannot_tell_the_way(project: Project) -> None:
    path = project.root / "configs" / "bank" / "accounts.py"
    path.write_text(
        path.read_text().replace('is_before="was_before"', "is_before=\"account LIKE '%2' AND was_before\"")
    )
    told, untold = {**CHANGED[0], "account": "a2"}, {**CHANGED[0], "account": None}
    with pytest.raises(EventError, match="is neither true nor false of it") as refused:
        EventLog(project).post("account_changes", [told, untold])
    assert refused.value.path == "$.events[1]"
    unchecked = json.dumps(untold).encode()
    journal_of(project, "account_changes").append(journal_line(to_micros("2024-05-04T10:00:00Z"), [unchecked]))
    EventLog(project).post("account_changes", [told])
    with open_stream(project) as stream:
        report = stream.once()
    assert report.tables["account_changes"].refused == 1
    assert stored(project) == [("a2", True, "2024-05-04")], "a backfill could not read past the other"
