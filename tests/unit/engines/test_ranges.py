"""Output over a range of days."""

import pytest

from zipline import EventSource, Join, Query
from zipline.engines.local.run import run_join
from zipline.errors import DataError
from zipline.plan.build import plan_join
from zipline.tables.catalog import open_catalog

ROWS = [
    {"k": "a", "t": "2024-01-01T05:00:00", "ds": "2024-01-01"},
    {"k": "b", "t": "2024-01-02T05:00:00", "ds": "2024-01-02"},
]


def output(query: Query) -> dict[str, list]:
    catalog = open_catalog({"left": ROWS})
    join = Join(EventSource("left", query=query), [], name="joined")
    plan = plan_join(join, lambda name: catalog.table(name).schema)
    table = run_join(plan, catalog, start="2024-01-02", end="2024-01-02").table
    assert table.column_names[-1] == "ds"
    return dict(zip(table.column_names, (column.to_pylist() for column in table.columns), strict=True))


@pytest.mark.parametrize("select", [None, {"k": "k"}, {"ds": "ds", "k": "k"}])
def test_the_day_is_one_column_whether_or_not_the_left_selects_its_partition(select):
    found = output(Query(select=select, time="t"))
    assert (found["k"], found["ds"]) == (["b"], ["2024-01-02"])


def test_another_column_of_the_days_name_is_refused():
    with pytest.raises(DataError, match="'ds'"):
        output(Query(select={"ds": "k"}, time="t"))
