"""For all tests: how JVMs compile, and the report at the end, how many of each kind of event the random cases held.

The report stands here and not beside the cases, since the process that prints it has run none of them.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.conformance.tallies import TALLIES

# JVMs of tests live for seconds: half of their time went to a compiler whose code was never worth it.
os.environ.setdefault("JAVA_TOOL_OPTIONS", "-XX:TieredStopAtLevel=1")


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    TALLIES.update(getattr(node, "workeroutput", {}).get("tallies", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for title, counts in TALLIES.items():
        terminalreporter.write_sep("-", f"generated: {title}")
        shown = ", ".join(f"{kind} {count}" for kind, count in counts.items())
        terminalreporter.write_line(shown)
