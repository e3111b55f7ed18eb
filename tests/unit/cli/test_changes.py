"""`compile`, `diff` and `lineage` on a small project: what is printed, what is written, and the exit codes."""

import json
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Zipline

JOIN = "shop.visits.visits"
SPENDING = "shop/spending.py"


def edit(project: Path, file: str, before: str, now: str) -> None:
    path = project / "configs" / file
    assert path.read_text().count(before) == 1
    path.write_text(path.read_text().replace(before, now))


def put_online(project: Path) -> None:
    edit(project, SPENDING, "keys=[", "online=True, accuracy=Accuracy.SNAPSHOT, keys=[")
    edit(project, SPENDING, "import Aggregation", "import Accuracy, Aggregation")


def test_diff_before_anything_is_compiled_says_that_all_is_new(zipline: Zipline, project: Path) -> None:
    ran = zipline("diff")
    assert ran.code == 0, ran.err
    assert "+ shop.visits.visits   join of shop, configs/shop/visits.py:5" in ran.out
    assert not (project / ".zipline/compiled").exists(), "a diff writes nothing"


def test_diff_says_that_nothing_changed(zipline: Zipline) -> None:
    zipline("compile")
    ran = zipline("diff", "--exit-code")
    assert (ran.code, ran.out) == (0, "nothing changed: 3 definitions as compiled\n")


def test_diff_says_which_field_changed_which_columns_and_days(zipline: Zipline, project: Path) -> None:
    zipline("compile")
    zipline("backfill", JOIN, "--start", "2024-05-01", "--end", "2024-05-02")
    edit(project, SPENDING, 'select=["user", "amount"]', 'select={"user": "user", "amount": "amount * 2"}')
    edit(project, SPENDING, '"1d", "7d"', '"1d", "7d", "9d"')
    ran = zipline("diff", "--exit-code")
    assert ran.code == 1
    for words in (
        "~ shop.spending.spending   group-by of shop, configs/shop/spending.py:5",
        "aggregations[amount SUM].windows: (none) -> 9d",
        "sources[0].query.select.amount: amount -> amount * 2",
        "1 new, 2 recomputed, 0 carried over; 2 stored days: 2024-05-01..2024-05-02",
        "new        spending_amount_sum_9d",
        "recomputed spending_amount_sum_1d, spending_amount_sum_7d",
        "because shop.spending.spending: sources[0].query.select.amount: amount -> amount * 2",
        "shop/spending.py:4",
        "shop: join shop.visits.visits, group-by shop.spending.spending",
    ):
        assert words in ran.out, words


def test_diff_as_json_has_the_same_facts(zipline: Zipline, project: Path) -> None:
    zipline("compile")
    edit(project, SPENDING, "Operation.SUM,", "Operation.SUM, default=0.0,")
    facts = zipline("diff", "--json").facts
    (join,) = facts["joins"]
    assert (join["name"], join["kept"], join["rows"], join["days"]) == (JOIN, 0, None, [])
    assert [(each["name"], each["what"]) for each in join["columns"]] == [
        ("spending_amount_sum_1d", "recomputed"),
        ("spending_amount_sum_7d", "recomputed"),
    ]
    (reason,) = join["columns"][0]["reasons"]
    assert (reason["of"], reason["field"]) == ("shop.spending.spending", "aggregations[amount SUM].default")
    assert (reason["before"], reason["now"]) == (None, 0.0)
    assert reason["where"].endswith("shop/spending.py:8")
    assert facts["untyped"] == {}


def test_diff_of_a_wrong_definition_exits_with_two(zipline: Zipline, project: Path) -> None:
    edit(project, SPENDING, 'Aggregation("amount"', 'Aggregation("amont"')
    ran = zipline("diff", "--json")
    assert (ran.code, ran.facts["error"]) == (2, "DefinitionError")


def test_compile_prints_what_becomes_of_each_join(zipline: Zipline, project: Path) -> None:
    zipline("compile")
    edit(project, SPENDING, "Operation.SUM,", "Operation.SUM, default=0.0,")
    ran = zipline("compile")
    assert "changed 2: shop.spending.spending, shop.visits.visits" in ran.out
    assert "shop.visits.visits: 2 recomputed, 0 carried over; no stored day to make again" in ran.out
    assert zipline("diff").out.startswith("nothing changed")


def test_a_breaking_change_of_an_online_object_needs_force_and_a_reason(zipline: Zipline, project: Path) -> None:
    put_online(project)
    assert zipline("compile").code == 0
    edit(project, SPENDING, "Operation.SUM,", "Operation.SUM, default=0.0,")
    shown = zipline("diff")
    assert shown.code == 0
    assert "breaks online" in shown.out
    assert "shop.spending.spending amount_sum_1d gets other values" in shown.out
    refused = zipline("compile", "--json")
    assert refused.code == 1
    assert refused.facts["error"] == "BreakingChangeError"
    assert [each["what"] for each in refused.facts["breaks"]] == [
        "amount_sum_1d gets other values",
        "amount_sum_7d gets other values",
    ]
    assert zipline("diff", "--exit-code").code == 1, "what is refused is not accepted"
    forced = zipline("compile", "--force", "--reason", "zero is what the app shows anyway")
    assert forced.code == 0, forced.err
    assert "forced shop.spending.spending: zero is what the app shows anyway" in forced.out
    kept = json.loads((project / ".zipline/compiled/overrides.json").read_text())
    assert [(each["name"], each["reason"]) for each in kept] == [
        ("shop.spending.spending", "zero is what the app shows anyway")
    ]


def test_the_registry_keeps_who_forced_what(zipline: Zipline, project: Path) -> None:
    from zipline.project import load_project
    from zipline.registry import open_registry

    put_online(project)
    zipline("compile")
    edit(project, SPENDING, "Operation.SUM,", "Operation.SUM, default=0.0,")
    zipline("compile", "--force", "--reason", "agreed with the app")
    with open_registry(load_project(project)) as registry:
        (kept,) = registry.overrides.of()
    assert (kept.name, kept.reason) == ("shop.spending.spending", "agreed with the app")
    assert kept.from_fingerprint != kept.to_fingerprint


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--force"], "--force needs --reason"),
        (["--force", "--reason", " "], "--force needs --reason"),
        (["--reason", "because"], "give --force too"),
    ],
)
def test_force_and_reason_go_together(zipline: Zipline, arguments: list[str], words: str) -> None:
    ran = zipline("compile", *arguments)
    assert ran.code == 2
    assert words in ran.err


def test_lineage_up_is_a_tree_of_roles(zipline: Zipline) -> None:
    ran = zipline("lineage", f"{JOIN}.spending_amount_sum_7d", "--up")
    assert ran.code == 0, ran.err
    lines = [line.rstrip() for line in ran.out.splitlines()]
    assert lines[0].startswith(f"{JOIN}.spending_amount_sum_7d   join of shop, configs/shop/visits.py:5   DOUBLE")
    assert lines[1:9] == [
        "made with",
        "├── value     shop.spending.spending.amount_sum_7d",
        "│   ├── value     purchases.amount  SUM of amount over 7d",
        "│   ├── key       purchases.user",
        "│   └── time      purchases.bought_at",
        "├── key       shop.visits.visits.user",
        "│   └── value     visits.user",
        "└── time      shop.visits.visits.ts",
    ]


def test_lineage_down_has_an_entry_for_each_definition(zipline: Zipline) -> None:
    ran = zipline("lineage", "purchases.amount", "--down")
    assert [line.rstrip() for line in ran.out.splitlines()] == [
        "purchases.amount   column of the table purchases   DOUBLE",
        "used by",
        "└── shop.spending.spending   group-by of shop, configs/shop/spending.py:5",
        "    ├── value      amount_sum_1d, amount_sum_7d",
        "    └── shop.visits.visits   join of shop, configs/shop/visits.py:5",
        "        └── value      spending_amount_sum_1d, spending_amount_sum_7d",
        "",
        "4 columns are made with it, directly or not",
    ]


def test_lineage_of_a_column_that_nothing_uses(zipline: Zipline) -> None:
    ran = zipline("lineage", f"{JOIN}.visit", "--down")
    assert ran.code == 0
    assert "used nowhere: no model and no other definition reads it" in ran.out
    assert "made with" not in ran.out
    assert "used nowhere" not in zipline("lineage", "visits.visit", "--down").out


def test_lineage_folds_long_lists(zipline: Zipline, project: Path) -> None:
    windows = ", ".join(f'"{days}d"' for days in range(1, 21))
    edit(project, SPENDING, '"1d", "7d"', windows)
    assert "amount_sum_6d and 14 more" in zipline("lineage", "purchases.amount").out
    assert "amount_sum_20d" in zipline("lineage", "purchases.amount", "--all").out


def test_lineage_as_json_has_every_use(zipline: Zipline) -> None:
    facts = zipline("lineage", f"{JOIN}.user", "--json").facts
    assert (facts["of"], facts["kind"], facts["type"]) == (JOIN, "join", "STRING")
    assert facts["upstream"] == [
        {"source": "visits.user", "target": f"{JOIN}.user", "role": "value", "through": "user"}
    ]
    assert {use["target"] for use in facts["downstream"]} == {
        f"{JOIN}.spending_amount_sum_1d",
        f"{JOIN}.spending_amount_sum_7d",
    }


def test_lineage_of_an_unknown_column_says_which_was_meant(zipline: Zipline) -> None:
    ran = zipline("lineage", "purchases.amuont", "--json")
    assert (ran.code, ran.facts["suggestion"]) == (2, "amount")
