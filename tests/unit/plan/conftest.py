"""A folder of definitions written by the test itself."""

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

TEAM = 'from zipline import Team\n\nteam = Team(owner="flight-ops")\n'
SOURCES = """
from zipline import EventSource, Query

flights = EventSource(
    table="flights",
    query=Query(select={"carrier": "carrier", "dest": "dest", "delay": "arr_delay"}, time="arrived_at"),
)
"""
CARRIERS = """
from configs.flights.sources import flights
from zipline import Aggregation, GroupBy, Operation

carrier_arrivals = GroupBy(
    keys=["carrier"],
    sources=[flights],
    aggregations=[Aggregation("delay", Operation.AVERAGE, windows=["1d", "7d"])],
)
"""
TRAINING = """
from configs.flights.carriers import carrier_arrivals
from zipline import EventSource, Join, JoinPart, Query

departures = Join(
    left=EventSource(table="flights", query=Query(select=["carrier"], time="departure")),
    parts=[JoinPart(carrier_arrivals)],
)
"""
COMPANY = {
    "flights/team.py": TEAM,
    "flights/sources.py": SOURCES,
    "flights/carriers.py": CARRIERS,
    "flights/training.py": TRAINING,
}

Write = Callable[[dict[str, str]], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes files under `configs`, and gives that folder."""

    def write(files: dict[str, str]) -> Path:
        for name, text in files.items():
            path = tmp_path / "configs" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(dedent(text))
        return tmp_path / "configs"

    return write


@pytest.fixture
def company(write: Write) -> Path:
    return write(COMPANY)
