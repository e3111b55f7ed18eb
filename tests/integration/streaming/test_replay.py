"""`zipline demo --stream`: a day of the demo company through Kafka, Flink and LMDB, compared with a backfill."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient

from tests.integration.servers.flink import ROOT, flink_jar
from tests.integration.servers.kafka import BUILD
from training import replay
from zipline.cli.main import execute

LANDINGS = 901


@pytest.fixture
def company(tmp_path: Path) -> Path:
    flink_jar()
    shutil.copytree(ROOT / "configs", tmp_path / "configs", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / ".zipline").mkdir()
    (tmp_path / ".zipline" / "kafka").symlink_to(BUILD)  # what was fetched once
    return tmp_path


def _replayed(company: Path, *arguments: str) -> int:
    return execute(["demo", "--stream", "--project", str(company), *arguments])


def test_a_replayed_day_ends_with_what_a_backfill_gives_for_every_key(
    company: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _replayed(company, "--speed", "14400") == 0
    shown = capsys.readouterr().out.splitlines()
    seconds = [line for line in shown if line[2:3] == ":" and " UA " in line]
    assert [line[:5] for line in seconds] == ["04:00", "08:00", "12:00", "16:00", "20:00", "00:00"]
    assert len({line.split()[3] for line in seconds}) == 6
    assert seconds[-1].split()[2] == str(LANDINGS)
    told = shown[-1]
    assert told.startswith(f"{LANDINGS} landings of 2013-07-10, 806 keys: 7,254 values compared")
    assert told.endswith(", 0 different")
    assert [path.name for path in (company / ".zipline").iterdir()] == ["kafka"]


def test_a_landing_that_is_lost_on_the_way_is_found_out(
    company: Path, kafka_servers: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Losing(replay.Outbox):
        def send(self, messages: Sequence[Any], position: Any) -> None:
            super().send([each for each in messages if b"N33103" not in each[0]], position)

    monkeypatch.setattr(replay, "Outbox", Losing)
    (company / "zipline.toml").write_text(f'[brokers]\nservers = "{kafka_servers}"\n')
    assert _replayed(company, "--speed", "43200", "--json") == 1
    different = json.loads(capsys.readouterr().out)["different"]
    assert {tuple(each["key"]) for each in different} == {("UA",), ("IAH",), ("N33103",)}
    left = AdminClient({"bootstrap.servers": kafka_servers}).list_topics(timeout=10).topics
    assert [name for name in left if "replay" in name] == []


def test_a_carrier_that_did_not_land_is_refused_before_anything_starts(
    company: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _replayed(company, "--carrier", "UX") == 2
    assert "no flight of 'UX' landed on 2013-07-10" in capsys.readouterr().err
