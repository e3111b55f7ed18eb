"""Everything a user can get wrong, through the command line: a clear error, the right exit code, nothing half-written.

Exit code 2 is for definitions and usage, 1 for work that failed. No error is a traceback or a word of a library alone.
"""

import ctypes
import errno
import json
import os
import random
import re
import resource
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake

from tests.e2e.test_command_line import (
    JOIN,
    RANGE,
    ZIPLINE,
    Zipline,
    command,
    output,
    shop,
    write_day,
    write_project,
    zipline,
)
from tests.unit.cli.conftest import Ran
from zipline.tables.delta import DeltaOutput

__all__ = ["shop", "zipline"]

BACKFILL = ("backfill", JOIN, *RANGE)
NEVER = re.compile(r"Traceback|should not have|panicked|LINE 1:|(Conversion|Input|Binder) Error|<unknown>")
Spoil = Callable[[Path], object]


def put(name: str, text: str) -> Spoil:
    def spoil(root: Path) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(dedent(text).lstrip())

    return spoil


def swap(name: str, old: str, new: str) -> Spoil:
    def spoil(root: Path) -> None:
        text = (root / name).read_text()
        assert old in text
        (root / name).write_text(text.replace(old, new, 1))

    return spoil


def add(name: str, text: str) -> Spoil:
    return lambda root: (root / name).write_text((root / name).read_text() + text)


def raw(name: str, content: bytes) -> Spoil:
    return lambda root: (root / name).write_bytes(content)


def check_error(ran: Ran, code: int, *said: str) -> None:
    assert ran.code == code, ran
    assert ran.out == ""
    assert ran.err.lstrip().startswith("error: ")
    for words in said:
        assert words in ran.err
    assert not NEVER.search(ran.err)


# Definitions: exit code 2, the author's line, nothing written

SOURCES, FEATURES, TRAINING = (f"configs/store/{file}.py" for file in ("sources", "features", "training"))
BOOM = "configs/store/boom.py"
LARGE = "CAST(amount > 6 AS INT)"


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
            ["explain", JOIN, "spend_amount_sum_1d", "--row", '{"customer": null, "ts": "2024-05-02"}'],
            ["which is null"],
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


# Data: exit code 1, the table, the file, the column and the value; no table is begun

ORDERS, VISITS = "data/orders.csv", "data/visits.jsonl"
CLICK_FILE = "data/clicks/ds=2024-05-02/rows.parquet"


def cut(name: str, by: int) -> Spoil:
    return lambda root: (root / name).write_bytes((root / name).read_bytes()[:-by])


def text_amounts_on_the_second_day(root: Path) -> None:
    write_day(root, "clicks", "2024-05-02", [{"customer": 7, "page": "cart", "at": "2024-05-02T08:00:00Z"}])


def a_column_less_on_the_second_day(root: Path) -> None:
    write_day(root, "clicks", "2024-05-02", [{"customer": "ann", "at": "2024-05-02T08:00:00Z"}])


def a_delta_table_with_a_broken_log(root: Path) -> None:
    write_deltalake(str(root / "data" / "broken"), pa.table({"customer": ["ann"]}))
    (root / "data/broken/_delta_log/00000000000000000000.json").write_text('{"commitInfo":')
    swap("zipline.toml", "data/orders.csv", "data/broken")(root)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda root: (root / ORDERS).unlink(), ["table 'orders'", "no file or folder", ORDERS]),
        (swap(SOURCES, '"clicks", Query', '"clikcs", Query'), ["no table 'clikcs'", "did you mean 'clicks'?"]),
        (add(ORDERS, "9,ann,5,soon,2024-05-02T00:00:00Z\n"), ["'orders'", "ordered_at", "'soon' is not a TIMESTAMP"]),
        (add(ORDERS, "9,ann,5,2024-05-02,13 May\n"), ["'orders'", "booked_at", "'13 May'", "2013-07-01T06:30:00Z"]),
        (
            add(VISITS, '{"visit": 9, "customer": "ann", "at": "2/5/2024"}\n'),
            ["'visits'", "at: '2/5/2024' is not a TIMESTAMP", "TRY_CAST"],
        ),
        (
            add(VISITS, '{"visit": 9, "customer": "ann", "at": "2024-02-31"}\n'),
            ["'visits'", "at:", "2024-02-31", "the calendar has no such day"],
        ),
        (swap(SOURCES, LARGE, "CAST(customer AS INT)"), ["'orders'", "CAST(customer AS INT)", "is not an INT"]),
        (add(ORDERS, "9,ann\n"), ["orders.csv, line 7", "Expected Number of Columns: 5 Found: 2"]),
        (swap(ORDERS, "booked_at", "Amount"), ["orders.csv", "'amount' and 'Amount' have the same name", "rename"]),
        (raw(ORDERS, b""), ["orders.csv is empty", "first line"]),
        (raw(ORDERS, b"\xff\xfe\x00" * 99), ["orders.csv cannot be read", "UTF-8"]),
        (add(VISITS, '{"visit": 9, \n'), ["visits.jsonl, at or just before line", "malformed JSON"]),
        (add(VISITS, '{"visit": "x", "customer": "ann"}\n'), ["visits.jsonl", "'visit'", "several kinds"]),
        (
            add(VISITS, '{"visit": 9, "customer": "ann", "at": "2024-05-02", "ds": "May"}\n'),
            ["'visits'", "'ds' holds 'May', which is not a day", "Query(partition=...)"],
        ),
        (raw(VISITS, b'["ann", "bob"]\n'), ["visits.jsonl", "one JSON object a line"]),
        (cut(CLICK_FILE, 9), ["ds=2024-05-02", "not a complete Parquet file", "writer was perhaps killed"]),
        (raw(CLICK_FILE, b""), ["ds=2024-05-02", "not a complete Parquet file"]),
        (text_amounts_on_the_second_day, ["ds=2024-05-02", "'customer' is BIGINT", "STRING", "same types"]),
        (a_column_less_on_the_second_day, ["ds=2024-05-02", "no column 'page'", "same columns"]),
        (a_delta_table_with_a_broken_log, ["Delta table", "data/broken", "_delta_log is damaged"]),
    ],
)
def test_data_that_cannot_be_read(zipline: Zipline, shop: Path, spoil: Spoil, said: list[str]) -> None:
    spoil(shop)
    check_error(zipline(*BACKFILL), 1, *said)
    assert not output(shop).exists()
    facts = zipline(*BACKFILL, "--json")
    assert facts.code == 1
    assert set(facts.facts) >= {"error", "what"}


def test_a_sum_beyond_64_bits_names_the_feature_and_the_key(zipline: Zipline, shop: Path) -> None:
    add(ORDERS, "".join(f"{n},ann,{2**62},2024-05-02T0{n}:00:00Z,2024-05-02T0{n}:00:00Z\n" for n in range(3)))(shop)
    check_error(zipline(*BACKFILL), 1, "amount_sum_1d", "ann")
    assert not output(shop).exists()


def test_a_source_without_rows_is_no_error(zipline: Zipline, shop: Path) -> None:
    (shop / ORDERS).write_text("order,customer,amount,ordered_at,booked_at\n")
    ran = zipline(*BACKFILL, "--scoring")
    assert ran.code == 0, ran.err
    rows = output(shop, f"dev_{JOIN}.scoring").read()
    assert rows.column("browsing_page_count_1d").to_pylist() == [2, 1, 0, 0]
    assert rows.column("profile_tier").to_pylist() == ["gold", "basic", "basic", "basic"]


def test_a_failing_check_keeps_the_day_and_says_how_to_go_on(zipline: Zipline, shop: Path) -> None:
    add(VISITS, '{"visit": 3, "customer": "bob", "at": "2024-05-03T10:00:00Z"}\n')(shop)
    ran = zipline(*BACKFILL, "--scoring")
    again = f"next: zipline backfill {JOIN} --start 2024-05-03 --end 2024-05-03 --scoring"
    check_error(ran, 1, "2024-05-03 failed 1 critical check", "training.py:9", again)
    assert output(shop, f"dev_{JOIN}.scoring").days() == {"2024-05-02"}


# Nulls are counted, whatever they are the nulls of


def test_rows_without_a_time_or_a_key_are_counted(zipline: Zipline, shop: Path) -> None:
    add(ORDERS, "8,ann,1,,2024-05-02T00:00:00Z\n9,ann,1,2024-05-02T00:00:00Z,\n")(shop)
    add(VISITS, '{"visit": 8, "customer": "ann", "at": null}\n{"visit": 9, "at": "2024-05-02T09:00:00Z"}\n')(shop)
    for step in ("1", "30"):
        facts = zipline(*BACKFILL, "--force", "--step-days", step, "--json").facts
        assert facts["undated"] == 1, "a left row that no day holds"
        assert facts["null_keys"] == {"customer": 1}
        assert facts["without_time"]["orders"] == 2
        assert facts["rows"] == 4
    rows = output(shop).read(["2024-05-02"], columns=["visit", "spend_amount_sum_1d", "browsing_page_count_1d"])
    assert rows.to_pydict() == {
        "visit": [1, 2, 9],
        "spend_amount_sum_1d": [20, 7, None],
        "browsing_page_count_1d": [2, 1, 0],
    }
    shown = zipline(*BACKFILL, "--force").out
    assert re.search(r"in no day +1 row of the left without a time", shown)
    assert re.search(r"null keys +1 row by customer", shown)
    assert re.search(r"never seen +2 rows of orders", shown)


def test_a_row_of_a_partitioned_left_keeps_its_day_without_a_time(zipline: Zipline, shop: Path) -> None:
    visits = [
        {"visit": 1, "customer": "ann", "at": "2024-05-02T08:30:00Z"},
        {"visit": 2, "customer": "bob", "at": None},
    ]
    write_day(shop, "visits", "2024-05-02", visits)
    swap("zipline.toml", "data/visits.jsonl", "data/visits")(shop)
    facts = zipline(*BACKFILL, "--scoring", "--json").facts
    assert (facts["rows"], facts["null_times"], facts["undated"]) == (2, 1, 0)
    facts = zipline(*BACKFILL, "--json").facts
    assert (facts["rows"], facts["immature"]) == (1, 1)
    assert zipline(*BACKFILL, "--json").facts["published"] == [], "a row without a time never matures"


def test_train_set_says_of_nulls_in_its_rows(zipline: Zipline, shop: Path) -> None:
    (shop / "rows.csv").write_text("customer,ts\nann,2024-05-02T08:30:00Z\n,2024-05-02\nbob,\n")
    arguments = (
        "train-set",
        "--rows",
        "rows.csv",
        "--features",
        "store.features.spend.amount_sum_1d",
        "--out",
        "o.jsonl",
    )
    facts = zipline(*arguments, "--json").facts
    assert (facts["null_keys"], facts["null_times"]) == ({"customer": 1}, 1)
    values = [json.loads(line)["spend_amount_sum_1d"] for line in (shop / "o.jsonl").read_text().splitlines()]
    assert values == [20, None, None]
    assert "null keys: 1 row by customer" in zipline(*arguments).out


# What is stored: types that changed, damage, a killed run, a full disk, no permission


def test_a_type_that_changed_between_runs_is_refused_before_any_work(zipline: Zipline, shop: Path) -> None:
    assert zipline(*BACKFILL).code == 0
    before = output(shop).read()
    path = shop / VISITS
    path.write_text(re.sub(r'"visit": (\d)', r'"visit": "v\1"', path.read_text()))
    for name in ("plan", "backfill"):
        check_error(zipline(name, JOIN, *RANGE), 1, "'visit' is STRING now, but BIGINT in the days", "mend the source")
    assert output(shop).read().equals(before)


@pytest.mark.parametrize("content", ['{"commitInfo":', "", "no json\n"])
def test_a_damaged_log_of_the_output(zipline: Zipline, shop: Path, content: str) -> None:
    zipline("backfill", JOIN, "--start", "2024-05-02", "--end", "2024-05-02")
    [log] = Path(output(shop).uri, "_delta_log").glob("*.json")
    log.write_text(content)
    for name in ("plan", "backfill"):
        check_error(zipline(name, JOIN, *RANGE), 1, output(shop).uri, "_delta_log is damaged", "from a copy")
    assert log.read_text() == content
    doctor = zipline("doctor", "--json")
    assert doctor.code == 1
    assert "wrong" in [each["state"] for each in doctor.facts["findings"] if each["what"] == "outputs"]


def test_a_file_where_the_output_should_be(zipline: Zipline, shop: Path) -> None:
    path = Path(output(shop).uri)
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    check_error(zipline(*BACKFILL), 1, str(path), "is a file")
    assert path.read_text() == "mine"


def test_a_damaged_day_of_the_output_is_mended_with_force(zipline: Zipline, shop: Path) -> None:
    zipline(*BACKFILL)
    before = output(shop).read()
    [path] = Path(output(shop).uri).glob("ds=2024-05-02/*.parquet")
    path.write_bytes(path.read_bytes()[:-9])
    assert zipline("backfill", JOIN, "--start", "2024-05-02", "--end", "2024-05-02", "--force").code == 0
    assert output(shop).read().equals(before)


def test_what_a_killed_writer_leaves_behind_is_not_seen(zipline: Zipline, shop: Path) -> None:
    """The least tidy moments there are: a data file cut short, a commit half written beside the log."""
    zipline("backfill", JOIN, "--start", "2024-05-02", "--end", "2024-05-02")
    stored = Path(output(shop).uri)
    half = next(stored.glob("ds=2024-05-02/*.parquet")).read_bytes()[:100]
    for day in ("2024-05-02", "2024-05-03"):
        (stored / f"ds={day}").mkdir(exist_ok=True)
        (stored / f"ds={day}" / "part-00000-killed.parquet").write_bytes(half)
    (stored / "_delta_log" / "_commit_killed.json.tmp").write_text('{"add":')
    assert output(shop).days() == {"2024-05-02"}
    assert zipline(*BACKFILL).code == 0
    clean = write_project(shop / "clean")
    assert command(*BACKFILL, project=clean).code == 0
    assert output(shop).read().equals(output(clean).read())


def many_visits(root: Path, days: int = 30) -> tuple[str, ...]:
    """Visits and clicks of many days, and the command that runs them a day at a time."""
    names = [f"2024-06-{day:02d}" for day in range(1, days + 1)]
    customers = ("ann", "bob", "cat")
    rows = [{"visit": n, "customer": customers[n % 3], "at": f"{names[n % days]}T0{n % 9}:30:00Z"} for n in range(500)]
    (root / VISITS).write_text("".join(json.dumps(row) + "\n" for row in rows))
    for n, day in enumerate(names):
        clicks = [{"customer": customers[m % 3], "page": "x", "at": f"{day}T0{m % 9}:00:00Z"} for m in range(n)]
        write_day(root, "clicks", day, [*clicks, {"customer": "bob", "page": "cart", "at": f"{day}T12:00:00Z"}])
    return ("backfill", JOIN, "--scoring", "--start", names[0], "--end", names[-1], "--step-days", "1")


def scored(root: Path) -> Any:
    return output(root, f"dev_{JOIN}.scoring")


def test_a_run_killed_at_any_moment_leaves_whole_days_and_goes_on(tmp_path: Path) -> None:
    root, clean = write_project(tmp_path / "killed"), write_project(tmp_path / "clean")
    arguments = many_visits(root)
    many_visits(clean)
    assert command(*arguments, project=clean).code == 0
    whole = scored(clean).read()
    assert whole.num_rows == 500
    log = Path(scored(root).uri, "_delta_log")
    for commits in (1, 4, 12, 18):
        kill_after(commits, log, arguments, root)
        for day in scored(root).days():
            assert scored(root).read([day]).equals(scored(clean).read([day])), day
    done = len(scored(root).days())
    assert 0 < done < 30
    again = command(*arguments, "--json", project=root)
    assert again.code == 0, again.err
    assert len(again.facts["skipped"]) == done
    assert scored(root).read().equals(whole)


def kill_after(commits: int, log: Path, arguments: tuple[str, ...], root: Path) -> None:
    """Runs the command and kills it (-9) a random moment after so many commits are there."""
    with subprocess.Popen([ZIPLINE, *arguments], cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
        until = time.monotonic() + 120
        while len(list(log.glob("*.json"))) < commits and run.poll() is None and time.monotonic() < until:
            time.sleep(0.001)
        time.sleep(random.uniform(0, 0.03))
        run.send_signal(signal.SIGKILL)


def full_disk(most: int) -> Callable[[], None]:
    """Files end at so many bytes, as they do on a disk that is full."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    return limit


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("most", [0, 2000])
def test_a_full_disk_while_publishing_keeps_what_is_there(shop: Path, most: int) -> None:
    assert command("backfill", JOIN, "--start", "2024-05-02", "--end", "2024-05-02", project=shop).code == 0
    stored, before = Path(output(shop).uri), output(shop).read()
    files = files_below(stored)
    ran = command(*BACKFILL, "--force", project=shop, preexec_fn=full_disk(most))
    check_error(ran, 1, "could not be written", "File too large", "as they were before", "make room on the disk")
    assert output(shop).read().equals(before)
    assert files_below(stored) == files, "nothing half-written stays on a disk that is full"
    assert command(*BACKFILL, project=shop).code == 0
    assert output(shop).days() == {"2024-05-02", "2024-05-03", "2024-05-04"}


def test_a_full_disk_while_committing_keeps_what_is_there(
    zipline: Zipline, shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    assert zipline("backfill", JOIN, "--start", "2024-05-02", "--end", "2024-05-02").code == 0
    before, files = output(shop).read(), files_below(Path(output(shop).uri))
    monkeypatch.setattr(DeltaOutput, "_publish", full)
    check_error(zipline(*BACKFILL, "--force"), 1, "could not be written", "No space left on device", "make room")
    assert output(shop).read().equals(before)
    assert files_below(Path(output(shop).uri)) == files


def test_a_full_disk_while_a_training_set_is_written(shop: Path) -> None:
    (shop / "rows.csv").write_text("customer,ts\nann,2024-05-02T08:30:00Z\n")
    (shop / "out.parquet").write_bytes(b"the old one")
    named = ("--features", "store.features.spend.amount_sum_1d", "--out", "out.parquet")
    ran = command("train-set", "--rows", "rows.csv", *named, project=shop, preexec_fn=full_disk(100))
    check_error(ran, 1, "File too large")
    assert [path.name for path in shop.glob("*out*")] == ["out.parquet"]
    assert (shop / "out.parquet").read_bytes() == b"the old one"


def test_a_full_disk_while_compiling(shop: Path) -> None:
    ran = command("compile", project=shop, preexec_fn=full_disk(100))
    check_error(ran, 1, "File too large")
    assert files_below(shop / ".zipline") == set()


def as_anybody() -> None:
    """The administrator's right to read and write everything is given up; others do not have it."""
    if os.geteuid() == 0:
        for capability in (1, 2):
            ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)


@pytest.mark.parametrize(
    ("name", "mode", "code", "said"),
    [
        (ORDERS, 0o000, 1, ["table 'orders'", "orders.csv cannot be read: Permission denied"]),
        (VISITS, 0o000, 1, ["table 'visits'", "visits.jsonl"]),
        (CLICK_FILE, 0o000, 1, ["ds=2024-05-02"]),
        (FEATURES, 0o000, 2, ["cannot be read: Permission denied", "features.py"]),
        ("zipline.toml", 0o000, 2, ["cannot be read", "Permission denied", "zipline.toml"]),
        (".", 0o555, 1, ["could not be written", "ermission denied", ".zipline"]),
    ],
)
def test_what_may_not_be_read_or_written(shop: Path, name: str, mode: int, code: int, said: list[str]) -> None:
    before = (shop / name).stat().st_mode
    (shop / name).chmod(mode)
    try:
        ran = command(*BACKFILL, project=shop, preexec_fn=as_anybody)
    finally:
        (shop / name).chmod(before)
    check_error(ran, code, *said)
    assert not (shop / ".zipline" / "warehouse").exists()


def test_two_runs_at_once_leave_the_days_of_one_run(tmp_path: Path) -> None:
    root = write_project(tmp_path)
    arguments = many_visits(root, days=6)
    runs = [subprocess.Popen([ZIPLINE, *arguments], cwd=root, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [run.wait() for run in runs] == [0, 0]
    assert scored(root).read(columns=["visit"]).num_rows == 500
    assert pq.read_table(root / CLICK_FILE).num_rows == 1
