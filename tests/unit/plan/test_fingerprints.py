"""Identity: what changes a fingerprint, what does not, and that it is the same everywhere."""

import dataclasses
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from zipline import (
    Accuracy,
    Aggregation,
    Check,
    Derivation,
    EventSource,
    GroupBy,
    Join,
    JoinPart,
    LabelPart,
    Operation,
    Query,
    fingerprint,
    load,
)

FLIGHTS = EventSource(table="flights", query=Query(select=["carrier", "delay"], time="t"))
GROUP = GroupBy(
    keys=["carrier"],
    sources=[FLIGHTS],
    aggregations=[Aggregation("delay", Operation.SUM, windows=["1d"])],
    name="arrivals",
)
JOIN = Join(left=FLIGHTS, parts=[JoinPart(GROUP)], name="departures")


def test_it_is_a_sha_256() -> None:
    assert re.fullmatch("[0-9a-f]{64}", fingerprint(GROUP))


def test_equal_definitions_have_equal_fingerprints() -> None:
    again = GroupBy(
        ["carrier"],
        [EventSource("flights", Query({"carrier": "carrier", "delay": "delay"}, time="t"))],
        (Aggregation("delay", "sum", windows=("24h",)),),  # type: ignore[arg-type]
        name="arrivals",
    )
    assert fingerprint(again) == fingerprint(GROUP)


@pytest.mark.parametrize(
    "change",
    [{"description": "x"}, {"owner": "x"}, {"tags": {"a": "b"}}, {"start": "2013-01-01"}],
)
@pytest.mark.parametrize("definition", [GROUP, JOIN])
def test_what_changes_no_value_changes_no_fingerprint(definition: GroupBy | Join, change: dict[str, object]) -> None:
    changed = dataclasses.replace(definition, **change)  # type: ignore[arg-type]
    assert fingerprint(changed) == fingerprint(definition)


@pytest.mark.parametrize("change", [{"description": "x"}, {"owner": "x"}, {"tags": {"a": "b"}}])
def test_nor_does_it_in_a_source_inside(change: dict[str, object]) -> None:
    source = dataclasses.replace(FLIGHTS, **change)  # type: ignore[arg-type]
    assert fingerprint(dataclasses.replace(GROUP, sources=[source])) == fingerprint(GROUP)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"},
        {"keys": []},
        {"accuracy": Accuracy.SNAPSHOT},
        {"aggregations": [Aggregation("delay", Operation.SUM, windows=["2d"])]},
        {"aggregations": [Aggregation("delay", Operation.SUM, windows=["1d"], default=0)]},
        {"aggregations": [Aggregation("delay", Operation.MAX, windows=["1d"])]},
        {"derivations": [Derivation("twice", "delay_sum_1d * 2")]},
        {"checks": [Check.not_null("delay_sum_1d")]},
        {"freshness": "1h"},
        {"sources": [dataclasses.replace(FLIGHTS, table="rides")]},
    ],
)
def test_what_changes_a_group_by_changes_it_and_the_join_it_is_in(change: dict[str, object]) -> None:
    changed = dataclasses.replace(GROUP, **change)  # type: ignore[arg-type]
    assert fingerprint(changed) != fingerprint(GROUP)
    left = EventSource("flights", Query(["carrier", "delay"], time="t"))
    assert fingerprint(Join(left=left, parts=[JoinPart(changed)], name="departures")) != fingerprint(JOIN)


@pytest.mark.parametrize(
    "change",
    [
        {"start": "2013-01-01"},
        {"end": "2013-01-01"},
        {"where": ["delay > 0"]},
        {"time": "u"},
        {"known_at": "u"},
        {"select": ["delay", "carrier"]},
        {"partition": "day"},
    ],
)
def test_every_part_of_a_query_belongs_to_the_identity(change: dict[str, object]) -> None:
    query = dataclasses.replace(FLIGHTS.query, **change)  # type: ignore[arg-type]
    changed = dataclasses.replace(GROUP, sources=[dataclasses.replace(FLIGHTS, query=query)])
    assert fingerprint(changed) != fingerprint(GROUP)


@pytest.mark.parametrize(
    "change",
    [
        lambda join: dataclasses.replace(join, parts=[JoinPart(GROUP, prefix="p")]),
        lambda join: dataclasses.replace(join, parts=[JoinPart(GROUP, features=["delay_sum_1d"])]),
        lambda join: dataclasses.replace(join, parts=[JoinPart(GROUP, key_map={"delay": "carrier"})]),
        lambda join: dataclasses.replace(join, labels=LabelPart([JoinPart(GROUP)], offset="1d")),
        lambda join: dataclasses.replace(join, row_id=["carrier"]),
        lambda join: dataclasses.replace(join, derivations=[Derivation("x", "delay + 1")]),
    ],
)
def test_what_changes_a_join_changes_it_and_not_its_group_bys(change: Callable[[Join], Join]) -> None:
    before = fingerprint(GROUP)
    assert fingerprint(change(JOIN)) != fingerprint(JOIN)
    assert fingerprint(GROUP) == before


def test_another_group_by_beside_it_changes_nothing_in_a_group_by(company: Path) -> None:
    before = fingerprint(load(company).group_bys[0])
    carriers = company / "flights/carriers.py"
    carriers.write_text(carriers.read_text() + "\n# a comment, and a line that moves nothing\n")
    (company / "flights/more.py").write_text(carriers.read_text())
    after = {group_by.name: fingerprint(group_by) for group_by in load(company).group_bys}
    assert after["flights.carriers.carrier_arrivals"] == before
    assert after["flights.more.carrier_arrivals"] != before


def test_it_is_the_same_in_another_process_and_folder(company: Path, tmp_path: Path) -> None:
    here = [fingerprint(join) for join in load(company).joins]
    elsewhere = tmp_path / "elsewhere" / "configs"
    elsewhere.parent.mkdir()
    company.rename(elsewhere)
    script = f"from zipline import load, fingerprint\nfor j in load({str(elsewhere)!r}).joins: print(fingerprint(j))"
    run = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"},
        cwd=tmp_path,
    )
    assert run.stdout.split() == here


def test_a_known_definition_keeps_its_fingerprint_from_release_to_release() -> None:
    text = (
        '{"aggregations":[{"input":"delay","kind":"Aggregation","operation":"SUM","windows":["1d"]}],'
        '"keys":["carrier"],"kind":"GroupBy","name":"arrivals","sources":[{"kind":"EventSource","query":'
        '{"kind":"Query","select":[["carrier","carrier"],["delay","delay"]],"time":"t"},"table":"flights"}]}'
    )
    import hashlib

    assert fingerprint(GROUP) == hashlib.sha256(text.encode()).hexdigest()
