"""Measuring: a task in a process of its own, sides taking turns, medians."""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Figures = dict[str, Any]


class Failed(Exception):
    """A task's process ended with an error."""


def measure(task: str, arguments: Mapping[str, Any], *, patience: float | None = None) -> Figures:
    """The task's figures, with `peak_bytes` and `process_seconds` of its process."""
    command = [sys.executable, "-m", "tests.performance.measure", task]
    began = time.perf_counter()
    try:
        done = subprocess.run(command, input=json.dumps(arguments), capture_output=True, text=True, timeout=patience)
    except subprocess.TimeoutExpired:
        raise TooLong(f"{task} took more than {patience:.0f} s") from None
    if done.returncode:
        raise Failed(
            f"{task} failed: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else done.returncode}"
        )
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return {**figures, "process_seconds": time.perf_counter() - began}


class TooLong(Failed):
    """A task's process took longer than it was given."""


@dataclass(frozen=True, eq=False)
class Side:
    """One side of a comparison: a name and the task that computes it."""

    name: str
    task: str
    arguments: Mapping[str, Any]

    def run(self, patience: float | None = None) -> Figures:
        return measure(self.task, self.arguments, patience=patience)


def in_turn(sides: Sequence[Side], rounds: int) -> dict[str, list[Figures]]:
    """Each side `rounds` times, one after the other."""
    found: dict[str, list[Figures]] = {side.name: [] for side in sides}
    for _ in range(rounds):
        for side in sides:
            found[side.name].append(side.run())
    return found


def median(runs: Sequence[Figures], figure: str = "seconds") -> float:
    return float(statistics.median(run[figure] for run in runs))


def _work(task: str) -> None:
    from tests.performance import tasks

    figures = getattr(tasks, task)(**json.load(sys.stdin))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({**figures, "peak_bytes": peak, "load": os.getloadavg()[0]}), flush=True)


if __name__ == "__main__":
    _work(sys.argv[1])
