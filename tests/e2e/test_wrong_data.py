"""Data that cannot be: exit code 1, the table, file, column and value, no table begun; nulls are counted."""

import json
import re
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from tests.e2e.spoiling import BACKFILL, CLICK_FILE, LARGE, ORDERS, SOURCES, VISITS, Spoil, add, check_error, raw, swap
from tests.e2e.test_command_line import (
    JOIN,
    Zipline,
    output,
    shop,
    write_day,
    zipline,
)

__all__ = ["shop", "zipline"]


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
