"""Lookups over events, online: by hand, each case with what a backfill at that time gives beside it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pyarrow as pa

from tests.unit.fetch.looked_up import status, values
from zipline import Accuracy, Derivation, EventSource, GroupBy, Join, JoinPart, Query, Topic
from zipline.clock import to_datetime, to_micros
from zipline.engines.local.upload import uploaded
from zipline.orchestration.local_platform import LocalPlatform
from zipline.plan.online import Kept
from zipline.stores.memory import MemoryStore

END = "2024-03-05"
"""Where the upload of the day before ends."""
NOON = "2024-03-05T12:00:00Z"
FEB = "2024-02-01"
TAGS = pa.list_(pa.struct([("a", pa.int64()), ("b", pa.map_(pa.string(), pa.float64()))]))
SCHEMA = pa.schema(
    [
        ("user", pa.string()),
        ("value", pa.int64()),
        ("word", pa.string()),
        ("tags", TAGS),
        ("t", pa.timestamp("us", tz="UTC")),
        ("known", pa.timestamp("us", tz="UTC")),
    ]
)
ASKED = [{"who": who, "t": to_datetime(to_micros("2024-03-06"))} for who in ("ann", "bob", "nobody", None)]

Entry = tuple[Any, ...]


def events(*rows: Entry) -> pa.Table:
    """(time, user, value, word, tags, when it became known): from the third on they may be left out."""
    names = ("t", "user", "value", "word", "tags", "known")
    found = [dict(zip(names, row, strict=False)) for row in rows]
    for row in found:
        row["t"] = to_datetime(to_micros(row["t"]))
        row["known"] = to_datetime(to_micros(row["known"])) if row.get("known") else row["t"]
    return pa.Table.from_pylist(found, SCHEMA)


BEFORE = events((FEB, "ann", 1, "a"), ("2024-03-04T23:59:59.999999Z", "ann", 2, "b"), (FEB, "bob", 5, "z"))


def platform_of(
    *columns: str,
    keys: tuple[str, ...] = ("user",),
    store: Any = None,
    given: pa.Table = BEFORE,
    query: dict[str, Any] | None = None,
    **more: Any,
) -> LocalPlatform:
    """At noon of the day after the upload; `query` are its fields, `more` are the group-by's."""
    asked = Query([*keys, *(columns or ("value", "word"))], time="t", **query or {})
    group_by = GroupBy(keys, [EventSource("log", asked, topic=Topic("log"))], online=True, name="last", **more)
    left = EventSource("asked", query=Query(select=["who"], time="t"))
    part = JoinPart(group_by, key_map={"who": "user"} if keys else {})
    platform = LocalPlatform(
        Join(left=left, parts=[part], name="j"), tables={"asked": ASKED, "log": given}, store=store
    )
    platform.advance(END)
    platform.upload("2024-03-04")
    platform.join("j")
    platform.advance(NOON)
    return platform


def test_the_latest_row_is_the_uploads_until_a_later_one_comes() -> None:
    platform = platform_of()
    assert (values(platform), values(platform, "bob"), status(platform)) == ([2, "b"], [5, "z"], {"ok"})
    platform.publish("log", events(("2024-03-05T11:00:00Z", "ann", 1, "a"), ("2024-03-05T10:00:00Z", "ann", 9, "z")))
    assert (values(platform), values(platform, "bob"), status(platform)) == ([1, "a"], [5, "z"], {"ok"})


def test_an_event_at_the_time_of_the_query_is_not_seen_and_one_before_it_is() -> None:
    platform = platform_of()
    platform.publish("log", events((NOON, "ann", 7, "c")))
    assert values(platform, is_equal=False) == [7, "c"], "an event of the query's own smallest tile"
    found = platform.fetch("j", [{"who": "ann"}], at="2024-03-05T11:55:00Z")
    assert list(found.rows()[0].values()) == [2, "b"]
    platform.advance("2024-03-05T12:00:00.000001Z")
    assert values(platform) == [7, "c"]


def test_a_row_that_comes_late_is_taken_only_where_it_is_the_latest() -> None:
    platform = platform_of()
    platform.publish("log", events(("2024-03-05T10:00:00Z", "ann", 7, "c")))
    platform.publish("log", events(("2024-03-05T09:59:59Z", "ann", 8, "d"), ("2024-03-05T01:00:00Z", "bob", 6, "e")))
    assert (values(platform), values(platform, "bob")) == ([7, "c"], [6, "e"])


def test_rows_of_one_time_are_ordered_by_their_columns_in_turn_nulls_first() -> None:
    at = "2024-03-05T10:00:00Z"
    platform = platform_of()
    for entry, expected in (
        ((at, "ann", None, "z"), [None, "z"]),
        ((at, "ann", 3, "b"), [3, "b"]),
        ((at, "ann", None, "zz"), [3, "b"]),
        ((at, "ann", 3, None), [3, "b"]),
        ((at, "ann", 3, "ba"), [3, "ba"]),
        ((at, "ann", 2, "zzz"), [3, "ba"]),
    ):
        platform.publish("log", events(entry))
        assert values(platform) == expected, entry
    tied = events((END, "bob", 1, "b"), (END, "bob", 1, "c"), (END, "bob", 0, "z"))
    assert values(platform_of(given=pa.concat_tables([BEFORE, tied])), "bob") == [1, "c"]


def test_a_row_of_nulls_is_a_row() -> None:
    platform = platform_of()
    assert (values(platform, "nobody"), status(platform, "nobody")) == ([None, None], {"default"})
    assert (values(platform, None), status(platform, None)) == ([None, None], {"default"})
    platform.publish("log", events(("2024-03-05T10:00:00Z", "ann", None, "c"), ("2024-03-05T10:00:00Z", "bob")))
    assert (values(platform), status(platform)) == ([None, "c"], {"ok"})
    assert (values(platform, "bob"), status(platform, "bob")) == ([None, None], {"ok"})


def test_of_rows_of_one_time_that_which_was_known_later_is_taken_once_it_is_known() -> None:
    at, known = "2024-03-05T10:00:00Z", "2024-03-05T11:00:00Z"
    late = events(
        (at, "ann", 9, "z", None, at),
        (at, "ann", 7, "c", None, known),
        (FEB, "bob", 6, "e", None, known),
        ("2024-03-04", "bob", 8, "f", None, known),
    )
    platform = platform_of(query={"known_at": "known"})
    platform.publish("log", late)
    assert (values(platform), values(platform, "bob")) == ([7, "c"], [8, "f"])
    assert values(platform_of(given=pa.concat_tables([BEFORE, late]), query={"known_at": "known"})) == [7, "c"]


def test_without_keys_there_is_one_row_of_all() -> None:
    platform = platform_of("value", "user", keys=())
    assert values(platform) == [2, "ann"]
    platform.publish("log", events(("2024-03-05T10:00:00Z", "bob", 4)))
    assert values(platform) == values(platform, None) == [4, "bob"]


def test_a_row_of_nested_values_comes_back_as_it_was_and_ties_by_their_parts() -> None:
    at = "2024-03-05T10:00:00Z"
    platform = platform_of("tags")
    some, more, none = [{"a": 1, "b": [("x", None)]}], [{"a": 1, "b": [("x", -0.5)]}, None], [{"a": None, "b": []}]
    platform.publish("log", events(*((at, "ann", 0, "", tags) for tags in (some, more, none, [], None))))
    assert values(platform) == [[{"a": 1, "b": {"x": -0.5}}, None]]
    unset = [{"a": 2, "b": [("x", math.nan), ("y", -0.0)]}]
    platform.publish("log", events(("2024-03-05T10:30:00Z", "ann", 0, "", unset)))
    assert str(values(platform)) == "[[{'a': 2, 'b': {'x': None, 'y': 0.0}}]]"


def test_rows_that_a_condition_refuses_are_no_rows_and_derivations_see_what_is_looked_up() -> None:
    platform = platform_of(query={"where": ["value < 5"]}, derivations=[Derivation("more", "value + 1")])
    platform.publish("log", events(("2024-03-05T10:00:00Z", "ann", 5, "c"), ("2024-03-05T09:00:00Z", "ann", 4, "d")))
    assert (values(platform), values(platform, "bob")) == ([4, "d", 5], [None, None, None])


def test_after_two_days_without_an_upload_nothing_is_said() -> None:
    platform = platform_of()
    platform.publish("log", events(("2024-03-05T10:00:00Z", "ann", 7, "c")))
    platform.advance("2024-03-07T00:00:00Z")
    assert values(platform) == [7, "c"]
    platform.advance("2024-03-07T00:00:00.000001Z")
    assert (values(platform, is_equal=False), status(platform)) == ([None, None], {"unavailable"})


def test_as_of_whole_days_it_is_the_uploads_row() -> None:
    platform = platform_of(accuracy=Accuracy.SNAPSHOT)
    platform.publish("log", events(("2024-03-05T10:00:00Z", "ann", 7, "c")))
    assert values(platform) == [2, "b"]


def test_an_upload_is_the_same_however_the_rows_are_ordered() -> None:
    at = "2024-03-04T10:00:00Z"
    given = events(*((at, "bob", value, word) for value in (1, None, 3) for word in ("a", None, "b")))
    items = []
    for rows in (given, given.take(list(range(8, -1, -1)))):
        platform = platform_of(given=rows)
        items.append(list(uploaded(Kept(platform._plan("j").parts[0].group_by), platform._catalog(), to_micros(END))))
        assert values(platform, "bob") == [3, "b"]
    assert items[0] == items[1]


def test_values_stored_of_the_same_definition_before_are_an_error_until_the_next_upload() -> None:
    """As a release stored them that served lookups over events as of the day's end."""
    store = MemoryStore()
    platform = platform_of(store=store)
    platform.publish("log", events(("2024-03-05T10:00:00Z", "ann", 7, "c")))
    plan = platform._plan("j").parts[0].group_by
    before = Kept(replace(plan, accuracy="SNAPSHOT"))
    assert (before.has_tiles, before.fingerprint) == (False, plan.fingerprint)
    with store.upload("last", end=to_micros(END), fingerprint=plan.fingerprint) as writing:
        writing.put(list(uploaded(before, platform._catalog(), to_micros(END))))
        writing.publish()
    assert status(platform) == status(platform, "nobody") == {"error"}
    assert values(platform, is_equal=False) == [None, None]
    platform.upload("2024-03-04")
    assert values(platform) == [7, "c"]
