"""A successor beside an output: made, published in one commit, removed; and what a writer that dies leaves."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pytest

from zipline.errors import TableError
from zipline.tables import succession
from zipline.tables.catalog import open_catalog
from zipline.tables.delta import DeltaOutput
from zipline.tables.succession import remove, succeed, successor_of, successors_of

DAYS = ("2020-01-01", "2020-01-02")


@pytest.fixture
def output(tmp_path: Path) -> DeltaOutput:
    made = DeltaOutput(str(tmp_path / "flights.daily"))
    made.replace_days({day: pa.table({"n": [1], "s": ["old"]}) for day in DAYS})
    return made


def successor(output: DeltaOutput, *days: str) -> DeltaOutput:
    made = successor_of(output, "abc123")
    made.replace_days({day: pa.table({"s": ["new"], "x": [0.5]}) for day in days or DAYS})
    return made


def test_a_successor_is_beside_its_output_and_no_table_of_the_warehouse(output: DeltaOutput) -> None:
    made = successor(output)
    assert Path(made.uri).parent == Path(output.uri).parent
    assert [each.uri for each in successors_of(output)] == [made.uri]
    other = DeltaOutput(output.uri.removesuffix(".daily"))
    assert successors_of(other) == []


def test_a_successor_takes_the_place_of_the_output(output: DeltaOutput) -> None:
    made = successor(output, *DAYS, "2020-01-03")
    succeed(output, made, {"fingerprint": "f"})
    assert output.read().to_pydict() == {"s": ["new"] * 3, "x": [0.5] * 3, "ds": [*DAYS, "2020-01-03"]}
    assert output.versions()[0].metadata["fingerprint"] == "f"
    assert output.versions()[0].days == (*DAYS, "2020-01-03")
    assert output.read(version=0).column_names == ["n", "s", "ds"], "the old version stays readable"
    remove(made)
    assert successors_of(output) == []
    assert output.read().num_rows == 3
    output.replace(DAYS[0], pa.table({"s": ["newer"], "x": [1.0]}))
    assert open_catalog({"t": output.uri}).table("t").statistics().rows == 3


def test_a_successor_that_lacks_a_day_is_refused(output: DeltaOutput) -> None:
    with pytest.raises(TableError, match=r"lacks days .* such as 2020-01-02"):
        succeed(output, successor(output, DAYS[0]), {})
    assert output.read().column("s").to_pylist() == ["old", "old"]


@pytest.mark.parametrize("links", [True, False])
def test_a_writer_that_died_before_the_commit_is_made_good_by_the_next(
    output: DeltaOutput, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    made = successor(output)
    if not links:
        monkeypatch.setattr(os, "link", _no_links)
    placed: list[str] = []
    place = succession._placed

    def dies(*arguments: object) -> object:
        if placed:
            raise KeyboardInterrupt
        placed.append("one")
        return place(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(succession, "_placed", dies)
    with pytest.raises(KeyboardInterrupt):
        succeed(output, made, {})
    assert output.read().column("s").to_pylist() == ["old", "old"]
    monkeypatch.setattr(succession, "_placed", place)
    succeed(output, made, {})
    assert output.read().column("s").to_pylist() == ["new", "new"]


def _no_links(*_: object) -> None:
    raise OSError("this file system has no links")


def test_an_output_is_not_removed_as_a_successor(output: DeltaOutput) -> None:
    with pytest.raises(ValueError, match="no successor"):
        remove(output)
    assert output.read().num_rows == 2


def test_a_successor_that_is_half_removed_is_an_older_one_or_none(output: DeltaOutput) -> None:
    made = successor(output, DAYS[0])
    made.replace(DAYS[1], pa.table({"s": ["newer"], "x": [0.5]}))
    removed: list[str] = []

    class Dies(Exception):
        pass

    storage = succession.Storage(made.uri).files
    remove_file = type(storage).rm

    def rm(self: object, path: str, *arguments: object, **options: object) -> None:
        if len(removed) == allowed[0]:
            raise Dies
        removed.append(path)
        remove_file(self, path, *arguments, **options)

    allowed = [0]
    for allowed[0], days in ((0, set(DAYS)), (1, {DAYS[0]})):
        removed.clear()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(storage), "rm", rm)
            with pytest.raises(TableError):
                remove(made)
        assert made.days() == days
    remove(made)
    assert not made.exists()


def test_a_removed_successor_may_be_removed_again(output: DeltaOutput) -> None:
    made = successor(output)
    remove(made)
    remove(made)
