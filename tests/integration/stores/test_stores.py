"""What every store keeps of the contract."""

from __future__ import annotations

import threading

import pytest

from tests.integration.stores.opened import END, Opening, read, upload
from zipline.clock import DAY
from zipline.stores.contract import Place, StoreError


def test_before_the_first_upload_there_is_nothing(opening: Opening) -> None:
    store = opening()
    assert store.current("carriers") is None
    assert store.generations("carriers") == []
    assert read(store, None, b"a") == [None]
    with pytest.raises(StoreError, match="not there any more"):
        read(store, "17", b"a")


def test_an_upload_is_current_when_it_is_published(opening: Opening) -> None:
    store = opening()
    with store.upload("carriers", end=END, fingerprint="f") as writing:
        writing.put([(b"a", b"1")])
        writing.put([(b"b", b"22")])
        assert store.current("carriers") is None
        published = writing.publish()
    assert store.current("carriers") == published
    assert (published.end, published.fingerprint, published.rows, published.size) == (END, "f", 2, 5)
    assert read(store, published.name, b"b", b"x", b"a") == [b"22", None, b"1"]


def test_an_upload_that_is_left_is_never_seen(opening: Opening) -> None:
    store = opening()
    first = upload(store, {b"a": b"1"})
    with store.upload("carriers", end=END + DAY, fingerprint="f") as writing:
        writing.put([(b"a", b"2")])
    assert [each.name for each in store.generations("carriers")] == [first]
    assert read(store, first, b"a") == [b"1"]


def test_an_earlier_generation_can_be_read_for_the_grace(opening: Opening) -> None:
    store = opening()
    first = upload(store, {b"a": b"1"})
    second = upload(store, {b"a": b"2"}, END + DAY)
    assert [each.name for each in store.generations("carriers")] == [first, second]
    assert read(store, first, b"a") + read(store, second, b"a") == [b"1", b"2"]


def test_after_the_grace_it_is_dropped(opening: Opening) -> None:
    store = opening(grace=0.0)
    upload(store, {b"a": b"1"})
    upload(store, {b"a": b"2"})
    third = upload(store, {b"a": b"3"})
    assert store.generations("carriers")[-1].name == third
    assert len(store.generations("carriers")) <= 2


def test_spaces_are_apart_also_those_whose_names_are_strange(opening: Opening) -> None:
    store = opening()
    names = {
        space: upload(store, {b"a": space.encode()}, space=space) for space in ("a/b", "a%2Fb", "..", "ä b", "A/b")
    }
    for space, name in names.items():
        assert read(store, name, b"a", space=space) == [space.encode()]


def test_a_space_that_is_removed_is_as_if_it_never_was(opening: Opening) -> None:
    store = opening()
    first, other = upload(store, {b"a": b"1"}), upload(store, {b"a": b"2"}, space="ä/b@1")
    upload(store, {b"a": b"3"}, END + DAY)
    assert read(store, first, b"a") == [b"1"]
    for _ in range(2):
        store.remove("carriers")
        assert store.current("carriers") is None
        with pytest.raises(StoreError, match="not there any more"):
            read(store, first, b"a")
    assert read(store, other, b"a", space="ä/b@1") == [b"2"]
    again = upload(store, {b"a": b"4"})
    assert read(store, again, b"a", b"b") == [b"4", None]


def test_tiles_are_overwritten_and_of_no_generation(opening: Opening) -> None:
    store = opening()
    store.put_tiles("carriers", [(b"a", b"1"), (b"b", b"2")])
    store.put_tiles("carriers", [(b"a", b"3")])
    assert read(store, None, b"a", b"b", b"c") == [b"3", b"2", None]
    name = upload(store, {b"a": b"0"})
    assert read(store, None, b"a") + read(store, name, b"a") == [b"3", b"0"]


def test_several_places_are_one_question(opening: Opening) -> None:
    store = opening()
    one, two = upload(store, {b"a": b"1"}), upload(store, {b"a": b"2"}, space="airports")
    store.put_tiles("carriers", [(b"a", b"t")])
    asks = [(Place("carriers", one), [b"a", b"x"]), (Place("airports", two), [b"a"]), (Place("carriers"), [b"a"])]
    found = [[None if value is None else bytes(value) for value in values] for values in store.get(asks)]
    assert found == [[b"1", None], [b"2"], [b"t"]]


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_threads_read_while_others_publish(opening: Opening) -> None:
    """Every read is of one generation, whole."""
    store, keys, wrong = opening(), [b"%03d" % n for n in range(50)], []
    upload(store, dict.fromkeys(keys, b"0"))
    over = threading.Event()

    def reads() -> None:
        while not over.is_set():
            current = store.current("carriers")
            assert current is not None
            found = read(store, current.name, *keys)
            if len(set(found)) != 1:
                wrong.append(found)

    readers = [threading.Thread(target=reads) for _ in range(3)]
    for reader in readers:
        reader.start()
    for number in range(1, 30):
        upload(store, dict.fromkeys(keys, b"%d" % number))
    over.set()
    for reader in readers:
        reader.join()
    assert wrong == []
