"""Snapshots that are not wrong, only strange: they go back in time, or hold several rows of one key. Counted, shown."""

from pathlib import Path

import pytest

from tests.e2e.spoiling import BACKFILL, SOURCES, swap
from tests.e2e.test_command_line import JOIN, RANGE, Zipline, output, shop, write_day, zipline

__all__ = ["shop", "zipline"]

TIERS = {
    "2024-05-01": [("ann", "gold", "2024-04-30T09:00:00Z"), ("bob", "basic", "2024-04-02T09:00:00Z")],
    "2024-05-02": [("ann", "tin", "2024-04-01T09:00:00Z"), ("bob", "basic", "2024-04-02T09:00:00Z")],
}


@pytest.fixture
def dated(shop: Path) -> Path:
    """The shop, whose profiles say since when they hold; the second snapshot is an older dump than the first."""
    swap(
        SOURCES, '"profiles", Query(select=["customer", "tier"])', '"profiles", Query(["customer", "tier"], time="at")'
    )(shop)
    for day, rows in TIERS.items():
        write_day(shop, "profiles", day, [{"customer": c, "tier": tier, "at": at} for c, tier, at in rows])
    return shop


def test_a_snapshot_older_than_the_one_before_is_a_counted_warning(zipline: Zipline, dated: Path) -> None:
    ran = zipline(*BACKFILL)
    assert ran.code == 0
    warned = (
        "warning: profiles, snapshot 2024-05-02: its newest row is of 2024-04-02T09:00:00Z, older than that of the "
    )
    assert f"{warned}snapshot before it (2024-05-01: 2024-04-30T09:00:00Z)" in ran.out
    of_keys = "1 of 2 keys of profiles by customer are older in a later snapshot than in one before: customer='ann' is"
    assert f"{of_keys} of 2024-04-01T09:00:00Z in that of 2024-05-02" in ran.out
    assert output(dated).read(columns=["profile_tier"]).column(0).to_pylist() == ["gold", "basic", "tin"]


def test_programs_get_what_went_back_in_time_as_facts(zipline: Zipline, dated: Path) -> None:
    found = zipline(*BACKFILL, "--json").facts
    assert found["backwards"] == [
        {
            "table": "profiles",
            "partition": "2024-05-02",
            "newest": "2024-04-02T09:00:00Z",
            "previous": "2024-05-01",
            "previous_newest": "2024-04-30T09:00:00Z",
        }
    ]
    assert {name: (keys["count"], keys["of"]) for name, keys in found["older_keys"].items()} == {
        "profiles by customer": (1, 2)
    }


def test_plan_shows_it_before_anything_runs_and_for_the_days_that_see_it(zipline: Zipline, dated: Path) -> None:
    facts = zipline("plan", JOIN, *RANGE, "--json").facts
    assert [each["partition"] for each in facts["backwards"]] == ["2024-05-02"]
    assert "warning: profiles, snapshot 2024-05-02: its newest row" in zipline("plan", JOIN, *RANGE).out
    first = ("--start", "2024-05-02", "--end", "2024-05-02")
    assert zipline("plan", JOIN, *first, "--scoring", "--json").facts["backwards"] == []


def test_one_day_alone_is_compared_with_the_snapshot_that_it_does_not_read(zipline: Zipline, dated: Path) -> None:
    facts = zipline("backfill", JOIN, "--start", "2024-05-04", "--end", "2024-05-04", "--scoring", "--json").facts
    assert [each["partition"] for each in facts["backwards"]] == ["2024-05-02"]
    assert facts["older_keys"] == {}


def test_several_rows_of_a_key_in_one_snapshot_are_counted(zipline: Zipline, shop: Path) -> None:
    write_day(shop, "profiles", "2024-05-01", [{"customer": c, "tier": t} for c, t in TWICE])
    ran = zipline(*BACKFILL)
    assert ran.code == 0
    said = (
        "1 of 2 keys of profiles by customer have several rows in one snapshot: customer='ann' has 3 rows in that of "
    )
    assert f"{said}2024-05-01; a lookup takes the latest, an aggregation all" in ran.out
    again = zipline(*BACKFILL, "--force", "--json").facts
    assert again["repeated_keys"] == {
        "profiles by customer": {"count": 1, "of": 2, "example": "customer='ann' has 3 rows in that of 2024-05-01"}
    }
    assert output(shop).read(columns=["profile_tier"]).column(0).to_pylist() == ["tin", "basic", "basic"]


TWICE = [("ann", "gold"), ("ann", "tin"), ("ann", "iron"), ("bob", "basic")]


def test_the_clean_shop_has_nothing_strange(zipline: Zipline, shop: Path) -> None:
    facts = zipline(*BACKFILL, "--json").facts
    assert (facts["backwards"], facts["older_keys"], facts["repeated_keys"]) == ([], {}, {})
