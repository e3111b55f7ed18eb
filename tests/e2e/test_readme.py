"""The README's examples run, and what it says of the tree is so."""

import re
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


def test_every_folder_it_names_exists() -> None:
    table = README.split("## Where things are")[1]
    for row in re.findall(r"^\| (`[^|]*) \|", table, flags=re.MULTILINE):
        for folder in re.findall(r"`([^`]+)`", row):
            assert (ROOT / folder).is_dir(), folder
