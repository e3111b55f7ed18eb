"""A local JVM is tuned for what it does where cores are few, and never against what its user says."""

import os

import pytest

from zipline.engines.spark.launching import OPTIONS, short

LOCAL = {"spark.master": "local[*]"}


@pytest.fixture(autouse=True)
def few_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    for name in ("JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "SPARK_SUBMIT_OPTS"):
        monkeypatch.delenv(name, raising=False)


def test_a_short_jvm_on_few_cores() -> None:
    assert "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m " in short(LOCAL)[OPTIONS]


def test_options_of_the_user_stay() -> None:
    found = short({**LOCAL, OPTIONS: "-Dlog4j2.level=info"})[OPTIONS].split()
    assert {"-XX:TieredStopAtLevel=1", "-Dlog4j2.level=info"} <= set(found)


@pytest.mark.parametrize(
    "settings",
    [
        {"spark.master": "yarn"},
        {"spark.master": "local-cluster[2,1,2048]"},
        {**LOCAL, OPTIONS: "-XX:+UseG1GC"},
        {**LOCAL, "spark.driver.defaultJavaOptions": "-XX:+UseZGC"},
    ],
    ids=["yarn", "processes", "tuned", "tuned by default"],
)
def test_not_elsewhere_and_not_against_the_user(settings: dict[str, str]) -> None:
    assert short(settings) == settings


@pytest.mark.parametrize("name", ["JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "SPARK_SUBMIT_OPTS"])
def test_not_against_the_environment(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "-XX:+UseSerialGC")
    assert short(LOCAL) == LOCAL


def test_not_where_cores_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    assert short(LOCAL) == LOCAL
