"""What commands that only look load, and that what they keep for the next time never shows."""

import json
import os
import subprocess
import sys

import pytest

from tests.performance.company import make

HEAVY = {"duckdb", "sqlglot", "sqlalchemy", "deltalake", "rich", "pandas", "numba"}
PLAN = ["plan", "shop.purchases_0.visits.n0", "--start", "2024-05-01", "--end", "2024-05-01", "--json"]
RUN = """
import contextlib, io, json, sys
from zipline.cli.main import execute
out = io.StringIO()
with contextlib.redirect_stdout(out):
    code = execute({arguments!r})
print(json.dumps([code, out.getvalue(), sorted({{name.partition(".")[0] for name in sys.modules}})]))
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    return make(tmp_path_factory.mktemp("shop") / "shop", 4, 2, 2)


def ran(project, *arguments):
    """(what the command printed, which of the heavy libraries it loaded), in a process of its own."""
    code = RUN.format(arguments=[*arguments, "--project", str(project)])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    exit_code, printed, loaded = json.loads(done.stdout)
    assert exit_code == 0, printed
    return json.loads(printed), HEAVY & set(loaded)


def test_a_plan_that_was_made_before_is_the_same_from_what_was_kept_and_loads_no_parser_and_no_database(shop):
    first, loaded = ran(shop, *PLAN)
    assert {"duckdb", "sqlglot"} <= loaded
    again, loaded = ran(shop, *PLAN)
    assert again == first
    assert loaded == set()


COMPUTED = """
import pathlib

from zipline import Aggregation, EventSource, GroupBy, Join, JoinPart, Query

asked = pathlib.Path(__file__).with_name("asked.txt").read_text().split()
events = EventSource("events_1", Query(["user", "amount"], time="happened_at"))
own = GroupBy(["user"], [events], [Aggregation("amount", "SUM", windows=asked)])
read = Join(EventSource("events_1", Query(["user"], time="happened_at")), [JoinPart(own)])
"""


def test_what_a_definition_computes_from_a_file_is_never_taken_from_before(shop):
    config = shop / "configs" / "shop" / "computed.py"
    config.write_text(COMPUTED)
    changed = []
    for window in ("1d", "2d"):
        config.with_name("asked.txt").write_text(window)
        os.utime(config.with_name("asked.txt"), ns=(1, 1))
        facts, _ = ran(shop, "plan", "shop.computed.read", *PLAN[2:])
        assert facts["columns"][-1] == [f"own_amount_sum_{window}", "DOUBLE"]
        changed.append([each["name"] for each in ran(shop, "compile", "--json")[0]["changes"]["changed"]])
    assert changed == [[], ["shop.computed.own", "shop.computed.read"]]
