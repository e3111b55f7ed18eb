"""A feature server over time: it takes up changed definitions, loses its store, ends in order, keeps a log."""

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pyarrow.dataset as ds
import pytest

from tests.integration.servers.features import JOIN, PATIENT, Server, command, project, rows_of, serving
from zipline import Client
from zipline.client import Unauthorized

ORDERS = Path("configs") / "shop" / "orders.py"


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "it did not come to that"
        time.sleep(0.05)


def features(server: Server) -> list[str]:
    with Client(server.url, timeout=60) as client:
        return [feature["name"] for join in client.joins() for feature in join["features"]]


def test_changed_definitions_are_taken_up_and_no_request_is_lost(tmp_path: Path) -> None:
    folder = project(tmp_path)
    answers: list[int] = []
    is_over = threading.Event()

    def ask(url: str) -> None:
        with httpx.Client() as client:
            while not is_over.is_set():
                body = json.dumps({"rows": rows_of(("u1", "a"))})
                headers = {"content-type": "application/json"}
                answers.append(client.post(f"{url}/v1/features/{JOIN}", content=body, headers=headers).status_code)

    with serving(folder) as server:
        assert "half" not in features(server)
        asking = threading.Thread(target=ask, args=(server.url,))
        asking.start()
        text = (folder / ORDERS).read_text()
        share = 'Derivation("share", "amount / spent_amount_sum_30d")'
        (folder / ORDERS).write_text(text.replace(share, f'{share}, Derivation("half", "amount / 2")'))
        until(lambda: "half" in features(server))
        with Client(server.url, timeout=60) as client:
            assert client.fetch(JOIN, rows_of(("u1", "a"))).rows()[0]["half"] == 0.5

        (folder / ORDERS).write_text("this is no python")
        until(lambda: httpx.get(f"{server.url}/v1/status").json()["definitions"] != "ok")
        assert "half" in features(server)
        is_over.set()
        asking.join()
    assert len(answers) > 10
    assert set(answers) == {200}


def test_a_changed_definition_without_an_upload_is_unavailable_and_gives_no_numbers(tmp_path: Path) -> None:
    folder = project(tmp_path)
    with serving(folder) as server, Client(server.url, timeout=60) as client:
        fingerprint = client.fetch(JOIN, rows_of(("u2", "a"))).fingerprint
        text = (folder / ORDERS).read_text()
        (folder / ORDERS).write_text(text.replace('time="t"', 'where=["amount > 6"], time="t"', 1))
        until(lambda: client.fetch(JOIN, rows_of(("u2", "a"))).fingerprint != fingerprint)
        found = client.fetch(JOIN, rows_of(("u2", "a")))
        assert found.rows()[0]["spent_amount_sum_30d"] is None
        assert {found.status(0, name) for name in found.rows()[0] if name.startswith("spent")} == {"unavailable"}


def test_a_server_that_is_ended_answers_what_it_has_begun(tmp_path: Path) -> None:
    with serving(project(tmp_path)) as server:
        until(lambda: httpx.get(f"{server.url}/v2/health/ready").status_code == 200)
        results: list[int] = []
        is_begun, is_ending = threading.Event(), threading.Event()

        def slowly() -> None:
            body = json.dumps({"rows": rows_of(("u1", "a"))}).encode()

            def parts() -> object:
                yield body[:10]
                is_begun.set()
                is_ending.wait(60)
                yield body[10:]

            headers = {"content-type": "application/json"}
            results.append(httpx.post(f"{server.url}/v1/features/{JOIN}", content=parts(), headers=headers).status_code)  # type: ignore[arg-type]

        asking = threading.Thread(target=slowly)
        asking.start()
        assert is_begun.wait(60)
        assert httpx.get(f"{server.url}/v2/health/live", timeout=60).status_code == 200, "it has read what came before"
        server.process.terminate()
        time.sleep(1)
        assert server.process.poll() is None, "it waits for who has begun"
        is_ending.set()
        asking.join()
        assert results == [200]
        server.process.wait(timeout=60)
        assert server.process.returncode in (0, -15)


def test_the_log_has_what_was_asked_and_answered(tmp_path: Path) -> None:
    folder = project(tmp_path, serve=f"{PATIENT}\nlog = 1")
    with serving(folder) as server, Client(server.url, timeout=60) as client:
        asked = [client.fetch(JOIN, rows_of(("u1", "a"), ("u2", "b"))), client.fetch(JOIN, rows_of(("u3", "c")))]
        client.fetch(JOIN, [{"item": "a"}])  # it lacks its key
        server.process.terminate()
        server.process.wait(timeout=60)
    place = folder / ".zipline" / "requests" / JOIN
    logged = ds.dataset(place, format="parquet").to_table().to_pylist()
    assert len(logged) == 4
    by_user = {row["request.user"]: row for row in logged}
    assert by_user["u1"]["spent_amount_sum_30d"] == asked[0].rows()[0]["spent_amount_sum_30d"] == 30.0
    assert by_user["u2"]["spent_amount_sum_30d"] == float("inf")
    assert by_user["u3"]["request.basket"] == 2
    assert (
        dict(by_user["u3"]["__status"])["spent_amount_sum_7d"] == asked[1].status(0, "spent_amount_sum_7d") == "default"
    )
    assert dict(by_user["u1"]["__time"])["sold_amount_max_30d"] == asked[0].time(0, "sold_amount_max_30d")
    (file, *_) = place.rglob("*.parquet")
    import pyarrow.parquet as pq

    assert pq.read_schema(file).metadata[b"zipline.fingerprint"].decode() == asked[0].fingerprint
    assert file.parent.parent.name == asked[0].fingerprint[:12]


def test_tokens_say_who_may_ask(tmp_path: Path) -> None:
    folder = project(tmp_path)
    tokens = tmp_path / "tokens.toml"
    made = {
        scope: command(
            "serve",
            "--new-token",
            scope.replace(":", "-").replace("*", "all"),
            "--scope",
            scope,
            "--tokens",
            str(tokens),
        ).strip()
        for scope in ("shop:read", "flights:read", "shop:write", "*:read")
    }
    assert not any(token in tokens.read_text() for token in made.values())
    assert tokens.stat().st_mode & 0o077 == 0
    with serving(folder, "--tokens", str(tokens), "--host", "0.0.0.0") as server:
        url = f"http://127.0.0.1:{server.port}"
        for scope, status in (("shop:read", None), ("*:read", None), ("flights:read", 403), ("shop:write", 403)):
            with Client(url, token=made[scope], timeout=60) as client:
                if status is None:
                    assert client.fetch(JOIN, rows_of(("u1", "a"))).rows()[0]["spent_amount_sum_7d"] == 30.0
                    continue
                with pytest.raises(Unauthorized) as caught:
                    client.fetch(JOIN, rows_of(("u1", "a")))
                assert caught.value.status == status
        for token in (None, "wrong", made["shop:read"][:-1]):
            with Client(url, token=token, timeout=60) as client, pytest.raises(Unauthorized) as caught:
                client.fetch(JOIN, rows_of(("u1", "a")))
            assert caught.value.status == 401
        assert httpx.get(f"{url}/metrics").status_code == 401
        assert httpx.get(f"{url}/v2/health/live").status_code == 200
        with Client(url, token=made["flights:read"], timeout=60) as client:
            assert client.joins() == []
        for scope, is_told in ((None, False), ("flights:read", False), ("shop:write", True), ("*:read", True)):
            headers = {} if scope is None else {"authorization": f"Bearer {made[scope]}"}
            document = httpx.get(f"{url}/openapi.json", headers=headers).json()
            assert (f"/v1/features/{JOIN}" in document["paths"]) == is_told
            assert ("/v1/events/orders" in document["paths"]) == is_told
            assert ("shop" in json.dumps(document)) == is_told
        for scope, valid in (("flights:read", None), ("*:read", [JOIN])):
            headers = {"authorization": f"Bearer {made[scope]}"}
            refused = httpx.post(f"{url}/v1/features/flights.no.join", headers=headers, json={"rows": []})
            assert (refused.status_code, refused.json()["error"].get("valid")) == (404, valid)
        headers = {"authorization": f"Bearer {made['flights:read']}"}
        refused = httpx.post(f"{url}/v1/events/no", headers=headers, json={"events": []})
        assert (refused.status_code, refused.json()["error"].get("valid")) == (404, None)


def test_other_machines_are_not_answered_without_tokens(tmp_path: Path) -> None:
    import subprocess
    import sys

    folder = project(tmp_path)
    arguments = ["serve", "--host", "0.0.0.0", "--port", "0", "--project", str(folder)]
    done = subprocess.run([sys.executable, "-m", "zipline.cli.main", *arguments], capture_output=True, text=True)
    assert done.returncode == 2
    assert "nothing says who may ask" in done.stderr
    assert "--new-token" in done.stderr


def test_too_many_rows_at_once_are_refused_with_a_time_to_come_back(tmp_path: Path) -> None:
    import asyncio

    folder = project(tmp_path, serve=f"{PATIENT}\nwaiting = 20")
    with serving(folder) as server:

        async def all_of_them() -> list[httpx.Response]:
            limits = httpx.Limits(max_connections=80)
            async with httpx.AsyncClient(limits=limits, timeout=60) as client:
                body = json.dumps({"rows": rows_of(*[("u1", "a")] * 15)})
                headers = {"content-type": "application/json"}
                asked = (
                    client.post(f"{server.url}/v1/features/{JOIN}", content=body, headers=headers) for _ in range(300)
                )
                return await asyncio.gather(*asked)

        answers = asyncio.run(all_of_them())
        refused = [answer for answer in answers if answer.status_code == 503]
        assert {answer.status_code for answer in answers} <= {200, 503}
        assert refused, "nothing was refused"
        assert all(answer.headers["retry-after"] == "1" for answer in refused)
        assert refused[0].json()["error"]["code"] == "overloaded"
        with Client(server.url, timeout=60) as client:
            assert len(client.fetch(JOIN, rows_of(("u1", "a")))) == 1
