"""`zipline upload` and `zipline fetch`: what they do, what they say, and what they refuse."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.unit.cli.conftest import PURCHASES, VISITS, Zipline, write_rows
from zipline import Fetcher
from zipline.project import load_project

ROOT = Path(__file__).parents[3]
NOON = "2024-05-05T12:00:00Z"


def upload(zipline: Zipline, day: str = "2024-05-04", *more: str) -> None:
    done = zipline("upload", "shop.spending.spending", "--ds", day, *more)
    assert done.code == 0, done.err


def test_a_day_is_uploaded_and_looked_up(zipline: Zipline) -> None:
    told = zipline("upload", "shop.spending.spending", "--ds", "2024-05-04")
    assert told.code == 0, told.err
    assert "uploaded 2 keys" in told.out
    found = zipline("fetch", "shop.visits.visits", "--key", "user=ann", "--at", NOON)
    assert found.code == 0, found.err
    assert "user=ann" in found.out
    rows = '[{"user": "ann"}, {"user": "eve"}]'
    facts = zipline("fetch", "shop.visits.visits", "--rows", rows, "--at", NOON, "--json")
    ann, eve = facts.facts["rows"]
    assert ann["values"] == {"spending_amount_sum_1d": None, "spending_amount_sum_7d": 25.0}
    assert ann["time"]["spending_amount_sum_7d"] == "2024-05-05T00:00:00+00:00"
    assert set(ann["status"].values()) == set(eve["status"].values()) == {"stale"}, "nothing tells of events since"
    at_midnight = ("--at", "2024-05-05", "--json")
    row = zipline("fetch", "shop.visits.visits", "--key", "user=ann", *at_midnight).facts["rows"][0]
    assert row["status"] == {"spending_amount_sum_1d": "default"}


def test_uploading_again_takes_what_was_corrected(zipline: Zipline, project: Path) -> None:
    upload(zipline)
    write_rows(project, "purchases", [*PURCHASES, {"user": "ann", "amount": 1.5, "bought_at": "2024-05-03T08:00:00Z"}])
    fetch = ("fetch", "shop.visits.visits", "--key", "user=ann", "--at", NOON, "--json")
    assert zipline(*fetch).facts["rows"][0]["values"]["spending_amount_sum_7d"] == 25.0
    upload(zipline)
    assert zipline(*fetch).facts["rows"][0]["values"]["spending_amount_sum_7d"] == 26.5


def test_facts_of_an_upload(zipline: Zipline) -> None:
    facts = zipline("upload", "shop.spending.spending", "--ds", "2024-05-04", "--json").facts
    assert (facts["group_by"], facts["day"], facts["keys"], facts["missing"]) == (
        "shop.spending.spending",
        "2024-05-04",
        2,
        [],
    )
    assert facts["bytes"] > 0


def test_a_day_of_which_a_source_has_nothing_is_refused_by_name(zipline: Zipline) -> None:
    refused = zipline("upload", "shop.spending.spending", "--ds", "2024-05-09")
    assert refused.code == 1
    assert "the table 'purchases' has no rows after 2024-05-04" in refused.err
    assert "next: zipline upload shop.spending.spending --ds 2024-05-09 --allow-missing" in refused.err
    assert zipline("fetch", "shop.visits.visits", "--key", "user=ann", "--json").facts["rows"][0]["status"] == {
        "spending_amount_sum_1d": "unavailable",
        "spending_amount_sum_7d": "unavailable",
    }
    allowed = zipline("upload", "shop.spending.spending", "--ds", "2024-05-09", "--allow-missing")
    assert allowed.code == 0
    assert "warning: the table 'purchases' has no rows after 2024-05-04" in allowed.out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("upload", "shop.spending.spendin", "--ds", "2024-05-04"), 2, "did you mean 'shop.spending.spending'"),
        (("upload", "shop.spending.spending", "--ds", "May"), 2, "is not a day"),
        (("fetch", "shop.visits.visit", "--key", "user=ann"), 2, "did you mean 'shop.visits.visits'"),
        (("fetch", "shop.visits.visits"), 2, "a fetch needs keys"),
        (("fetch", "shop.visits.visits", "--key", "user"), 2, "has no value"),
        (("fetch", "shop.visits.visits", "--key", "usr=ann"), 2, "does not take 'usr' (rows[0])"),
        (("fetch", "shop.visits.visits", "--rows", "[1]"), 2, "--rows is no list of objects"),
        (("fetch", "shop.visits.visits", "--rows", "{"), 2, "--rows is no JSON"),
        (("fetch", "shop.visits.visits", "--key", "user=12"), 1, "rows[0].user: 12 is not a value of type STRING"),
    ],
)
def test_what_does_not_fit_is_refused(arguments: tuple[str, ...], code: int, said: str, zipline: Zipline) -> None:
    done = zipline(*arguments)
    assert done.code == code, (done.out, done.err)
    assert said in done.err
    assert "Traceback" not in done.err


def test_a_changed_definition_is_not_served_from_what_an_older_one_uploaded(zipline: Zipline, project: Path) -> None:
    upload(zipline)
    file = project / "configs" / "shop" / "spending.py"
    file.write_text(file.read_text().replace("Operation.SUM", "Operation.MAX"))
    fetch = ("fetch", "shop.visits.visits", "--key", "user=ann", "--at", NOON, "--json")
    row = zipline(*fetch).facts["rows"][0]
    assert set(row["values"].values()) == {None}
    assert set(row["status"].values()) == {"unavailable"}
    upload(zipline)
    assert zipline(*fetch).facts["rows"][0]["values"]["spending_amount_max_7d"] == 20.0


def test_a_fetcher_of_the_project_fetches_the_same(zipline: Zipline, project: Path) -> None:
    upload(zipline)
    fetcher = Fetcher(load_project(project))
    found = fetcher.fetch("shop.visits.visits", [{"user": "bob"}], at=NOON)
    fetcher.close()
    assert found.rows() == [{"spending_amount_sum_1d": None, "spending_amount_sum_7d": 7.5}]
    assert found.columns().to_pylist() == found.rows()


def test_the_job_is_the_command(zipline: Zipline, project: Path) -> None:
    job = [sys.executable, str(ROOT / "jobs" / "upload.py"), "shop.spending.spending", "--ds", "2024-05-04"]
    done = subprocess.run([*job, "--project", str(project)], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "uploaded 2 keys" in done.stdout


def test_a_command_that_used_sketches_ends_without_a_word_of_its_libraries(zipline: Zipline, project: Path) -> None:
    file = project / "configs" / "shop" / "spending.py"
    file.write_text(file.read_text().replace("Operation.SUM", "Operation.APPROX_UNIQUE_COUNT"))
    for table, rows in (("purchases", PURCHASES), ("visits", VISITS)):  # of which DuckDB reads no schema
        pq.write_table(pa.Table.from_pylist(rows), project / "data" / f"{table}.parquet")
    settings = project / "zipline.toml"
    settings.write_text(settings.read_text().replace(".jsonl", ".parquet"))
    upload(zipline)
    fetch = ["fetch", "shop.visits.visits", "--key", "user=ann", "--at", NOON, "--project", str(project)]
    done = subprocess.run(
        [sys.executable, "-m", "zipline.cli.main", *fetch], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "spending_amount_approx_unique_count_7d" in done.stdout


def test_a_day_before_the_one_that_is_served_does_not_take_its_place(zipline: Zipline) -> None:
    upload(zipline)
    refused = zipline("upload", "shop.spending.spending", "--ds", "2024-05-03")
    assert refused.code == 2
    assert "shop.spending.spending is served as of the end of 2024-05-04" in refused.err
    assert "next: zipline upload shop.spending.spending --ds 2024-05-03 --allow-older" in refused.err
    fetch = ("fetch", "shop.visits.visits", "--key", "user=ann", "--at", NOON, "--json")
    assert zipline(*fetch).facts["rows"][0]["time"]["spending_amount_sum_7d"] == "2024-05-05T00:00:00+00:00"
    upload(zipline, "2024-05-03", "--allow-older")
    assert zipline(*fetch).facts["rows"][0]["time"]["spending_amount_sum_7d"] == "2024-05-04T00:00:00+00:00"
    upload(zipline)
    upload(zipline)
