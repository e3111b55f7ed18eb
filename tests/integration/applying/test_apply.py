"""`zipline apply` under a server that answers all the time: what is changed is built beside what is served."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.servers.features import JOIN, Server, project, serving, today
from tests.integration.serving.test_life import until
from zipline import Fetcher
from zipline.cli.main import execute
from zipline.clock import DAY, day_text, now, to_text
from zipline.fetch.applied import applied, pack, publish, read
from zipline.orchestration.applying import apply as applying
from zipline.orchestration.applying.steps import Steps
from zipline.orchestration.events.opening import tiles_lock
from zipline.orchestration.events.posting import EventLog
from zipline.project import load_project
from zipline.registry import open_registry
from zipline.registry.locks import Locks
from zipline.stores.contract import PlaceError, StoreError
from zipline.stores.lmdb import LmdbStore

ORDERS = Path("configs") / "shop" / "orders.py"
SUM = "spent_amount_sum_30d"


def run(folder: Path, *options: str, code: int = 0) -> None:
    assert execute(["apply", *options, "--project", str(folder)]) == code


def facts(folder: Path, capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, Any]:
    capsys.readouterr()
    run(folder, "--json", *options)
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def change(folder: Path, before: str, after: str) -> None:
    text = (folder / ORDERS).read_text()
    assert before in text
    (folder / ORDERS).write_text(text.replace(before, after, 1))


def spaces(folder: Path, name: str) -> list[str]:
    return sorted(path.name for path in (folder / ".zipline" / "online").glob(f"shop.orders.{name}@*"))


class Asking:
    """Somebody who asks for u1 all the time, and keeps the distinct answers in their order."""

    def __init__(self, server: Server) -> None:
        self._url, self._over = f"{server.url}/v1/features/{JOIN}", threading.Event()
        self.answers: list[tuple[int, Any, Any]] = []
        self.count = 0

    def now(self) -> Any:
        with httpx.Client() as client:
            return self._ask(client)["rows"][0]["values"][SUM]

    def _ask(self, client: httpx.Client) -> Any:
        row = {"user": "u1", "item": "a", "amount": 1.0}
        answer = client.post(self._url, json={"rows": [row]})
        return answer.json() | {"code": answer.status_code}

    def run(self) -> None:
        with httpx.Client() as client:
            while not self._over.is_set():
                told = self._ask(client)
                row = told["rows"][0]
                found = told["code"], row["values"][SUM], row["status"].get(SUM, "ok")
                self.count += 1
                if not self.answers or self.answers[-1] != found:
                    self.answers.append(found)

    @contextmanager
    def all_the_time(self) -> Iterator[None]:
        thread = threading.Thread(target=self.run)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()


def post(server: Server, user: str, amount: float) -> None:
    event = {"user": user, "amount": amount, "item": "a", "t": to_text(now())}
    assert httpx.post(f"{server.url}/v1/events/orders", json={"events": [event]}).status_code == 200


def test_a_changed_definition_is_built_beside_the_served_one_and_takes_over_and_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = project(tmp_path)
    with serving(folder) as server:
        asking = Asking(server)
        run(folder)
        post(server, "u1", 100.0)
        until(lambda: asking.now() == 130.0)
        with asking.all_the_time():
            change(folder, 'time="t")', 'where=["amount > 15"], time="t")')
            told = facts(folder, capsys, "--dry-run")
            assert {each["name"]: each["is"] for each in told["group_bys"]} == {
                "shop.orders.sold": "changed",
                "shop.orders.spent": "changed",
            }
            assert told["fills"] == ["shop.orders.spent"]
            assert asking.now() == 130.0, "files that were not applied are nobody's business"
            run(folder)
            until(lambda: asking.now() == 120.0)
            post(server, "u1", 50.0)
            until(lambda: asking.now() == 170.0)
            change(folder, 'where=["amount > 15"], time="t")', 'time="t")')
            back = facts(folder, capsys)
            assert [each["upload"] for each in back["group_bys"]] == [None, None], "the former uploads are there yet"
            assert back["exchanges"]
            until(lambda: asking.now() == 180.0)
        assert [code for code, *_ in asking.answers] == [200] * len(asking.answers)
        assert [(value, status) for _, value, status in asking.answers] == [
            (130.0, "ok"),
            (120.0, "ok"),
            (170.0, "ok"),
            (180.0, "ok"),
        ]
        assert asking.count > 50
    assert facts(folder, capsys)["done"] == []


def test_a_fetcher_takes_up_what_is_applied(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = project(tmp_path)
    fetcher = Fetcher(folder)
    row = {"user": "u1", "item": "a", "amount": 1.0}

    def spent() -> tuple[Any, Any]:
        found = fetcher.fetch(JOIN, [row])
        return found.rows()[0][SUM], found.status(0, SUM)

    assert spent() == (30.0, "ok")
    run(folder)
    assert spent() == (30.0, "ok")
    for before, after, value in (
        ('time="t")', 'where=["amount > 15"], time="t")', 20.0),
        ('where=["amount > 15"], time="t")', 'where=["amount > 5"], time="t")', 30.0),
        ('where=["amount > 5"], time="t")', 'where=["amount < 15"], time="t")', 10.0),
    ):
        change(folder, before, after)
        assert spent()[1] == "ok"
        run(folder)
        until(lambda value=value: spent() == (value, "ok"))  # type: ignore[misc]
    publish_broken(folder)
    until(lambda: spent() == (10.0, "ok") and "what was applied is not taken up" in caplog.text)
    assert caplog.text.count("not taken up") == 1
    fetcher.close()


def test_a_fetcher_goes_on_while_it_cannot_read_what_is_applied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = project(tmp_path)
    run(folder)
    fetcher = Fetcher(folder)
    row = {"user": "u1", "item": "a", "amount": 1.0}
    assert fetcher.fetch(JOIN, [row]).rows()[0][SUM] == 30.0
    asked = []

    def unreadable(*_: Any) -> Path:
        asked.append(1)
        raise PlaceError("the definitions that were applied cannot be read")

    monkeypatch.setattr("zipline.fetch.fetcher.served_folder", unreadable)
    until(lambda: fetcher.fetch(JOIN, [row]).rows()[0][SUM] == 30.0 and bool(asked))
    for _ in range(5):
        assert fetcher.fetch(JOIN, [row]).rows()[0][SUM] == 30.0
    assert len(asked) == 1, "not at every fetch"
    assert "cannot be read" in caplog.text
    fetcher.close()


def test_a_version_that_was_removed_and_comes_back_is_read_as_it_is_now(tmp_path: Path) -> None:
    folder = project(tmp_path)
    fetcher, log = Fetcher(folder), EventLog(load_project(folder))

    def spent() -> Any:
        found = fetcher.fetch(JOIN, [{"user": "u1", "item": "a", "amount": 1.0}])
        return found.rows()[0][SUM], [name for name in found.features if "last_k" in name]

    def buy(amount: float) -> None:
        log.post("orders", [{"user": "u1", "amount": amount, "item": "a", "t": to_text(now())}])

    buy(100.0)
    run(folder)
    until(lambda: spent() == (130.0, ["spent_item_last_k3_30d"]))
    for number in (4, 5):
        change(folder, f"k={number - 1}", f"k={number}")
        run(folder)
        until(lambda number=number: spent() == (130.0, [f"spent_item_last_k{number}_30d"]))  # type: ignore[misc]
    buy(50.0)
    change(folder, "k=5", "k=3")
    run(folder)
    until(lambda: spent()[1] == ["spent_item_last_k3_30d"])
    until(lambda: spent()[0] == 180.0)
    fetcher.close()


def publish_broken(folder: Path) -> None:
    """What a newer version of the platform may have applied, which this one cannot load."""
    opened = load_project(folder)
    store = LmdbStore(folder / ".zipline" / "online")
    generation = applied(opened, store)
    assert generation is not None
    change(folder, "online=True", "onlin=True")
    publish(opened, store, pack(folder / "configs"), read(opened, store, generation)[1])
    store.close()


def test_a_version_comes_back_under_a_server_that_follows_events(tmp_path: Path) -> None:
    folder = project(tmp_path)
    with serving(folder) as server:
        asking, expected = Asking(server), 30.0
        for number in (3, 4, 5, 3, 4, 5, 3):
            text = (folder / ORDERS).read_text()
            (folder / ORDERS).write_text(re.sub(r"k=\d", f"k={number}", text))
            post(server, "u1", 1.0)
            run(folder)
            post(server, "u1", 1.0)
            expected += 2.0
        until(lambda: asking.now() == expected)
        fetcher = Fetcher(folder)
        row = {"user": "u1", "item": "a", "amount": 1.0}
        until(lambda: fetcher.fetch(JOIN, [row]).rows()[0][SUM] == expected)
        fetcher.close()


def test_tiles_that_a_server_takes_up_while_an_apply_runs_are_left_to_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = project(tmp_path)
    opened = load_project(folder)
    check = applying._check_topics
    with ExitStack() as held:

        def taken_up(steps: Steps, *rest: Any) -> None:
            check(steps, *rest)
            (version,) = steps.fills
            held.enter_context(tiles_lock(held.enter_context(open_registry(opened)), version.space))

        monkeypatch.setattr(applying, "_check_topics", taken_up)
        run(folder)
    assert "shop.orders.spent: already followed" in capsys.readouterr().out


def test_an_apply_that_comes_after_another_does_what_there_is_to_do_by_then(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = project(tmp_path)
    run(folder)
    (first,) = spaces(folder, "spent")
    change(folder, "k=3", "k=4")
    run(folder)
    change(folder, "k=4", "k=3")
    acquire, others = Locks.acquire, []

    def after_another(self: Locks, name: str, *rest: Any, **options: Any) -> Any:
        if name.startswith("apply ") and not others:
            others.append(name)
            change(folder, "k=3", "k=5")
            run(folder)
            assert first not in spaces(folder, "spent"), "it is to be built again"
            change(folder, "k=5", "k=3")
        return acquire(self, name, *rest, **options)

    monkeypatch.setattr(Locks, "acquire", after_another)
    run(folder)
    monkeypatch.undo()
    assert others
    assert facts(folder, capsys)["done"] == []
    fetcher = Fetcher(folder)
    found = fetcher.fetch(JOIN, [{"user": "u1", "item": "a", "amount": 1.0}])
    assert (found.rows()[0][SUM], found.status(0, SUM)) == (30.0, "ok")
    assert "spent_item_last_k3_30d" in found.features
    fetcher.close()


def test_what_was_served_is_kept_until_the_next_exchange(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = project(tmp_path)
    run(folder)
    (first,) = spaces(folder, "spent")
    change(folder, 'windows=["7d", "30d"]', 'windows=["30d"]')
    run(folder)
    (second,) = set(spaces(folder, "spent")) - {first}
    run(folder)
    assert spaces(folder, "spent") == sorted([first, second])
    change(folder, "k=3", "k=4")
    run(folder)
    assert first not in spaces(folder, "spent")
    assert second in spaces(folder, "spent")
    change(folder, "[JoinPart(spent), JoinPart(sold)]", "[JoinPart(spent)]")
    change(folder, "accuracy=Accuracy.SNAPSHOT,\n    online=True", "accuracy=Accuracy.SNAPSHOT,\n    online=False")
    told = facts(folder, capsys)
    assert {each["name"]: each["is"] for each in told["group_bys"]}["shop.orders.sold"] == "removed"
    assert len(spaces(folder, "sold")) == 1
    change(folder, "k=4", "k=5")
    run(folder)
    assert spaces(folder, "sold") == []


def test_online_commands_work_on_what_was_applied(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = project(tmp_path)
    run(folder)
    fetch = ["fetch", JOIN, "--rows", '[{"user": "u1", "item": "a", "amount": 1.0}]', "--json", "--project"]
    change(folder, "k=3", "k=4")
    (folder / "configs" / "shop" / "more.py").write_text(
        "from configs.shop.orders import orders\nfrom zipline import Accuracy, Aggregation, GroupBy, Operation\n"
        'more = GroupBy(["user"], [orders], [Aggregation("amount", Operation.MIN, windows=["7d"])],\n'
        "    accuracy=Accuracy.SNAPSHOT, online=True)\n"
    )
    capsys.readouterr()
    assert execute([*fetch, str(folder)]) == 0
    assert json.loads(capsys.readouterr().out)["rows"][0]["values"]["spent_item_last_k3_30d"] == ["a", "b"]
    upload = ["upload", "--ds", day_text(today() - DAY), "--project", str(folder)]
    assert execute([*upload, "shop.orders.spent"]) == 0
    assert "those in configs/ are others: zipline apply" in capsys.readouterr().err
    assert len(spaces(folder, "spent")) == 1
    assert execute([*upload, "shop.more.more"]) == 2
    assert "'shop.more.more' is in configs/, and was not applied" in capsys.readouterr().err
    run(folder)
    assert execute([*upload, "shop.more.more"]) == 0


def test_a_definition_that_is_wrong_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = project(tmp_path)
    run(folder)
    before = applied(load_project(folder), LmdbStore(folder / ".zipline" / "online"))
    change(folder, 'Aggregation("amount", Operation.SUM', 'Aggregation("amonut", Operation.SUM')
    run(folder, code=2)
    wrong = capsys.readouterr().err
    assert "amonut" in wrong
    assert f"{folder.name}/configs/shop/orders.py:" in wrong
    change(folder, '"amonut"', '"amount"')
    change(folder, "k=3", "k=4")
    run(folder, "--ds", "2031-01-01", code=1)
    assert "shop.orders.sold cannot be uploaded as of 2031-01-01" in capsys.readouterr().err
    assert applied(load_project(folder), LmdbStore(folder / ".zipline" / "online")) == before


def test_definitions_that_are_damaged_in_the_store_are_not_served(tmp_path: Path) -> None:
    folder = project(tmp_path)
    run(folder)
    opened, store = load_project(folder), LmdbStore(folder / ".zipline" / "online")
    generation = applied(opened, store)
    assert generation is not None
    packed, made = read(opened, store, generation)
    assert packed == pack(folder / "configs")
    publish(opened, store, type(packed)(packed.content[:-1], packed.digest), made)
    damaged = applied(opened, store)
    assert damaged is not None
    with pytest.raises(PlaceError, match="damaged or gone"):
        read(opened, store, damaged)
    store.close()


def test_while_the_store_cannot_be_asked_what_was_seen_last_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from zipline.fetch.applied import served_folder

    folder = project(tmp_path)
    opened, store = load_project(folder), LmdbStore(folder / ".zipline" / "online")
    assert served_folder(opened, store) == folder / "configs"
    run(folder)
    until(lambda: served_folder(opened, store) != folder / "configs")  # it looks again after `LOOK_AGAIN`
    seen = served_folder(opened, store)

    def fails(space: str) -> None:
        raise StoreError(f"{space} is away")

    monkeypatch.setattr(store, "current", fails)
    assert served_folder(opened, store) == seen
    store.close()


def test_the_doctor_says_whether_the_files_are_what_is_served(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = project(tmp_path)

    def seen() -> dict[str, Any]:
        capsys.readouterr()
        execute(["doctor", "--json", "--project", str(folder)])
        found = json.loads(capsys.readouterr().out)["findings"]
        return next(each for each in found if each["what"] == "online store")

    assert "nothing was applied" in seen()["detail"]
    run(folder)
    assert (seen()["state"], seen()["remedy"]) == ("ok", None)
    change(folder, "k=3", "k=4")
    assert (seen()["state"], seen()["remedy"]) == ("look", "zipline apply")
