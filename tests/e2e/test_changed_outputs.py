"""An output that somebody restored or changed by hand: noticed, kept, said; made anew where that is wanted."""

from collections.abc import Callable
from pathlib import Path

import pytest
from deltalake import DeltaTable, write_deltalake

from tests.e2e.spoiling import BACKFILL, FEATURES, SOURCES, swap
from tests.e2e.test_command_line import CLICKS, JOIN, RANGE, Zipline, output, shop, write_day, zipline

__all__ = ["shop", "zipline"]

SECOND = ("backfill", JOIN, "--start", "2024-05-02", "--end", "2024-05-02")


@pytest.fixture
def corrected(zipline: Zipline, shop: Path) -> Path:
    """The shop backfilled twice: version 0 has all days, version 1 the second of May with one click more."""
    assert zipline(*BACKFILL).code == 0
    write_clicks(shop, "2024-05-02", ("ann", "home", "2024-05-02T08:10:00Z"))
    assert zipline(*BACKFILL).code == 0
    assert counts(shop) == [3, 1]
    return shop


def write_clicks(shop: Path, day: str, more: tuple[str, str, str]) -> None:
    rows = [*CLICKS.get(day, []), more]
    write_day(shop, "clicks", day, [{"customer": c, "page": page, "at": at} for c, page, at in rows])


def counts(shop: Path) -> list[object]:
    return output(shop).read(["2024-05-02"], columns=["browsing_page_count_1d"]).column(0).to_pylist()


def delta(shop: Path) -> DeltaTable:
    return DeltaTable(output(shop).uri)


def restore(shop: Path) -> None:
    delta(shop).restore(0)


def delete_a_row(shop: Path) -> None:
    delta(shop).delete("ds = '2024-05-02' AND visit = 2")


def write_the_day_by_hand(shop: Path) -> None:
    rows = output(shop).read(["2024-05-02"]).slice(0, 1)
    write_deltalake(output(shop).uri, rows, mode="overwrite", predicate="ds = '2024-05-02'")


CHANGES = [restore, delete_a_row, write_the_day_by_hand]


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_day_is_kept_and_said_until_it_is_forced(
    zipline: Zipline, corrected: Path, change: Callable[[Path], None]
) -> None:
    change(corrected)
    before = output(corrected).read()
    ran = zipline(*BACKFILL)
    assert ran.code == 1
    assert "1 day kept: the files of 2024-05-02 are not those that a run wrote" in ran.err
    assert "the table was restored to an older version, or changed by hand" in ran.err
    assert f"restore version 1 of {output(corrected).uri}" in ran.err
    assert output(corrected).read().equals(before)
    facts = zipline(*BACKFILL, "--json").facts
    assert (facts["kept"], facts["changed"], facts["written"]) == (["2024-05-02"], ["2024-05-02"], 1)
    forced = f"next: zipline backfill {JOIN} --start 2024-05-02 --end 2024-05-02 --force"
    assert forced in ran.err
    assert zipline(*SECOND, "--force").code == 0
    assert counts(corrected) == [3, 1]
    assert zipline(*BACKFILL).code == 0


@pytest.mark.parametrize("change", CHANGES)
def test_plan_shows_it(zipline: Zipline, corrected: Path, change: Callable[[Path], None]) -> None:
    change(corrected)
    output_facts = zipline("plan", JOIN, *RANGE, "--json").facts["output"]
    assert (output_facts["kept"], output_facts["changed"]) == ([["2024-05-02", "2024-05-02"]],) * 2
    shown = zipline("plan", JOIN, *RANGE).out
    assert "2024-05-02 will be kept: 2024-05-02 restored or changed by hand; made all the same by" in shown


def test_what_the_hint_says_helps(zipline: Zipline, corrected: Path) -> None:
    restore(corrected)
    zipline(*BACKFILL)
    delta(corrected).restore(1)
    assert zipline(*BACKFILL).code == 0
    assert counts(corrected) == [3, 1]


def test_other_days_go_on(zipline: Zipline, corrected: Path) -> None:
    delete_a_row(corrected)
    write_clicks(corrected, "2024-05-03", ("ann", "home", "2024-05-03T08:00:00Z"))
    facts = zipline(*BACKFILL, "--json").facts
    assert [day["day"] for day in facts["published"]] == ["2024-05-03"], "nothing of May 4 is mature"
    assert facts["kept"] == ["2024-05-02"]


def test_a_new_definition_takes_nothing_over_from_a_changed_day(zipline: Zipline, corrected: Path) -> None:
    delete_a_row(corrected)
    swap(SOURCES, "CAST(amount > 6 AS INT)", "CAST(amount > 5 AS INT)")(corrected)
    facts = zipline(*BACKFILL, "--json").facts
    assert (facts["kept"], facts["blocked"], facts["succeeded"]) == (["2024-05-02"], ["2024-05-02"], False)
    forced = zipline(*SECOND, "--force", "--json").facts
    assert forced["succeeded"]
    assert output(corrected).read(["2024-05-02"]).num_rows == 2
    assert zipline(*BACKFILL).code == 0, "what took its place is known too"


def test_a_restored_generation_of_other_columns_is_noticed(zipline: Zipline, shop: Path) -> None:
    assert zipline(*BACKFILL).code == 0
    swap(FEATURES, 'Aggregation("page", Operation.COUNT, windows=["1d"])', 'Aggregation("page", Operation.COUNT)')(shop)
    assert zipline(*BACKFILL).code == 0
    assert "browsing_page_count" in output(shop).schema()
    delta(shop).restore(0)
    ran = zipline(*BACKFILL)
    assert ran.code == 1
    assert "3 days kept: the files of 2024-05-02..2024-05-04 are not those that a run wrote" in ran.err
    assert zipline(*BACKFILL, "--force").code == 0
    assert output(shop).read(columns=["browsing_page_count"]).column(0).to_pylist() == [2, 1, 2]


def test_a_day_that_was_deleted_by_hand_is_missing_and_done(zipline: Zipline, corrected: Path) -> None:
    delta(corrected).delete("ds = '2024-05-03'")
    facts = zipline(*BACKFILL, "--json").facts
    assert (facts["kept"], [day["day"] for day in facts["published"]]) == ([], ["2024-05-03"])


def test_cleaning_up_old_files_changes_no_day(zipline: Zipline, corrected: Path) -> None:
    delta(corrected).vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False)
    delta(corrected).create_checkpoint()
    delta(corrected).optimize.compact()
    ran = zipline(*BACKFILL)
    assert ran.code == 0, ran.err
    assert "3 finished before" in ran.out
