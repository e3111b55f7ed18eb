"""What a backfill stored, read for training: in batches, by several readers, as of the moment it was asked for."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from training.stored import frames, matrix, stored_rows, torch_rows
from zipline.errors import EngineError, TableError, UsageError
from zipline.project import Project, load_project
from zipline.tables.delta import DeltaOutput

JOIN = "shop.visits"
DAYS = ["2024-05-01", "2024-05-02", "2024-05-03"]


def day(number: int, rows: int) -> pa.Table:
    first = number * 100
    return pa.table(
        {
            "user": [f"u{first + place}" for place in range(rows)],
            "spent": [None if place == 1 else float(first + place) for place in range(rows)],
            "is_late": [place % 2 == 0 for place in range(rows)],
            "label_late": pa.array([place % 2 for place in range(rows)], pa.int64()),
        }
    )


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "zipline.toml").write_text('name = "shop"\n')
    return load_project(tmp_path)


@pytest.fixture
def output(project: Project) -> DeltaOutput:
    found = DeltaOutput(project.table_uri(JOIN))
    found.replace_days({name: day(number, 5 + number) for number, name in enumerate(DAYS)})
    return found


def test_batches_are_the_table_in_its_order(project: Project, output: DeltaOutput) -> None:
    rows = stored_rows(JOIN, project=project)
    batches = list(rows.batches(2))
    assert max(batch.num_rows for batch in batches) == 2
    assert pa.Table.from_batches(batches) == rows.table() == output.read()


def test_days_and_columns_are_chosen_before_anything_is_read(project: Project, output: DeltaOutput) -> None:
    rows = stored_rows(JOIN, project=project, start="2024-05-02", end="2024-05-03", columns=["ds", "spent"])
    assert rows.table() == output.read(["2024-05-02", "2024-05-03"], columns=["ds", "spent"])
    assert [file.partition["ds"] for file in rows.files] == ["2024-05-02", "2024-05-03"]
    assert stored_rows(JOIN, project=project, columns=["ds"]).table().column("ds").to_pylist() == sorted(
        DAYS[:1] * 5 + DAYS[1:2] * 6 + DAYS[2:] * 7
    )


@pytest.mark.parametrize(
    ("bounds", "said"),
    [
        ({"start": "May"}, "'May' is not a day"),
        ({"end": "2024-05-32"}, "'2024-05-32' is not a day"),
        ({"start": "2024-05-03", "end": "2024-05-02"}, "start 2024-05-03 is after end 2024-05-02"),
        ({"start": "2024-06-01"}, "start 2024-06-01 is after end 2024-05-03"),
    ],
)
def test_bounds_are_days_in_their_order(
    project: Project, output: DeltaOutput, bounds: dict[str, str], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        stored_rows(JOIN, project=project, **bounds)  # type: ignore[arg-type]


def test_readers_share_the_files(project: Project, output: DeltaOutput) -> None:
    rows = stored_rows(JOIN, project=project)
    users = [
        user for n in range(2) for batch in rows.share(n, 2).batches() for user in batch.column("user").to_pylist()
    ]
    assert sorted(users) == sorted(rows.table().column("user").to_pylist())
    assert stored_rows(JOIN, project=project).share(5, 9).table().num_rows == 0


def test_what_is_committed_later_changes_nothing(project: Project, output: DeltaOutput) -> None:
    rows = stored_rows(JOIN, project=project)
    before = rows.table()
    output.replace("2024-05-01", day(7, 2))
    assert rows.table() == before
    assert stored_rows(JOIN, project=project).table() != before
    assert stored_rows(JOIN, project=project, version=0).table() == before


def test_frames_are_pandas(project: Project, output: DeltaOutput) -> None:
    found = list(frames(stored_rows(JOIN, project=project), 4))
    assert [len(frame) for frame in found] == [4, 1, 4, 2, 4, 3]
    assert found[0]["user"].tolist() == ["u0", "u1", "u2", "u3"]


def test_a_matrix_has_a_row_for_each_and_nan_where_there_is_no_value(project: Project, output: DeltaOutput) -> None:
    batch = next(stored_rows(JOIN, project=project).batches(3))
    expected = np.array([[0, 1], [np.nan, 0], [2, 1]], np.float32)
    np.testing.assert_array_equal(matrix(batch, ["spent", "is_late"]), expected)


def test_days_that_are_not_there_are_named_with_what_makes_them(project: Project, output: DeltaOutput) -> None:
    with pytest.raises(TableError) as raised:
        stored_rows(JOIN, project=project, start="2024-05-03", end="2024-05-05")
    assert "has no day 2024-05-04 and 1 others" in str(raised.value)
    assert raised.value.next_command == "zipline backfill shop.visits --start 2024-05-04 --end 2024-05-05"


def test_an_output_that_is_not_there(project: Project) -> None:
    with pytest.raises(TableError, match=r"nothing is stored of shop\.visits"):
        stored_rows(JOIN, project=project)


def test_a_file_that_is_gone_is_named(project: Project, output: DeltaOutput) -> None:
    rows = stored_rows(JOIN, project=project)
    Path(rows.files[1].path).unlink()
    with pytest.raises(TableError, match="cannot be read"):
        list(rows.batches())


def test_columns_that_no_tensor_has_are_named(project: Project, output: DeltaOutput) -> None:
    rows = stored_rows(JOIN, project=project)
    with pytest.raises(TableError, match="the rows have no column 'spend'"):
        torch_rows(rows, ["spend"])
    with pytest.raises(TableError, match="the column 'user' is string, which is no number"):
        torch_rows(rows, ["spent"], "user")


def test_without_torch_the_error_says_what_to_install(
    project: Project, output: DeltaOutput, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With it: tests/integration/torch."""
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "training.torch_rows", raising=False)
    with pytest.raises(EngineError, match="a torch dataset needs the package torch") as absent:
        torch_rows(stored_rows(JOIN, project=project), ["spent"])
    assert absent.value.next_command == "pip install 'zipline-features[torch]'"


@pytest.mark.parametrize("way", ["table()", "batches(2)"])
def test_a_program_that_reads_ends_well(project: Project, output: DeltaOutput, way: str) -> None:
    """Threads of Arrow that still hold a file of Python's when the interpreter ends abort it, every other time."""
    program = f"from training.stored import stored_rows\nlist(stored_rows({JOIN!r}).{way})\n"
    for _ in range(5):
        done = subprocess.run([sys.executable, "-c", program], cwd=project.root, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
