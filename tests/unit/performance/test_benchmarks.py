"""The benchmarks work, and every alternative that they measure computes what we do. Nothing here looks at a clock."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.performance import __main__ as command
from tests.performance import baselines, cases, data, tasks
from tests.performance.cases import Bench, Row, Scale
from tests.performance.comparison import differences
from tests.performance.definitions import OPERATIONS
from tests.performance.measure import Failed, measure

Files = tuple[Path, Path]
Statements = Callable[[Path, Path, Path], list[str] | None]


@pytest.fixture(scope="module", params=["time", "none"])
def files(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Files:
    return data.make(tmp_path_factory.mktemp("data"), 2_000, 200, 20, request.param, wide=True)


@pytest.fixture(scope="module")
def results(files: Files) -> dict[str, pa.Table]:
    return {}


def ours(case: str, files: Files, results: dict[str, pa.Table], folder: Path) -> pa.Table:
    if case not in results:
        out = folder / "ours.parquet"
        tasks.ours(case, str(files[0]), str(files[1]), str(out))
        results[case] = pq.read_table(out)
    return results[case]


def theirs(statements: list[str], folder: Path) -> pa.Table:
    tasks.duckdb(statements)
    return pq.read_table(folder / "theirs.parquet")


@pytest.mark.parametrize("formulation", baselines.FORMULATIONS)
def test_every_formulation_of_the_windows_gives_our_values(
    formulation: str, files: Files, results: dict[str, pa.Table], tmp_path: Path
) -> None:
    statements = baselines.sixteen_windows(formulation, *files, tmp_path / "theirs.parquet")
    assert differences(ours("windows", files, results, tmp_path), theirs(statements, tmp_path)) == []


@pytest.mark.parametrize(
    ("name", "formulation"),
    [
        (name, formulation)
        for name in OPERATIONS
        for formulation in baselines.FORMULATIONS
        if baselines.operation(name, formulation, Path("e"), Path("q"), Path("o"))
    ],
)
def test_every_formulation_of_an_operation_gives_our_values(
    name: str, formulation: str, files: Files, results: dict[str, pa.Table], tmp_path: Path
) -> None:
    statements = baselines.operation(name, formulation, *files, tmp_path / "theirs.parquet")
    assert statements is not None
    assert differences(ours(f"operation:{name}", files, results, tmp_path), theirs(statements, tmp_path)) == []


def test_the_asof_join_gives_our_latest_values(files: Files, results: dict[str, pa.Table], tmp_path: Path) -> None:
    statements = baselines.asof_join(*files, tmp_path / "theirs.parquet")
    assert differences(ours("lookup", files, results, tmp_path), theirs(statements, tmp_path)) == []


def test_a_difference_is_seen() -> None:
    one = pa.table({"a": [1.0, 2.0, None], "b": [[1.0], [2.0], None]})
    other = pa.table({"a": [1.0, 2.1, 3.0], "b": [[1.0], [2.0], [3.0]]})
    assert differences(one, one) == []
    assert differences(one, other) == ["a: 2 rows differ", "b: 1 rows differ"]


def test_events_have_distinct_times_and_the_order_asked_for(tmp_path: Path) -> None:
    ordered, shuffled = (pq.read_table(data.make(tmp_path, 500, 50, 5, order)[0]) for order in ("time", "none"))
    times = ordered.column("t").to_pylist()
    assert times == sorted(set(times))
    assert shuffled.column("t").to_pylist() != times
    assert shuffled.sort_by("t").equals(ordered)


def test_a_measurement_reports_memory_and_fails_with_the_last_line_of_the_error() -> None:
    assert measure("process", {"code": "pass"})["peak_bytes"] > 0
    with pytest.raises(Failed, match="missing"):
        measure("compare", {"ours": "missing.parquet", "theirs": "missing.parquet"})


def test_a_case_compares_before_it_reports_a_ratio(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Scale(500, 500, 500, (500,), rounds=1))
    (row,) = cases.lookup(bench)
    assert (row.case, row.alternative) == ("latest value of 10 columns", "DuckDB, ASOF JOIN")
    assert row.ratio is not None


def test_the_command_prints_a_table_and_writes_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def windows(bench: Bench) -> Iterator[Row]:
        yield Row("a case", 2.0, "another way", 30.0, ">= 10x", is_met=True)

    monkeypatch.setitem(command.CASES, "windows", windows)
    out = tmp_path / "bench.json"
    assert command.main(["--only", "windows", "--scale", "small", "--out", str(out)]) == 0
    assert "another way" in capsys.readouterr().out
    (row,) = json.loads(out.read_text())["rows"]
    assert (row["case"], row["ratio"], row["is_met"]) == ("a case", 15.0, True)
