"""A project with two small tables and a join, and a command line that runs in this process."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from zipline.cli.main import execute

CONFIGS = {
    "shop/team.py": 'from zipline import Team\n\nteam = Team(owner="shop")\n',
    "shop/spending.py": """
        from zipline import Aggregation, EventSource, GroupBy, Operation, Query

        purchases = EventSource("purchases", Query(select=["user", "amount"], time="bought_at"))
        spending = GroupBy(
            keys=["user"],
            sources=[purchases],
            aggregations=[Aggregation("amount", Operation.SUM, windows=["1d", "7d"])],
        )
    """,
    "shop/visits.py": """
        from configs.shop.spending import spending
        from zipline import Check, EventSource, Join, JoinPart, Query

        visits = Join(
            left=EventSource("visits", Query(select=["visit", "user"], time="at")),
            row_id=["visit"],
            parts=[JoinPart(spending)],
            checks=[Check.unique("visit")],
        )
    """,
}
PURCHASES = [
    {"user": "ann", "amount": 20.0, "bought_at": "2024-05-01T09:00:00Z"},
    {"user": "ann", "amount": 5.0, "bought_at": "2024-05-02T08:00:00Z"},
    {"user": "bob", "amount": 7.5, "bought_at": "2024-05-04T10:00:00Z"},
]
VISITS = [
    {"visit": 1, "user": "ann", "at": "2024-05-02T08:30:00Z"},
    {"visit": 2, "user": "bob", "at": "2024-05-02T12:00:00Z"},
    {"visit": 3, "user": "ann", "at": "2024-05-03T07:00:00Z"},
]
SETTINGS = """
[tables.purchases]
path = "data/purchases.jsonl"
[tables.visits]
path = "data/visits.jsonl"
"""


@dataclass(frozen=True)
class Ran:
    """What one command line gave back."""

    code: int
    out: str
    err: str

    @property
    def facts(self) -> Any:
        return json.loads(self.out)


Zipline = Callable[..., Ran]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, text in CONFIGS.items():
        path = tmp_path / "configs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text))
    write_rows(tmp_path, "purchases", PURCHASES)
    write_rows(tmp_path, "visits", VISITS)
    (tmp_path / "zipline.toml").write_text(SETTINGS)
    return tmp_path


def write_rows(project: Path, table: str, rows: list[dict[str, Any]]) -> None:
    path = project / "data" / f"{table}.jsonl"
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def zipline(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path_factory: Any
) -> Zipline:
    """Runs `zipline ARGUMENTS --project PROJECT` somewhere else."""
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))

    def run(*arguments: str) -> Ran:
        capsys.readouterr()
        code = execute([*arguments, "--project", str(project)])
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return run
