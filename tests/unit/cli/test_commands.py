"""Each command on a small project, from files to what is printed and written."""

import json
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.unit.cli.conftest import VISITS, Zipline, write_rows
from zipline.tables.delta import DeltaOutput

JOIN = "shop.visits.visits"
MAY = ("--start", "2024-05-01", "--end", "2024-05-03")


def warehouse(project: Path, table: str = JOIN) -> DeltaOutput:
    return DeltaOutput(str(project / ".zipline" / "warehouse" / table))


def test_compile_writes_a_file_for_each_object(zipline: Zipline, project: Path) -> None:
    ran = zipline("compile")
    assert ran.code == 0, ran.err
    assert "created 3: shop.spending.purchases, shop.spending.spending, shop.visits.visits" in ran.out
    written = json.loads((project / ".zipline/compiled/join/shop.visits.visits.json").read_text())
    assert [name for name, _ in written["columns"]] == [
        "visit",
        "user",
        "ts",
        "spending_amount_sum_1d",
        "spending_amount_sum_7d",
    ]


def test_compile_as_json(zipline: Zipline) -> None:
    zipline("compile")
    facts = zipline("compile", "--json").facts
    assert facts["unchanged"] == ["shop.spending.purchases", "shop.spending.spending", "shop.visits.visits"]
    assert facts["created"] == facts["changed"] == facts["deleted"] == []
    assert facts["counts"] == {"event_source": 1, "group_by": 1, "join": 1}
    assert facts["features"] == 2


def test_compile_of_a_wrong_definition_exits_with_two(zipline: Zipline, project: Path) -> None:
    (project / "configs/shop/bad.py").write_text("from zipline import Window\nw = Window('x')\n")
    ran = zipline("compile", "--json")
    assert ran.code == 2
    assert ran.facts["error"] == "DefinitionError"
    assert ran.facts["where"].endswith("bad.py:2")
    assert not (project / ".zipline/compiled").exists()


def test_compile_says_which_tables_it_could_not_see(zipline: Zipline, project: Path) -> None:
    (project / "configs/shop/visits.py").write_text(
        (project / "configs/shop/visits.py").read_text().replace('EventSource("visits"', 'EventSource("nowhere"')
    )
    ran = zipline("compile")
    assert ran.code == 0
    assert "1 object without types: there is no table 'nowhere'" in ran.out


def test_a_project_without_definitions_says_what_to_do(zipline: Zipline, project: Path) -> None:
    (project / "configs").rename(project / "elsewhere")
    ran = zipline("compile")
    assert ran.code == 2
    assert "there is no folder" in ran.err
    assert "next: zipline doctor" in ran.err


def test_plan_prints_what_a_backfill_would_do(zipline: Zipline) -> None:
    ran = zipline("plan", JOIN, *MAY)
    assert ran.code == 0, ran.err
    for words in ("read left", "read source", "aggregate", "spending_amount_sum_7d", "DOUBLE", "purchases"):
        assert words in ran.out
    assert "missing  2024-05-01..2024-05-03" in ran.out
    assert "rows: purchases does not tell its rows before it is read" in ran.out
    assert f"next: zipline backfill {JOIN} --start 2024-05-01 --end 2024-05-03" in ran.out


def test_plan_as_json_has_the_same_facts(zipline: Zipline, project: Path) -> None:
    facts = zipline("plan", JOIN, *MAY, "--json").facts
    assert facts["join"] == JOIN
    assert [step["title"] for step in facts["steps"]] == ["read left", "read source", "aggregate"]
    assert facts["columns"][-1] == ["spending_amount_sum_7d", "DOUBLE"]
    assert [read["table"] for read in facts["reads"]] == ["visits", "purchases"]
    assert facts["output"]["missing"] == [["2024-05-01", "2024-05-03"]]
    assert facts["checks"] == ["Check.unique(visit)"]
    assert not warehouse(project).exists(), "a plan writes nothing"


def test_plan_after_a_backfill_says_what_is_there(zipline: Zipline, project: Path) -> None:
    zipline("backfill", JOIN, "--start", "2024-05-02", "--end", "2024-05-02")
    output = zipline("plan", JOIN, *MAY, "--json").facts["output"]
    assert output["finished"] == [["2024-05-02", "2024-05-02"]]
    assert output["missing"] == [["2024-05-01", "2024-05-01"], ["2024-05-03", "2024-05-03"]]
    spending = project / "configs/shop/spending.py"
    spending.write_text(spending.read_text().replace('"7d"', '"6d"'))
    output = zipline("plan", JOIN, *MAY, "--json").facts["output"]
    assert (output["finished"], output["outdated"]) == ([], [["2024-05-02", "2024-05-02"]])


def test_a_dry_run_says_what_a_backfill_does_and_does_nothing(zipline: Zipline, project: Path) -> None:
    zipline("backfill", JOIN, "--start", "2024-05-02", "--end", "2024-05-02")
    before = warehouse(project).read()
    ran = zipline("backfill", JOIN, *MAY, "--step-days", "1", "--dry-run")
    assert ran.code == 0, ran.err
    for line in (
        f"{JOIN}, 2024-05-01..2024-05-03: 2 days to compute in 2 steps",
        "step 1   2024-05-01..2024-05-01",
        "step 2   2024-05-03..2024-05-03",
        "finished 2024-05-02",
        f"nothing was done; next: zipline backfill {JOIN} --start 2024-05-01 --end 2024-05-03",
    ):
        assert line in ran.out, ran.out
    forced = zipline("backfill", JOIN, *MAY, "--dry-run", "--force", "--json").facts
    assert [(step["start"], step["end"], step["days"]) for step in forced["steps"]] == [("2024-05-01", "2024-05-03", 3)]
    assert "--end 2024-05-03 --force" in forced["next"]
    assert warehouse(project).read() == before
    done = zipline("backfill", JOIN, *MAY)
    assert done.code == 0, done.err
    assert "nothing to do" in zipline("backfill", JOIN, *MAY, "--dry-run").out


def test_an_unknown_join_says_which_was_meant(zipline: Zipline) -> None:
    ran = zipline("plan", "shop.visits.visit", *MAY, "--json")
    assert ran.code == 2
    assert ran.facts["suggestion"] == JOIN


def test_a_range_that_ends_before_it_starts(zipline: Zipline) -> None:
    ran = zipline("backfill", JOIN, "--start", "2024-05-03", "--end", "2024-05-01")
    assert ran.code == 2
    assert "--start 2024-05-03 is after --end 2024-05-01" in ran.err


def test_a_range_that_nothing_tells(zipline: Zipline) -> None:
    ran = zipline("plan", JOIN)
    assert ran.code == 2
    assert "give --start and --end" in ran.err


def test_backfill_publishes_the_days(zipline: Zipline, project: Path) -> None:
    ran = zipline("backfill", JOIN, *MAY, "--step-days", "2")
    assert ran.code == 0, ran.err
    rows = warehouse(project).read()
    assert rows.to_pydict() == {
        "visit": [1, 2, 3],
        "user": ["ann", "bob", "ann"],
        "ts": rows.column("ts").to_pylist(),
        "spending_amount_sum_1d": [25.0, None, 5.0],
        "spending_amount_sum_7d": [25.0, None, 25.0],
        "ds": ["2024-05-02", "2024-05-02", "2024-05-03"],
    }
    assert warehouse(project).days() == {"2024-05-01", "2024-05-02", "2024-05-03"}


def test_backfill_again_skips_what_is_finished(zipline: Zipline, project: Path) -> None:
    zipline("backfill", JOIN, *MAY)
    facts = zipline("backfill", JOIN, *MAY, "--json").facts
    assert facts["skipped"] == ["2024-05-01", "2024-05-02", "2024-05-03"]
    assert facts["published"] == []
    forced = zipline("backfill", JOIN, *MAY, "--json", "--force").facts
    assert [day["day"] for day in forced["published"]] == ["2024-05-01", "2024-05-02", "2024-05-03"]
    assert (forced["rows"], forced["checks"]) == (3, 3)


def test_a_changed_window_is_planned_and_done_column_by_column(zipline: Zipline, project: Path) -> None:
    zipline("backfill", JOIN, *MAY)
    spending = project / "configs/shop/spending.py"
    spending.write_text(spending.read_text().replace('"7d"', '"6d"'))
    planned = zipline("plan", JOIN, "--start", "2024-05-02", "--end", "2024-05-02")
    assert "definition changed (spending_amount_sum_6d): 2024-05-02" in planned.out
    assert "carried  1 column not computed again" in planned.out
    assert "pending  2024-05-01, 2024-05-03: the output stays as it is" in planned.out
    first = zipline("backfill", JOIN, "--start", "2024-05-02", "--end", "2024-05-02", "--json").facts
    assert (first["pending"], first["succeeded"]) == (["2024-05-01", "2024-05-03"], False)
    assert [day["computed"] for day in first["published"]] == [["spending_amount_sum_6d"]]
    assert "spending_amount_sum_7d" in warehouse(project).schema()
    assert first["next"].startswith(f"zipline backfill {JOIN} --start 2024-05-01 --end 2024-05-03")
    ran = zipline(*first["next"].split()[1:])
    assert ran.code == 0, ran.err
    assert re.search(r"carried over +1 column on 2 days", ran.out)
    assert "the output is of the new definition now" in ran.out
    assert warehouse(project).read().column("spending_amount_sum_6d").to_pylist() == [25.0, None, 25.0]
    assert [child.name for child in Path(warehouse(project).uri).parent.iterdir()] == [JOIN]


def test_a_day_whose_rows_vanished_is_kept_and_said(zipline: Zipline, project: Path) -> None:
    zipline("backfill", JOIN, *MAY)
    before = warehouse(project).read()
    write_rows(project, "visits", [row for row in VISITS if "2024-05-03" not in str(row)])
    assert "2024-05-03 will be kept: input is gone (visits 2024-05-03)" in zipline("plan", JOIN, *MAY).out
    ran = zipline("backfill", JOIN, *MAY)
    assert ran.code == 1
    assert "1 day kept: partitions that they were made from are gone (visits 2024-05-03)" in ran.err
    facts = zipline("backfill", JOIN, *MAY, "--json")
    assert (facts.code, facts.facts["kept"], facts.facts["error"]) == (1, ["2024-05-03"], "DataError")
    assert warehouse(project).read().equals(before)
    command = facts.facts["next"].split()[1:]
    assert zipline(*command).code == 0
    assert warehouse(project).read(["2024-05-03"]).num_rows == 0


def test_a_critical_check_exits_with_one_and_keeps_the_old_day(zipline: Zipline, project: Path) -> None:
    zipline("backfill", JOIN, *MAY)
    write_rows(project, "visits", [*VISITS, {**VISITS[1], "user": "cat"}])
    ran = zipline("backfill", JOIN, *MAY, "--force", "--json")
    assert ran.code == 1
    assert ran.facts["error"] == "CheckError"
    assert "2024-05-02 failed 1 critical check: Check.unique(visit)" in ran.facts["what"]
    assert warehouse(project).read(["2024-05-02"]).num_rows == 2


def test_a_check_that_does_not_fit_is_refused_before_any_work(zipline: Zipline, project: Path) -> None:
    visits = project / "configs/shop/visits.py"
    visits.write_text(visits.read_text().replace('Check.unique("visit")', 'Check.matches("visit", "[0-9]+")'))
    ran = zipline("backfill", JOIN, *MAY)
    assert ran.code == 2
    assert not warehouse(project).exists()


def test_scoring_rows_have_a_table_of_their_own(zipline: Zipline, project: Path) -> None:
    ran = zipline("backfill", JOIN, *MAY, "--scoring")
    assert ran.code == 0, ran.err
    assert warehouse(project, f"{JOIN}.scoring").read().num_rows == 3
    assert not warehouse(project).exists()


def test_a_missing_table_exits_with_one(zipline: Zipline, project: Path) -> None:
    (project / "data/purchases.jsonl").unlink()
    ran = zipline("backfill", JOIN, *MAY)
    assert ran.code == 1
    assert "purchases" in ran.err
    assert "Traceback" not in ran.err


FEATURES = "shop.spending.spending.amount_sum_1d,shop.spending.spending.amount_sum_7d"


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.csv"
    path.write_text("user,ts\nann,2024-05-03T07:00:00Z\nbob,2024-05-03T07:00:00Z\n")
    return path


def test_train_set_writes_features_for_any_rows(zipline: Zipline, rows: Path, tmp_path: Path) -> None:
    ran = zipline("train-set", "--rows", str(rows), "--features", FEATURES, "--out", str(tmp_path / "out.parquet"))
    assert ran.code == 0, ran.err
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.column_names == ["user", "ts", "spending_amount_sum_1d", "spending_amount_sum_7d"]
    assert table.column("spending_amount_sum_7d").to_pylist() == [25.0, None]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "arrow"])
def test_train_set_writes_other_formats(zipline: Zipline, rows: Path, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"out.{suffix}"
    facts = zipline("train-set", "--rows", str(rows), "--features", FEATURES, "--out", str(out), "--json").facts
    assert facts["rows"] == 2
    assert out.stat().st_size > 0
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".out")] == []


def test_train_set_refuses_an_unknown_format_before_any_work(zipline: Zipline, rows: Path, tmp_path: Path) -> None:
    ran = zipline("train-set", "--rows", str(rows), "--features", FEATURES, "--out", str(tmp_path / "out.xlsx"))
    assert ran.code == 2
    assert ".parquet" in ran.err


def test_train_set_with_an_unknown_feature(zipline: Zipline, rows: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    feature = "shop.spending.spending.amount_sum_8d"
    ran = zipline("train-set", "--rows", str(rows), "--features", feature, "--out", str(out), "--json")
    assert ran.code == 2
    assert ran.facts["suggestion"] in ("amount_sum_1d", "amount_sum_7d")
    assert not out.exists()


def test_explain_says_which_events_made_a_value(zipline: Zipline) -> None:
    row = '{"user": "ann", "ts": "2024-05-03T07:00:00Z"}'
    ran = zipline("explain", "shop.spending.spending", "amount_sum_1d", "--row", row)
    assert ran.code == 0, ran.err
    assert "amount_sum_1d = 5.0" in ran.out
    facts = zipline("explain", JOIN, "spending_amount_sum_7d", "--row", row, "--json").facts
    assert facts["value"] == 25.0
    assert facts["counts"] == {"seen": 2}


@pytest.mark.parametrize("row", ["{", "[1]", '"x"'])
def test_explain_of_a_row_that_is_no_object(zipline: Zipline, row: str) -> None:
    ran = zipline("explain", "shop.spending.spending", "amount_sum_1d", "--row", row)
    assert ran.code == 2
    assert "--row is" in ran.err


def test_doctor_of_a_project_that_works(zipline: Zipline) -> None:
    ran = zipline("doctor", "--json")
    assert ran.code == 0, ran.out
    states = {finding["what"]: finding["state"] for finding in ran.facts["findings"]}
    assert states == {
        "spark pyspark": "ok",
        "spark java": "ok",
        "spark python of executors": "ok",
        "flink libraries": "ok",
        "flink java": "ok",
        "flink jar": "ok",
        "python": "ok",
        "packages": "ok",
        "project": "ok",
        "warehouse": "ok",
        "online store": "ok",
        "disk": states["disk"],
        "definitions": "ok",
        "tables": "ok",
        "outputs": "ok",
        "registry": "ok",
    }


def test_doctor_of_a_project_that_lacks_a_table(zipline: Zipline, project: Path) -> None:
    (project / "data/visits.jsonl").unlink()
    ran = zipline("doctor")
    assert ran.code == 1
    assert "wrong tables" in ran.out
    assert "visits" in ran.out


def test_doctor_of_a_project_whose_definitions_are_wrong(zipline: Zipline, project: Path) -> None:
    (project / "configs/shop/bad.py").write_text("1 / 0\n")
    ran = zipline("doctor", "--json")
    assert ran.code == 1
    [wrong] = [finding for finding in ran.facts["findings"] if finding["what"] == "definitions"]
    assert "ZeroDivisionError" in wrong["detail"]
    assert "bad.py:1" in wrong["detail"]
