"""The report of a backfill in a notebook: what was published, what was left as it was, and what was met on the way."""

from __future__ import annotations

from zipline.api.notebook import Html, faint, fields, folded, grid, heading, page
from zipline.engines.notebook import counts
from zipline.orchestration.report import BackfillReport

MOST_DAYS = 100


def backfill_page(report: BackfillReport) -> str:
    """Days, rows and bytes, the warnings, the days themselves folded."""
    days = [day.day for day in report.published]
    facts = [
        ("rows", f"{report.rows:,}"),
        ("bytes", f"{report.bytes:,}"),
        ("published", f"{len(days):,} days, {days[0]} to {days[-1]}" if days else "nothing"),
        ("up to date", f"{len(report.skipped):,} days" if report.skipped else None),
        ("warnings", _lines(report.warnings)),
    ]
    rows = [(day.day, f"{day.rows:,}", f"{day.bytes:,}") for day in report.published[:MOST_DAYS]]
    return page(
        heading("BackfillReport", report.name, f"in {report.seconds:.1f} s"),
        fields(facts),
        folded("days", grid(("day", ">rows", ">bytes"), rows)) if rows else Html(""),
        folded("counts", counts(report, leave_out=("name", "published", "skipped", "seconds"))),
        faint(f"fingerprint {report.fingerprint[:16]}"),
    )


def _lines(texts: tuple[str, ...]) -> Html | None:
    return grid(("",), [(text,) for text in texts[:MOST_DAYS]]) if texts else None
