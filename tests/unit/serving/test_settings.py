"""The section [serve] of zipline.toml."""

from pathlib import Path

import pytest

from zipline.errors import ProjectError
from zipline.project import load_project


def test_settings_are_read_from_the_file_and_from_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "zipline.toml").write_text(
        '[serve]\nport = 9000\nbody = "512KiB"\ndeadline = "250ms"\nlog = 0.25\ntokens = "who.toml"\n'
    )
    monkeypatch.setenv("ZIPLINE_SERVE_WORKERS", "3")
    serve = load_project(tmp_path).serve
    assert (serve.port, serve.body, serve.deadline, serve.log, serve.workers) == (9000, 512 << 10, 0.25, 0.25, 3)
    assert serve.tokens == str(tmp_path / "who.toml")
    assert serve.log_folder == str(tmp_path / ".zipline" / "requests")
    assert serve.is_loopback


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("port = 70000", "is not a port"),
        ('port = "many"', "is not a port"),
        ("workers = 0", "is not a number of processes"),
        ('body = "1GB"', "is not a size"),
        ('body = "0"', "is not a size"),
        ('deadline = "1"', "is not a time"),
        ("log = 1.5", "is not a share"),
        ("log = nan", "is not a share"),
        ("rows = 0", "is not a number of rows"),
    ],
)
def test_a_wrong_setting_is_refused_with_its_line(tmp_path: Path, line: str, said: str) -> None:
    (tmp_path / "zipline.toml").write_text(f'name = "x"\n[serve]\n{line}\n')
    with pytest.raises(ProjectError, match=said) as caught:
        load_project(tmp_path)
    assert caught.value.where is not None
    assert caught.value.where.line == 3
