"""What a registry remembers of runs, and what it says of those that never ended."""

import pytest

from zipline.registry import Measures, Outcome

DAYS = ("2024-05-01", "2024-05-02", "2024-05-03")


def started(registry, subject="shop.visits", lock=None):
    taken = {"lock": lock.name, "token": lock.token} if lock else {}
    return registry.runs.start("backfill", subject, {"start": "2024-05-01", "force": True}, days=DAYS, **taken)


def test_a_run_keeps_what_was_asked_and_what_came_of_it(registry, clock):
    began = clock()
    run = registry.runs.start("backfill", "shop.visits", {"step_days": 30}, fingerprint="f" * 64, days=DAYS)
    ended = clock.forward(2.5)
    measures = Measures(10, 2**40, 300, 5 * 2**30, {"read": 1.25, "aggregate": 1.0})
    registry.runs.finish(run, Outcome.DONE, measures, 2.5, predicted={"rows": 9.0})
    found = registry.runs.find(run)
    assert (found.what, found.subject, found.arguments) == ("backfill", "shop.visits", {"step_days": 30})
    assert (found.fingerprint, found.first_day, found.last_day, found.days) == ("f" * 64, DAYS[0], DAYS[2], 3)
    assert (found.measures, found.seconds, found.outcome, found.error) == (measures, 2.5, Outcome.DONE, None)
    assert (found.started, found.ended, found.predicted) == (began, ended, {"rows": 9.0})


def test_a_failed_run_keeps_its_error(registry):
    run = started(registry)
    registry.runs.finish(run, Outcome.FAILED, Measures(), 0.1, "the disk is full: größer")
    assert registry.runs.find(run).error == "the disk is full: größer"


def test_a_run_of_this_process_is_running(registry):
    assert registry.runs.find(started(registry)).outcome is Outcome.RUNNING


def test_runs_come_newest_first_of_one_definition_or_with_one_outcome(registry, clock):
    first = started(registry)
    clock.forward(1)
    second = started(registry, "shop.other")
    clock.forward(1)
    third = started(registry)
    registry.runs.finish(first, Outcome.FAILED, Measures(), 1.0, "no")
    assert [run.id for run in registry.runs.recent()] == [third, second, first]
    assert [run.id for run in registry.runs.recent(most=2)] == [third, second]
    assert [run.id for run in registry.runs.recent(subject="shop.visits")] == [third, first]
    assert [run.id for run in registry.runs.recent(outcomes=[Outcome.FAILED])] == [first]


def test_a_run_whose_lock_was_given_back_without_an_outcome_is_lost(registry):
    with registry.locks.acquire("table", "backfill") as lock:
        run = started(registry, lock=lock)
        assert registry.runs.find(run).outcome is Outcome.RUNNING
        assert registry.runs.recent(outcomes=[Outcome.LOST]) == ()
    assert registry.runs.find(run).outcome is Outcome.LOST
    assert [each.id for each in registry.runs.recent(outcomes=[Outcome.LOST])] == [run]
    assert registry.runs.recent(outcomes=[Outcome.RUNNING]) == ()


def test_a_run_whose_lease_is_over_is_lost_and_whoever_takes_its_lock_writes_that_down(registry, clock):
    lock = registry.locks.acquire("table", "backfill", lease=60)
    run, last_sign = started(registry, lock=lock), clock()
    clock.forward(61)
    assert registry.runs.find(run).outcome is Outcome.LOST
    assert registry.runs.find(run).ended is None
    with registry.locks.acquire("table", "another"):
        found = registry.runs.find(run)
    assert (found.outcome, found.ended, found.seconds) == (Outcome.LOST, last_sign, 0.0)


@pytest.mark.parametrize("outcome", [Outcome.DONE, Outcome.FAILED])
def test_a_run_that_ended_stays_so_when_its_lock_is_taken(registry, outcome):
    with registry.locks.acquire("table", "backfill") as lock:
        run = started(registry, lock=lock)
        registry.runs.finish(run, outcome, Measures(), 1.0)
    with registry.locks.acquire("table", "another"):
        assert registry.runs.find(run).outcome is outcome


def test_a_run_that_is_not_there_is_none(registry):
    assert registry.runs.find(7) is None
