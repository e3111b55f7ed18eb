"""Definitions are frozen values, and whatever is wrong with one is said where the author wrote it."""

import dataclasses
import inspect
import pickle
from collections.abc import Callable

import pytest

from zipline import (
    Accuracy,
    Aggregation,
    Check,
    Derivation,
    EntitySource,
    EventSource,
    ExternalSource,
    GroupBy,
    Join,
    JoinPart,
    JoinSource,
    LabelPart,
    Operation,
    Query,
    Team,
    Topic,
    Window,
    ZiplineError,
)
from zipline.errors import DefinitionError

SALES = EventSource("sales", Query(select=["user", "amount", "shop"], time="at"))


def changed_users(**clocks: str) -> EntitySource:
    topic = Topic("changes", format="debezium-json")
    return EntitySource("users", Query(time="at", **clocks), mutations="user_changes", topic=topic)


def sums(*windows: str | None, name: str = "spending", **more: object) -> GroupBy:
    aggregation = Aggregation("amount", Operation.SUM, windows=windows or (None,))
    return GroupBy(keys=["user"], sources=[SALES], aggregations=[aggregation], name=name, **more)


VISITS = EventSource("visits", Query(time="at"), Topic("visits"))


def enriched(left: EventSource | EntitySource | JoinSource, **more: object) -> Join:
    return Join(left, [], name="enriched", **more)


def over(join: Join, **more: object) -> GroupBy:
    """Online, of what a join gives."""
    counts = [Aggregation("user", Operation.COUNT, windows=["7d"])]
    return GroupBy(["user"], [JoinSource(join)], counts, online=True, **more)


@pytest.mark.parametrize(
    ("written", "kept"),
    [("30m", "30m"), ("60m", "1h"), ("24h", "1d"), ("48h", "2d"), ("36h", "36h"), ("1440m", "1d"), ("90m", "90m")],
)
def test_a_window_is_kept_in_its_largest_whole_unit(written: str, kept: str) -> None:
    assert str(Window(written)) == kept
    assert Window(written) == Window(kept)


@pytest.mark.parametrize("text", ["", "7", "d", "0d", "-1d", "1.5h", "90s", "7 d", "1w", "07d", 7])
def test_what_is_no_window_is_refused(text: object) -> None:
    with pytest.raises(DefinitionError, match="is not a window"):
        Window(text)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("aggregation", "names"),
    [
        (Aggregation("arr_delay", Operation.AVERAGE, windows=["7d"]), ["arr_delay_average_7d"]),
        (Aggregation("dest", Operation.TOP_K, k=3, windows=["30d"]), ["dest_top_k3_30d"]),
        (Aggregation("late", Operation.SUM), ["late_sum"]),
        (Aggregation("amount", "SUM", windows=["24h"], buckets=["channel"]), ["amount_sum_1d_by_channel"]),
        (
            Aggregation("delay", Operation.APPROX_PERCENTILE, percentiles=[0.5, 0.999], windows=["30d"]),
            ["delay_approx_percentile_p50_p99_9_30d"],
        ),
        (
            Aggregation("dest", Operation.BOUNDED_UNIQUE_COUNT, windows=["7d"]),
            ["dest_bounded_unique_count8_7d"],
        ),
        (
            Aggregation("x", Operation.MAX, windows=["1h", None], buckets=["a", "b"]),
            ["x_max_1h_by_a", "x_max_1h_by_b", "x_max_by_a", "x_max_by_b"],
        ),
    ],
)
def test_feature_names(aggregation: Aggregation, names: list[str]) -> None:
    assert [output.name for output in aggregation.outputs] == names


def test_definitions_are_frozen_equal_by_value_hashable_and_picklable() -> None:
    first, second = sums("7d", tags={"tier": "gold"}), sums("7d", tags={"tier": "gold"})
    assert first == second
    assert hash(first) == hash(second)
    assert pickle.loads(pickle.dumps(first)) == first
    with pytest.raises(dataclasses.FrozenInstanceError):
        first.online = True  # type: ignore[misc]
    with pytest.raises(TypeError, match="frozen"):
        first.tags["tier"] = "tin"  # type: ignore[index]


def test_lists_and_mappings_are_copied_so_that_later_changes_do_not_reach_the_definition() -> None:
    keys = ["user"]
    group_by = GroupBy(keys=keys, sources=[SALES], aggregations=[Aggregation("amount", Operation.SUM)])
    keys.append("shop")
    assert tuple(group_by.keys) == ("user",)


def test_an_error_carries_the_line_of_the_author() -> None:
    line = inspect.currentframe().f_lineno + 2  # type: ignore[union-attr]
    with pytest.raises(DefinitionError) as caught:
        Aggregation("amount", "AVERGE")  # type: ignore[arg-type]
    assert caught.value.where is not None
    assert caught.value.where.line == line
    assert caught.value.where.file.endswith("test_definitions.py")
    assert caught.value.suggestion == "AVERAGE"
    assert caught.value.exit_code == 2


WRONG: list[tuple[Callable[[], object], str]] = [
    (lambda: Aggregation("amount", Operation.TOP_K), "TOP_K needs k"),
    (lambda: Aggregation("amount", Operation.SUM, k=3), "SUM takes no k"),
    (lambda: Aggregation("amount", Operation.TOP_K, k=0), "at least 1"),
    (lambda: Aggregation("amount", Operation.APPROX_PERCENTILE), "needs percentiles"),
    (lambda: Aggregation("amount", Operation.SUM, percentiles=[0.5]), "takes no percentiles"),
    (lambda: Aggregation("amount", Operation.APPROX_PERCENTILE, percentiles=[50]), "not a percentile"),
    (lambda: Aggregation("amount", Operation.SUM, windows=["1d", "24h"]), "1d is given twice"),
    (lambda: Aggregation("amount", Operation.SUM, windows="7d"), "expected a list"),
    (lambda: Aggregation("amount", Operation.SUM, windows=[]), "at least 1"),
    (lambda: Aggregation("", Operation.SUM), "expected text"),
    (lambda: GroupBy(keys=["usr"], sources=[SALES]), "key 'usr' is missing"),
    (lambda: GroupBy(keys=["user"], sources=[]), "at least 1"),
    (lambda: GroupBy(keys="user", sources=[SALES]), "expected a list"),
    (lambda: GroupBy(keys=["user", "user"], sources=[SALES]), "user is given twice"),
    (lambda: GroupBy(keys=["user"], sources=[SALES], aggregation=[]), "has no argument 'aggregation'"),
    (lambda: Aggregation("amount", "SUM", window=["1d"]), "Aggregation has no argument 'window'"),
    (lambda: GroupBy(keys=["user"]), "needs the argument 'sources'"),
    (
        lambda: GroupBy(["user"], [SALES], [Aggregation("amonut", Operation.SUM)]),
        "input of an aggregation 'amonut' is missing",
    ),
    (
        lambda: GroupBy(["user"], [SALES], [Aggregation("amount", Operation.SUM, buckets=["channel"])]),
        "bucket 'channel' is missing",
    ),
    (
        lambda: GroupBy(
            ["user"], [SALES], [Aggregation("amount", Operation.SUM), Aggregation("amount", Operation.SUM, default=0)]
        ),
        "two columns would be named 'amount_sum'",
    ),
    (
        lambda: sums("7d", derivations=[Derivation("amount_sum_7d", "1")]),
        "two columns would be named 'amount_sum_7d'",
    ),
    (lambda: sums("36h", accuracy=Accuracy.SNAPSHOT), "a SNAPSHOT window must be whole days"),
    (lambda: sums("7d", online=True), "online and TEMPORAL, but the source 'sales' has no topic"),
    (lambda: over(enriched(VISITS)), "online and TEMPORAL, but the join enriched that it aggregates is not online"),
    (
        lambda: over(enriched(JoinSource(enriched(VISITS)), online=True)),
        "online and TEMPORAL, but the join enriched that it aggregates is not online",
    ),
    (
        lambda: over(enriched(EventSource("visits", Query(time="at")), online=True)),
        "online and TEMPORAL, but 'visits', the left of enriched, has no topic of events",
    ),
    (
        lambda: over(enriched(EntitySource("users"), online=True)),
        "online and TEMPORAL, but 'users', the left of enriched, has no topic of events",
    ),
    (lambda: sums("7d", checks=[Check.not_null("amount_sum_8d")]), "no such column"),
    (lambda: GroupBy(["user"], [EventSource("sales")]), "has no time"),
    (lambda: Query(known_at="seen"), "known_at needs time"),
    (lambda: Query(start="2024-02-30"), "is not a day"),
    (lambda: Query(start="2024-02-02", end="2024-02-01"), "is after end"),
    (lambda: Query(select={}), "selects no column"),
    (lambda: EventSource("sales", Query(mutation_time="at")), "belong to an EntitySource"),
    (lambda: EntitySource("users", mutations="user_changes"), "go together"),
    (
        lambda: EntitySource("users", topic=Topic("changes")),
        "the topic of an entity carries its changes, and it has none",
    ),
    (lambda: Topic("sales", lateness="soon"), "is not a duration"),
    (lambda: Topic("sales", format="debezium"), "'debezium' is not valid here(.|\n)*did you mean 'debezium-json'"),
    (
        lambda: EventSource("sales", Query(time="at"), topic=Topic("sales", format="debezium-json")),
        "carries changes, which are those of an EntitySource",
    ),
    (
        lambda: changed_users(mutation_time="CAST(changed_at AS TIMESTAMP)", is_before="was"),
        r"fills the column of query.mutation_time, which is none: CAST\(changed_at",
    ),
    (
        lambda: changed_users(mutation_time="changed_at", is_before="op = 'd'"),
        "fills the column of query.is_before, which is none: op = 'd'",
    ),
    (lambda: Join(EventSource("visits"), []), "has no time"),
    (
        lambda: Join(EventSource("visits", Query(select=["visitor"], time="at")), [JoinPart(sums("7d"))]),
        r"column 'user' \(a key of spending\) is missing in the select of the left",
    ),
    (lambda: JoinPart(sums("7d"), key_map={"visitor": "usr"}), "no key of spending"),
    (lambda: JoinPart(sums("7d"), features=["amount_sum_8d"]), "has no feature 'amount_sum_8d'"),
    (lambda: LabelPart([JoinPart(sums("7d"))], offset="3d"), "longer than the offset 3d"),
    (lambda: LabelPart([JoinPart(sums(None))], offset="3d"), "needs a window"),
    (
        lambda: Join(EventSource("v", Query(time="at")), [JoinPart(sums("7d"))], online=True),
        "is online, but its part spending is not",
    ),
    (lambda: ExternalSource({"user": "STRING"}, {"score": "DOUBLE"}, 7), "expected a Python callable or the URL"),
    (lambda: Team(""), "expected text"),
    (lambda: Check.freshness("soon"), "is not a duration"),
    (lambda: Check.not_null("x", severity="fatal"), "is not valid here"),
]


@pytest.mark.parametrize(("construct", "message"), WRONG, ids=[message for _, message in WRONG])
def test_what_is_wrong_is_refused_when_it_is_constructed(construct: Callable[[], object], message: str) -> None:
    with pytest.raises(DefinitionError, match=message) as caught:
        construct()
    assert caught.value.where is not None
    assert str(caught.value.where) in str(caught.value)


def test_over_an_online_join_whose_left_has_a_topic_or_as_of_days_over_any() -> None:
    assert over(enriched(JoinSource(enriched(VISITS, online=True)), online=True)).online
    assert over(enriched(EntitySource("users")), accuracy=Accuracy.SNAPSHOT).online


def test_every_error_reads_as_what_where_valid_hint() -> None:
    with pytest.raises(ZiplineError) as caught:
        JoinPart(sums("7d"), features=["amount_sum_8d"])
    assert str(caught.value).splitlines() == [
        "JoinPart(spending): spending has no feature 'amount_sum_8d'",
        f"  at {caught.value.where}",
        "  did you mean 'amount_sum_7d'?",
        "  valid: amount_sum_7d",
    ]


def test_changes_of_debezium_have_two_columns_that_their_envelope_fills() -> None:
    for name in ("changed_at", '"changed at"', " was "):
        changed_users(mutation_time=name, is_before="was")
