"""Random differential tests: engines against the oracle, on more than a thousand seeded cases."""

from __future__ import annotations

from functools import cache

import pytest

from zipline import Operation

from .adapters import Adapter
from .comparison import assert_all_agree
from .generate import THEMES, Scenario, scenarios
from .tables import AggregateCase
from .tallies import KINDS, KNOWN_KINDS, TALLIES, tally

CASES = 20
SCENARIOS = scenarios()


@cache
def cases_of(scenario: Scenario) -> list[AggregateCase]:
    return scenario.cases(CASES)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_engines_agree_with_the_oracle(engine: Adapter, scenario: Scenario) -> None:
    cases = cases_of(scenario)
    assert_all_agree(cases, engine.run_batch(cases))


@pytest.mark.parametrize("scenario", SCENARIOS[:6], ids=lambda scenario: scenario.name)
def test_cases_run_as_one_job_give_what_they_give_alone(adapter: Adapter, scenario: Scenario) -> None:
    cases = cases_of(scenario)[:6]
    alone = [adapter.run(case) for case in cases]
    assert_all_agree(cases, alone)
    assert_all_agree(cases, adapter.run_batch(cases))


def test_every_operation_is_drawn() -> None:
    assert {name for choices in THEMES.values() for name, _, _ in choices} == set(Operation.__members__)


def test_every_awkward_kind_of_event_is_at_least_one_in_a_hundred() -> None:
    counts = tally(case for scenario in SCENARIOS for case in cases_of(scenario))
    TALLIES["events of random cases"] = {kind: counts[kind] for kind in ("cases", "queries", "events", *KINDS)}
    assert counts["cases"] >= 1000
    wholes = {kind: counts["events with a second clock" if kind in KNOWN_KINDS else "events"] for kind in KINDS}
    assert [kind for kind in KINDS if counts[kind] * 100 < wholes[kind]] == []
