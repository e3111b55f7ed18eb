"""The frame of the command line: help, failures, exit codes, and what is imported when."""

import errno
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import click
import pytest

from tests.unit.cli.conftest import Zipline
from zipline.cli import main as frame
from zipline.cli.main import BUILT_IN, execute, main
from zipline.errors import CheckError, DefinitionError, Location

HEAVY = ("duckdb", "pyarrow", "numba", "numpy", "sqlglot", "pandas", "deltalake", "rich", "sqlalchemy")


def test_help_loads_nothing_heavy() -> None:
    script = (
        "import sys\nfrom zipline.cli.main import execute\ncode = execute(['--help'])\n"
        f"print('heavy', sorted(m for m in {HEAVY!r} if m in sys.modules))\nsys.exit(code)"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "heavy []" in run.stdout


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"\n  {name} " in shown for name in BUILT_IN)


def test_no_arguments_show_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert execute([]) == 0
    assert "Commands:" in capsys.readouterr().out


@pytest.mark.parametrize("name", BUILT_IN)
def test_each_command_has_help_with_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute([name, "--help"]) == 0
    shown = capsys.readouterr().out
    assert "Example" in shown
    assert f"zipline {name}" in shown
    assert all(option in shown for option in ("--json", "--project", "--environment"))


def test_a_command_that_is_not_there_says_which_was_meant(capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["backfil"]) == 2
    assert "Did you mean 'backfill'?" in capsys.readouterr().err


def test_bad_usage_exits_with_two_and_says_what_to_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["plan"]) == 2
    shown = capsys.readouterr()
    assert "Missing argument 'JOIN'" in shown.err
    assert "next: zipline plan --help" in shown.err
    assert shown.out == ""


def test_a_day_that_is_none(zipline: Zipline) -> None:
    ran = zipline("plan", "shop.visits.visits", "--start", "1 July")
    assert ran.code == 2
    assert "'1 July' is not a day" in ran.err


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail() -> NoReturn:
        raise error

    command = click.Command("fail", callback=fail, params=[click.Option(["--json"], is_flag=True, expose_value=False)])
    command.params.append(click.Option(["--project"], expose_value=False))
    monkeypatch.setattr(frame, "_plugins", lambda: {"fail": command})
    monkeypatch.setattr(frame, "_loaded", lambda name, plugin: plugin)


def test_an_error_is_text_on_stderr(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    failing(monkeypatch, DefinitionError("no", subject="a.b", where=Location("f.py", 3), hint="do"))
    assert execute(["fail"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == "error: a.b: no\n  at f.py:3\n  hint: do\n"


def test_with_json_it_is_facts_on_stdout(zipline: Zipline, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, CheckError("no", subject="a.b", next_command="zipline plan"))
    ran = zipline("fail", "--json")
    assert ran.code == 1
    assert ran.facts == {"error": "CheckError", "what": "no", "subject": "a.b", "next": "zipline plan"}
    assert ran.err == ""


def test_bad_usage_with_json_is_facts_too(zipline: Zipline) -> None:
    ran = zipline("plan", "--json")
    assert ran.code == 2
    assert ran.facts["error"] == "UsageError"


def test_an_unexpected_error_is_short_and_its_traceback_is_kept(
    zipline: Zipline, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, RuntimeError("a\nbug"))
    ran = zipline("fail")
    assert ran.code == 1
    assert "RuntimeError: a bug" in ran.err
    assert "Traceback" not in ran.err
    [log] = (project / ".zipline" / "logs").iterdir()
    assert str(log) in ran.err
    assert "Traceback" in log.read_text()
    assert "in fail" in log.read_text()


def test_an_interruption_is_a_sentence(zipline: Zipline, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, KeyboardInterrupt())
    ran = zipline("fail")
    assert ran.code == 1
    assert "error: stopped" in ran.err
    assert "Traceback" not in ran.err


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
def test_what_the_system_refuses_is_a_sentence(
    zipline: Zipline, project: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    import os

    failing(monkeypatch, OSError(number, os.strerror(number), "/data/x.parquet"))
    ran = zipline("fail")
    assert ran.code == 1
    assert f"{os.strerror(number)}: /data/x.parquet" in ran.err
    assert not (project / ".zipline" / "logs").exists()


def test_a_reader_that_goes_away_is_no_error() -> None:
    script = "import sys\nfrom zipline.cli.main import execute\nsys.exit(execute(['--help']))"
    run = subprocess.run(f'{sys.executable} -c "{script}" | true', shell=True, capture_output=True, text=True)
    assert run.stderr == ""


def test_a_plugin_that_cannot_be_loaded_does_not_spoil_the_help(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Broken:
        value = "nowhere:command"

        def load(self) -> Any:
            raise ImportError("no module nowhere")

    monkeypatch.setattr(frame, "_plugins", lambda: {"broken": Broken()})
    assert execute(["--help"]) == 0
    assert "broken" in capsys.readouterr().out
    assert execute(["broken", "--json"]) == 2
    assert "no module nowhere" in capsys.readouterr().out


def test_a_plugin_cannot_take_the_name_of_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frame, "_plugins", lambda: {"plan": None})
    with main.make_context("zipline", ["plan", "x"]) as context:
        assert main.list_commands(context).count("plan") == 1
        command = main.get_command(context, "plan")
    assert command is not None
    assert command.name in ("plan", "command")
