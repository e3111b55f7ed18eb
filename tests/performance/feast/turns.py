"""A side that waits for its turn: JSON lines on stdin, an answer for each on stdout. Standard library only.

{"keys": [1, 2]}                        what the features of these keys are, a list of values for each key
{"asked": [[1], [7]], "seconds": 2.0}   the seconds of every fetch, as many as fit
"""

from __future__ import annotations

import gc
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

Values = list[list[Any]]
Fetch = Callable[[Sequence[int]], object]


def take_turns(fetch: Fetch, values: Callable[[Sequence[int]], Values]) -> None:
    """Answers until stdin ends: `fetch` is what is timed, `values` gives what it fetched."""
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        told = json.loads(line)
        if "keys" in told:
            answer: Any = values(told["keys"])
        else:
            answer = _timed(fetch, told["asked"], told["seconds"])
        print(json.dumps(answer), flush=True)


def _timed(fetch: Fetch, asked: Sequence[Sequence[int]], seconds: float) -> list[float]:
    gc.collect()
    gc.freeze()
    found = []
    until = time.perf_counter() + seconds
    for keys in itertools.cycle(asked):
        began = time.perf_counter()
        if began > until:
            break
        fetch(keys)
        found.append(time.perf_counter() - began)
    gc.unfreeze()
    return found


class Turn:
    """The other end: a side in its process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._read()

    def values(self, keys: Sequence[int]) -> Values:
        found: Values = self._ask({"keys": list(keys)})
        return found

    def seconds(self, asked: Sequence[Sequence[int]], seconds: float) -> list[float]:
        found: list[float] = self._ask({"asked": asked, "seconds": seconds})
        return found

    def _ask(self, told: Any) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(told) + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> Any:
        """The next line that is an answer: libraries may print too."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            try:
                return json.loads(line)
            except ValueError:
                continue
        raise RuntimeError(f"the side has ended: {' '.join(map(str, self._process.args))}")  # type: ignore[arg-type]


@contextmanager
def side(command: Sequence[str], env: dict[str, str] | None = None) -> Iterator[Turn]:
    """A side that runs for the block."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env) as process:
        try:
            yield Turn(process)
        finally:
            process.kill()
