"""The callers, in a process of their own: they ask at a steady rate, post events beside it, and judge every answer.

Time counts from when a call was due, not from when it was made: a server that stops for a second is seen by all calls
that were due in it.
"""

from __future__ import annotations

import asyncio
import json
import random
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
import uvloop

from tests.performance.calling import Connection, Refused, request
from tests.performance.soak.judge import Asked, Judge
from tests.performance.soak.world import BUYERS, JOIN, SPENT
from zipline.clock import monotonic, now, to_text

CALLERS, ROWS = 16, 2
POSTS, EVENTS = 10, 5
"""Posts in a second, and events of each."""
ARRIVED_WITHIN = 10.0
"""Seconds after the last post within which all events are in the answers."""
_FEATURES, _EVENTS = f"/v1/features/{JOIN}", "/v1/events/purchases"
_decode = msgspec.json.Decoder().decode


@dataclass
class Found:
    """What the callers saw: of every call when it was due and its seconds, and what was wrong."""

    due: array[float] = field(default_factory=lambda: array("d"))
    seconds: array[float] = field(default_factory=lambda: array("d"))
    events: int = 0
    wrong: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)


class Load:
    """Of a server at `port`, whose switched group-bys have `keys` keys."""

    def __init__(self, port: int, keys: int, judge: Judge) -> None:
        self._port, self._judge = port, judge
        self._draw = random.Random(2)
        self._asked = [[self._draw.randrange(keys) for _ in range(ROWS)] for _ in range(2_000)]
        # Half of what is asked has events too.
        for asked in self._asked[::2]:
            asked[0] %= BUYERS
        self._requests = [_asking(keys) for keys in self._asked]
        self.found = Found()

    async def run(self, seconds: float, rate: float | None, *, posts: bool) -> Found:
        """`rate` calls in a second; None: each caller as fast as it is answered."""
        until = monotonic() + seconds
        times = [_due(number, rate) for number in range(CALLERS)]
        await asyncio.gather(*(self._call(due, until) for due in times), *([self._post(until)] if posts else []))
        if posts:
            await self._end()
        self.found.wrong, self.found.examples = self._judge.wrong, self._judge.examples
        return self.found

    async def _call(self, times: Iterator[float | None], until: float) -> None:
        connection = await Connection.to(self._port)
        draw = random.Random(self._draw.random())
        for due in times:
            clock = monotonic()
            if max(due or 0.0, clock) >= until:
                break
            if due is not None and due > clock:
                await asyncio.sleep(due - clock)
            number = draw.randrange(len(self._asked))
            asked = self._judge.asks(self._asked[number], monotonic())
            try:
                body = await connection.ask(self._requests[number])
            except (Refused, OSError, asyncio.IncompleteReadError) as wrong:
                self._judge.fails(f"{type(wrong).__name__}: {wrong}")
                connection.close()
                connection = await Connection.to(self._port)
                continue
            self._note(clock if due is None else due, asked, body)
        connection.close()

    def _note(self, due: float, asked: Asked, body: bytes) -> None:
        self.found.due.append(due)
        self.found.seconds.append(monotonic() - due)
        self._judge.answers(asked, _decode(body)["rows"])

    async def _post(self, until: float) -> None:
        connection = await Connection.to(self._port)
        while monotonic() < until:
            events = [(self._draw.randrange(BUYERS), self._draw.randrange(1, 100)) for _ in range(EVENTS)]
            for key, amount in events:
                self._judge.send(key, amount)
            try:
                await connection.ask(_posting(events))
            except Refused as wrong:
                self._judge.fails(f"events: {wrong}")
            for key, amount in events:
                self._judge.accept(key, amount, monotonic())
            self.found.events += len(events)
            await asyncio.sleep(1 / POSTS)
        connection.close()

    async def _end(self) -> None:
        """Waits for the last events, and looks at what every buyer has spent."""
        connection = await Connection.to(self._port)
        until = monotonic() + ARRIVED_WITHIN
        expected, spent = list(self._judge.final().values()), list[Any]()
        while spent != expected and monotonic() < until:
            rows = _decode(await connection.ask(_asking(list(range(BUYERS)))))["rows"]
            spent = [row["values"][SPENT] for row in rows]
            await asyncio.sleep(0.1)
        if spent != expected:
            self._judge.fails(f"in the end the buyers have spent {spent}, not {expected}")
        connection.close()


def _due(caller: int, rate: float | None) -> Iterator[float | None]:
    """When a caller's calls are due, all callers taking turns."""
    began, number = monotonic(), caller
    while True:
        yield None if rate is None else began + number / rate
        number += CALLERS


def _asking(keys: list[int]) -> bytes:
    return request(_FEATURES, json.dumps({"rows": [{"key": key} for key in keys]}).encode())


def _posting(events: list[tuple[int, int]]) -> bytes:
    at = to_text(now())
    rows = [{"key": key, "amount": amount, "t": at} for key, amount in events]
    return request(_EVENTS, json.dumps({"events": rows}).encode())


def work(
    port: int, keys: int, seconds: float, rate: float | None, posts: bool, begun: Any, published: Any, out: Any
) -> None:
    """The process."""
    load = Load(port, keys, Judge(begun, published))
    out.put(uvloop.run(load.run(seconds, rate, posts=posts)))
