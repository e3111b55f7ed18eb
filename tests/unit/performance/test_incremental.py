"""The incremental benchmark compares the same rows, and its side with partials does read them."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq

from tests.performance.incremental import BEFORE, Year, day_text, make, run_day


def test_a_day_from_partials_has_the_bits_of_a_full_one_and_reads_fewer_files(tmp_path: Path) -> None:
    year = Year(4_000, 5, 20, days=40)
    folder = make(tmp_path, year, range(39, 40))
    store, outs = str(tmp_path / "partials"), [tmp_path / "ours.parquet", tmp_path / "full.parquet"]
    for number in range(39 - BEFORE, 39):
        run_day(str(folder), day_text(number), store)
    ours = run_day(str(folder), day_text(39), store, str(outs[0]))
    full = run_day(str(folder), day_text(39), None, str(outs[1]))
    assert pq.read_table(outs[0]).equals(pq.read_table(outs[1]))
    assert ours["notes"] == {"g": "partials of 30 files, rows of 1"}
    assert full["notes"] == {}
    assert 0 < ours["bytes"] < full["bytes"]
