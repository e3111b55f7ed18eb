"""Events that are posted to a server: online at once, in the table before the next upload, and refused with a place."""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.servers.features import JOIN, Server, command, project, rows_of, serving
from tests.integration.serving.test_life import until
from zipline import Client
from zipline.client import Refused, Unauthorized
from zipline.clock import now, to_text
from zipline.orchestration.events.stream import APPENDED_EVERY
from zipline.project import load_project
from zipline.tables.catalog import open_catalog


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return project(tmp_path_factory.mktemp("posting"))


@pytest.fixture(scope="module")
def posting(folder: Path) -> Iterator[Server]:
    with serving(folder) as server:
        yield server


def bought(user: str, amount: float, ago: float = 120) -> dict[str, Any]:
    at = dt.datetime.now(dt.timezone.utc) - dt.timedelta(seconds=ago)
    return {"user": user, "amount": amount, "item": "a", "t": at}


def spent(client: Client, user: str) -> Any:
    return client.fetch(JOIN, rows_of((user, "a"))).rows()[0]["spent_amount_sum_7d"]


def test_what_is_posted_is_online_and_then_in_the_table(posting: Server, folder: Path) -> None:
    with Client(posting.url, timeout=60) as client:
        posted = client.post("orders", [bought("new", 5.0), bought("new", 2.5)])
        assert (posted.accepted, posted.delivery) == (2, "at-least-once")
        until(lambda: spent(client, "new") == 7.5)
        found = client.fetch(JOIN, rows_of(("new", "a")))
        assert found.status(0, "spent_amount_sum_7d") == "ok"
        complete = found.time(0, "spent_amount_sum_7d")
        assert complete is not None
        assert now() / 1e6 - complete.timestamp() < 60

    def table() -> list[float]:
        rows = open_catalog(project=load_project(folder)).table("orders")
        del rows
        from deltalake import DeltaTable

        places = list((folder / ".zipline" / "warehouse").rglob("orders*/_delta_log"))
        content = DeltaTable(str(places[0].parent)).to_pyarrow_table().to_pylist()
        return sorted(row["amount"] for row in content if row["user"] == "new")

    until(lambda: table() == [2.5, 5.0], APPENDED_EVERY + 60)


def test_progress_goes_on_while_nothing_is_posted(posting: Server) -> None:
    with Client(posting.url, timeout=60) as client:
        until(lambda: client.fetch(JOIN, rows_of(("u1", "a"))).time(0, "spent_amount_sum_7d") is not None)
        before = client.fetch(JOIN, rows_of(("u1", "a"))).time(0, "spent_amount_sum_7d")
        assert before is not None
        until(lambda: client.fetch(JOIN, rows_of(("u1", "a"))).time(0, "spent_amount_sum_7d") > before)


@pytest.mark.parametrize(
    ("event", "path"),
    [
        ({"user": 5, "amount": 1.0, "item": "a", "t": to_text(now())}, "$.events[1].user"),
        ({"user": "u", "amount": "1.0", "item": "a", "t": to_text(now())}, "$.events[1].amount"),
        ({"user": "u", "amount": 1.0, "item": "a", "t": "yesterday"}, "$.events[1].t"),
        ({"user": "u", "amount": 1.0, "item": "a"}, "$.events[1].t"),
        ({"user": "u", "amount": 1.0, "colour": "secret", "t": to_text(now())}, "$.events[1].colour"),
    ],
)
def test_an_event_that_does_not_fit_refuses_the_batch_with_its_place(posting: Server, event: Any, path: str) -> None:
    with Client(posting.url, timeout=60) as client:
        with pytest.raises(Refused) as caught:
            client.post("orders", [bought("refused", 1.0), event])
        assert (caught.value.status, caught.value.code, caught.value.path) == (400, "invalid_event", path)
        assert "secret" not in str(caught.value)
        assert "yesterday" not in str(caught.value)
        assert client.fetch(JOIN, rows_of(("refused", "a"))).status(0, "spent_amount_sum_7d") == "default"


def test_other_sources_and_bodies_are_refused(posting: Server) -> None:
    with Client(posting.url, timeout=60) as client, pytest.raises(Refused, match="takes events") as caught:
        client.post("visits", [{"user": "u"}])
    assert (caught.value.status, caught.value.valid) == (404, ("orders",))
    url = f"{posting.url}/v1/events/orders"
    assert httpx.post(url, content=b"{", headers={"content-type": "application/json"}).status_code == 400
    assert httpx.post(url, content=b"{}", headers={"content-type": "text/plain"}).status_code == 415


def test_writing_needs_the_scope_of_every_team_that_it_reaches(tmp_path: Path) -> None:
    folder, tokens = project(tmp_path), tmp_path / "tokens.toml"
    made = {
        scope: command("serve", "--new-token", name, "--scope", scope, "--tokens", str(tokens)).strip()
        for name, scope in (("reader", "shop:read"), ("writer", "shop:write"), ("other", "flights:write"))
    }
    with serving(folder, "--tokens", str(tokens)) as server:
        with Client(server.url, token=made["shop:write"], timeout=60) as client:
            assert client.post("orders", [bought("x", 1.0)]).accepted == 1
        for scope in ("shop:read", "flights:write"):
            with Client(server.url, token=made[scope], timeout=60) as client, pytest.raises(Unauthorized):
                client.post("orders", [bought("x", 1.0)])
