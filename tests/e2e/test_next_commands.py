"""The commands that `plan` and `backfill` print as next do what they are printed for: they are run as they stand."""

import shlex
import shutil
from pathlib import Path

import pytest

from tests.e2e.spoiling import BACKFILL, FEATURES, LARGE, SOURCES, TRAINING, VISITS, add, swap
from tests.e2e.test_command_line import JOIN, RANGE, Zipline, output, shop, zipline
from tests.unit.cli.conftest import Ran

__all__ = ["shop", "zipline"]

PLAN = ("plan", JOIN, *RANGE)


@pytest.fixture
def done(zipline: Zipline, shop: Path) -> Path:
    """The shop with its join backfilled, without labels."""
    assert zipline(*BACKFILL, "--scoring").code == 0
    return shop


def lose_clicks_of_the_first(shop: Path) -> None:
    """Seen by May 2 alone."""
    shutil.rmtree(shop / "data/clicks/ds=2024-05-01")


widen = swap(
    FEATURES,
    'Aggregation("page", Operation.COUNT, windows=["1d"])',
    'Aggregation("page", Operation.COUNT, windows=["2d"])',
)


def run(zipline: Zipline, command: str) -> Ran:
    first, *arguments = shlex.split(command)
    assert first == "zipline"
    return zipline(*arguments)


def next_of(ran: Ran) -> str:
    [line] = [line for line in ran.err.splitlines() if line.strip().startswith("next: ")]
    return line.strip().removeprefix("next: ")


def columns(shop: Path) -> set[str]:
    return set(output(shop, f"dev_{JOIN}.scoring").schema())


def test_days_that_lost_input_are_made_by_the_command_of_the_error(zipline: Zipline, done: Path) -> None:
    lose_clicks_of_the_first(done)
    kept = zipline(*BACKFILL, "--scoring")
    assert kept.code == 1
    forced = run(zipline, next_of(kept))
    assert forced.code == 0, forced.err
    assert zipline(*BACKFILL, "--scoring", "--json").facts["kept"] == []


def test_the_plan_of_days_that_lost_input_prints_a_command_that_makes_them(zipline: Zipline, done: Path) -> None:
    lose_clicks_of_the_first(done)
    facts = zipline(*PLAN, "--scoring", "--json").facts
    assert facts["output"]["kept"] == [["2024-05-02", "2024-05-02"]]
    assert facts["output"]["kept_next"] == facts["next"]
    assert facts["next"] in zipline(*PLAN, "--scoring").out
    assert run(zipline, facts["next"]).code == 0
    assert zipline(*PLAN, "--scoring", "--json").facts["output"]["kept"] == []


def test_with_other_days_to_do_the_plans_command_does_these_and_says_the_rest(zipline: Zipline, done: Path) -> None:
    lose_clicks_of_the_first(done)
    widen(done)
    facts = zipline(*PLAN, "--scoring", "--json").facts
    assert (facts["output"]["kept"], facts["output"]["pending"]) == ([["2024-05-02", "2024-05-03"]],) * 2
    first = run(zipline, facts["next"])
    assert first.code == 1
    assert "browsing_page_count_2d" not in columns(done)
    assert run(zipline, next_of(first)).code == 0
    assert "browsing_page_count_2d" in columns(done)


def test_a_new_generation_is_completed_by_following_what_is_printed(zipline: Zipline, done: Path) -> None:
    lose_clicks_of_the_first(done)
    widen(done)
    last = ("backfill", JOIN, "--start", "2024-05-04", "--end", "2024-05-04", "--scoring", "--json")
    facts = zipline(*last).facts
    assert facts["pending"] == facts["blocked"] == ["2024-05-02", "2024-05-03"]
    assert " --force" in facts["next"]
    assert zipline(*PLAN, "--scoring", "--json").facts["output"]["pending_next"] == facts["next"]
    finished = run(zipline, facts["next"])
    assert finished.code == 0, finished.err
    assert "the output is of the new definition now" in finished.out
    assert "browsing_page_count_2d" in columns(done)


def test_pending_days_that_have_their_input_come_first_and_without_force(zipline: Zipline, done: Path) -> None:
    shutil.rmtree(done / "data/clicks/ds=2024-05-02")  # its one click is seen by May 2 alone
    swap(SOURCES, LARGE, "CAST(amount > 5 AS INT)")(done)
    facts = zipline("backfill", JOIN, "--start", "2024-05-03", "--end", "2024-05-03", "--scoring", "--json").facts
    assert (facts["kept"], facts["pending"], facts["blocked"]) == ([], ["2024-05-02", "2024-05-04"], ["2024-05-02"])
    assert shlex.split(facts["next"])[3:7] == ["--start", "2024-05-04", "--end", "2024-05-04"]
    assert "--force" not in facts["next"]
    commands = 0
    while facts["next"]:
        ran = run(zipline, f"{facts['next']} --json")
        facts, commands = ran.facts, commands + 1
        assert ran.code == 0
        assert facts["published"], "each command does something"
    assert (commands, facts["succeeded"]) == (2, True)


def test_a_check_that_fails_under_force_is_run_again_with_force(zipline: Zipline, done: Path) -> None:
    swap(TRAINING, 'Check.unique("visit")', 'Check.between("visit", 1, 2)')(done)
    ran = zipline("backfill", JOIN, "--start", "2024-05-03", "--end", "2024-05-03", "--scoring", "--force")
    assert ran.code == 1
    assert next_of(ran).endswith("--start 2024-05-03 --end 2024-05-03 --force --scoring")
    swap(TRAINING, 'Check.between("visit", 1, 2)', 'Check.unique("visit")')(done)
    again = run(zipline, next_of(ran))
    assert "1 published" in again.out, "the day is valid: without force it would be skipped"


def test_a_day_that_was_never_there_is_run_again_without_force(zipline: Zipline, shop: Path) -> None:
    add(VISITS, '{"visit": 3, "customer": "bob", "at": "2024-05-03T10:00:00Z"}\n')(shop)
    assert "--force" not in next_of(zipline(*BACKFILL, "--scoring", "--force")).replace("--scoring", "")


def test_until_when_labels_are_known_is_repeated(zipline: Zipline, shop: Path) -> None:
    until = ("--as-of", "2024-05-04T12:00:00Z")
    assert zipline(*BACKFILL, *until).code == 0
    lose_clicks_of_the_first(shop)
    for printed in (next_of(zipline(*BACKFILL, *until)), zipline(*PLAN, *until, "--json").facts["next"]):
        assert shlex.split(printed)[-3:] == ["--force", *until]
