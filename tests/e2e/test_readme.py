"""The README's examples run, and what it says of the tree is so."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", README, flags=re.DOTALL | re.MULTILINE)


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 2


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda text: text.splitlines()[0][:40])
def test_an_example_runs(example: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "README.md", "exec"), {"__name__": "readme"})


def test_a_project_of_your_own(tmp_path: Path) -> None:
    section = README.split("## A project of your own")[1].split("\n## ")[0]
    blocks = re.findall(r"^```(?:python)?\n(.*?)^```$", section, flags=re.DOTALL | re.MULTILINE)
    commands = [block for block in blocks if not block.startswith("# ")]
    for block in blocks:
        if block.startswith("# "):
            name, _, text = block.removeprefix("# ").partition("\n")
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    for script in [*commands, "python read.py"]:
        done = subprocess.run(["bash", "-ec", script], cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    assert len(commands) == 1


def test_every_folder_it_names_exists() -> None:
    table = README.split("## Where things are")[1]
    for row in re.findall(r"^\| (`[^|]*) \|", table, flags=re.MULTILINE):
        for folder in re.findall(r"`([^`]+)`", row):
            assert (ROOT / folder).is_dir(), folder
