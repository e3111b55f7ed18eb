"""What a feature server answers, asked over HTTP."""

import io
import json

import httpx
import pyarrow as pa
import pytest

from tests.integration.servers.features import JOIN, Server, command, rows_of, serving, today
from zipline import Client, Fetcher
from zipline.clock import to_text

ARROW = "application/vnd.apache.arrow.stream"


def test_features_are_those_of_a_fetch(server: Server, shop) -> None:
    rows = rows_of(("u1", "a"), ("u2", "b"), ("nobody", "nothing"), (None, None))
    fetcher = Fetcher(shop)
    before = fetcher.fetch(JOIN, rows)
    with Client(server.url, timeout=60) as client:
        found = client.fetch(JOIN, rows)
    expected = fetcher.fetch(JOIN, rows)
    fetcher.close()
    wanted = expected.rows()
    assert wanted[1]["spent_amount_sum_30d"] == float("inf")
    wanted[1]["spent_amount_sum_30d"] = "Infinity"  # JSON has no word for it
    assert wanted[1]["spent_amount_sum_7d"] == float("inf")
    wanted[1]["spent_amount_sum_7d"] = "Infinity"
    assert found.rows() == wanted
    for number, row in enumerate(wanted):
        for feature in row:
            assert found.status(number, feature) == expected.status(number, feature)
            # The server takes events up meanwhile: its input is complete until as late as before, or later.
            earlier, time, later = (result.time(number, feature) for result in (before, found, expected))
            assert earlier == time == later is None or earlier <= time <= later, feature
    assert found.fingerprint == expected.fingerprint


def test_the_values_are_right(server: Server) -> None:
    with Client(server.url, timeout=60) as client:
        (row,) = client.fetch(JOIN, [{"user": "u1", "item": "a", "amount": 3.0, "basket": 4}]).rows()
    assert row == {
        "spent_amount_sum_7d": 30.0,
        "spent_amount_sum_30d": 30.0,
        "spent_item_last_k3_30d": ["a", "b"],
        "sold_amount_max_30d": 10.0,
        "basket": 4,
        "share": 0.1,
    }


def test_a_feature_of_a_column_that_is_not_given_is_an_error_and_the_others_are_not(server: Server) -> None:
    with Client(server.url, timeout=60) as client:
        found = client.fetch(JOIN, [{"user": "u1", "item": "a"}])
    assert (found.rows()[0]["share"], found.status(0, "share")) == (None, "error")
    assert (found.rows()[0]["basket"], found.status(0, "basket")) == (None, "error")
    assert (found.rows()[0]["spent_amount_sum_7d"], found.status(0, "spent_amount_sum_7d")) == (30.0, "ok")


def test_a_feature_whose_key_is_not_given_is_an_error_and_the_others_are_not(server: Server) -> None:
    with Client(server.url, timeout=60) as client:
        found = client.fetch(JOIN, [{"item": "a", "amount": 3.0, "basket": 4}, {"user": "u1", "item": "a"}])
    lacking = {"spent_amount_sum_7d", "spent_amount_sum_30d", "spent_item_last_k3_30d", "share"}
    row = found.rows()[0]
    assert {name for name in row if row[name] is None} == lacking
    assert {name for name in row if found.status(0, name) == "error"} == lacking
    assert (row["sold_amount_max_30d"], found.status(0, "sold_amount_max_30d")) == (10.0, "ok")
    assert found.rows()[1]["spent_amount_sum_7d"] == 30.0


def test_rows_may_be_asked_as_of_a_time(server: Server) -> None:
    with Client(server.url, timeout=60) as client:
        found = client.fetch(JOIN, rows_of(("u1", "a")), at=to_text(today() + 3_600_000_000))
    assert found.rows()[0]["spent_amount_sum_7d"] == 30.0


def test_arrow_goes_in_and_comes_out(server: Server) -> None:
    rows = pa.Table.from_pylist(rows_of(("u1", "a"), ("u3", "b")))
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)
    headers = {"content-type": ARROW, "accept": ARROW}
    answer = httpx.post(f"{server.url}/v1/features/{JOIN}", content=sink.getvalue(), headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (200, ARROW)
    found = pa.ipc.open_stream(answer.content).read_all()
    assert found.column("spent_amount_sum_30d").to_pylist() == [30.0, 7.0]
    assert dict(found.column("__status").to_pylist()[1])["spent_amount_sum_7d"] == "default"
    assert json.loads(found.schema.metadata[b"zipline.times"])["sold_amount_max_30d"] == to_text(today())


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (f"{ARROW};q=0, application/json", "application/json"),
        (f"application/json;q=0.9, {ARROW};q=0.1", "application/json"),
        (f"application/json;q=0.5, {ARROW}", ARROW),
        ("*/*", "application/json"),
    ],
)
def test_arrow_is_for_who_wants_it_most(server: Server, accept: str, kind: str) -> None:
    answer = httpx.post(
        f"{server.url}/v1/features/{JOIN}", json={"rows": rows_of(("u1", "a"))}, headers={"accept": accept}
    )
    assert (answer.status_code, answer.headers["content-type"]) == (200, kind)


def test_a_column_of_a_key_that_is_not_in_arrow_is_missing_in_every_row(server: Server) -> None:
    rows, sink = pa.table({"item": ["a", "b"]}), io.BytesIO()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)
    headers = {"content-type": ARROW, "accept": ARROW}
    answer = httpx.post(f"{server.url}/v1/features/{JOIN}", content=sink.getvalue(), headers=headers)
    assert answer.status_code == 200
    found = pa.ipc.open_stream(answer.content).read_all()
    assert found.column("sold_amount_max_30d").to_pylist() == [10.0, 20.0]
    assert found.column("spent_amount_sum_30d").to_pylist() == [None, None]
    assert [dict(status)["spent_amount_sum_30d"] for status in found.column("__status").to_pylist()] == ["error"] * 2


def test_awaited_calls_are_answered_together(server: Server) -> None:
    import asyncio

    async def all_of_them() -> list[dict[str, object]]:
        async with Client(server.url, timeout=60) as client:
            found = await asyncio.gather(*(client.afetch(JOIN, rows_of((f"u{n % 3 + 1}", "a"))) for n in range(60)))
        return [each.rows()[0] for each in found]

    found = asyncio.run(all_of_them())
    assert [row["spent_item_last_k3_30d"] for row in found[:3]] == [["a", "b"], ["c", "a"], ["b"]]
    assert found[3:] == found[:3] * 19


def test_the_joins_their_keys_and_features_are_listed(server: Server) -> None:
    with Client(server.url, timeout=60) as client:
        (join,) = client.joins()
    assert join["name"] == JOIN
    assert {"name": "user", "type": "STRING", "required": True} in join["request"]
    assert {"name": "basket", "type": "BIGINT", "required": False} in join["request"]
    assert {"name": "spent_item_last_k3_30d", "type": "ARRAY<STRING>"} in join["features"]


def test_counters_tell_requests_features_and_reads(server: Server) -> None:
    with Client(server.url, timeout=60) as client:
        client.fetch(JOIN, rows_of(("u1", "a")))
    page = httpx.get(f"{server.url}/metrics").text
    lines = dict(line.rsplit(" ", 1) for line in page.splitlines() if not line.startswith("#"))
    assert float(lines[f'zipline_requests_total{{code="200",join="{JOIN}"}}']) >= 1
    assert float(lines[f'zipline_features_total{{join="{JOIN}",status="ok"}}']) >= 4
    assert float(lines['zipline_store_read_seconds_count{store="lmdb"}']) >= 1
    assert 0 <= float(lines['zipline_upload_age_seconds{group_by="shop.orders.spent"}']) < 86_400


def test_several_workers_share_the_store(shop) -> None:
    with serving(shop, "--workers", "2") as running, Client(running.url, timeout=60) as client:
        for _ in range(20):
            assert client.fetch(JOIN, rows_of(("u1", "a"))).rows()[0]["spent_amount_sum_7d"] == 30.0
        page = httpx.get(f"{running.url}/metrics", timeout=30).text
    assert f'zipline_requests_total{{code="200",join="{JOIN}"}} 20.0' in page


@pytest.mark.parametrize("path", ["/v2/health/live", "/v2/health/ready"])
def test_a_server_that_can_answer_says_so(server: Server, path: str) -> None:
    answer = httpx.get(server.url + path)
    assert answer.status_code == 200


def test_help_says_what_is_served() -> None:
    said = command("serve", "--help")
    assert "POST /v1/features/{join}" in said
    assert "--new-token NAME" in said
