"""What fails is told in the log, and not by every fetch that meets it; what fails again and again is spared."""

from __future__ import annotations

import pytest

from zipline import breaker
from zipline.breaker import PAUSE, Breaker
from zipline.fetch import troubles
from zipline.fetch.troubles import AGAIN, Troubles
from zipline.stores.contract import PlaceError, StoreError
from zipline.stores.sparing import TOLERATED, Sparing


def test_the_same_is_said_once_in_a_while(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    clock = [100.0]
    monkeypatch.setattr(troubles, "monotonic", lambda: clock[0])
    told = Troubles()
    for _ in range(5):
        told.tell(StoreError("Redis: refused", hint="is it running?"))
    told.tell(StoreError("another"))
    assert caplog.messages == [
        "features are unavailable: Redis: refused (is it running?)",
        "features are unavailable: another",
    ]
    clock[0] += AGAIN
    told.tell(StoreError("another"))
    assert caplog.messages[2:] == ["features are unavailable: another"]


def test_what_fails_is_asked_once_in_a_pause_until_it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(breaker, "monotonic", lambda: clock[0])
    spared = Breaker(2)
    for _ in range(2):
        assert spared.may_ask()
        spared.failed()
    assert not spared.may_ask()
    clock[0] += PAUSE
    assert [spared.may_ask() for _ in range(3)] == [True, False, False]
    spared.answered()
    assert [spared.may_ask() for _ in range(3)] == [True, True, True]


def test_a_place_that_is_damaged_is_no_failure_of_its_server() -> None:
    sparing = Sparing()
    for _ in range(3 * TOLERATED):
        with pytest.raises(PlaceError), sparing.asked():
            raise PlaceError("it is damaged")
    for _ in range(TOLERATED):
        with pytest.raises(StoreError, match=r"^it is down$"), sparing.asked():
            raise StoreError("it is down")
    with pytest.raises(StoreError, match=r"it is down \(it is asked again within a second\)"), sparing.asked():
        raise AssertionError("it was asked")
