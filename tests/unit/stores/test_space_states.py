"""How the state of a space goes on: what is begun is published or dropped, and nothing is forgotten."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zipline.clock import SECOND
from zipline.stores import space_states
from zipline.stores.contract import Generation, StoreError
from zipline.stores.space_states import ALIVE, SpaceState

EMPTY = SpaceState()


def generation(name: str, at: int) -> Generation:
    return Generation(name, 0, "f", published=at)


def test_an_upload_that_is_begun_is_published_and_takes_the_place_of_those_before() -> None:
    first = EMPTY.with_seen("a", 1, is_new=True).with_published(generation("a", 2), 60.0)
    assert first == SpaceState([generation("a", 2)])
    later = 61 * SECOND + 2
    begun = first.with_seen("b", later, is_new=True).with_published(generation("b", later), 60.0)
    assert begun.generations == [generation("a", 2), generation("b", later)]
    last = begun.with_seen("c", 2 * later, is_new=True).with_published(generation("c", 2 * later), 60.0)
    assert last.generations == [generation("b", later), generation("c", 2 * later)]
    assert last.dropped == ["a"]
    assert last.deleted(["a"]).dropped == []


def test_a_publication_that_is_tried_again_changes_nothing() -> None:
    once = EMPTY.with_seen("a", 1, is_new=True).with_published(generation("a", 2), 60.0)
    assert once.with_published(generation("a", 2), 60.0) is once
    assert once.without("a") is once, "nor does giving up what was published"


def test_what_was_not_seen_for_long_is_dropped_and_cannot_go_on() -> None:
    begun = EMPTY.with_seen("a", 0, is_new=True).with_seen("b", 5, is_new=True)
    assert begun.swept(ALIVE) is begun
    swept = begun.swept(ALIVE + 1)
    assert swept == SpaceState(begun={"b": 5}, dropped=["a"])
    for goes_on in (lambda: swept.with_seen("a", 9), lambda: swept.with_published(generation("a", 9), 60.0)):
        with pytest.raises(StoreError, match="the upload a stood still for more than 10 minutes"):
            goes_on()


@given(st.lists(st.tuples(st.sampled_from(["begin", "publish", "give up", "sweep", "delete"]), st.integers(0, 5))))
def test_every_upload_is_in_one_place_until_it_is_deleted(steps: list[tuple[str, int]]) -> None:
    state, known, at = EMPTY, set[str](), 0
    for step, number in steps:
        at += ALIVE // 3
        name = f"{number}"
        if step == "begin" and name not in known:
            state = state.with_seen(name, at, is_new=True)
            known.add(name)
        elif step == "publish" and name in state.begun:
            state = state.with_published(generation(name, at), 60.0)
        elif step == "give up":
            state = state.without(name)
        elif step == "sweep":
            state = state.swept(at)
        elif step == "delete":
            known -= set(state.dropped)
            state = state.deleted(state.dropped)
        places = [*(each.name for each in state.generations), *state.begun, *state.dropped]
        assert sorted(places) == sorted(known)
        assert space_states.read(space_states.written(state), "s") == state


def test_a_damaged_state_is_a_store_error() -> None:
    assert space_states.read(None, "s") == EMPTY
    with pytest.raises(StoreError, match="the listing of s cannot be read"):
        space_states.read("{", "s")
