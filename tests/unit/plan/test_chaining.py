"""Plans of chained definitions: parents once, in order, and how much of them is seen."""

import json
from pathlib import Path

import pytest

from tests.unit.plan.conftest import TEAM, Write
from zipline import (
    Accuracy,
    Aggregation,
    Derivation,
    EventSource,
    GroupBy,
    Join,
    JoinPart,
    JoinSource,
    Operation,
    Query,
    load,
)
from zipline.clock import DAY, HOUR
from zipline.errors import DefinitionError
from zipline.plan.build import Planned, plan_join
from zipline.plan.chaining import Span, parent_table, parents_of, wanted_parents
from zipline.plan.compiled import compile_definitions
from zipline.plan.fingerprints import fingerprint
from zipline.types import BIGINT, STRING, TIMESTAMP

COLUMNS = {"user": STRING, "shop": STRING, "amount": BIGINT, "t": TIMESTAMP}


def schema(table: str) -> dict:
    return COLUMNS


def events(table: str = "events") -> EventSource:
    return EventSource(table, query=Query(select=["user", "shop", "amount"], time="t"))


base = Join(events(), [], name="base")


def reader(source, *windows, name: str = "reader", **options) -> GroupBy:
    return GroupBy(["user"], [source], [Aggregation("amount", Operation.SUM, windows=windows)], name=name, **options)


def spans_of(join: Join, span: Span, **options) -> dict[str, tuple]:
    plan = plan_join(join, schema)
    found = wanted_parents(plan.left, (*plan.parts, *plan.labels), span, **options)
    return {name.split("#")[0]: (each.span.low, each.span.high) for name, each in found.items()}


def test_lookbacks_add_up_over_a_chain_each_with_the_hop_of_its_window():
    middle = Join(events(), [JoinPart(reader(JoinSource(base), "1d"))], name="middle")
    sums = Aggregation("reader_amount_sum_1d", Operation.SUM, windows=["6h"])
    last = Join(events(), [JoinPart(GroupBy(["user"], [JoinSource(middle)], [sums], name="sums"))], name="last")
    assert spans_of(last, Span(100 * DAY, 101 * DAY)) == {
        "middle": (100 * DAY - 6 * HOUR - 5 * 60_000_000, 101 * DAY),
        "base": (100 * DAY - 6 * HOUR - 5 * 60_000_000 - DAY - HOUR, 101 * DAY),
    }


def test_what_several_users_see_is_the_least_range_that_holds_it_all():
    daily = reader(JoinSource(base), "2d", name="daily", accuracy=Accuracy.SNAPSHOT)
    last = Join(JoinSource(base), [JoinPart(reader(JoinSource(base), "1h")), JoinPart(daily)], name="last")
    assert spans_of(last, Span(100 * DAY, 101 * DAY)) == {"base": (97 * DAY, 101 * DAY)}


def test_a_lifetime_window_a_lookup_and_other_times_see_all_of_the_past():
    for group_by in (
        reader(JoinSource(base), "1d", None),
        GroupBy(["user"], [JoinSource(base)], name="lookup"),
    ):
        last = Join(events(), [JoinPart(group_by)], name="last")
        assert spans_of(last, Span(0, DAY)) == {"base": (None, DAY)}
    shifted = reader(JoinSource(base, query=Query(time="ts + INTERVAL 1 DAY")), "1d")
    assert spans_of(Join(events(), [JoinPart(shifted)], name="last"), Span(0, DAY)) == {"base": (None, None)}


def test_what_is_given_is_not_computed_nor_what_only_it_needs():
    middle = Join(events(), [JoinPart(reader(JoinSource(base), "1d"))], name="middle")
    sums = Aggregation("reader_amount_sum_1d", Operation.SUM, windows=["1d"])
    over = GroupBy(["user"], [JoinSource(middle)], [sums], name="over")
    last = Join(events(), [JoinPart(over)], name="last")
    name = parent_table(plan_join(middle, schema))
    assert set(spans_of(last, Span(0, DAY))) == {"base", "middle"}
    assert spans_of(last, Span(0, DAY), given=[name]) == {}
    both = Join(JoinSource(base), [JoinPart(over)], name="both")
    assert spans_of(both, Span(0, DAY), given=[name]) == {"base": (0, DAY)}


def test_only_the_columns_that_are_read_and_what_they_are_made_of_are_computed_of_a_parent():
    sums = GroupBy(
        ["user"],
        [events()],
        [Aggregation("amount", Operation.SUM, windows=["1d", "2d"]), Aggregation("shop", Operation.LAST)],
        name="sums",
    )
    wide = Join(
        events(),
        [JoinPart(reader(JoinSource(base), "3d")), JoinPart(sums)],
        derivations=[Derivation("more", "sums_amount_sum_1d + 1"), Derivation("other", "more + sums_amount_sum_2d")],
        name="wide",
    )
    totals = GroupBy(
        ["user"],
        [JoinSource(wide, query=Query(where=["amount > 0"]))],
        [Aggregation("more", Operation.SUM, windows=["1h"])],
        name="totals",
    )
    plan = plan_join(Join(events(), [JoinPart(totals)], name="last"), schema)
    (found,) = wanted_parents(plan.left, plan.parts, Span(0, DAY)).values()
    names = [name for name, _ in found.plan.scoring_columns]
    assert names == ["user", "shop", "amount", "ts", "sums_amount_sum_1d", "more"]
    assert [step.parent.name for step in plan.steps() if step.title == "compute parent"] == ["wide"]


def test_parents_stand_in_the_order_in_which_they_are_computed_each_once():
    first = Join(JoinSource(base), [], name="first")
    second = Join(JoinSource(base), [JoinPart(reader(JoinSource(first), "1d"))], name="second")
    last = Join(JoinSource(second), [JoinPart(reader(JoinSource(first), "1d", name="other"))], name="last")
    plan = plan_join(last, schema)
    assert [parent.name for parent in plan.parents] == ["base", "first", "second"]
    assert parents_of(plan.projections()) == plan.parents
    titles = [step.title for step in plan.steps()]
    assert titles == ["compute parent"] * 3 + ["read left", "read source", "aggregate"]


def test_equal_joins_are_one_plan():
    twice = Join(JoinSource(Join(events(), [], name="base")), [JoinPart(reader(JoinSource(base), "1d"))], name="twice")
    plan = plan_join(twice, schema)
    assert plan.left.parent is plan.parts[0].group_by.sources[0].parent
    planned = Planned(schema)
    assert planned.join(twice).parents[0] is planned.join(base)


def test_joins_of_one_name_and_other_meaning_are_two_parents():
    other = Join(events("others"), [], name="base")
    both = Join(JoinSource(base), [JoinPart(reader(JoinSource(other), "1d"))], name="both")
    assert [parent.left.table for parent in plan_join(both, schema).parents] == ["events", "others"]


def test_a_chain_of_five_hundred_joins_has_a_fingerprint():
    join = base
    for depth in range(500):
        join = Join(JoinSource(join, query=Query(select=["user", "shop", "amount"])), [], name=f"j{depth}")
    assert len(fingerprint(join)) == 64


CHAIN = """
from zipline import Aggregation, EventSource, GroupBy, Join, JoinPart, JoinSource, Operation, Query

orders = Join(EventSource("events", query=Query(select=["user", "amount"], time="t")), [])
spent = GroupBy(["user"], [JoinSource(orders)], [Aggregation("amount", Operation.SUM, windows=["1d"])])
visits = Join(JoinSource(orders), [JoinPart(spent)])
"""


def test_chained_definitions_are_compiled_with_their_columns(write: Write, tmp_path: Path):
    configs = write({"shop/team.py": TEAM, "shop/chain.py": CHAIN})
    compile_definitions(load(configs), tmp_path / "out", schema)
    compiled = json.loads((tmp_path / "out" / "join" / "shop.chain.visits.json").read_text())
    assert compiled["needs"] == ["shop.chain.orders", "shop.chain.spent"]
    assert compiled["columns"] == [
        ["user", "STRING"],
        ["amount", "BIGINT"],
        ["ts", "TIMESTAMP"],
        ["spent_amount_sum_1d", "BIGINT"],
    ]


@pytest.mark.parametrize(
    "first",
    [
        'Join(EventSource("shop.chain.visits", query=Query(select=["user", "amount"], time="t")), [])',
        'Join(EventSource("events", query=Query(select=["user", "amount"], time="t")), [], row_id=["user"],'
        ' bootstrap=[BootstrapPart("shop.chain.visits", ["x"])])',
    ],
)
def test_a_circle_through_the_name_of_a_joins_output_is_refused(write: Write, first: str):
    text = CHAIN.replace("import Aggregation", "import Aggregation, BootstrapPart")
    lines = ["orders = " + first if line.startswith("orders = ") else line for line in text.splitlines()]
    configs = write({"shop/team.py": TEAM, "shop/chain.py": "\n".join(lines)})
    with pytest.raises(DefinitionError, match="depends on itself"):
        load(configs)
