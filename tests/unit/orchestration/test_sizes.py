"""Rows and bytes of each day, from statistics or a count, before anything is read."""

import json

import pytest

from zipline import EventSource, Join, Query
from zipline.orchestration.sizes import Counter, Sizes
from zipline.plan.build import plan_join
from zipline.tables.catalog import open_catalog

DAYS = ("2024-05-01", "2024-05-02", "2024-05-03")
SIZES = Sizes(DAYS, (1.0, 2.0, 4.0), (10.0, 20.0, 40.0))


def test_days_within_bounds_are_summed():
    assert SIZES.within(None, None) == (7.0, 70.0)
    assert SIZES.within("2024-05-02", "2024-05-02") == (2.0, 20.0)
    assert SIZES.within("2024-05-02", "2024-06-01") == (6.0, 60.0)
    assert SIZES.within("2024-06-01", "2024-07-01") == (0.0, 0.0)
    assert SIZES.within("2024-05-03", "2024-05-01") == (0.0, 0.0)
    assert SIZES.within("2023-01-01", "2024-05-01") == (1.0, 10.0)


def test_of_snapshots_each_day_sees_the_newest_before_it():
    assert SIZES.since_newest("2024-05-02", "2024-05-02") == (1.0, 10.0)
    assert SIZES.since_newest("2024-05-02", "2024-05-03") == (3.0, 30.0)
    assert SIZES.since_newest("2024-06-01", "2024-06-30") == (4.0, 40.0)
    assert SIZES.since_newest(None, "2024-05-03") == (7.0, 70.0)


def test_what_is_always_read_is_in_every_sum():
    sizes = Sizes(DAYS, (1.0, 2.0, 4.0), (0.0, 0.0, 0.0), always=100.0, rows_at_most=5.0)
    assert sizes.within("2024-05-02", "2024-05-02") == (7.0, 100.0)


def rows(*counts):
    days = zip(DAYS, counts, strict=True)
    return [{"n": number, "at": f"{day}T08:00:00Z", "ds": day} for day, count in days for number in range(count)]


def sizes(catalog, query):
    plan = plan_join(Join(name="j", left=EventSource("visits", query), parts=[]), schemas_of(catalog))
    return Counter(catalog).sizes(plan.left, [plan.left.where])


def schemas_of(catalog):
    return lambda table: catalog.table(table).schema


def test_partitions_say_their_rows():
    catalog = open_catalog({"visits": rows(1, 2, 4)})
    found = sizes(catalog, Query(select=["n"], time="at"))
    assert (found.days, found.rows) == (DAYS, (1.0, 2.0, 4.0))


def test_partitions_outside_the_bounds_of_the_query_are_not_counted():
    catalog = open_catalog({"visits": rows(1, 2, 4)})
    found = sizes(catalog, Query(select=["n"], time="at", start="2024-05-02", end="2024-05-02"))
    assert (found.days, found.rows) == (("2024-05-02",), (2.0,))


def test_conditions_take_their_share_of_every_day():
    catalog = open_catalog({"visits": rows(8, 8, 80)})
    found = sizes(catalog, Query(select=["n"], time="at", where=["n < 4"]))
    assert found.rows == pytest.approx((8 / 8, 8 / 8, 80 / 8))


def test_rows_that_any_of_several_conditions_keeps_are_counted():
    catalog = open_catalog({"visits": rows(8, 8, 8)})
    counter = Counter(catalog)
    one, other, every = (
        plan_join(
            Join(name="j", left=EventSource("visits", Query(["n"], time="at", where=where)), parts=[]),
            schemas_of(catalog),
        ).left
        for where in (["n < 2"], ["n > 5"], [])
    )
    assert counter.sizes(one, [one.where, other.where]).rows == pytest.approx((4.0, 4.0, 4.0))
    assert counter.sizes(one, [one.where, every.where]).rows == (8.0, 8.0, 8.0)


def test_a_table_without_partitions_is_counted_by_its_clock():
    without = [{"n": row["n"], "at": row["at"]} for row in rows(1, 2, 4)] + [{"n": 9, "at": None}]
    found = sizes(open_catalog({"visits": without}), Query(select=["n"], time="at", where=["n <> 1"]))
    assert (found.days, found.rows, found.rows_at_most) == (DAYS, (1.0, 1.0, 3.0), 1.0)


def test_a_large_table_without_partitions_is_not_counted_but_taken_whole(monkeypatch):
    monkeypatch.setattr("zipline.orchestration.sizes.MOST_COUNTED_ROWS", 6)
    without = [{"n": row["n"], "at": row["at"]} for row in rows(1, 2, 4)]
    found = sizes(open_catalog({"visits": without}), Query(select=["n"], time="at"))
    assert (found.days, found.rows_at_most) == ((), 7.0)
    assert found.within("2024-05-01", "2024-05-01")[0] == 7.0


def test_a_file_that_does_not_know_its_rows_is_counted_where_it_is_small(tmp_path):
    path = tmp_path / "visits.jsonl"
    path.write_text("".join(json.dumps({"n": row["n"], "at": row["at"]}) + "\n" for row in rows(1, 2, 4)))
    found = sizes(open_catalog({"visits": str(path)}), Query(select=["n"], time="at"))
    assert (found.days, found.rows, found.always) == (DAYS, (1.0, 2.0, 4.0), path.stat().st_size)


def test_a_table_that_is_not_there_yet_has_no_size():
    given = open_catalog({"visits": rows(1, 2, 4)})
    plan = plan_join(Join(name="j", left=EventSource("visits", Query(["n"], time="at")), parts=[]), schemas_of(given))
    assert Counter(open_catalog({"others": rows(1, 1, 1)})).sizes(plan.left) is None


def test_a_table_of_which_nothing_is_known_has_no_rows():
    given = open_catalog({"visits": rows(1, 2, 4)})
    plan = plan_join(Join(name="j", left=EventSource("visits", Query(["n"], time="at")), parts=[]), schemas_of(given))
    assert Counter(open_catalog({"visits": []})).sizes(plan.left) == Sizes()


def counted(catalog, folder, query, monkeypatch=None):
    plan = plan_join(Join(name="j", left=EventSource("visits", query), parts=[]), schemas_of(catalog))
    counter = Counter(catalog, folder)
    if monkeypatch:
        monkeypatch.setattr(Counter, "_connection", property(lambda _: pytest.fail("it was counted again")))
    return counter.sizes(plan.left, [plan.left.where])


@pytest.mark.parametrize("query", [Query(select=["n"], where=["n > 0"], time="at"), Query(["n"], time="at")])
def test_what_was_counted_of_files_is_kept(query, tmp_path, monkeypatch):
    query = query if query.where else Query(["n"], time="at", partition="day")
    (tmp_path / "visits.jsonl").write_text("\n".join(json.dumps(row) for row in rows(1, 2, 4)))
    catalog = open_catalog({"visits": str(tmp_path / "visits.jsonl")})
    first = counted(catalog, tmp_path / "kept", query)
    assert counted(catalog, tmp_path / "kept", query, monkeypatch) == first


def test_a_file_that_is_another_is_counted_again(tmp_path):
    file, query = tmp_path / "visits.jsonl", Query(select=["n"], where=["n > 0"], time="at")
    found = []
    for counts in ((2, 2, 2), (1, 1, 1), (4, 4, 4)):
        file.write_text("\n".join(json.dumps(row) for row in rows(*counts)))
        found.append(counted(open_catalog({"visits": str(file)}), tmp_path / "kept", query).rows)
    assert found == [(1.0,) * 3, (0.0,) * 3, (3.0,) * 3]


def test_another_condition_is_another_count_and_a_damaged_one_is_made_anew(tmp_path):
    file, kept = tmp_path / "visits.jsonl", tmp_path / "kept"
    file.write_text("\n".join(json.dumps(row) for row in rows(4, 4, 4)))
    catalog = open_catalog({"visits": str(file)})
    for least, rows_a_day in ((0, 3.0), (1, 2.0), (0, 3.0)):
        found = counted(catalog, kept, Query(select=["n"], where=[f"n > {least}"], time="at"))
        assert found.rows == (rows_a_day,) * 3
        for each in kept.iterdir():
            each.write_text("{")


def test_counts_of_tables_in_memory_are_of_those_tables(tmp_path):
    query = Query(select=["n"], where=["n > 0"], time="at")
    found = [counted(open_catalog({"visits": rows(n, n, n)}), tmp_path, query).rows for n in (2, 4)]
    assert found == [(1.0,) * 3, (3.0,) * 3]
