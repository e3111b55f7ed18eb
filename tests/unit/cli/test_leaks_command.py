"""`zipline plan --check-leaks`, and `zipline explain` of a row by its row_id."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

from tests.unit.cli.conftest import PURCHASES, Zipline, write_rows

JOIN = "shop.visits.visits"
DAYS = ("--start", "2024-05-01", "--end", "2024-05-03")
LEAKING = """
    from configs.shop.spending import spending
    from zipline import Aggregation, EventSource, GroupBy, Join, JoinPart, LabelPart, Operation, Query

    bought = GroupBy(
        keys=["user"],
        sources=[EventSource("purchases", Query(select=["user", "amount"], time="bought_at"))],
        aggregations=[Aggregation("amount", Operation.SUM, windows=["1d"])],
    )
    visits = Join(
        left=EventSource("visits", Query(select=["visit", "user"], time="at")),
        row_id=["visit"],
        parts=[JoinPart(spending)],
        labels=LabelPart([JoinPart(bought)], offset="1d"),
    )
"""


def arrange(project: Path, *, late: bool) -> None:
    """A join with labels; `late` gives the purchases a column that says that they are loaded a day later."""
    (project / "configs" / "shop" / "visits.py").write_text(dedent(LEAKING))
    loaded = {"loaded_at": "2024-05-09T00:00:00Z"} if late else {}
    write_rows(project, "purchases", [row | loaded for row in PURCHASES])


def test_a_clean_join_passes_strictly(zipline: Zipline, project: Path) -> None:
    arrange(project, late=False)
    ran = zipline("plan", JOIN, *DAYS, "--check-leaks", "--strict")
    assert ran.code == 0, ran.err
    assert "no leak found" in ran.out


def test_a_leak_is_reported_and_fails_only_strictly(zipline: Zipline, project: Path) -> None:
    arrange(project, late=True)
    ran = zipline("plan", JOIN, *DAYS, "--check-leaks", "--json")
    assert ran.code == 0, ran.err
    (leak,) = ran.facts["leaks"]["leaks"]
    assert (leak["kind"], leak["column"]) == ("late arrival", "purchases.loaded_at")
    assert leak["evidence"]["share_later"] == 1.0
    strict = zipline("plan", JOIN, *DAYS, "--check-leaks", "--strict")
    assert strict.code == 1
    assert 'known_at="loaded_at"' in strict.out


def test_a_plan_without_the_check_says_nothing_of_leaks(zipline: Zipline) -> None:
    assert "leaks" not in zipline("plan", JOIN, *DAYS, "--json").facts


def test_strict_without_the_check_is_refused(zipline: Zipline) -> None:
    ran = zipline("plan", JOIN, *DAYS, "--strict")
    assert ran.code == 2
    assert "--check-leaks" in ran.err


def test_a_row_is_explained_by_its_row_id(zipline: Zipline) -> None:
    facts = zipline("explain", JOIN, "spending_amount_sum_7d", "--row", '{"visit": 3}', "--json").facts
    assert (facts["value"], facts["keys"], facts["ts"]) == (25.0, {"user": "ann"}, "2024-05-03T07:00:00Z")
    assert facts["agrees"] is True


def test_a_leak_behind_a_staging_query_is_found_before_the_query_was_ever_run(zipline: Zipline, project: Path) -> None:
    arrange(project, late=False)
    path = project / "configs" / "shop" / "visits.py"
    daily = dedent('''
        from zipline import StagingQuery

        totals = StagingQuery(
            """SELECT "user", sum(amount) AS total, date_trunc('day', CAST(bought_at AS TIMESTAMP)) AS day
               FROM purchases GROUP BY ALL"""
        )
        spending = GroupBy(
            keys=["user"],
            sources=[EventSource(totals, Query(select=["user", "total"], time="day"))],
            aggregations=[Aggregation("total", Operation.SUM, windows=["1d"])],
        )
    ''')
    path.write_text(path.read_text().replace("\nvisits = ", f"{daily}\nvisits = "))
    ran = zipline("plan", JOIN, *DAYS, "--check-leaks", "--strict", "--json")
    assert ran.code == 1, ran.err
    (leak,) = ran.facts["leaks"]["leaks"]
    assert leak["kind"] == "label as feature"
    assert leak["evidence"]["path"] == ["spending_total_sum_1d", "shop.visits.totals.total", "purchases.amount"]
