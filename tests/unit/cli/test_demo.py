"""`zipline demo` is found without the platform knowing of it, and costs nothing until it is run."""

import subprocess
import sys

from click.testing import CliRunner

from training.demo_command import command


def test_the_demo_has_help_with_an_example() -> None:
    shown = CliRunner().invoke(command, ["--help"])
    assert shown.exit_code == 0
    assert "zipline demo" in shown.output
    assert "zipline demo --stream --speed 2880" in shown.output


def test_a_replay_has_a_speed_that_ends() -> None:
    assert CliRunner().invoke(command, ["--stream", "--speed", "0"]).exit_code == 2


def test_importing_the_demo_loads_nothing_heavy() -> None:
    heavy = ("duckdb", "pyarrow", "numba", "numpy", "xgboost", "sklearn", "rich")
    script = f"import sys, training.demo_command\nprint([m for m in {heavy!r} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
