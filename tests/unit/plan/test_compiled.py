"""What `zipline compile` writes, and what it says has changed."""

import json
from pathlib import Path

import pytest

from zipline import fingerprint, load
from zipline.errors import DefinitionError, TableError
from zipline.plan.compiled import compile_definitions
from zipline.types import DOUBLE, STRING, TIMESTAMP, DataType

CARRIERS_FILE = "group_by/flights.carriers.carrier_arrivals.json"


def schemas(table: str) -> dict[str, DataType]:
    if table != "flights":
        raise TableError(f"there is no table {table!r}")
    return {"carrier": STRING, "dest": STRING, "arr_delay": DOUBLE, "arrived_at": TIMESTAMP, "departure": TIMESTAMP}


def files(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_each_object_has_a_file(company: Path, tmp_path: Path) -> None:
    definitions = load(company)
    result = compile_definitions(definitions, tmp_path / "compiled")
    assert sorted(files(tmp_path / "compiled")) == [
        "event_source/flights.sources.flights.json",
        "group_by/flights.carriers.carrier_arrivals.json",
        "join/flights.training.departures.json",
    ]
    assert result.created == tuple(definitions)
    assert result.counts == {"event_source": 1, "group_by": 1, "join": 1}
    assert result.features == 2


def test_a_file_holds_what_a_reviewer_asks_for(company: Path, tmp_path: Path) -> None:
    definitions = load(company)
    compile_definitions(definitions, tmp_path / "compiled", schemas)
    written = json.loads(files(tmp_path / "compiled")["join/flights.training.departures.json"])
    group_by = definitions.group_bys[0]
    assert written["fingerprint"] == fingerprint(definitions.joins[0])
    assert written["owner"] == "flight-ops"
    assert written["location"] == "configs/flights/training.py:5"
    assert written["needs"] == ["flights.carriers.carrier_arrivals"]
    assert written["definition"]["parts"] == [
        {
            "kind": "JoinPart",
            "source": {"kind": "GroupBy", "name": group_by.name, "fingerprint": fingerprint(group_by)},
        }
    ]
    assert written["columns"] == [
        ["carrier", "STRING"],
        ["ts", "TIMESTAMP"],
        ["carrier_arrivals_delay_average_1d", "DOUBLE"],
        ["carrier_arrivals_delay_average_7d", "DOUBLE"],
    ]


def test_the_same_definitions_give_the_same_bytes(company: Path, tmp_path: Path) -> None:
    compile_definitions(load(company), tmp_path / "one", schemas)
    compile_definitions(load(company), tmp_path / "two", schemas)
    assert files(tmp_path / "one") == files(tmp_path / "two")
    assert str(tmp_path) not in "".join(files(tmp_path / "one").values())


def test_a_second_run_says_what_has_changed(company: Path, tmp_path: Path) -> None:
    compile_definitions(load(company), tmp_path / "compiled")
    carriers = company / "flights/carriers.py"
    carriers.write_text(carriers.read_text().replace('"7d"', '"14d"'))
    (company / "flights/more.py").write_text("from zipline import EventSource\nrides = EventSource(table='rides')\n")
    result = compile_definitions(load(company), tmp_path / "compiled")
    assert result.created == ("flights.more.rides",)
    assert result.changed == ("flights.carriers.carrier_arrivals", "flights.training.departures")
    assert result.unchanged == ("flights.sources.flights",)
    assert result.deleted == ()


def test_files_of_deleted_objects_go(company: Path, tmp_path: Path) -> None:
    compile_definitions(load(company), tmp_path / "compiled")
    (company / "flights/training.py").unlink()
    result = compile_definitions(load(company), tmp_path / "compiled")
    assert result.deleted == ("flights.training.departures",)
    assert "join/flights.training.departures.json" not in files(tmp_path / "compiled")


def test_nothing_but_the_folder_is_left(company: Path, tmp_path: Path) -> None:
    compile_definitions(load(company), tmp_path / "out" / "compiled")
    compile_definitions(load(company), tmp_path / "out" / "compiled")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["compiled"]


def test_a_type_that_does_not_fit_writes_nothing(company: Path, tmp_path: Path) -> None:
    compile_definitions(load(company), tmp_path / "compiled", schemas)
    before = files(tmp_path / "compiled")
    carriers = company / "flights/carriers.py"
    carriers.write_text(carriers.read_text().replace('"delay"', '"dest"'))
    with pytest.raises(DefinitionError):
        compile_definitions(load(company), tmp_path / "compiled", schemas)
    assert files(tmp_path / "compiled") == before


def test_a_table_that_is_not_there_leaves_the_columns_out_and_says_so(company: Path, tmp_path: Path) -> None:
    training = company / "flights/training.py"
    training.write_text(training.read_text().replace('table="flights"', 'table="nowhere"'))
    result = compile_definitions(load(company), tmp_path / "compiled", schemas)
    assert result.untyped == {"flights.training.departures": "there is no table 'nowhere'"}
    assert "columns" not in json.loads(files(tmp_path / "compiled")["join/flights.training.departures.json"])
    assert "columns" in json.loads(files(tmp_path / "compiled")[CARRIERS_FILE])


def test_a_disk_that_fails_while_writing_keeps_the_old_files(
    company: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compile_definitions(load(company), tmp_path / "compiled")
    before = files(tmp_path / "compiled")
    (company / "flights/training.py").unlink()
    rename = Path.rename

    def fail(self: Path, target: Path) -> Path:
        if self.name == "new":
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OSError, match="No space left"):
        compile_definitions(load(company), tmp_path / "compiled")
    assert files(tmp_path / "compiled") == before
