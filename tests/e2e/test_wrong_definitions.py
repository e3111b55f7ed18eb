"""Wrong definitions, usage and settings: exit code 2, the line, what is valid, what to run; nothing written."""

from pathlib import Path

import pytest

from tests.e2e.spoiling import BACKFILL, FEATURES, LARGE, SOURCES, TRAINING, Spoil, add, check_error, put, raw, swap
from tests.e2e.test_command_line import (
    JOIN,
    RANGE,
    Zipline,
    shop,
    zipline,
)

__all__ = ["shop", "zipline"]


BOOM = "configs/store/boom.py"


def contextual_key(root: Path) -> None:
    """The key comes with the request alone: training would have nothing to look features up by."""
    swap(TRAINING, '["visit", "customer"]', '["visit"]')(root)
    swap(TRAINING, 'row_id=["visit"],', 'row_id=["visit"], contextual=Contextual({"customer": "STRING"}),')(root)
    swap(TRAINING, "import Check,", "import Check, Contextual,")(root)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (swap(SOURCES, LARGE, "amonut > 6"), ["table 'orders'", "sources.py:5", "did you mean 'amount'?", "booked_at"]),
        (swap(SOURCES, 'time="at"', 'time="att"'), ["table 'clicks'", "sources.py:11", "did you mean 'at'?"]),
        (swap(SOURCES, '"customer", "page"', '"customer"'), ["'page' is missing in the select", "features.py:13"]),
        (
            swap(SOURCES, LARGE, "RANK() OVER (ORDER BY amount)"),
            ["window function", "outside the subset", "valid: abs"],
        ),
        (swap(SOURCES, LARGE, "(SELECT 1)"), ["query inside an expression", "outside the subset"]),
        (swap(SOURCES, LARGE, "abz(amount)"), ["no function 'abz'", "did you mean 'abs'?"]),
        (swap(SOURCES, LARGE, "CAST(amount > 6 AS INT"), ["does not parse", "sources.py:5"]),
        (swap(SOURCES, LARGE, "amount > 'six'"), ["no type in common", "CAST"]),
        (swap(FEATURES, "/ large_sum_1d", "/ large_sum_2d"), ["did you mean 'large_sum_1d'?", "features.py:11"]),
        (swap(FEATURES, "Operation.COUNT, windows", "Operation.CONT, windows"), ["CONT", "features.py:14"]),
        (swap(FEATURES, '"1d"', '"1 day"'), ["'1 day'", "features.py:8"]),
        (swap(FEATURES, 'keys=["customer"]', 'keys=["client"]'), ["'client'", "features.py:4"]),
        (swap(TRAINING, 'offset="1d"', 'offset="1h"'), ["longer than", "training.py:8"]),
        (swap(TRAINING, 'Check.unique("visit")', 'Check.unique("visits")'), ["did you mean 'visit'?"]),
        (swap(TRAINING, "JoinPart(spend),", "JoinPart(spend), JoinPart(spend),"), ["two columns", "prefix"]),
        (swap(TRAINING, '"customer"]', '"customer", "visit"]'), ["selects 'visit' twice", "training.py:5"]),
        (
            swap(TRAINING, '["visit", "customer"]', '{"visit": "visit", "customer": "customer", "Visit": "1"}'),
            ["'visit' and 'Visit'", "training.py:4"],
        ),
        (lambda root: (root / "configs/store/team.py").unlink(), ["has no owner", "store/team.py"]),
        (put(BOOM, "def reach():\n    raise OSError('no route')\nreach()\n"), ["OSError: no route", "boom.py:2"]),
        (put(BOOM, "import sys\nsys.exit(3)\n"), ["SystemExit", "boom.py:2"]),
        (put(BOOM, "import pandaz\n"), ["No module named 'pandaz'", "boom.py:1", "install 'pandaz'"]),
        (put(BOOM, "from configs.store.features import spent\n"), ["did you mean 'spend'?", "boom.py:1"]),
        (put(BOOM, "from configs.stroe import features\n"), ["configs.stroe", "boom.py:1"]),
        (put(BOOM, "x = [1,\ny = 2\n"), ["SyntaxError", "boom.py:1"]),
        (put(BOOM, "def f():\nreturn 1\n"), ["IndentationError", "boom.py:2"]),
        (raw(BOOM, b"x = '\xff'\n"), ["utf-8", "boom.py:1"]),
        (raw(BOOM, b"x = 1\0\n"), ["null bytes", "boom.py:1"]),
        (
            contextual_key,
            [
                "'customer' (a key of GroupBy) is contextual",
                "select customer in the left too",
                "training.py:4",
            ],
        ),
        (swap(FEATURES, "browsing = ", "spend = "), ["store.features.spend", "two objects of one name", "line 4"]),
        (put("configs/store/sources/orders.py", "x = 1\n"), ["one name, 'store.sources'", "rename one"]),
        (
            add(SOURCES, "\nfrom configs.store.features import spend\n"),
            ["in a circle", "store.features -> store.sources -> store.features", "third file"],
        ),
        (
            put(
                BOOM,
                """
                from zipline import EventSource, Join, Query

                one = Join(left=EventSource("store.boom.two", Query(select=["customer"], time="ts")), parts=[])
                two = Join(left=EventSource("store.boom.one", Query(select=["customer"], time="ts")), parts=[])
                """,
            ),
            ["depends on itself", "store.boom.one -> store.boom.two -> store.boom.one", "boom.py:3"],
        ),
    ],
)
def test_a_wrong_definition(zipline: Zipline, shop: Path, spoil: Spoil, said: list[str]) -> None:
    spoil(shop)
    check_error(zipline("compile"), 2, *said)
    assert not (shop / ".zipline").exists()
    assert zipline(*BACKFILL).code == 2
    assert not (shop / ".zipline").exists()


def test_a_wrong_definition_leaves_what_was_compiled_before(zipline: Zipline, shop: Path) -> None:
    def stored() -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in (shop / ".zipline" / "compiled").rglob("*.json")}

    assert zipline("compile").code == 0
    before = stored()
    swap(FEATURES, "/ large_sum_1d", "/ large_sum_2d")(shop)
    swap(SOURCES, "amount > 6", "amount > 7")(shop)
    assert zipline("compile").code == 2
    assert stored() == before


# Usage: exit code 2, what is valid, what to run

ROW = '{"customer": "ann", "ts": "2024-05-02"}'


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["backfil"], ["did you mean 'backfill'?".capitalize(), "next: zipline --help"]),
        (["backfill"], ["Missing argument 'JOIN'", "next: zipline backfill --help"]),
        (["plan", JOIN, "--strat", "2024-05-01"], ["--start"]),
        (["plan", "store.training.visit"], ["there is no Join", f"did you mean '{JOIN}'?"]),
        (["plan", "visits", *RANGE], [f"did you mean '{JOIN}'?"]),
        (["plan", "store.features.spend", *RANGE], ["it is a GroupBy", f"valid: {JOIN}"]),
        (["explain", "store.sources.orders", "amount", "--row", ROW], ["it is an EventSource"]),
        (["plan", JOIN], ["which days?", "--start and --end"]),
        (["backfill", JOIN, "--start", "2024-05-04", "--end", "2024-05-02"], ["2024-05-04 is after --end 2024-05-02"]),
        (["plan", JOIN, "--start", "2024-02-30"], ["'2024-02-30' is not a day"]),
        (["plan", JOIN, "--start", "0001-01-01", "--end", "9999-12-31"], ["0001-01-01", "1700 to 2200"]),
        ([*BACKFILL, "--step-days", "0"], ["--step-days", "0"]),
        ([*BACKFILL, "--as-of", "tomorrow"], ["--as-of", "'tomorrow' is not", "2013-07-01T06:30:00Z"]),
        ([*BACKFILL, "--environment", "prd"], ["no environment 'prd'", "did you mean 'prod'?", "valid: dev, prod"]),
        ([*BACKFILL, "--project", "/nowhere"], ["there is no folder /nowhere"]),
        (["explain", JOIN, "spend_amount_sum", "--row", ROW], ["did you mean 'spend_amount_sum_1d'?"]),
        (
            ["explain", JOIN, "spend_amount_sum_1d", "--row", "{'customer': 1}"],
            ["--row is not JSON", "write --row '{\""],
        ),
        (["explain", JOIN, "spend_amount_sum_1d", "--row", ""], ["--row is not JSON"]),
        (["explain", JOIN, "spend_amount_sum_1d", "--row", "[1]"], ["list, not an object"]),
        (
            ["explain", JOIN, "spend_amount_sum_1d", "--row", '{"customr": "ann", "ts": "2024-05-02"}'],
            ["'customr', 'ts'"],
        ),
        (
            ["explain", JOIN, "spend_amount_sum_1d", "--row", '{"customer": 7, "ts": "2024-05-02"}'],
            ["is STRING, not 7"],
        ),
        (["explain", JOIN, "spend_amount_sum_1d", "--row", '{"customer": "ann", "ts": "soon"}'], ["ts is 'soon'"]),
        (["explain", JOIN, "spend_amount_sum_1d", "--row", '{"customer": "ann", "ts": 20240502}'], ["ts is 20240502"]),
        (["explain", JOIN, "spend_amount_sum_1d", "--row", '{"customer": "ann", "ts": 1e99}'], ["ts is 1e+99"]),
    ],
)
def test_wrong_usage(zipline: Zipline, shop: Path, arguments: list[str], said: list[str]) -> None:
    check_error(zipline(*arguments), 2, *said)
    assert not (shop / ".zipline").exists()
    facts = zipline(*arguments, "--json")
    assert facts.code == 2
    assert facts.facts["what"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"--rows": "none.csv"}, ["there is no file none.csv"]),
        ({"--rows": "zipline.toml"}, ["no known extension", ".parquet"]),
        ({"--rows": "data/orders.csv"}, ["no column 'ts'", "valid: order, customer"]),
        ({"--rows": "bad.csv"}, ["'soon' is not"]),
        ({"--features": ","}, ["--features names none"]),
        ({"--features": "amount_sum_1d"}, ["did you mean 'store.features.spend.amount_sum_1d'?"]),
        ({"--features": "store.features.spnd.amount_sum_1d"}, ["did you mean 'store.features.spend'?"]),
        ({"--features": "store.features.spend.amount_sum_2d"}, ["did you mean 'amount_sum_1d'?"]),
        ({"--out": "out.xlsx"}, ["valid: .parquet, .csv"]),
        ({"--out": "nowhere/out.csv"}, ["there is no folder", "nowhere"]),
    ],
)
def test_wrong_usage_of_train_set(zipline: Zipline, shop: Path, options: dict[str, str], said: list[str]) -> None:
    (shop / "rows.csv").write_text("customer,ts\nann,2024-05-02\n")
    (shop / "bad.csv").write_text("customer,ts\nann,soon\n")
    given = {"--rows": "rows.csv", "--features": "store.features.spend.amount_sum_1d", "--out": "out.csv", **options}
    ran = zipline("train-set", *(text for pair in given.items() for text in pair))
    check_error(ran, 1 if options == {"--rows": "zipline.toml"} else 2, *said)
    assert list(shop.glob("*out*")) == []


def test_rows_that_lack_a_key_or_hold_it_in_another_kind(zipline: Zipline, shop: Path) -> None:
    arguments = (
        "train-set",
        "--rows",
        "rows.csv",
        "--features",
        "store.features.spend.amount_sum_1d",
        "--out",
        "o.csv",
    )
    (shop / "rows.csv").write_text("client,ts\nann,2024-05-02\n")
    check_error(zipline(*arguments), 2, "'customer'", "client")
    (shop / "rows.csv").write_text("customer,ts\n7,2024-05-02\n")
    check_error(zipline(*arguments), 2, "is BIGINT", "is STRING", "CAST")


def test_a_list_has_no_form_in_csv(zipline: Zipline, shop: Path) -> None:
    swap(FEATURES, "Operation.COUNT, windows", "Operation.LAST_K, k=2, windows")(shop)
    (shop / "rows.csv").write_text("customer,ts\nann,2024-05-02\n")
    names = "store.features.browsing.page_last_k2_1d"
    ran = zipline("train-set", "--rows", "rows.csv", "--features", names, "--out", "out.csv")
    check_error(ran, 2, "CSV has no form for lists", "browsing_page_last_k2_1d", ".jsonl")
    assert list(shop.glob("*out*")) == []


# The project's file and variables


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (put("zipline.toml", "name = \n"), ["is not TOML", "zipline.toml:1"]),
        (add("zipline.toml", "[warehous]\nurl = 'x'\n"), ["no key 'warehous'", "did you mean 'warehouse'?"]),
        (add("zipline.toml", "[warehouse]\nulr = 'x'\n"), ["[warehouse] has no key 'ulr'", "did you mean 'url'?"]),
        (add("zipline.toml", "[warehouse]\nurl = 5\n"), ["warehouse.url is text, not 5", "zipline.toml:"]),
        (add("zipline.toml", "[warehouse]\nurl = ''\n"), ["warehouse.url is empty"]),
        (put("zipline.toml", "[tables]\norders = 'data/orders.csv'\n"), ["write [tables.orders]", "zipline.toml:2"]),
        (put("zipline.toml", "[storage]\noptions = 3\n"), ["write [storage.options]"]),
        (
            put("zipline.toml", "[tables.orders]\nfile = 'x'\n"),
            ["no key 'file'", "valid: path, null_values, delimiter"],
        ),
        (put("zipline.toml", "[tables.a]\npath = 'x.csv'\ndelimiter = ';;'\n"), ["one character", "zipline.toml:3"]),
        (add("zipline.toml", "[online]\nstore = 'rediss'\n"), ["did you mean 'redis'?"]),
        (swap("zipline.toml", "[environments.prod]", "table_prefix = ''\n[environments.prod]\ntable_prefix = ''"), []),
        (raw("zipline.toml", b"name = '\xff'\n"), ["utf-8"]),
        (put("zipline.toml", "configs = 'cfg'\n"), ["there is no folder", "cfg", "next: zipline doctor"]),
    ],
)
def test_a_wrong_project_file(zipline: Zipline, shop: Path, spoil: Spoil, said: list[str]) -> None:
    if not said:
        put("zipline.toml", "[environments.a]\ntable_prefix = ''\n[environments.b]\ntable_prefix = ''\n")(shop)
        said = ["'a' and 'b' would write the same tables"]
    else:
        spoil(shop)
    check_error(zipline("compile"), 2, *said)
    assert not (shop / ".zipline").exists()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("ZIPLINE_WAREHOUSE_ULR", "x", ["sets nothing", "did you mean 'ZIPLINE_WAREHOUSE_URL'?"]),
        ("ZIPLINE_WAREHOUSE_URL", "", ["warehouse.url is empty", "ZIPLINE_WAREHOUSE_URL"]),
        ("ZIPLINE_ENVIRONMENT", "pord", ["no environment 'pord'", "did you mean 'prod'?"]),
        ("ZIPLINE_ONLINE_STORE", "rediss", ["did you mean 'redis'?"]),
    ],
)
def test_a_wrong_variable(
    zipline: Zipline, monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: list[str]
) -> None:
    monkeypatch.setenv(name, value)
    check_error(zipline("compile"), 2, *said)


def test_doctor_tells_of_a_variable_of_no_section(zipline: Zipline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZIPLINE_WAREHUOSE_URL", "x")
    [finding] = [each for each in zipline("doctor", "--json").facts["findings"] if each["what"] == "project"]
    assert finding["state"] == "look"
    assert "ZIPLINE_WAREHUOSE_URL set nothing" in finding["detail"]


@pytest.mark.parametrize("url", ["data/orders.csv", "s9://lake/store"])
def test_a_warehouse_that_is_none(zipline: Zipline, shop: Path, url: str) -> None:
    add("zipline.toml", f"[warehouse]\nurl = '{url}'\n")(shop)
    check_error(zipline(*BACKFILL), 1, url)
    doctor = zipline("doctor", "--json")
    assert doctor.code == 1
    assert "wrong" in [each["state"] for each in doctor.facts["findings"] if each["what"] == "warehouse"]
