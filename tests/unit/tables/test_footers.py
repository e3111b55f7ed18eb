"""What footers tell of days is what a query counts, and they tell nothing where a group holds several days."""

import datetime as dt

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from zipline.tables import parquet
from zipline.tables.catalog import open_catalog
from zipline.tables.contract import Partition
from zipline.tables.footers import rows_by_day

FIRST, SECOND = "2024-05-01", "2024-05-02"


def footer(path, days, **how):
    pq.write_table(pa.table({"n": list(range(len(days))), "ds": days}), path, **how)
    return pq.read_metadata(path)


@pytest.mark.parametrize(
    ("days", "how", "told"),
    [
        ([FIRST, FIRST], {}, {FIRST: 2}),
        ([SECOND, FIRST, FIRST], {"row_group_size": 1}, {FIRST: 2, SECOND: 1}),
        ([FIRST, None], {}, {FIRST: 1}),
        (pa.array([None, None], pa.string()), {}, {}),
        (pa.array([FIRST, FIRST]).dictionary_encode(), {}, {FIRST: 2}),
        ([dt.date(2024, 5, 1)] * 3, {}, {FIRST: 3}),
        ([FIRST, SECOND], {}, None),
        ([FIRST, FIRST], {"write_statistics": False}, None),
        ([dt.datetime(2024, 5, 1)] * 2, {}, None),
        ([20240501] * 2, {}, None),
        ([{"ds": FIRST}] * 2, {}, None),
    ],
)
def test_rows_of_each_day(days, how, told, tmp_path):
    assert rows_by_day([footer(tmp_path / "a.parquet", days, **how)], "ds") == told


def test_one_file_that_does_not_tell_is_enough(tmp_path):
    known = footer(tmp_path / "a.parquet", [FIRST])
    assert rows_by_day([known, known], "ds") == {FIRST: 2}
    assert rows_by_day([known, footer(tmp_path / "b.parquet", [FIRST, SECOND])], "ds") is None
    assert rows_by_day([known], "day") is None


@pytest.mark.parametrize("group", [1, 2, 100])
def test_a_table_has_the_same_days_told_or_counted(group, tmp_path, monkeypatch):
    footer(tmp_path / "a.parquet", [FIRST, FIRST, SECOND, None], row_group_size=group)
    footer(tmp_path / "b.parquet", [SECOND], row_group_size=group)
    told = open_catalog({"t": str(tmp_path)}).table("t").partitions("ds")
    monkeypatch.setattr(parquet, "rows_by_day", lambda *_: None)
    counted = open_catalog({"t": str(tmp_path)}).table("t").partitions("ds")
    assert told == counted == [Partition(FIRST, 2, None), Partition(SECOND, 2, None)]


def test_a_value_that_is_no_day_is_refused_as_ever(tmp_path):
    footer(tmp_path / "a.parquet", ["May", "May"])
    with pytest.raises(Exception, match="holds 'May', which is not a day"):
        open_catalog({"t": str(tmp_path)}).table("t").partitions("ds")
