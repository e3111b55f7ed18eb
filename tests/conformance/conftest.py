"""Which engines the suite runs on, how gaps are marked, and the counts of what was generated."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from zipline.errors import UnsupportedError

from .adapters import ADAPTERS, ENGINES, FLINK, Adapter, Arrow, Streamed
from .spark_session import spark_session
from .tallies import TALLIES


@pytest.fixture(params=ADAPTERS, ids=lambda adapter: adapter.name)
def adapter(request: pytest.FixtureRequest) -> Adapter:
    """Everything that must give the literal answers: the engines, and the oracle itself."""
    if isinstance(request.param, Streamed):
        return request.getfixturevalue("on_flink").of(request.node.nodeid)  # type: ignore[no-any-return]
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def on_flink(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What a streaming job has answered to all tests of this session."""
    from .on_flink import Suite  # it stands on Kafka and on all that streams

    items = [item for item in request.session.items if FLINK in _engine_names(item)]
    return Suite(items, tmp_path_factory.mktemp("suite"))


@pytest.fixture(params=ENGINES, ids=lambda engine: engine.name)
def engine(request: pytest.FixtureRequest) -> Arrow:
    """Only the engines: for types, bits and refusals, of which the oracle knows nothing."""
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def interpreted() -> Iterator[None]:
    """Spark interprets its queries: where answers are compared with one another, each is a query that runs once.

    Compiling it takes longer than running it, and is done by all the other tests.
    """
    if not any(engine.name == "spark" for engine in ENGINES):
        yield
        return
    settings = {"spark.sql.codegen.wholeStage": "false", "spark.sql.codegen.factoryMode": "NO_CODEGEN"}
    conf = spark_session().conf
    for name, value in settings.items():
        conf.set(name, value)
    yield
    for name in settings:
        conf.unset(name)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "gap(engine, why): the engine refuses this with UnsupportedError; strict")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for mark in item.iter_markers("gap"):
            engine, why = mark.args
            if engine in _engine_names(item):
                item.add_marker(pytest.mark.xfail(reason=why, raises=UnsupportedError, strict=True))


def _engine_names(item: pytest.Item) -> set[str]:
    values = item.callspec.params.values() if hasattr(item, "callspec") else ()
    return {value.name for value in values if isinstance(value, Adapter)}


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker hands its counts to the process that prints them."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["tallies"] = TALLIES
