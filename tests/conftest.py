"""The report at the end: how many of each kind of event the random cases really held.

It stands here and not beside the cases, since the process that prints it has run none of them.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.tallies import TALLIES


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    TALLIES.update(getattr(node, "workeroutput", {}).get("tallies", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for title, counts in TALLIES.items():
        terminalreporter.write_sep("-", f"generated: {title}")
        shown = ", ".join(f"{kind} {count}" for kind, count in counts.items())
        terminalreporter.write_line(shown)
