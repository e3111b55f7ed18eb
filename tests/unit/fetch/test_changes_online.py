"""Entities whose changes have a topic, online: by hand, each case with what a backfill at that time gives beside it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.fetch.looked_up import status, values
from zipline import Aggregation, Derivation, EntitySource, EventSource, GroupBy, Join, JoinPart, Operation, Query, Topic
from zipline.algebra import signed
from zipline.clock import to_datetime, to_micros
from zipline.engines.local.upload import uploaded
from zipline.errors import TableError
from zipline.orchestration.local_platform import LocalPlatform
from zipline.orchestration.upload import upload_day
from zipline.plan.build import plan_group_by
from zipline.plan.online import Kept
from zipline.stores.memory import MemoryStore
from zipline.tables.catalog import open_catalog
from zipline.tables.rows import to_table

OLD, NEW = True, False
END = "2024-03-05"
"""Where the upload of the day before ends."""
NOON = "2024-03-05T12:00:00Z"
T = "2024-03-05T10:00:00Z"
JAN, FEB = "2024-01-01", "2024-02-01"

Entry = tuple[Any, ...]


def dump(*rows: Entry) -> list[dict[str, Any]]:
    """Rows of snapshots: (day, user, value, time of the row)."""
    return [{"user": u, "value": v, "x": _double(v), "tags": _tags(v), "t": _at(t), "ds": ds} for ds, u, v, t in rows]


def log(*rows: Entry) -> list[dict[str, Any]]:
    """Changes: (when, whether it is the row before, user, value, time of the row)."""
    return [
        {"user": u, "value": v, "x": _double(v), "tags": _tags(v), "t": _at(t), "changed": _at(at), "before": before}
        for at, before, u, v, t in rows
    ]


def _at(text: str | None) -> Any:
    return None if text is None else to_datetime(to_micros(text))


def _double(value: int | None) -> float | None:
    return None if value is None else value / 2


def _tags(value: int | None) -> list[float] | None:
    """What comes out as [value, None, 0]."""
    return None if value is None else [float(value), math.nan, -0.0]


SNAPSHOT = dump(("2024-03-04", "ann", 1, JAN), ("2024-03-04", "ann", 2, FEB), ("2024-03-04", "bob", 5, JAN))
FIRST_CHANGE = log(("2024-03-01", NEW, "eve", 0, JAN))
ASKED = [{"who": who, "t": _at("2024-03-06")} for who in ("ann", "bob", "nobody", None)]


CHANGES = Topic("changes")


def source(number: str = "", *, topic: Topic | None = CHANGES, **query: Any) -> EntitySource:
    given = {"select": ["user", "value", "x", "tags"], "time": "t", "mutation_time": "changed", "is_before": "before"}
    return EntitySource(f"dump{number}", mutations=f"log{number}", topic=topic, query=Query(**(given | query)))


def platform_of(
    *aggregations: Aggregation,
    snapshots: list[dict[str, Any]] = SNAPSHOT,
    changes: list[dict[str, Any]] = FIRST_CHANGE,
    sources: list[EntitySource] | None = None,
    derivations: list[Derivation] | None = None,
    store: Any = None,
    **more: Any,
) -> LocalPlatform:
    """At noon of the day after the upload, in which the snapshots are and the changes of before."""
    group_by = GroupBy(["user"], sources or [source()], aggregations, derivations or [], online=True, name="state")
    left = EventSource("asked", query=Query(select=["who"], time="t"))
    join = Join(left=left, parts=[JoinPart(group_by, key_map={"who": "user"})], name="j")
    tables = {"asked": ASKED, "dump": _table("dump", snapshots), "log": _table("log", changes)}
    platform = LocalPlatform(join, tables=tables | more, store=store)
    platform.advance(END)
    platform.upload("2024-03-04")
    platform.join("j")
    platform.advance(NOON)
    return platform


def _table(name: str, rows: list[dict[str, Any]]) -> Any:
    """Rows as a table that knows its columns where there are none."""
    return to_table(name, rows) if rows else to_table(name, SNAPSHOT if name == "dump" else FIRST_CHANGE).slice(0, 0)


def made(operation: str, *windows: str | None, **more: Any) -> Aggregation:
    k = 2 if operation.endswith("_K") else None
    return Aggregation("value", Operation[operation], windows=windows or [None], k=k, **more)


GIVEN = [1, 2, 2, 5, 8, 7]
"""One an hour; the second 2 and the 7 are taken away."""
REMAINING: dict[str, Any] = {
    "COUNT": 4,
    "SUM": 16,
    "AVERAGE": 4.0,
    "VARIANCE": 7.5,
    "SKEW": 7.5**-0.5,
    "KURTOSIS": 88.5 / 7.5**2 - 3,
    "MIN": 1,
    "MAX": 8,
    "FIRST": 1,
    "LAST": 8,
    "FIRST_K": [1, 2],
    "LAST_K": [8, 5],
    "TOP_K": [8, 5],
    "BOTTOM_K": [1, 2],
    "UNIQUE_COUNT": 4,
    "BOUNDED_UNIQUE_COUNT": 4,
    "HISTOGRAM": {1: 1, 2: 1, 5: 1, 8: 1},
}
HOURS = [f"2024-03-01T0{number}:00:00Z" for number in range(len(GIVEN))]


def test_every_exact_operation_is_here() -> None:
    assert set(REMAINING) == {name for name in Operation.__members__ if not name.startswith("APPROX_")}


@pytest.fixture(scope="module")
def shrinking() -> LocalPlatform:
    """Every exact operation over six rows that the snapshot alone knows."""
    snapshots = dump(*(("2024-03-04", "ann", value, at) for value, at in zip(GIVEN, HOURS, strict=True)))
    doubles = [Aggregation("x", Operation[name]) for name in ("SUM", "AVERAGE", "MAX")]
    by_tag = [made("COUNT", buckets=["x"]), Aggregation("tags", Operation.SUM), Aggregation("tags", Operation.LAST)]
    return platform_of(*(made(name, None, "30d") for name in REMAINING), *doubles, *by_tag, snapshots=snapshots)


def test_a_row_that_only_the_snapshot_knows_leaves_every_exact_operation(shrinking: LocalPlatform) -> None:
    shrinking.publish("log", log((T, OLD, "ann", 7, HOURS[5]), (T, OLD, "ann", 2, HOURS[2])))
    found = values(shrinking)
    expected = [value for value in REMAINING.values() for _ in range(2)]
    for value, wanted in zip(found, expected, strict=False):
        assert value == (pytest.approx(wanted, rel=1e-9) if isinstance(wanted, float) else wanted)
    assert found[len(expected) :] == [8.0, 2.0, 4.0, {0.5: 1, 1.0: 1, 2.5: 1, 4.0: 1}, 16, 8]
    assert status(shrinking) == {"ok"}


def test_what_is_left_when_all_rows_are_reversed_is_an_empty_window(shrinking: LocalPlatform) -> None:
    rest = [(T, OLD, "ann", GIVEN[n], HOURS[n]) for n in (0, 1, 3, 4)]
    shrinking.publish("log", log(*rest))
    empty = [0 if name.endswith("COUNT") else None for name in REMAINING for _ in range(2)]
    assert values(shrinking) == [*empty, None, None, None, None, None, None]
    assert status(shrinking) == {"default"}


def test_an_update_that_moves_a_row_to_another_key_leaves_neither_with_both() -> None:
    platform = platform_of(made("SUM"), made("LAST_K"), made("MAX", "90d"))
    platform.publish("log", log((T, OLD, "ann", 2, FEB), (T, NEW, "bob", 2, FEB)))
    assert values(platform, "ann") == [1, [1], 1]
    assert values(platform, "bob") == [7, [2, 5], 5]


def test_an_update_that_moves_a_row_in_time_moves_it_between_windows() -> None:
    platform = platform_of(made("COUNT", "6h", "90d"), made("LAST"))
    later = "2024-03-05T09:58:00Z"
    platform.publish("log", log((T, OLD, "ann", 1, JAN), (T, NEW, "ann", 1, later)))
    assert values(platform) == [1, 2, 1]


def test_the_order_of_changes_at_one_time_does_not_matter() -> None:
    platform = platform_of(made("SUM"), made("MAX"))
    platform.publish("log", log((T, OLD, "ann", 9, FEB)))
    platform.publish("log", log((T, NEW, "ann", 9, FEB)))
    assert values(platform) == [3, 2]


def test_a_row_of_a_time_that_is_yet_to_come_is_seen_when_it_has() -> None:
    at = "2024-03-05T17:03:00Z"
    snapshots = [*SNAPSHOT, *dump(("2024-03-04", "ann", 30, at))]
    platform = platform_of(made("SUM", None, "1h"), made("TOP_K", "6h"), snapshots=snapshots)
    platform.publish(
        "log", log((T, NEW, "ann", 70, "2024-03-05T17:44:30Z"), (T, NEW, "ann", 90, "2024-03-06T01:00:00Z"))
    )
    assert values(platform) == [3, None, None]
    for time, expected in (
        ("2024-03-05T17:10:00Z", [33, 30, [30]]),
        ("2024-03-05T18:04:00Z", [103, 100, [70, 30]]),
        ("2024-03-05T18:31:00Z", [103, 70, [70, 30]]),
        ("2024-03-06T01:30:00Z", [193, 90, [90]]),
    ):
        platform.advance(time)
        assert values(platform) == expected, time


def test_a_lookup_falls_back_to_the_row_before_the_one_that_is_taken_away() -> None:
    platform = platform_of()
    assert values(platform) == [2, 1.0, [2, None, 0]]
    platform.publish("log", log((T, NEW, "ann", 4, "2024-03-05T08:00:00Z")))
    assert values(platform) == [4, 2.0, [4, None, 0]]
    for taken, expected in (((4, "2024-03-05T08:00:00Z"), [2, 1.0, [2, None, 0]]), ((2, FEB), [1, 0.5, [1, None, 0]])):
        platform.publish("log", log((T, OLD, "ann", *taken)))
        assert values(platform) == expected
        assert status(platform) == {"ok"}
    platform.publish("log", log((T, OLD, "ann", 1, JAN)))
    assert values(platform) == [None, None, None]
    assert status(platform) == {"default"}


def test_rows_of_a_lookup_that_tie_are_in_the_columns_own_order_nulls_first() -> None:
    platform = platform_of()
    platform.publish("log", log((T, NEW, "ann", None, FEB), (T, NEW, "ann", 3, FEB)))
    assert values(platform)[0] == 3
    platform.publish("log", log((T, OLD, "ann", 3, FEB), (T, OLD, "ann", 2, FEB)))
    assert values(platform) == [None, None, None]
    assert status(platform) == {"ok"}, "a row that is there, of nothing but nulls"


def test_an_entity_without_a_time_is_as_it_is() -> None:
    untimed = [source(time=None)]
    for platform in (platform_of(made("SUM"), made("LAST_K"), sources=untimed), platform_of(sources=untimed)):
        before = values(platform)
        platform.publish("log", log((T, OLD, "ann", 2, FEB), (T, NEW, "ann", 3, JAN)))
        assert values(platform)[0] == before[0] + 1


def test_conditions_keep_changes_as_they_keep_snapshots() -> None:
    platform = platform_of(made("SUM"), sources=[source(where=["value < 4"])])
    platform.publish("log", log((T, OLD, "ann", 2, FEB), (T, NEW, "ann", 4, FEB), (T, NEW, "bob", 3, FEB)))
    assert (values(platform, "ann"), values(platform, "bob")) == ([1], [3])


def test_several_entities_count_together() -> None:
    more = {"dump2": dump(("2024-03-03", "ann", 10, FEB)), "log2": log(("2024-03-04T01:00:00Z", NEW, "ann", 20, FEB))}
    platform = platform_of(made("SUM"), made("LAST_K"), sources=[source(), source("2")], **more)
    assert values(platform) == [33, [20, 10]]
    platform.publish("log2", log((T, OLD, "ann", 10, FEB)))
    platform.publish("log", log((T, OLD, "ann", 2, FEB)))
    assert values(platform) == [21, [20, 1]]


def test_derivations_see_what_is_served() -> None:
    platform = platform_of(made("SUM"), made("COUNT"), derivations=[Derivation("mean", "value_sum / value_count")])
    platform.publish("log", log((T, NEW, "ann", 6, FEB)))
    assert values(platform) == [9, 3, 3.0]


def test_a_key_that_is_not_known_and_no_key_are_default() -> None:
    platform = platform_of(made("SUM", default=-1), made("COUNT"), made("LAST_K"))
    platform.publish("log", log((T, NEW, None, 6, FEB)))
    for who in ("nobody", None):
        assert values(platform, who) == [-1, 0, None]
        assert status(platform, who) == {"default"}


def test_a_huge_value_that_is_reversed_leaves_no_trace() -> None:
    huge = [{**row, "x": 1e200} for row in dump(("2024-03-04", "ann", 9, FEB))]
    small = [{**row, "x": 0.1} for row in dump(("2024-03-04", "ann", 9, FEB))]
    averages = [Aggregation("x", Operation[name], windows=[None, "90d"]) for name in ("SUM", "AVERAGE", "VARIANCE")]
    platform = platform_of(*averages, snapshots=[*huge, *small])
    platform.publish("log", [{**row, "x": 1e200} for row in log((T, OLD, "ann", 9, FEB))])
    assert values(platform) == [0.1, 0.1, 0.1, 0.1, 0.0, 0.0]


def test_infinities_that_meet_are_undefined_and_not_a_default() -> None:
    infinite = [{**row, "x": float("inf")} for row in dump(("2024-03-04", "ann", 9, FEB))]
    platform = platform_of(Aggregation("x", Operation.SUM, default=7.0), snapshots=infinite)
    assert values(platform) == [float("inf")]
    platform.publish("log", [{**row, "x": float("-inf")} for row in log((T, NEW, "ann", 9, FEB))])
    assert values(platform) == [None]
    platform.publish("log", [{**row, "x": float("inf")} for row in log((T, OLD, "ann", 9, FEB))])
    assert values(platform) == [float("-inf")]


def test_a_reversal_of_what_is_not_there_swallows_the_next_equal_row_until_the_next_upload() -> None:
    platform = platform_of(made("COUNT", None, "90d"), made("MAX"))
    platform.publish("log", log((T, OLD, "eve", 9, FEB)))
    for _ in range(2):
        assert values(platform, "eve") == [0, 0, None]
        platform.publish("log", log(("2024-03-05T11:00:00Z", NEW, "eve", 9, FEB)))
    assert values(platform, "eve") == [1, 1, 9]
    platform.publish("dump", dump(("2024-03-05", "eve", 9, FEB), ("2024-03-05", "eve", 9, JAN)))
    platform.advance("2024-03-06T01:00:00Z")
    platform.upload("2024-03-05")
    assert values(platform, "eve") == [2, 2, 9]


def test_a_key_of_too_many_rows_is_an_error_and_hurts_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signed, "LARGEST", 3)
    platform = platform_of(made("MAX"), made("COUNT"))
    assert values(platform) == [2, 2]
    for number in range(2):
        platform.publish("log", log((T, NEW, "ann", number, FEB)))
    found = platform.fetch("j", [{"who": "ann"}, {"who": "bob"}])
    assert found.rows() == [
        {"state_value_max": None, "state_value_count": 4},
        {"state_value_max": 5, "state_value_count": 1},
    ]
    assert [found.status(0, name) for name in found.features] == ["error", "ok"]


@pytest.mark.parametrize("where", ["snapshot", "changes"])
def test_of_too_many_rows_only_their_number_is_stored(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    monkeypatch.setattr(signed, "LARGEST", 20)
    rows = [(value, FEB) for value in range(2_000)]
    inserted = log(*((T, NEW, "ann", *row) for row in rows))
    store = MemoryStore()
    few = platform_of(made("MAX"), made("SUM"), store=store)
    if where == "snapshot":
        few = platform_of(
            made("MAX"), made("SUM"), snapshots=dump(*(("2024-03-04", "ann", *row) for row in rows)), store=store
        )
    else:
        few.publish("log", inserted)
    assert status(few) == {"error", "ok"}
    few.publish("log", log(*((T, OLD, "ann", *row) for row in rows[:-1])))
    assert values(few, is_equal=False)[0] is None, "the rows are not known any more"
    generation = store.current("state")
    assert generation is not None
    assert generation.size < 2_000


def test_an_upload_of_two_days_ago_serves_and_an_older_one_nothing() -> None:
    platform = platform_of(made("SUM", None, "1h"), made("LAST_K"))
    platform.publish("log", log((T, OLD, "ann", 2, FEB)))
    platform.publish("log", log(("2024-03-06T10:00:00Z", NEW, "ann", 4, "2024-03-06T23:30:00Z")))
    platform.advance("2024-03-07")
    assert values(platform) == [5, 4, [4, 1]]
    platform.advance("2024-03-07T00:01:00Z")
    assert status(platform) == {"unavailable"}
    assert values(platform, is_equal=False) == [None, None, None]


def test_an_upload_that_lands_late_neither_loses_nor_repeats_what_changed_since() -> None:
    platform = platform_of(made("SUM"), made("LAST_K"), made("COUNT", "7d"))
    evening, night = "2024-03-05T23:59:59Z", "2024-03-06T00:00:00Z"
    platform.publish("log", log((evening, NEW, "ann", 10, evening), (night, NEW, "ann", 20, night)))
    platform.publish("log", log((night, OLD, "ann", 1, JAN)))
    platform.publish("dump", dump(("2024-03-05", "ann", 1, JAN), ("2024-03-05", "ann", 2, FEB)))
    platform.publish("dump", dump(("2024-03-05", "ann", 10, evening)))
    platform.advance("2024-03-06T13:00:00Z")
    expected = [32, [20, 10], 2]
    assert values(platform) == expected
    platform.upload("2024-03-05")
    assert values(platform) == expected
    platform.publish("log", log((evening, NEW, "ann", 10, evening)))
    assert values(platform) == expected, "made before the upload's end: the snapshot had it"


def test_without_the_days_snapshot_an_upload_takes_the_newest_and_the_changes_up_to_the_days_end() -> None:
    changes = log(
        ("2024-03-04T23:59:59Z", NEW, "ann", 7, FEB),
        (END, NEW, "ann", 8, FEB),
        ("2024-03-03T12:00:00Z", NEW, "ann", 9, FEB),
    )
    snapshots = dump(("2024-03-03", "ann", 1, JAN), ("2024-03-05", "ann", 100, JAN))
    platform = platform_of(made("TOP_K"), snapshots=snapshots, changes=changes)
    assert values(platform) == [[8, 7]]
    none = platform_of(made("TOP_K"), snapshots=[], changes=changes)
    assert values(none) == [[9, 8]], "without any snapshot all changes"


def test_an_upload_of_a_day_without_a_snapshot_is_refused_unless_that_is_allowed() -> None:
    group_by = GroupBy(["user"], [source()], [made("SUM")], online=True, name="state")
    tables = {"dump": _table("dump", SNAPSHOT), "log": _table("log", log((NOON, NEW, "ann", 7, FEB)))}
    catalog = open_catalog(tables)
    kept = Kept(plan_group_by(group_by, lambda table: catalog.table(table).schema))
    with pytest.raises(TableError, match="'dump' has no partition 2024-03-05, the newest is 2024-03-04"):
        upload_day(kept, catalog, MemoryStore(), "state", "2024-03-05")
    report = upload_day(kept, catalog, MemoryStore(), "state", "2024-03-05", allow_missing=True)
    assert (report.generation.rows, len(report.missing)) == (2, 1)


def test_an_upload_is_the_same_however_the_rows_are_ordered() -> None:
    group_by = GroupBy(["user"], [source()], [made("SUM"), made("LAST_K"), made("VARIANCE")], online=True, name="state")
    ahead = dump(("2024-03-04", "bob", 3, NOON))
    items = []
    for rows in ([*SNAPSHOT, *ahead], [*ahead, *SNAPSHOT[::-1]]):
        catalog = open_catalog({"dump": _table("dump", rows), "log": _table("log", FIRST_CHANGE)})
        kept = Kept(plan_group_by(group_by, lambda table, own=catalog: own.table(table).schema))
        items.append(list(uploaded(kept, catalog, to_micros(END))))
    assert items[0] == items[1]
    assert len(items[0]) == 2


@pytest.mark.parametrize("aggregations", [[], [made("SUM")], [made("LAST_K")]], ids=["lookup", "words", "irs"])
def test_values_stored_of_the_same_definition_before_are_an_error_and_never_a_number(aggregations: list[Any]) -> None:
    """As a release stored them that served entities as of the day's end."""
    platform = platform_of(*aggregations)
    plan = platform._plan("j").parts[0].group_by
    own = platform._store.current("state")
    assert own is not None
    keys = [key for key, _ in uploaded(Kept(plan), platform._catalog(), own.end)]
    sources = [replace(each, mutations=replace(each.mutations, is_streamed=False)) for each in plan.sources]
    before = Kept(replace(plan, sources=tuple(sources)))
    assert (before.has_tiles, before.fingerprint) == (False, plan.fingerprint)
    uploads = list(uploaded(before, platform._catalog(), own.end))
    with platform._store.upload("state", end=own.end, fingerprint=plan.fingerprint) as writing:
        writing.put(uploads)
        writing.publish()
    assert [key for key, _ in uploads] == keys
    assert status(platform, "ann") == status(platform, "nobody") == {"error"}
    assert set(values(platform, is_equal=False)) == {None}


@pytest.mark.parametrize(("aggregations", "expected"), [([], [2, 1.0, [2, None, 0]]), ([made("SUM")], [3])])
def test_an_entity_without_a_topic_is_as_of_its_upload(aggregations: list[Any], expected: list[Any]) -> None:
    platform = platform_of(*aggregations, sources=[source(topic=None)])
    platform.publish("log", log((T, NEW, "ann", 9, FEB)))
    assert values(platform, is_equal=False) == expected
    platform.advance("2024-03-06T00:00:00Z")
    assert status(platform) == {"stale"}
