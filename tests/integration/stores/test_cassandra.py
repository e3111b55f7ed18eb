"""What Cassandra keeps beside the contract: nodes that go, killed and simultaneous uploads, what is left behind."""

from __future__ import annotations

import signal
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.servers.cassandra import LOGIN, running_cassandra
from tests.integration.stores.opened import END, KEYSPACE, PATIENT, read, upload
from zipline.clock import DAY, HOUR, SECOND, now
from zipline.ports import free_port
from zipline.stores import cassandra, space_states
from zipline.stores.cassandra import ROWS_KEPT, CassandraStore
from zipline.stores.contract import TILES_KEPT, Place, StoreError
from zipline.stores.space_states import ALIVE, SpaceState


@pytest.fixture
def store(empty_cassandra: str) -> Iterator[CassandraStore]:
    found = CassandraStore(empty_cassandra, **LOGIN, timeout=PATIENT)
    yield found
    found.close()


def state_of(client: Any, space: str = "carriers") -> SpaceState:
    row = client.execute(f"SELECT state FROM {KEYSPACE}.spaces WHERE space = %s", [space]).one()
    return space_states.read(row.state, space)


def generations_in(client: Any) -> set[str]:
    return {row.generation for row in client.execute(f"SELECT generation FROM {KEYSPACE}.generations")}


def test_a_cluster_that_is_not_there_is_a_store_error_and_says_nothing_on_stderr() -> None:
    code = f"""
        from zipline.stores.cassandra import CassandraStore
        from zipline.stores.contract import Place, StoreError
        store = CassandraStore("cassandra://127.0.0.1:{free_port()}/features")
        for ask in (lambda: store.current("a"), lambda: store.get([(Place("a"), [b"a"])])):
            try:
                ask()
            except StoreError as wrong:
                print(wrong.what.split(":")[0], "|", wrong.hint)
        store.close()
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60)
    assert done.stdout == "Cassandra | is the cluster of [online] running and reachable, and the login right?\n" * 2
    assert done.stderr == ""


def test_a_host_that_takes_connections_and_never_answers_is_a_store_error() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        store = CassandraStore(f"cassandra://127.0.0.1:{silent.getsockname()[1]}/features")
        for longest in (20.0, 0.5):
            begun = time.monotonic()
            with pytest.raises(StoreError, match="Cassandra: "):
                store.current("carriers")
            assert time.monotonic() - begun < longest, "the second is answered without trying"
        store.close()


def test_a_process_that_does_not_close_its_store_ends_without_a_word(empty_cassandra: str) -> None:
    code = f"""
        from zipline.stores.cassandra import CassandraStore
        print(CassandraStore({empty_cassandra!r}, **{LOGIN}, timeout={PATIENT}).current("carriers"))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "None\n", "")


@pytest.mark.parametrize("login", [{}, {"username": "cassandra", "password": "wrong"}])
def test_who_may_not_log_in_is_told_so(login: dict[str, str], cassandra_address: str) -> None:
    store = CassandraStore(f"cassandra://{cassandra_address}/{KEYSPACE}", **login, timeout=PATIENT)
    with pytest.raises(StoreError, match=r"(?i)authentication"):
        store.current("carriers")
    store.close()


def encrypted(client: Any) -> int:
    """Connections that are."""
    return sum(row.ssl_enabled for row in client.execute("SELECT ssl_enabled FROM system_views.clients"))


def test_connections_are_encrypted_to_who_shows_a_certificate_of_the_authority(
    empty_cassandra: str, cassandra_address: str, cassandra_client: Any, tmp_path: Path
) -> None:
    host, port = cassandra_address.split(":")
    authority = tmp_path / "authority.pem"
    authority.write_text(ssl.get_server_certificate((host, int(port))))
    assert encrypted(cassandra_client) == 0
    url = f"{empty_cassandra}&ssl=true"
    store = CassandraStore(f"{url}&ssl_ca_certs={authority}", **LOGIN, timeout=PATIENT)
    upload(store, {b"a": b"1"})
    assert encrypted(cassandra_client) >= 1
    store.close()
    for unknown in (url, f"{url}&ssl_check_hostname=false"):
        store = CassandraStore(unknown, **LOGIN)
        with pytest.raises(StoreError, match="CERTIFICATE_VERIFY_FAILED"):
            store.current("carriers")
        store.close()


def test_a_data_centre_that_is_not_there_is_a_store_error(cassandra_address: str) -> None:
    store = CassandraStore(f"cassandra://{cassandra_address}/{KEYSPACE}?local_dc=elsewhere", **LOGIN, timeout=PATIENT)
    with pytest.raises(StoreError, match="Cassandra: "):
        store.current("carriers")
    store.close()


def test_a_node_that_stops_is_a_store_error_in_its_time_and_its_return_is_seen() -> None:
    with running_cassandra() as (address, server):
        store = CassandraStore(f"cassandra://{address}/features", **LOGIN, timeout=PATIENT)
        name = upload(store, {b"a": b"1"})
        store.put_tiles("carriers", [(b"a", b"t")])
        quick = CassandraStore(f"cassandra://{address}/features", **LOGIN, timeout=0.5)
        until(lambda: read(quick, name, b"a") == [b"1"])
        server.send_signal(signal.SIGSTOP)
        for ask in (
            lambda: read(quick, name, b"a"),
            lambda: read(quick, None, b"a"),
            lambda: quick.put_tiles("carriers", [(b"a", b"u")]),
        ):
            begun = time.monotonic()
            with pytest.raises(StoreError, match="Cassandra: "):
                ask()
            assert time.monotonic() - begun < PATIENT
        server.send_signal(signal.SIGCONT)
        until(lambda: read(quick, name, b"a") == [b"1"])
        server.kill()
        server.wait()
        with pytest.raises(StoreError, match="Cassandra: "):
            read(quick, name, b"a")
        with pytest.raises(StoreError, match="Cassandra: "):
            upload(quick, {b"a": b"2"})
        quick.close()
        store.close()


def until(is_true: Any) -> None:
    for _ in range(300):
        try:
            if is_true():
                return
        except StoreError:
            pass
        time.sleep(0.2)
    raise AssertionError("it is not seen in 60 seconds")


def test_a_generation_that_is_dropped_leaves_nothing(empty_cassandra: str, cassandra_client: Any) -> None:
    store = CassandraStore(empty_cassandra, **LOGIN, grace=0.0, timeout=PATIENT)
    for number in range(3):
        upload(store, {b"%05d" % n: b"x" for n in range(3_000)}, END + number * DAY)
    state = state_of(cassandra_client)
    assert generations_in(cassandra_client) == {each.name for each in state.generations}
    assert len(state.generations) == 1
    assert state.begun == {}
    assert state.dropped == []
    store.close()


def test_what_a_killed_upload_has_left_is_swept_when_it_has_not_been_seen_for_long(
    store: CassandraStore, empty_cassandra: str, cassandra_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = upload(store, {b"a": b"1"})
    code = f"""
        import os, signal
        from zipline.stores.cassandra import CassandraStore
        store = CassandraStore({empty_cassandra!r}, **{LOGIN}, timeout={PATIENT})
        with store.upload("carriers", end=0, fingerprint="f") as writing:
            writing.put([(b"a", b"2")])
            os.kill(os.getpid(), signal.SIGKILL)
    """
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False)
    assert killed.returncode == -signal.SIGKILL
    (left,) = state_of(cassandra_client).begun
    assert [each.name for each in store.generations("carriers")] == [first]
    second = upload(store, {b"a": b"3"})
    assert generations_in(cassandra_client) == {first, second, left}, "it may be going on"
    monkeypatch.setattr(cassandra, "now", lambda: now() + 2 * ALIVE)
    third = upload(store, {b"a": b"4"})
    assert left not in generations_in(cassandra_client)
    assert state_of(cassandra_client).begun == {}
    assert read(store, third, b"a") == [b"4"]


def test_an_upload_that_was_taken_for_killed_cannot_publish(store: CassandraStore, cassandra_client: Any) -> None:
    with store.upload("carriers", end=END, fingerprint="f") as writing:
        writing.put([(b"a", b"1")])
        state = store.change("carriers", lambda state: state.swept(now() + 2 * ALIVE))
        store.delete("carriers", state.dropped)
        with pytest.raises(StoreError, match="stood still for more than 10 minutes"):
            writing.publish()
    assert store.current("carriers") is None
    assert generations_in(cassandra_client) == set()


def test_two_uploads_at_once_are_both_published_whole(store: CassandraStore, empty_cassandra: str) -> None:
    other = CassandraStore(empty_cassandra, **LOGIN, timeout=PATIENT)
    keys = [b"%04d" % n for n in range(2_000)]
    done: dict[bytes, str] = {}

    def uploads(own: CassandraStore, value: bytes) -> None:
        done[value] = upload(own, dict.fromkeys(keys, value))

    both = [threading.Thread(target=uploads, args=each) for each in ((store, b"1"), (other, b"2"))]
    for each in both:
        each.start()
    for each in both:
        each.join()
    listed = [each.name for each in store.generations("carriers")]
    assert set(listed) == set(done.values())
    for value, name in done.items():
        assert set(read(store, name, *keys)) == {value}
    other.close()


def test_an_upload_whose_publication_was_not_answered_is_not_thrown_away(
    store: CassandraStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cluster has done it, and only the answer is lost."""
    from cassandra import OperationTimedOut

    session = store._session
    answered, is_lost = session.is_applied, False

    def loses(statement: Any, parameters: Any) -> bool:
        applied = answered(statement, parameters)
        if is_lost:
            raise OperationTimedOut
        return applied

    monkeypatch.setattr(session, "is_applied", loses)
    with store.upload("carriers", end=END, fingerprint="f") as writing:
        writing.put([(b"a", b"1")])
        is_lost = True
        published = writing.publish()
        is_lost = False
    assert store.current("carriers") == published
    assert read(store, published.name, b"a") == [b"1"]


def test_rows_and_tiles_expire_by_themselves(store: CassandraStore, cassandra_client: Any) -> None:
    upload(store, {b"a": b"1"})
    store.put_tiles("carriers", [(b"a", b"1")])
    for table, kept in (("generations", ROWS_KEPT), ("tiles", TILES_KEPT)):
        (row,) = cassandra_client.execute(f"SELECT TTL(value) AS left FROM {KEYSPACE}.{table}")
        assert kept // SECOND - 3_600 < row.left <= kept // SECOND


def test_a_generation_is_refused_whole_before_its_rows_go(
    store: CassandraStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = upload(store, {b"a": b"1"})
    for later, is_there in ((ROWS_KEPT - 2 * HOUR, True), (ROWS_KEPT - HOUR, False)):
        monkeypatch.setattr(cassandra, "now", lambda later=later: now() + later)
        monkeypatch.setattr(cassandra, "LOOK_AGAIN", 0.0)
        assert (store.current("carriers") is not None) == is_there
    with pytest.raises(StoreError, match="not there any more"):
        read(store, name, b"unknown")


def test_the_chunks_of_a_key_lie_in_one_partition(store: CassandraStore, cassandra_client: Any) -> None:
    """And are one read, however many there are."""
    chunks = [b"key" + b"%08d" % n for n in range(30)]
    store.put_tiles("carriers", [(chunk, b"v" + chunk) for chunk in chunks])
    assert len(list(cassandra_client.execute(f"SELECT DISTINCT space, key FROM {KEYSPACE}.tiles"))) == 1
    assert read(store, None, *chunks[::-1], b"key") == [b"v" + chunk for chunk in chunks[::-1]] + [None]


def test_a_question_of_many_keys_asks_each_once(store: CassandraStore, monkeypatch: pytest.MonkeyPatch) -> None:
    items = {b"%05d" % n: b"v%d" % n for n in range(3_000)}
    name = upload(store, items)
    asked: list[int] = []
    rows = store._session.rows
    monkeypatch.setattr(store._session, "rows", lambda questions: asked.append(len(questions)) or rows(questions))
    place = Place("carriers", name)
    one, two = store.get([(place, list(items)), (place, [b"00007", b"nobody"])])
    assert one == list(items.values())
    assert two == [b"v7", None]
    assert asked == [3_001], "what is unknown asks nothing more"


def test_a_damaged_listing_is_a_store_error(store: CassandraStore, cassandra_client: Any) -> None:
    upload(store, {b"a": b"1"})
    cassandra_client.execute(f"UPDATE {KEYSPACE}.spaces SET state = '[1' WHERE space = 'carriers' IF EXISTS")
    with pytest.raises(StoreError, match="the listing of carriers cannot be read"):
        store.current("carriers")


def test_items_out_of_order_are_refused(store: CassandraStore) -> None:
    with pytest.raises(StoreError, match="out of order"), store.upload("carriers", end=0, fingerprint="f") as writing:
        writing.put([(b"b", b"1"), (b"a", b"2")])
    assert store.current("carriers") is None
