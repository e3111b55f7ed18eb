"""Random group-bys through a real streaming job: what is fetched is what the oracle says."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.conformance.comparison import assert_all_agree
from tests.conformance.generate import Scenario, scenarios
from tests.conformance.generate_entities import StateScenario, state_scenarios
from tests.integration.streaming.streamed import DAY, Batch, answers, batch
from zipline import Accuracy

CASES = 10
EVENTS = [
    dataclasses.replace(each, table=f"s{number}")
    for number, each in enumerate(scenarios())
    if each.mode.accuracy is Accuracy.TEMPORAL and each.key != "none"
]
STATES = [
    dataclasses.replace(each, table=f"e{number}")
    for number, each in enumerate(state_scenarios())
    if each.mode.accuracy is Accuracy.TEMPORAL and each.key != "none"
]


def batches_of(scenarios: Sequence[Scenario | StateScenario]) -> list[Batch]:
    """Uploads end at the query's day and at the day before it, in turn."""
    return [
        batch(each.cases(CASES), f"random.{each.table}", ago=number % 2 * DAY) for number, each in enumerate(scenarios)
    ]


@pytest.mark.parametrize("kind", ["events", "states"])
def test_what_is_streamed_and_fetched_is_what_the_oracle_says(kind: str, tmp_path: Path, kafka_servers: str) -> None:
    drawn: Sequence[Scenario | StateScenario] = EVENTS if kind == "events" else STATES
    counts, wrong = Counter[str](), []
    batches = batches_of(drawn)
    for scenario, each, found in zip(drawn, batches, answers(batches, kafka_servers, tmp_path, counts), strict=True):
        try:
            assert_all_agree(each.cases, found)
        except AssertionError as differs:
            wrong.append(f"{scenario.name}: {differs}")
    assert not wrong, "\n\n".join([f"{len(wrong)} of {len(batches)} group-bys", *wrong])
    assert sum(len(each.cases) for each in batches) > 200
    assert counts["late"] == 0
    assert counts["ok"] > 10_000
    assert {name for name in counts if counts[name]} == {"events", "tiles", "dead", "ok", "default"}
