"""Random group-bys through a real streaming job: what is fetched is what the oracle says."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.conformance.comparison import assert_all_agree
from tests.conformance.generate import Scenario, scenarios
from tests.integration.streaming.streamed import DAY, Batch, answers, batch
from zipline import Accuracy

CASES = 6
SCENARIOS = [
    dataclasses.replace(scenario, table=f"s{number}")
    for number, scenario in enumerate(scenarios())
    if scenario.mode.accuracy is Accuracy.TEMPORAL and scenario.key != "none"
]


def batches_of(scenarios: Sequence[Scenario], count: int) -> list[Batch]:
    """Uploads end at the query's day and at the day before it, in turn."""
    return [
        batch(scenario.cases(count), f"random.{scenario.table}", ago=number % 2 * DAY)
        for number, scenario in enumerate(scenarios)
    ]


def test_what_is_streamed_and_fetched_is_what_the_oracle_says(tmp_path: Path, kafka_servers: str) -> None:
    counts = Counter[str]()
    batches = batches_of(SCENARIOS, CASES)
    wrong = []
    found = answers(batches, kafka_servers, tmp_path, counts)
    for scenario, each, answer in zip(SCENARIOS, batches, found, strict=True):
        try:
            assert_all_agree(each.cases, answer)
        except AssertionError as differs:
            wrong.append(f"{scenario.name}: {differs}")
    assert counts["late"] == 0
    assert counts["ok"] > 10_000
    assert not wrong, "\n\n".join([f"{len(wrong)} of {len(batches)} batches", *wrong])
