"""Whose token may post events: that of every team whose features they change, through joins too."""

from __future__ import annotations

import pytest

from serving.access import Access, Token
from serving.features.events import Events
from serving.problems import Problem
from tests.integration.events.chained import make_mall
from zipline.plan.definitions import load
from zipline.stores.memory import MemoryStore

SOURCES = ["orders", "purchases"]
"""Orders are read by nobody but a join that a group-by aggregates."""


def headers(scope: str) -> list[tuple[bytes, bytes]]:
    return [(b"authorization", f"Bearer {scope}".encode())]


def access(*scopes: str) -> Access:
    from hashlib import sha256

    return Access(Token(f"t{n}", sha256(scope.encode()).digest(), frozenset({scope})) for n, scope in enumerate(scopes))


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Events:
    project = make_mall(tmp_path_factory.mktemp("mall"), [])
    return Events(project, load(project.root / "configs"), MemoryStore())


@pytest.mark.parametrize(
    ("scope", "told", "may"),
    [
        ("mall:write", SOURCES, SOURCES),
        ("*:write", SOURCES, SOURCES),
        ("mall:read", SOURCES, []),
        ("other:write", [], []),
        ("other:read", [], []),
    ],
)
def test_a_source_is_of_the_teams_whose_features_its_events_change(
    events: Events, scope: str, told: list[str], may: list[str]
) -> None:
    of = access("mall:write", "*:write", "mall:read", "other:write", "other:read")
    given = headers(scope)
    assert sorted(events.told(of.told(given))) == told
    for source in SOURCES:
        teams = events.teams(source, of.told(given))
        if source in may:
            of.check(given, "write", teams)
            continue
        with pytest.raises(Problem) as refused:
            of.check(given, "write", teams)
        assert refused.value.status == 403


def test_an_open_server_tells_all(events: Events) -> None:
    assert sorted(events.told(Access().told([]))) == SOURCES
