"""The demo company online: the README's commands, features equal to a backfill, scores equal to those of a batch."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tests.integration.servers.features import Server, serving
from training.datasets import Dataset, split_by_time
from training.demo import DEPARTURES, MODEL, prepare
from training.pipelines.first_model import LABEL, TIMETABLE, train
from training.repo.saved import SavedModel, open_model, save
from zipline import Client, EventSource, Join, Query, backfill, load
from zipline.project import Project, load_project

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
AT = "2013-08-01T00:00:00Z"
APPROXIMATE = "percentile"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("company")
    shutil.copytree(ROOT / "configs", place / "configs", ignore=shutil.ignore_patterns("__pycache__"))
    (place / "zipline.toml").write_text('name = "company"\n')
    return place


@pytest.fixture(scope="module")
def project(folder: Path) -> Project:
    return load_project(folder)


@pytest.fixture(scope="module")
def tables(project: Project) -> dict[str, pa.Table]:
    return prepare(project)


@pytest.fixture(scope="module")
def join(folder: Path) -> Join:
    found: Join = load(folder / "configs").find(DEPARTURES)
    return found


@pytest.fixture(scope="module")
def asked(tables: dict[str, pa.Table]) -> list[dict[str, Any]]:
    """Thirty flights of the day, as a request has them."""
    flights = tables["flights"]
    day = flights.filter(pc.equal(flights.column("ds"), "2013-08-01")) if "ds" in flights.column_names else flights
    names = ["flight_id", "carrier", "flight", "tailnum", "origin", "dest", "distance", "local_hour", "weekday"]
    rows: list[dict[str, Any]] = day.select(names).slice(0, day.num_rows).take(list(range(0, 900, 30))).to_pylist()
    return rows


@pytest.fixture(scope="module")
def offline(join: Join, tables: dict[str, pa.Table], asked: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A backfill of the same rows, all asked at the midnight."""
    left = EventSource("asked", query=Query(select=list(asked[0]), time="asked_at"))
    batch = replace(join, left=left, labels=None, row_id=(), checks=(), name="batch")
    rows = pa.Table.from_pylist([{**row, "asked_at": AT} for row in asked])
    found: list[dict[str, Any]] = backfill(batch, {**tables, "asked": rows}, training=False).to_pylist()
    return found


@pytest.fixture(scope="module")
def server(folder: Path, project: Project, join: Join, tables: dict[str, pa.Table]) -> Iterator[Server]:
    from zipline.cli.upload import upload

    for part in join.parts:
        upload(project, part.source.title, "2013-07-31", allow_missing=True)
    with serving(folder) as running:
        yield running


def values_equal(online: Any, batch: Any) -> bool:
    if isinstance(online, (int, float)) and isinstance(batch, (int, float)):
        return online == pytest.approx(batch, rel=1e-9, abs=1e-9)
    if isinstance(batch, list) and batch and isinstance(batch[0], tuple):
        return dict(batch) == online
    return bool(online == batch) or str(online) == str(batch)


def test_features_equal_a_backfill(server: Server, asked: list[dict[str, Any]], offline: list[dict[str, Any]]) -> None:
    with Client(server.url, timeout=60) as client:
        found = client.fetch(DEPARTURES, asked, at=AT)
    compared = ok = 0
    for number, (online, batch) in enumerate(zip(found.rows(), offline, strict=True)):
        for name, value in online.items():
            if APPROXIMATE in name:
                continue
            assert values_equal(value, batch[name]), (name, value, batch[name], asked[number])
            compared += 1
            ok += found.status(number, name) == "ok"
    assert compared > 30 * 100
    assert ok > 30 * 80


@pytest.fixture(scope="module")
def model(folder: Path, join: Join, tables: dict[str, pa.Table], server: Server) -> SavedModel:
    """Trees of a few days, kept where the server looks for them."""
    flights = tables["flights"]
    some = flights.filter(pc.is_in(flights.column("ds"), pa.array([f"2013-07-{day}" for day in range(20, 25)])))
    left = EventSource("some", query=Query(select=list(join.left.query.select), time="sched_dep"))
    rows = backfill(replace(join, left=left, row_id=(), name="rows"), {**tables, "some": some})
    learned: Dataset = split_by_time(rows, label=LABEL, at="2013-07-24").train
    with Client(server.url, timeout=60) as client:
        fingerprint = next(each["fingerprint"] for each in client.joins() if each["name"] == DEPARTURES)
    inputs = [{"name": name, "categories": learned.categories.get(name)} for name in learned.features]
    place = folder / ".zipline" / "models" / MODEL
    save(place, train(learned).trees, {"name": MODEL, "join": DEPARTURES, "fingerprint": fingerprint, "inputs": inputs})
    return open_model(place)


def test_scores_equal_those_of_a_batch(
    server: Server, model: SavedModel, asked: list[dict[str, Any]], offline: list[dict[str, Any]]
) -> None:
    assert set(TIMETABLE) <= {each.name for each in model.facts.inputs}
    with Client(server.url, timeout=60) as client:
        found = client.predict(MODEL, asked, at=AT)
    batch = model.scores(model.matrix(offline))
    assert [each.score for each in found] == pytest.approx(batch, abs=1e-6)
    assert max(batch) - min(batch) > 0.05


def test_the_readmes_calls_are_answered(server: Server, model: SavedModel) -> None:
    block = README.split("### Over HTTP")[1].split("```")[1]
    calls = [f"curl{call}" for call in re.split(r"^curl", block, flags=re.MULTILINE)[1:]]
    assert len(calls) >= 3
    for call in calls:
        text = call.replace("127.0.0.1:8080", f"127.0.0.1:{server.port}")
        done = subprocess.run(["bash", "-c", text], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert "error" not in json.loads(done.stdout), done.stdout
