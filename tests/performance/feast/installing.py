"""Feast in an environment of its own: `python -m tests.performance.feast.installing` (once, a minute or two)."""

from __future__ import annotations

import subprocess
import venv
from pathlib import Path

VERSION = "0.67.0"
PLACE = Path("build") / "feast"
PYTHON = PLACE / "bin" / "python"


def install() -> None:
    """Nothing happens where that version is there."""
    mark = PLACE / f".feast-{VERSION}"
    if mark.exists():
        return
    print(f"installing Feast {VERSION} into {PLACE} (once)", flush=True)
    venv.create(PLACE, with_pip=True)
    wanted = f"feast[redis,glide]=={VERSION}"
    subprocess.run([PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wanted], check=True)
    mark.touch()


if __name__ == "__main__":
    install()
