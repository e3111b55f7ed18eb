"""What a change of definitions means, by hand: fields, columns with their reasons, days, consumers, breaks."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from zipline import load
from zipline.errors import BreakingChangeError
from zipline.plan import identity
from zipline.plan.changes import Changes, JoinChange
from zipline.plan.compiled import Compilation, compare, compile_definitions
from zipline.plan.field_changes import field_changes
from zipline.types import BIGINT, DOUBLE, INT, STRING, TIMESTAMP, DataType

COMPANY = {
    "shop/team.py": 'from zipline import Team\n\nteam = Team(owner="shop")\n',
    "shop/sources.py": """
        from zipline import EventSource, Query

        purchases = EventSource(
            "purchases",
            Query({"user": "user", "amount": "amount", "large": "amount > 100"}, where=["amount > 0"], time="at"),
        )
    """,
    "shop/spending.py": """
        from configs.shop.sources import purchases
        from zipline import Accuracy, Aggregation, Derivation, GroupBy, Operation

        spending = GroupBy(
            keys=["user"],
            sources=[purchases],
            aggregations=[
                Aggregation("amount", Operation.SUM, windows=["1d", "7d"]),
                Aggregation("large", Operation.COUNT, windows=["7d"]),
            ],
            derivations=[Derivation("share", "amount_sum_1d / amount_sum_7d")],
            accuracy=Accuracy.SNAPSHOT,
            online=True,
        )
    """,
    "shop/refunds.py": """
        from zipline import Aggregation, EventSource, GroupBy, Operation, Query

        refunds = GroupBy(
            keys=["user"],
            sources=[EventSource("refunds", Query(["user", "amount"], time="at"))],
            aggregations=[Aggregation("amount", Operation.MAX, windows=["1d"])],
        )
    """,
    "shop/visits.py": """
        from configs.shop.refunds import refunds
        from configs.shop.spending import spending
        from zipline import Derivation, EventSource, Join, JoinPart, LabelPart, Query

        visits = Join(
            left=EventSource("visits", Query(["user", "page"], time="at")),
            parts=[JoinPart(spending), JoinPart(refunds)],
            labels=LabelPart([JoinPart(refunds)], offset="1d"),
            derivations=[Derivation("net", "spending_share - refunds_amount_max_1d")],
        )
    """,
    "shop/models.py": """
        from configs.shop.visits import visits
        from zipline import Model

        regret = Model(visits, label="label_refunds_amount_max_1d", split="2024-06-01", owner="science")
    """,
}
TABLES: dict[str, dict[str, DataType]] = {
    "purchases": {"user": STRING, "amount": DOUBLE, "at": TIMESTAMP},
    "refunds": {"user": STRING, "amount": DOUBLE, "at": TIMESTAMP},
    "visits": {"user": STRING, "page": STRING, "at": TIMESTAMP},
}
SPENDING = {"spending_amount_sum_1d", "spending_amount_sum_7d", "spending_large_count_7d", "spending_share", "net"}
SUMS = SPENDING - {"spending_large_count_7d"}
REFUNDS = {"refunds_amount_max_1d", "net"}
EVERYTHING = SPENDING | REFUNDS | {"label_refunds_amount_max_1d"}

Write = Callable[[dict[str, str]], Path]


class Shop:
    """A compiled company that is then edited."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.tables = TABLES
        self.compile()

    def edit(self, file: str, *replacements: tuple[str, str]) -> "Shop":
        path = self.root / "shop" / file
        text = path.read_text()
        for before, now in replacements:
            assert text.count(before) == 1
            text = text.replace(before, now)
        path.write_text(text)
        return self

    def compile(self, reason: str | None = None) -> Compilation:
        where = self.root.parent
        return compile_definitions(
            load(self.root), where / "compiled", self.tables.__getitem__, cache=where / "cache.json", reason=reason
        )

    def changes(self, days: Callable[[str], Sequence[str]] | None = None) -> Changes:
        where = self.root.parent
        compared = compare(
            load(self.root), where / "compiled", self.tables.__getitem__, cache=where / "cache.json", days_of=days
        )
        return compared.changes

    def visits(self) -> JoinChange:
        (join,) = [join for join in self.changes().joins if join.name == "shop.visits.visits"]
        return join


@pytest.fixture
def shop(write: Write) -> Shop:
    return Shop(write(COMPANY))


def columns(join: JoinChange, what: str = "recomputed") -> set[str]:
    return {column.name for column in join.columns if column.what == what}


def reasons(join: JoinChange, column: str) -> list[str]:
    (found,) = [each for each in join.columns if each.name == column]
    return [f"{each.of} {each}" for each in found.reasons]


def test_nothing_changed(shop: Shop) -> None:
    changes = shop.changes()
    assert not changes
    assert changes.unchanged == (
        "shop.models.regret",
        "shop.refunds.refunds",
        "shop.sources.purchases",
        "shop.spending.spending",
        "shop.visits.visits",
    )
    assert (changes.joins, changes.breaking) == ((), ())


def test_a_line_that_moved_is_no_change(shop: Shop) -> None:
    shop.edit("spending.py", ("from configs", "\n\nfrom configs"))
    assert not shop.changes()


def test_another_operation_is_a_new_column_and_one_that_goes(shop: Shop) -> None:
    shop.edit("refunds.py", ("Operation.MAX", "Operation.MIN"))
    for file in ("visits.py", "models.py"):
        shop.edit(file, ("refunds_amount_max_1d", "refunds_amount_min_1d"))
    join = shop.visits()
    assert columns(join, "new") == {"refunds_amount_min_1d", "label_refunds_amount_min_1d"}
    assert columns(join, "dropped") == {"refunds_amount_max_1d", "label_refunds_amount_max_1d"}
    assert columns(join) == {"net"}
    assert join.kept == 4
    assert join.rows is None


def test_a_shared_source_says_its_field_and_line(shop: Shop) -> None:
    changes = shop.edit("sources.py", ("amount > 100", "amount > 200")).changes()
    assert [change.name for change in changes.changed] == [
        "shop.models.regret",
        "shop.sources.purchases",
        "shop.spending.spending",
        "shop.visits.visits",
    ]
    (field,) = changes.changed[2].fields
    assert str(field) == "sources[0].query.select.large: amount > 100 -> amount > 200"
    assert field.where is not None
    assert field.where.endswith("shop/sources.py:6")
    (join,) = changes.joins
    assert columns(join) == {"spending_large_count_7d"}
    assert reasons(join, "spending_large_count_7d") == [
        "shop.spending.spending sources[0].query.select.large: amount > 100 -> amount > 200"
    ]
    assert join.kept == 6


@pytest.mark.parametrize(
    ("file", "before", "now", "recomputed", "reason"),
    [
        (
            "sources.py",
            'where=["amount > 0"]',
            'where=["amount > 1"]',
            SPENDING,
            "shop.spending.spending sources[0].query.where: amount > 0 -> amount > 1",
        ),
        (
            "sources.py",
            '"amount": "amount"',
            '"amount": "amount * 2"',
            SUMS,
            "shop.spending.spending sources[0].query.select.amount: amount -> amount * 2",
        ),
        (
            "spending.py",
            'SUM, windows=["1d", "7d"]',
            'SUM, windows=["1d", "7d"], default=0.0',
            SUMS,
            "shop.spending.spending aggregations[amount SUM].default: (not set) -> 0.0",
        ),
        (
            "spending.py",
            "amount_sum_1d / amount_sum_7d",
            "amount_sum_7d / amount_sum_1d",
            {"spending_share", "net"},
            "shop.spending.spending derivations[share].expression: "
            "amount_sum_1d / amount_sum_7d -> amount_sum_7d / amount_sum_1d",
        ),
        (
            "refunds.py",
            'time="at"',
            'time="at", where=["amount > 0"]',
            REFUNDS | {"label_refunds_amount_max_1d"},
            "shop.refunds.refunds sources[0].query.where: (not set) -> amount > 0",
        ),
        (
            "visits.py",
            "spending_share - refunds",
            "spending_share + refunds",
            {"net"},
            "shop.visits.visits derivations[net].expression: "
            "spending_share - refunds_amount_max_1d -> spending_share + refunds_amount_max_1d",
        ),
    ],
)
def test_columns_are_recomputed_for_the_field_that_they_depend_on(
    shop: Shop, file: str, before: str, now: str, recomputed: set[str], reason: str
) -> None:
    join = shop.edit(file, (before, now)).visits()
    assert columns(join) == recomputed
    for column in recomputed:
        assert reason in reasons(join, column)
    assert (columns(join, "new"), columns(join, "dropped")) == (set(), set())


def test_other_rows_recompute_everything(shop: Shop) -> None:
    join = shop.edit("visits.py", ('time="at"', 'where=["page <> \'bot\'"], time="at"')).visits()
    assert join.rows is not None
    assert [str(each) for each in join.rows] == ["left.query.where: (not set) -> page <> 'bot'"]
    assert columns(join) == EVERYTHING
    assert join.kept == 0


def test_another_offset_changes_the_labels_and_which_rows_are_mature(shop: Shop) -> None:
    join = shop.edit("visits.py", ('offset="1d"', 'offset="2d"')).visits()
    assert [str(each) for each in join.rows or ()] == ["labels.offset: 1d -> 2d"]
    assert reasons(join, "label_refunds_amount_max_1d") == ["shop.visits.visits labels.offset: 1d -> 2d"]


def test_the_end_of_the_labels_data_decides_which_rows_are_mature(shop: Shop) -> None:
    join = shop.edit("refunds.py", ('time="at"', 'time="at", end="2024-05-01", partition="user"')).visits()
    assert [str(each) for each in join.rows or ()] == [
        "sources[0].query.end: (not set) -> 2024-05-01",
        "sources[0].query.partition: (not set) -> user",
    ]
    assert columns(join) == EVERYTHING


def test_a_key_of_the_left_changes_the_columns_that_are_asked_by_it(shop: Shop) -> None:
    join = shop.edit("visits.py", ('["user", "page"]', '{"user": "UPPER(user)", "page": "page"}')).visits()
    assert join.rows is not None
    assert reasons(join, "refunds_amount_max_1d") == ["shop.visits.visits left.query.select.user: user -> UPPER(user)"]


def test_a_type_of_a_table_is_a_reason(shop: Shop) -> None:
    shop.tables = TABLES | {"refunds": TABLES["refunds"] | {"amount": BIGINT}}
    join = shop.visits()
    assert columns(join) == REFUNDS | {"label_refunds_amount_max_1d"}
    assert reasons(join, "refunds_amount_max_1d") == ["shop.refunds.refunds reads.refunds.amount: DOUBLE -> BIGINT"]


def test_a_release_with_other_values_is_a_reason(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "SEMANTICS", 99)
    (shop.root.parent / "cache.json").unlink()
    changes = shop.changes()
    (join,) = changes.joins
    assert columns(join) == EVERYTHING
    assert "semantics: 1 -> 99" in [str(each) for change in changes.changed for each in change.fields]


def test_days_are_those_that_the_output_holds(shop: Shop) -> None:
    asked: list[str] = []

    def days(join: str) -> list[str]:
        asked.append(join)
        return ["2024-05-01", "2024-05-02"]

    shop.edit("refunds.py", ('["user", "amount"]', '{"user": "user", "amount": "-amount"}'))
    (join,) = shop.changes(days).joins
    assert join.days == ("2024-05-01", "2024-05-02")
    assert asked == ["shop.visits.visits"]


def test_consumers_are_all_that_is_downstream_with_their_owners(shop: Shop) -> None:
    changes = shop.edit("refunds.py", ('["user", "amount"]', '{"user": "user", "amount": "-amount"}')).changes()
    assert [(user.name, user.kind, user.owner) for user in changes.consumers["shop.refunds.refunds"]] == [
        ("shop.models.regret", "Model", "science"),
        ("shop.visits.visits", "Join", "shop"),
    ]
    assert [user.name for user in changes.joins[0].consumers] == ["shop.models.regret"]


def test_created_and_deleted(shop: Shop) -> None:
    (shop.root / "shop/models.py").unlink()
    (shop.root / "shop/more.py").write_text("from zipline import EventSource\nrides = EventSource('rides')\n")
    shop.tables = TABLES | {"rides": {}}
    changes = shop.changes()
    assert [(each.name, each.kind, each.where) for each in changes.created] == [
        ("shop.more.rides", "EventSource", "configs/shop/more.py:2")
    ]
    assert [(each.name, each.owner) for each in changes.deleted] == [("shop.models.regret", "science")]


def broken(shop: Shop) -> list[tuple[str, str]]:
    return [(each.name, each.what) for each in shop.changes().breaking]


@pytest.mark.parametrize(
    ("replacements", "what"),
    [
        ([('"amount_sum_1d / amount_sum_7d"', '"amount_sum_7d"')], ["share gets other values"]),
        ([("online=True", "online=False")], ["is no longer online"]),
        (
            [
                ('Aggregation("large", Operation.COUNT, windows=["7d"]),', ""),
            ],
            ["large_count_7d goes"],
        ),
        (
            [("amount_sum_1d / amount_sum_7d", "CAST(amount_sum_7d AS BIGINT)")],
            ["share is DOUBLE, and will be BIGINT"],
        ),
        ([('SUM, windows=["1d", "7d"]', 'SUM, windows=["1d", "7d", "9d"]')], []),
        ([("online=True", 'online=True, description="new"')], []),
    ],
)
def test_what_breaks_an_online_group_by(shop: Shop, replacements: list[tuple[str, str]], what: list[str]) -> None:
    assert broken(shop.edit("spending.py", *replacements)) == [("shop.spending.spending", each) for each in what]


def test_other_keys_of_an_online_group_by_break_it(shop: Shop) -> None:
    shop.edit("sources.py", ('{"user": "user"', '{"client": "user"'))
    shop.edit("spending.py", ('keys=["user"]', 'keys=["client"]'))
    shop.edit("visits.py", ("JoinPart(spending)", 'JoinPart(spending, key_map={"user": "client"})'))
    assert broken(shop) == [("shop.spending.spending", "its keys change: user STRING -> client STRING")]
    assert shop.visits().columns == (), "what a key is called changes no value"


def test_a_deleted_online_object_breaks(shop: Shop) -> None:
    shop.edit("visits.py", ("from configs.shop.spending import spending", ""), ("JoinPart(spending), ", ""))
    shop.edit("visits.py", ("spending_share - refunds_amount_max_1d", "refunds_amount_max_1d"))
    (shop.root / "shop/spending.py").unlink()
    assert broken(shop) == [("shop.spending.spending", "is deleted")]


def test_without_tables_any_change_of_an_online_object_breaks(shop: Shop) -> None:
    shop.edit("spending.py", ("amount_sum_1d / amount_sum_7d", "amount_sum_7d"))
    (shop.root.parent / "cache.json").unlink()
    compared = compare(load(shop.root), shop.root.parent / "compiled")
    (found,) = compared.changes.breaking
    assert found.what == "changes, and without its tables nobody can say what becomes of its columns"


def test_a_breaking_change_is_refused_and_nothing_is_written(shop: Shop) -> None:
    compiled = shop.root.parent / "compiled"
    before = {path: path.read_text() for path in compiled.rglob("*.json")}
    shop.edit("spending.py", ("amount_sum_1d / amount_sum_7d", "amount_sum_7d"))
    with pytest.raises(BreakingChangeError) as refused:
        shop.compile()
    assert refused.value.exit_code == 1
    assert refused.value.subject == "shop.spending.spending"
    assert [(name, what) for name, what, _ in refused.value.breaks] == [
        ("shop.spending.spending", "share gets other values")
    ]
    assert "used by shop.models.regret, shop.visits.visits" in str(refused.value)
    assert "--force --reason" in str(refused.value)
    assert {path: path.read_text() for path in compiled.rglob("*.json")} == before


def test_a_forced_change_keeps_its_reason_through_later_compilations(shop: Shop) -> None:
    shop.edit("spending.py", ("amount_sum_1d / amount_sum_7d", "amount_sum_7d"))
    forced = shop.compile(reason="nobody reads it").forced
    shop.edit("refunds.py", ('"1d"', '"1d", "2h"'))
    shop.compile()
    kept = json.loads((shop.root.parent / "compiled/overrides.json").read_text())
    assert kept == list(forced)
    (entry,) = kept
    assert entry["name"] == "shop.spending.spending"
    assert entry["reason"] == "nobody reads it"
    assert entry["breaks"] == ["share gets other values"]
    assert entry["from"] != entry["to"]


def test_a_reason_for_a_change_that_breaks_nothing_is_not_kept(shop: Shop) -> None:
    shop.edit("refunds.py", ('"1d"', '"1d", "2h"'))
    assert shop.compile(reason="to be sure").forced == ()
    assert not (shop.root.parent / "compiled/overrides.json").exists()


def test_what_is_unchanged_is_not_typed_again(shop: Shop) -> None:
    asked: list[str] = []

    def schema(table: str) -> dict[str, DataType]:
        asked.append(table)
        return TABLES[table]

    before = {path: path.stat().st_ino for path in (shop.root.parent / "compiled").rglob("*.json")}
    shop.edit("refunds.py", ('"1d"', '"1d", "2h"'))
    where = shop.root.parent
    compile_definitions(load(shop.root), where / "compiled", schema, cache=where / "cache.json")
    assert sorted(asked) == ["purchases", "refunds", "visits"], "each schema is looked at once"
    after = {path: path.stat().st_ino for path in (where / "compiled").rglob("*.json")}
    assert {path.stem for path in before if before[path] == after[path]} == {
        "shop.sources.purchases",
        "shop.spending.spending",
    }


def test_a_compilation_with_a_cache_equals_one_without(shop: Shop) -> None:
    shop.edit("refunds.py", ('"1d"', '"1d", "2h"'))
    shop.compile()
    compile_definitions(load(shop.root), shop.root.parent / "anew", TABLES.__getitem__)
    folders = [shop.root.parent / name for name in ("compiled", "anew")]
    one, other = ({p.relative_to(f): p.read_text() for p in f.rglob("*.json")} for f in folders)
    assert one == other


@pytest.mark.parametrize("damage", ["", "[]", '{"shop.refunds.refunds": 1}', '{"shop.refunds.refunds": {}}'])
def test_a_damaged_cache_costs_time_and_nothing_else(shop: Shop, damage: str) -> None:
    (shop.root.parent / "cache.json").write_text(damage)
    assert not shop.changes()


def test_a_schema_that_changed_is_typed_again(shop: Shop) -> None:
    shop.tables = TABLES | {"visits": TABLES["visits"] | {"page": INT}}
    written = json.loads((shop.root.parent / "compiled/join/shop.visits.visits.json").read_text())
    assert ["page", "STRING"] in written["columns"]
    shop.compile()
    written = json.loads((shop.root.parent / "compiled/join/shop.visits.visits.json").read_text())
    assert ["page", "INT"] in written["columns"]
    assert written["consumers"] == ["shop.models.regret"]


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        ({"kind": "A", "x": 1}, {"kind": "A", "x": 2}, ["x: 1 -> 2"]),
        ({"kind": "A"}, {"kind": "A", "x": "text"}, ["x: (not set) -> text"]),
        ({"kind": "A", "x": ["a", "b"]}, {"kind": "A", "x": ["a", "c"]}, ["x: b -> c"]),
        ({"kind": "A", "x": ["a"]}, {"kind": "A", "x": ["a", "c"]}, ["x: (none) -> c"]),
        ({"kind": "A", "x": ["a", "b"]}, {"kind": "A", "x": ["b", "a"]}, ["x: a, b -> b, a"]),
        ({"kind": "A", "x": {"kind": "B"}}, {"kind": "A", "x": {"kind": "C"}}, ['x: {"kind":"B"} -> {"kind":"C"}']),
        (
            {"kind": "A", "derivations": [{"kind": "Derivation", "name": "d", "expression": "1"}]},
            {"kind": "A", "derivations": [{"kind": "Derivation", "name": "e", "expression": "1"}]},
            ["derivations[d] taken out", "derivations[e] added"],
        ),
        (
            {"kind": "A", "select": [["a", "x"], ["b", "y"]]},
            {"kind": "A", "select": [["a", "x"], ["b", "z"]]},
            ["select.b: y -> z"],
        ),
        (
            {"kind": "A", "s": {"kind": "GroupBy", "name": "g", "fingerprint": "1"}},
            {"kind": "A", "s": {"kind": "GroupBy", "name": "g", "fingerprint": "2"}},
            [],
        ),
    ],
)
def test_fields_are_compared_as_an_author_names_them(
    before: dict[str, object], now: dict[str, object], expected: list[str]
) -> None:
    assert [str(change) for change in field_changes("d", before, now)] == expected  # type: ignore[arg-type]
