"""`zipline demo` on the real flights: what it does, what it says, and the numbers that the README shows."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import duckdb
import pytest

from training.demo import run
from zipline.project import load_project

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    """The facts and the text of one run in a project of its own."""
    folder = tmp_path_factory.mktemp("demo")
    shutil.copytree(ROOT / "configs", folder / "configs")
    lines: list[str] = []
    patch = pytest.MonkeyPatch()
    patch.setattr("click.echo", lambda text="", **_: lines.append(str(text)))
    try:
        facts = run(load_project(folder))
    finally:
        patch.undo()
    return facts, "\n".join(lines)


def test_every_flight_is_imported_and_every_mature_row_published(demo: tuple[dict[str, Any], str]) -> None:
    facts, _ = demo
    assert facts["rows"]["flights"] == 336_776
    assert len(facts["rows"]) >= 6
    departures, routes = facts["backfills"]
    assert departures["rows"] + departures["immature"] == 336_776 - departures_after_the_year(facts)
    assert routes["features"] == 300
    assert departures["rows"] > 330_000


def departures_after_the_year(facts: dict[str, Any]) -> int:
    """The last evening in New York is the first of January in UTC, which the demo does not backfill."""
    folder = Path(facts["backfills"][0]["uri"]).parent / "flights" / "ds=2014-01-01"
    sql = f"SELECT count(*) FROM read_parquet('{folder}/*.parquet')"
    [(rows,)] = duckdb.sql(sql).fetchall()
    return int(rows)


def test_windowed_features_help_and_a_leak_shows_only_in_use(demo: tuple[dict[str, Any], str]) -> None:
    model = demo[0]["model"]
    timetable, windowed, leaking, served = (
        model[name]["roc_auc"] for name in ("timetable", "windowed", "leaking", "leaking_served")
    )
    assert 0.60 < timetable < 0.68
    assert windowed > timetable + 0.10
    assert leaking > 0.95
    assert served < timetable
    assert model["leaking_served"]["log_loss"] > model["timetable"]["log_loss"]


def test_all_models_are_tested_on_the_same_later_flights(demo: tuple[dict[str, Any], str]) -> None:
    model = demo[0]["model"]
    tested = {model[name]["n"] for name in ("timetable", "windowed", "leaking", "leaking_served")}
    assert len(tested) == 1
    assert tested.pop() > 80_000


def test_the_explained_value_counts_what_was_not_yet_known(demo: tuple[dict[str, Any], str]) -> None:
    explained = demo[0]["explained"]
    assert explained["value"] == pytest.approx((11 + 8 + 4 + 11 + 29 + 10 - 2) / 7)
    assert explained["counts"]["seen"] == 7
    assert explained["counts"]["not yet known"] == 16


def test_each_step_says_what_it_did_and_how_long_it_took(demo: tuple[dict[str, Any], str]) -> None:
    facts, text = demo
    for step in ("import", "compile", "plan", "backfill", "train", "explain"):
        assert f"\n{step:<9}" in text
        assert facts["seconds"][step] > 0
    assert "Try next:" in text
