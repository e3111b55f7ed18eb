"""The command: `python -m tests.performance.soak [SECONDS]`, by default 600.

One worker of `zipline serve` on LMDB. What sixteen callers get out of it is measured first, then they ask at 60 % of
that rate, while events are posted and every 30 seconds two group-bys are uploaded anew. 0 where no answer was wrong.
"""

from __future__ import annotations

import multiprocessing
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tests.integration.servers.features import Server, serving
from tests.performance.resident import Resident, resident
from tests.performance.soak.load import Found, work
from tests.performance.soak.world import SWITCHED, World
from zipline.algebra.columnar.kernel import warm_up
from zipline.clock import monotonic

KEYS, SHARE, EVERY = 5_000, 0.6, 30.0
"""Keys of the switched group-bys, share of the throughput, seconds between uploads."""
SEEN_WITHIN = 0.5
"""Seconds after an upload has ended from which on nothing older may be answered."""
WARM, MEASURED = 3.0, 5.0
AIM = 3.0
"""Of p99 over p50."""


@dataclass
class Uploads:
    """The generations as the callers may see them, and when each upload ran."""

    begun: Any = field(default_factory=lambda: multiprocessing.RawArray("q", len(SWITCHED)))
    published: Any = field(default_factory=lambda: multiprocessing.RawArray("q", len(SWITCHED)))
    spans: list[tuple[float, float]] = field(default_factory=list)

    def run(self, world: World, generation: int) -> None:
        began = monotonic()
        self.begun[:] = [generation] * len(SWITCHED)
        world.change(generation)
        for number, name in enumerate(SWITCHED):
            world.upload(name)
            time.sleep(SEEN_WITHIN)
            self.published[number] = generation
        self.spans.append((began, monotonic()))


@dataclass
class Memory:
    """Of a process, sampled in a thread."""

    times: list[float] = field(default_factory=list)
    held: list[Resident] = field(default_factory=list)

    @contextmanager
    def sampled(self, pid: int, every: float) -> Iterator[None]:
        stopped = threading.Event()

        def sample() -> None:
            while True:
                self.times.append(monotonic())
                self.held.append(resident(pid))
                if stopped.wait(every):
                    return

        thread = threading.Thread(target=sample, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stopped.set()
            thread.join()

    def slope(self) -> float:
        """Bytes of anonymous memory in a second, over the second half."""
        half = len(self.times) // 2
        anonymous = [each.anonymous for each in self.held]
        return float(np.polyfit(self.times[half:], anonymous[half:], 1)[0]) if len(self.times) - half > 2 else 0.0


def soaked(world: World, server: Server, seconds: float) -> int:
    """The run; 0 where no answer was wrong."""
    uploads, memory = Uploads(), Memory()
    _loaded(world, server, uploads, WARM, None)
    counts = [len(_loaded(world, server, uploads, MEASURED, None).seconds) for _ in range(3)]
    rate = statistics.median(counts) / MEASURED
    print(
        f"16 callers, 2 rows x 17 features: {rate:,.0f} requests/s; now {SHARE * rate:,.0f} for {seconds:.0f} s",
        flush=True,
    )
    began, every = monotonic(), min(EVERY, seconds / 4)
    with (
        memory.sampled(server.process.pid, min(5.0, seconds / 20)),
        _loading(world, server, uploads, seconds, rate * SHARE) as out,
    ):
        generation = 0
        while monotonic() - began + every < seconds:
            generation += 1
            time.sleep(max(0.0, began + every * generation - monotonic()))
            uploads.run(world, generation)
        found: Found = out.get(timeout=seconds + 120)
    _report(found, uploads, memory)
    return int(bool(found.wrong))


def _loaded(world: World, server: Server, uploads: Uploads, seconds: float, rate: float | None) -> Found:
    with _loading(world, server, uploads, seconds, rate) as out:
        found: Found = out.get(timeout=seconds + 120)
        return found


@contextmanager
def _loading(world: World, server: Server, uploads: Uploads, seconds: float, rate: float | None) -> Iterator[Any]:
    """The callers at work, who put what they have seen into the queue; with a rate they also post events."""
    context = multiprocessing.get_context("spawn")
    out: Any = context.Queue()
    arguments = (server.port, world.keys, seconds, rate, rate is not None, uploads.begun, uploads.published, out)
    process = context.Process(target=work, args=arguments)
    process.start()
    try:
        yield out
    finally:
        process.join(timeout=60)
        process.kill()


def _report(found: Found, uploads: Uploads, memory: Memory) -> None:
    due, seconds = np.array(found.due), np.array(found.seconds)
    busy = np.zeros(len(due), np.bool_)
    for first, last in uploads.spans:
        busy |= (due >= first) & (due < last)
    a_second = len(seconds) / (due.max() - due.min())
    switches = f"{len(uploads.spans)} switches of {len(SWITCHED)} group-bys"
    print(f"{len(seconds):,} answers ({a_second:,.0f} a second), {found.events:,} events, {switches}")
    print(_times("all the time", seconds))
    print(_times("while nothing is uploaded", seconds[~busy]))
    print(_times("while an upload runs beside", seconds[busy]))
    first, last = memory.held[0], memory.held[-1]
    print(f"memory at the start: {first}")
    print(f"memory at the end: {last}; {memory.slope() * 60 / 1e6:+.2f} MB anonymous a minute over the second half")
    print("wrong: " + (", ".join(f"{count} {kind}" for kind, count in found.wrong.items()) or "0"))
    for example in found.examples:
        print(f"  {example}")


def _times(what: str, seconds: Any) -> str:
    if not len(seconds):
        return f"{what}: no answers"
    half, most = np.quantile(seconds, [0.5, 0.99]) * 1e3
    longest = seconds.max() * 1e3
    return (
        f"{what}: p50 {half:.2f} ms, p99 {most:.2f} ms ({most / half:.1f} x p50, aim {AIM:g}), longest {longest:.0f} ms"
    )


def main(seconds: float = 600.0) -> int:
    warm_up()
    with tempfile.TemporaryDirectory(prefix="zipline-soak-") as place:
        world = World(Path(place), KEYS)
        world.make()
        with serving(world.folder) as server:
            return soaked(world, server, seconds)


if __name__ == "__main__":
    sys.exit(main(*map(float, sys.argv[1:])))
