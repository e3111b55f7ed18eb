"""Chains of joins in a `LocalPlatform`: what is aggregated online is what a backfill says, where all comes in time."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pytest

from zipline import (
    Aggregation,
    Contextual,
    Derivation,
    EntitySource,
    EventSource,
    ExternalSource,
    GroupBy,
    Join,
    JoinPart,
    JoinSource,
    Operation,
    Query,
    Topic,
)
from zipline.clock import DAY, HOUR, SECOND, day_text, to_datetime, to_micros
from zipline.errors import TableError
from zipline.orchestration.local_platform import LocalPlatform

START = to_micros("2024-05-04")
T = pa.timestamp("us", "UTC")
SPENT = pa.schema({"user": pa.string(), "kind": pa.string(), "amount": pa.int64(), "at": T})
VISITS = pa.schema(
    {
        "id": pa.string(),
        "user": pa.string(),
        "shop": pa.string(),
        "hour": pa.int32(),
        "price": pa.decimal128(9, 2),
        "t": T,
        "ds": pa.string(),
    }
)
ASKED = pa.schema({"shop": pa.string(), "user": pa.string(), "t": T})


def stream(table: str, *select: str, time: str = "t", **more: Any) -> EventSource:
    return EventSource(table, topic=Topic(table), query=Query(select=list(select), time=time, **more))


SPENDING = GroupBy(
    ["user"],
    [stream("spent", "user", "kind", "amount", time="at")],
    [
        Aggregation("amount", Operation.SUM, windows=["1h", "7d"]),
        Aggregation("amount", Operation.COUNT, windows=["1d"], buckets=["kind"]),
        Aggregation("kind", Operation.LAST_K, k=2, windows=["7d"]),
    ],
    online=True,
    name="spending",
)
VISITED = Join(
    left=stream("visits", "user", "shop", "hour", "price", where=["hour >= 0"], event_id="id"),
    parts=[JoinPart(SPENDING)],
    contextual=Contextual({"hour": "INT"}),
    derivations=[
        Derivation("rich", "COALESCE(spending_amount_sum_7d, 0) > 50"),
        Derivation("late", "hour + EXTRACT(HOUR FROM ts)"),
    ],
    online=True,
    name="visited",
)
SHOPS = GroupBy(
    ["shop"],
    [JoinSource(VISITED, Query({"shop": "shop", "rich": "CAST(rich AS INT)", "late": "late", "price": "price"}))],
    [
        Aggregation("rich", Operation.SUM, windows=["1h", "7d"]),
        Aggregation("late", Operation.MAX, windows=["1d"]),
        Aggregation("price", Operation.LAST, windows=["7d"]),
    ],
    online=True,
    name="shops",
)
DEEP = Join(
    left=JoinSource(VISITED, Query(where=["late < 60"])),
    parts=[JoinPart(SHOPS, features=["rich_sum_7d"])],
    derivations=[Derivation("rank", "COALESCE(shops_rich_sum_7d, 0) + COALESCE(spending_amount_sum_1h, 0)")],
    online=True,
    name="deep",
)
USERS = GroupBy(
    ["user"],
    [
        JoinSource(
            DEEP,
            Query(["user", "rank", "shop", "spending_kind_last_k2_7d", "spending_amount_count_1d_by_kind"], time="ts"),
        )
    ],
    [
        Aggregation("rank", Operation.SUM, windows=["1h", "7d"]),
        Aggregation("shop", Operation.LAST_K, k=3, windows=["7d"]),
        Aggregation("spending_kind_last_k2_7d", Operation.TOP_K, k=3, windows=["7d"]),
    ],
    online=True,
    name="users",
)
BOARD = Join(
    left=EventSource("asked", Query(["shop", "user"], time="t")),
    parts=[JoinPart(SPENDING), JoinPart(SHOPS), JoinPart(USERS)],
    name="board",
)


def rows(schema: pa.Schema, *found: tuple[Any, ...]) -> pa.Table:
    return pa.Table.from_pylist([dict(zip(schema.names, row, strict=True)) for row in found], schema=schema)


ANSWERS: list[Any] = []


def scored(asked: Sequence[Mapping[str, Any]]) -> Any:
    """What an external source answers, one after the other."""
    answer = ANSWERS.pop(0)
    if isinstance(answer, OSError):
        raise answer
    return answer


def platform() -> LocalPlatform:
    tables = {
        "spent": rows(SPENT, ("a", "food", 30, to_datetime(START - DAY))),
        "visits": rows(VISITS),
        "asked": rows(ASKED, ("north", "a", to_datetime(START))),
    }
    made = LocalPlatform(BOARD, tables=tables)
    made.advance(START)
    made.upload(day_text(START - DAY))
    return made


def visit(number: int, user: str, shop: str, hour: int, price: int, at: int) -> pa.Table:
    from decimal import Decimal

    moment = to_datetime(at)
    return rows(VISITS, (f"v{number}", user, shop, hour, Decimal(price) / 4, moment, f"{moment:%Y-%m-%d}"))


@pytest.mark.parametrize("seed", range(4))
def test_what_comes_at_its_own_time_is_aggregated_as_a_backfill_does_over_two_joins(seed: int) -> None:
    draw, local = random.Random(seed), platform()
    keys = [{"shop": shop, "user": user} for shop in ("north", "south") for user in ("a", "b", "c")]
    at, compared = START, 0
    for number in range(60):
        at += draw.choice([7 * SECOND, 40 * SECOND, 20 * 60 * SECOND, 2 * HOUR])
        local.advance(at)
        user, kind = draw.choice("abc"), draw.choice(["food", "toys"])
        if draw.random() < 0.4:
            local.publish("spent", rows(SPENT, (user, kind, draw.randrange(40), to_datetime(at))))
        else:
            shop = draw.choice(["north", "south"])
            local.publish("visits", visit(number, user, shop, draw.randrange(-3, 24), draw.randrange(900), at))
        if draw.random() < 0.3:
            local.advance(at + SECOND)
            compared += local.assert_online_equals_offline("board", keys=keys)
        if number in (25, 45):
            local.upload(day_text(at - DAY))
    assert compared > 500


def chain_of_two(*, left: list[str], middle: list[str]) -> LocalPlatform:
    """Orders with the share that they are of what was bought, ranked, counted by user."""
    bought = GroupBy(
        ["user"],
        [stream("purchases", "user", "amount")],
        [Aggregation("amount", Operation.SUM, windows=["1d"])],
        online=True,
        name="bought",
    )
    orders = Join(
        stream("orders", "user", "price", event_id="id", where=left),
        [JoinPart(bought)],
        derivations=[Derivation("share", "price / bought_amount_sum_1d")],
        online=True,
        name="orders",
    )
    ranked = Join(
        JoinSource(orders, Query(["user", "share"], where=middle)), [JoinPart(bought)], online=True, name="ranked"
    )
    counted = GroupBy(
        ["user"],
        [JoinSource(ranked, Query(["user", "share"]))],
        [Aggregation("share", Operation.COUNT), Aggregation("share", Operation.SUM)],
        online=True,
        name="counted",
    )
    board = Join(EventSource("asked", query=Query(["user"], time="t")), [JoinPart(counted)], online=True, name="board")
    types = {"id": pa.string(), "user": pa.string(), "price": pa.float64(), "t": T}
    local = LocalPlatform(
        board,
        tables={
            "purchases": pa.schema({"user": pa.string(), "amount": pa.float64(), "t": T}).empty_table(),
            "orders": pa.schema(types).empty_table(),
            "asked": [{"user": "u", "t": "2024-05-01T12:00:00Z"}],
        },
    )
    local.advance("2024-05-01T08:00:00Z")
    local.upload("2024-04-30")
    return local


ORDER = {"id": "o", "user": "u", "price": 50.0, "t": "2024-05-01T09:00:00Z"}


@pytest.mark.parametrize(
    ("left", "middle"), [([], ["share < 2"]), (["price < 40"], []), (["price < 40"], ["share < 2"])]
)
def test_an_event_that_a_condition_left_out_is_not_counted_when_it_comes_again(
    left: list[str], middle: list[str]
) -> None:
    """The first of the events of one id is the event, and the condition is of it: by the time that it is sent again, or
    with what it says then, the condition may hold."""
    local = chain_of_two(left=left, middle=middle)
    local.publish("purchases", [{"user": "u", "amount": 10.0, "t": "2024-05-01T08:00:00Z"}])
    local.advance("2024-05-01T09:00:01Z")
    local.publish("orders", [ORDER])
    assert local.fetch("board", [{"user": "u"}]).rows() == [{"counted_share_count": 0, "counted_share_sum": None}]
    local.advance("2024-05-01T09:30:00Z")
    local.publish("purchases", [{"user": "u", "amount": 90.0, "t": "2024-05-01T09:29:00Z"}])
    local.publish("orders", [ORDER | {"price": 30.0}, ORDER | {"id": "p", "price": 20.0}, ORDER | {"id": "p"}])
    found = local.fetch("board", [{"user": "u"}]).rows()
    assert found == [{"counted_share_count": 1, "counted_share_sum": 0.2}]
    local.publish("orders", [ORDER | {"id": None, "price": 10.0}] * 2)
    found = local.fetch("board", [{"user": "u"}]).rows()
    assert found[0]["counted_share_count"] == 3, "events without an id are themselves"


def test_an_event_of_a_chain_that_comes_again_is_counted_once() -> None:
    local = chain_of_two(left=[], middle=[])
    local.publish("purchases", [{"user": "u", "amount": 10.0, "t": "2024-05-01T08:00:00Z"}])
    local.advance("2024-05-01T09:00:01Z")
    for _ in range(3):
        local.publish("orders", [ORDER])
    assert local.fetch("board", [{"user": "u"}]).rows() == [{"counted_share_count": 1, "counted_share_sum": 5.0}]


def counted_over(*sources: Any, left: EventSource | None = None) -> LocalPlatform:
    """How many rows of sources over `orders` and `returns` there are of a user, and their sum."""
    counted = GroupBy(
        ["user"],
        list(sources),
        [Aggregation("price", Operation.COUNT), Aggregation("price", Operation.SUM)],
        online=True,
        name="counted",
    )
    board = Join(EventSource("asked", query=Query(["user"], time="t")), [JoinPart(counted)], online=True, name="board")
    types = {"user": pa.string(), "price": pa.float64(), "t": T}
    tables: dict[str, Any] = {
        "orders": pa.schema({"id": pa.string(), **types, "ds": pa.string()}).empty_table(),
        "returns": pa.schema({"id": pa.int64(), **types}).empty_table(),
        "spent": SPENT.empty_table(),
        "asked": [{"user": "u", "t": "2024-05-05T12:00:00Z"}],
    }
    local = LocalPlatform(board, tables=tables)
    local.advance("2024-05-04T08:00:00Z")
    local.upload("2024-05-03")
    return local


def over(table: str, name: str, **more: Any) -> JoinSource:
    join = Join(stream(table, "user", "price", event_id="id", **more), [JoinPart(SPENDING)], online=True, name=name)
    return JoinSource(join, Query(["user", "price"]))


def plain(table: str, **more: Any) -> EventSource:
    return EventSource(table, topic=Topic(table), query=Query(["user", "price"], time="t", event_id="id"), **more)


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        ([over("orders", "one"), over("returns", "other")], (3, 64.0)),
        ([over("orders", "one"), over("orders", "other")], (4, 114.0)),
        ([plain("orders"), plain("returns")], (3, 64.0)),
        ([over("orders", "one"), plain("orders")], (4, 114.0)),
    ],
    ids=["two joins of two tables", "two joins of a table", "two tables", "a join and its left"],
)
def test_ids_are_those_of_the_rows_of_one_source(sources: list[Any], expected: tuple[int, float]) -> None:
    """Ids of different tables may be equal, and of different types; and a row may come by more ways than one."""
    local = counted_over(*sources)
    local.advance("2024-05-04T12:00:00Z")
    for _ in range(2):
        local.publish(
            "orders", [{"id": n, "user": "u", "price": price, "t": START} for n, price in (("1", 50.0), ("2", 7.0))]
        )
        local.publish("returns", [{"id": 1, "user": "u", "price": 7.0, "t": START}])
    local.advance("2024-05-05T12:00:00Z")
    (found,) = local.fetch("board", [{"user": "u"}]).rows()
    assert (found["counted_price_count"], found["counted_price_sum"]) == expected
    assert local.backfill("board").to_pylist()[0] | found == local.backfill("board").to_pylist()[0]


def bounded(table: str) -> EventSource:
    query = Query(["user", "price"], time="t", event_id="id", start="2024-05-05")
    return EventSource(table, topic=Topic(table), query=query)


@pytest.mark.parametrize("is_chained", [False, True])
def test_an_id_on_a_day_that_is_not_read_is_nobodys(is_chained: bool) -> None:
    source: Any = bounded("orders")
    if is_chained:
        join = Join(source, [JoinPart(SPENDING)], online=True, name="one")
        source = JoinSource(join, Query(["user", "price"]))
    local = counted_over(source)
    for day, price in (("2024-05-04", 1.0), ("2024-05-05", 2.0), ("2024-05-05", 4.0)):
        local.advance(f"{day}T10:00:00Z")
        local.publish("orders", [{"id": "o", "user": "u", "price": price, "t": f"{day}T09:00:00Z", "ds": day}])
    local.advance("2024-05-05T12:00:00Z")
    (found,) = local.fetch("board", [{"user": "u"}]).rows()
    assert (found["counted_price_count"], found["counted_price_sum"]) == (1, 2.0)
    (backfilled,) = local.backfill("board").to_pylist()
    assert (backfilled["counted_price_count"], backfilled["counted_price_sum"]) == (1, 2.0)


def test_what_is_left_out_has_no_id_of_a_join_sources_own() -> None:
    """Two events of one instant, of which a condition leaves one out."""
    left = stream("orders", "user", "price", event_id="id", where=["price > 5"])
    join = Join(left, [JoinPart(SPENDING)], online=True, name="one")
    own = {"event_id": "CAST(ts AS STRING)"}
    local = counted_over(JoinSource(join, Query(["user", "price"], **own)))  # type: ignore[arg-type]
    local.advance("2024-05-04T12:00:00Z")
    local.publish("orders", [{"id": str(price), "user": "u", "price": price, "t": START} for price in (1.0, 9.0)])
    local.advance("2024-05-05T12:00:00Z")
    (found,) = local.fetch("board", [{"user": "u"}]).rows()
    (backfilled,) = local.backfill("board").to_pylist()
    assert found["counted_price_sum"] == backfilled["counted_price_sum"] == 9.0


def test_rows_wait_until_the_joins_features_can_be_had() -> None:
    tables = {"spent": rows(SPENT), "visits": visit(1, "a", "north", 3, 8, START), "asked": rows(ASKED)}
    local = LocalPlatform(BOARD, tables=tables)
    local.advance(START + SECOND)
    key = [{"shop": "north", "user": "a"}]
    assert local.fetch("board", key).status(0, "shops_price_last_7d") == "unavailable"
    local.upload(day_text(START - DAY))
    assert local.fetch("board", key).rows()[0]["shops_price_last_7d"] == 2
    assert local.fetch("board", key).status(0, "shops_price_last_7d") == "ok"


def test_rows_wait_for_an_external_source_and_an_error_of_it_is_null() -> None:
    ANSWERS[:] = [OSError("down"), [{"score": "high"}], [{"score": 7.0}]]
    scores = ExternalSource({"user": "STRING"}, {"score": "DOUBLE"}, scored, timeout="5s", name="scores")
    left = Join(left=stream("visits", "user", "shop"), parts=[JoinPart(scores)], online=True, name="left")
    found = [Aggregation("scores_score", Operation.SUM, windows=["7d"]), Aggregation("user", Operation.COUNT)]
    over = JoinSource(left, Query(["shop", "user", "scores_score"]))
    shops = GroupBy(["shop"], [over], found, online=True, name="shops")
    board = Join(left=EventSource("asked", Query(["shop"], time="t")), parts=[JoinPart(shops)], name="board")
    local = LocalPlatform(board, tables={"visits": rows(VISITS), "asked": rows(ASKED)})
    local.advance(START + SECOND)
    local.upload(day_text(START - DAY))

    def seen() -> tuple[Any, ...]:
        return tuple(local.fetch("board", [{"shop": "north"}]).rows()[0].values())

    local.publish("visits", visit(1, "a", "north", 3, 8, START + SECOND))
    assert seen() == (None, 0)
    local.advance(START + 2 * SECOND)
    assert seen() == (None, 1), "an answer that is none"
    local.publish("visits", visit(2, "a", "north", 3, 8, START + SECOND))
    assert seen() == (7.0, 2)


def test_over_a_join_of_entities_values_are_those_of_the_upload() -> None:
    stock = EntitySource("stock", Query(["user", "shop"]))
    left = Join(left=stock, parts=[JoinPart(SPENDING)], name="left")
    source = JoinSource(left, Query({"shop": "shop", "spent": "spending_amount_sum_7d"}))
    shops = GroupBy(["shop"], [source], [Aggregation("spent", Operation.MAX, windows=["7d"])], name="shops")
    board = Join(left=EventSource("asked", Query(["shop"], time="t")), parts=[JoinPart(shops)], name="board")
    schema = pa.schema({"user": pa.string(), "shop": pa.string(), "ds": pa.string()})
    tables = {
        "stock": rows(schema, ("a", "north", day_text(START - 2 * DAY))),
        "spent": rows(SPENT, ("a", "food", 30, to_datetime(START - 3 * DAY))),
        "asked": rows(ASKED, ("north", "a", to_datetime(START))),
    }
    local = LocalPlatform(board, tables=tables)
    local.advance(START)
    local.upload(day_text(START - DAY))
    local.advance(START + HOUR)
    found = local.fetch("board", [{"shop": "north"}])
    assert (found.rows(), found.status(0, "shops_spent_max_7d")) == ([{"shops_spent_max_7d": 30}], "stale")


def test_a_column_that_json_cannot_hold_is_named_before_anything_is_made() -> None:
    sums = [Aggregation("amount", Operation.SUM, windows=["1d"], buckets=["is_large"])]
    query = Query({"user": "user", "amount": "amount", "is_large": "amount > 9"}, time="at")
    sizes = GroupBy(["user"], [EventSource("spent", query, Topic("spent"))], sums, online=True, name="sizes")
    left = Join(left=stream("visits", "user", "shop"), parts=[JoinPart(sizes)], online=True, name="left")
    column = "sizes_amount_sum_1d_by_is_large"
    over = JoinSource(left, Query(["shop", "user"], where=[f"{column} IS NOT NULL"]))
    counts = [Aggregation("user", Operation.COUNT, windows=["7d"])]
    shops = GroupBy(["shop"], [over], counts, online=True, name="shops")
    board = Join(left=EventSource("asked", Query(["shop"], time="t")), parts=[JoinPart(shops)], name="board")
    local = LocalPlatform(board, tables={"spent": rows(SPENT), "visits": rows(VISITS), "asked": rows(ASKED)})
    with pytest.raises(TableError, match=f"'{column}' of the join left is MAP<BOOLEAN, BIGINT>, and JSON has no such"):
        local.upload(day_text(START - DAY))
