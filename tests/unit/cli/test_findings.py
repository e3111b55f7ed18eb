"""What a run met in the data, in words and as facts."""

from zipline.cli.findings import finding_facts, finding_rows
from zipline.engines.contract import Report


def test_reversals_of_rows_that_were_not_there_are_shown_by_table() -> None:
    report = Report(orphan_reversals={"changes": 2, "others": 0})
    assert finding_rows(report) == [("orphans", "2 reversals of changes of rows that were not there")]
    assert finding_facts(report)["orphan_reversals"] == {"changes": 2, "others": 0}
    assert finding_rows(Report()) == []


def test_rows_that_took_values_are_shown_by_bootstrap_table_also_where_none_did() -> None:
    report = Report(bootstrapped={"served": 2, "older": 0})
    rows = [("bootstrap", "2 rows took values from served"), ("bootstrap", "0 rows took values from older")]
    assert finding_rows(report) == rows
    assert finding_facts(report)["bootstrapped"] == {"served": 2, "older": 0}
