"""What `zipline doctor` and `zipline plan` say of the registry and of past runs."""

import pytest

from zipline.orchestration.runs import recorded_run
from zipline.project import load_project
from zipline.registry import Compiled, Measures, Outcome, open_registry


@pytest.fixture
def registry(project):
    with open_registry(load_project(project)) as opened:
        yield opened


def finding(zipline):
    (found,) = [each for each in zipline("doctor", "--json").facts["findings"] if each["what"] == "registry"]
    return found


def test_a_registry_that_no_run_has_made_yet_is_no_fault_and_stays_unmade(zipline, project):
    assert finding(zipline)["state"] == "ok"
    assert finding(zipline)["detail"].endswith("registry.db (made by the first run)")
    assert not (project / ".zipline" / "registry.db").exists()


def test_a_registry_is_described_with_who_is_at_work(zipline, registry):
    registry.record([Compiled("shop.visits.visits", "Join", "1" * 64, "{}")])
    with recorded_run(registry, "backfill", {}, subject="shop.visits.visits"):
        found = finding(zipline)
    assert found["state"] == "ok"
    assert "1 run, 1 compiled object; zipline backfill shop.visits.visits by process" in found["detail"]


def test_a_run_that_was_lost_is_named_until_its_next_run_ends(zipline, registry):
    lock = registry.locks.acquire("table", "backfill")
    registry.runs.start("backfill", "shop.visits.visits", {}, lock="table", token=lock.token)
    lock.release()
    found = finding(zipline)
    assert (found["state"], found["remedy"]) == (
        "look",
        "run zipline backfill shop.visits.visits again: it goes on where it stopped",
    )
    with recorded_run(registry, "backfill", {}, subject="shop.visits.visits"):
        pass
    assert finding(zipline)["state"] == "ok"


def test_a_damaged_registry_is_wrong_and_the_remedy_keeps_the_file(zipline, project):
    (project / ".zipline").mkdir()
    (project / ".zipline" / "registry.db").write_bytes(b"this is no database " * 100)
    ran = zipline("doctor", "--json")
    (found,) = [each for each in ran.facts["findings"] if each["what"] == "registry"]
    assert ran.code == 1
    assert found["state"] == "wrong"
    assert "is damaged" in found["detail"]
    assert "move it away" in found["remedy"]


def test_a_plan_shows_what_it_will_cost_and_learns_from_past_runs(zipline, registry):
    arguments = ("plan", "shop.visits.visits", "--start", "2024-05-02", "--end", "2024-05-03", "--json")
    first = zipline(*arguments).facts["cost"]
    assert first["rows"] == 3
    assert first["basis"] == "constants measured on the demo"
    predicted = {"rows": 3.0, "seconds": first["seconds"], "peak_bytes": first["peak_bytes"]}
    run = registry.runs.start("backfill", "shop.visits.visits", {})
    registry.runs.finish(run, Outcome.DONE, Measures(rows=3), 2 * first["seconds"], predicted=predicted)
    again = zipline(*arguments).facts["cost"]
    assert again["seconds"] == pytest.approx(2 * first["seconds"])
    assert again["basis"] == "1 past run of this join"


def test_a_plan_says_its_cost_in_words(zipline):
    out = zipline("plan", "shop.visits.visits", "--start", "2024-05-02", "--end", "2024-05-03").out
    assert "cost     3 rows" in out
    assert "at most (constants measured on the demo)" in out
