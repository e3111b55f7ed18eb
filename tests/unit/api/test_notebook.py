"""What a notebook shows: everything escaped, nothing from elsewhere, well-formed."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from typing import Any

import pytest

from zipline import (
    Aggregation,
    Check,
    Derivation,
    EntitySource,
    EventSource,
    GroupBy,
    Join,
    JoinPart,
    LabelPart,
    Operation,
    Query,
    Team,
    explain_value,
)
from zipline.api.notebook import MOST, fields, grid, listed
from zipline.engines.contract import Report
from zipline.engines.frames import run
from zipline.orchestration.report import BackfillReport, DayReport
from zipline.plan.build import plan_group_by, plan_join
from zipline.types import DOUBLE, STRING, TIMESTAMP

NASTY = "<script>alert('x')</script> & \"y\""


def spending() -> GroupBy:
    source = EventSource("payments", Query(["user", "amount"], time="at", where=["amount < 3"]))
    return GroupBy(
        name="shop.spending",
        keys=["user"],
        sources=[source],
        aggregations=[Aggregation("amount", Operation.SUM, windows=["1d", "7d"])],
        derivations=[Derivation("half", "amount_sum_1d / 2")],
        checks=[Check.not_null("half")],
        description=NASTY,
        tags={"a<b": "c"},
    )


def visits() -> Join:
    label = GroupBy(
        name="later",
        keys=["user"],
        sources=[EventSource("payments", Query(["user", "amount"], time="at"))],
        aggregations=[Aggregation("amount", Operation.SUM, windows=["1d"])],
    )
    left = EventSource("visits", Query(["user"], time="at"))
    return Join(
        name="shop.visits", left=left, parts=[JoinPart(spending())], labels=LabelPart([JoinPart(label)], offset="1d")
    )


TABLES: dict[str, Any] = {
    "payments": [
        {"user": NASTY, "amount": 1.0, "at": "2024-05-01"},
        {"user": NASTY, "amount": 9.0, "at": "2024-05-01"},
    ],
    "visits": [{"user": NASTY, "at": "2024-05-02"}] * 12,
}
SCHEMA = {"user": STRING, "amount": DOUBLE, "at": TIMESTAMP}


def shown() -> dict[str, Any]:
    result = run(visits(), TABLES, training=False)
    row = {"user": NASTY, "ts": "2024-05-02"}
    return {
        "group-by": spending(),
        "join": visits(),
        "entity": EntitySource("states", Query(["user"], where=[NASTY])),
        "team": Team(NASTY),
        "group-by plan": plan_group_by(spending(), lambda _: SCHEMA),
        "join plan": plan_join(visits(), lambda _: SCHEMA),
        "result": result,
        "report": result.report,
        "backfill": BackfillReport(NASTY, "f" * 64, (DayReport("2024-05-01", 5, 100, 1, (NASTY,)),)),
        "explanation": explain_value(spending(), "amount_sum_1d", row, TABLES),
        "derivation": explain_value(visits(), "spending_half", row, TABLES),
    }


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return {name: each._repr_html_() for name, each in shown().items()}


def test_every_page_is_well_formed_and_escapes_what_is_shown(pages: dict[str, str]) -> None:
    for name, page in pages.items():
        ElementTree.fromstring(page.replace("<details open>", '<details open="">'))
        assert "<script" not in page, name
    assert "&lt;script&gt;alert" in pages["group-by"]
    assert "&lt;script&gt;alert" in pages["result"]
    assert "&lt;script&gt;alert" in pages["explanation"]


def test_no_page_fetches_or_colours_anything(pages: dict[str, str]) -> None:
    for page in pages.values():
        assert not re.search(r"(src|href)=|url\(|<style|<link|background: #|(?<!-)color: #", page)


def test_a_group_by_lists_its_features_its_sources_and_the_authors_line(pages: dict[str, str]) -> None:
    page = pages["group-by"]
    for text in (
        "shop.spending",
        "amount_sum_1d",
        "amount_sum_7d",
        "half",
        "payments",
        "amount &lt; 3",
        "test_notebook.py:",
    ):
        assert text in page
    assert "3 features" in page
    assert "accuracy" not in page, "what the author did not write is left out"


def test_a_join_plan_shows_the_steps_that_are_run(pages: dict[str, str]) -> None:
    for step in plan_join(visits(), lambda _: SCHEMA).steps():
        assert step.title in pages["join plan"]


def test_a_result_shows_its_first_rows_and_how_many_there_are(pages: dict[str, str]) -> None:
    assert "12 rows, 5 columns" in pages["result"]
    assert "2 rows more" in pages["result"]
    assert pages["result"].count("2024-05-02 00:00:00") == 10


def test_a_report_leaves_out_what_is_zero() -> None:
    page = Report(rows=3, null_keys={"user": 2})._repr_html_()
    assert "null keys" in page
    assert "immature" not in page


def test_an_explanation_shows_events_and_what_was_left_out(pages: dict[str, str]) -> None:
    assert "1 seen" in pages["explanation"]
    assert "1 left out by where" in pages["explanation"]
    assert "amount_sum_1d / 2" in pages["derivation"]


def test_of_very_many_names_the_first_are_shown() -> None:
    assert "... 5 more" in listed([f"f{n}" for n in range(MOST + 5)])


def test_tables_escape_cells_and_heads() -> None:
    assert "<i>" not in grid(["<i>"], [["<i>"]]) + fields([("<i>", "<i>")])
