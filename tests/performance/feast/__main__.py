"""The command: `python -m tests.performance.feast [--only process|http] [--keys N] [--rounds N] [--out FILE]`."""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import random
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from tests.integration.servers import features
from tests.integration.servers.redis import running_redis
from tests.performance.calling import asked_once, measured, request
from tests.performance.feast import feasts
from tests.performance.feast.installing import VERSION, install
from tests.performance.feast.turns import Turn, Values, side
from tests.performance.feast.world import KINDS, World, fetched, join_name
from zipline.clock import now

SIZES = (1, 100)
"""Keys of a question."""
SECONDS, CALLERS = 1.5, 16
"""Of one turn; connections where requests are counted."""
CHECKED = 200
"""Keys whose values are compared, one question of all."""
AIMS = {"in process": (5.0, 5.0), "Redis": (5.0, 8.0), "HTTP": (5.0, 8.0)}
"""For 1 and for 100 keys: how many times Feast's median is ours."""
Ask = Callable[[int], list[float]]
"""Of how many keys a question is -> the seconds of every question of a turn."""


@dataclass(frozen=True)
class Row:
    """One line of the table: milliseconds, or requests a second; `ratio` is of medians, `undisturbed` of what one call
    in twenty does not exceed, which other work on the machine stretches least."""

    way: str
    asked: str
    ours: str
    ours_figures: tuple[float, ...]
    feast: str
    feast_figures: tuple[float, ...]
    ratio: float
    aim: float | None = None
    undisturbed: float | None = None

    @property
    def is_met(self) -> bool | None:
        return None if self.aim is None else self.ratio >= self.aim


class Questions:
    """The same keys for all."""

    def __init__(self, keys: int) -> None:
        draw = random.Random(1)
        self.of = {size: [[draw.randrange(keys) for _ in range(size)] for _ in range(300)] for size in SIZES}
        self.checked = draw.sample(range(keys), min(CHECKED, keys))


def main(arguments: Sequence[str] | None = None) -> int:
    """0 where every aim is met."""
    asked = _parse(arguments)
    install()
    with tempfile.TemporaryDirectory(prefix="zipline-feast-") as place, running_redis() as (url, _):
        bench = Bench(Path(place), url, asked.keys, asked.rounds)
        rows: list[Row] = []
        ways = {"process": bench.in_process, "http": bench.over_http}
        for way in [asked.only] if asked.only else ways:
            for row in ways[way]():
                rows.append(row)
                _write(Path(asked.out), asked, rows)
    Console(width=170 if not sys.stdout.isatty() else None).print(_table(rows))
    return 0 if all(row.is_met is not False for row in rows) else 1


class Bench:
    """Both sides' stores, filled, with the same values."""

    def __init__(self, folder: Path, redis: str, keys: int, rounds: int) -> None:
        self._rounds, self._questions = rounds, Questions(keys)
        _say("making our projects")
        world = World(keys, 60)
        online = f'[online]\nstore = "redis"\nurl = "{redis.removesuffix("/0")}/1"\n'
        self._ours = {"LMDB": world.project(folder / "lmdb"), "Redis": world.project(folder / "redis", online)}
        values = folder / "values.parquet"
        world.write_values(self._ours["LMDB"], values)
        self._feast: dict[str, Path] = {}
        for number, store in enumerate(feasts.STORES):
            _say(f"filling Feast's {store}")
            server = redis.removeprefix("redis://").removesuffix("/0")
            self._feast[store] = feasts.repository(folder / f"feast{number}", store, server, values)
        self._midnight = fetched(self._ours["LMDB"], "stored", self._questions.checked, world.end)
        self._check_ours(world)

    def _check_ours(self, world: World) -> None:
        """What is timed gives these values: at midnight those of Feast's file, and now those of a backfill."""
        keys = self._questions.checked
        for store, project in self._ours.items():
            at = now()
            expected = world.expected(project, keys, at)
            _compare(f"merged, {store}, as of now", fetched(project, "merged", keys, at), expected)
            _compare(f"merged, {store}, at midnight", fetched(project, "merged", keys, world.end), self._midnight)

    def in_process(self) -> Iterator[Row]:
        """Ours on LMDB beside Feast's SQLite, and both on one Redis."""
        with ExitStack() as stack:
            ours = {
                f"{kind}, {store}": stack.enter_context(side(_ours(project, kind)))
                for store, project in self._ours.items()
                for kind in KINDS
            }
            theirs = {
                store: stack.enter_context(side(feasts.fetching(folder), feasts.ENVIRONMENT))
                for store, folder in self._feast.items()
            }
            for name, turn in [*ours.items(), *theirs.items()]:
                if not name.startswith("merged"):
                    _compare(name, turn.values(self._questions.checked), self._midnight)
            for way, store in (("in process", "LMDB"), ("Redis", "Redis")):
                own = {name: self._ask(turn) for name, turn in ours.items() if name.endswith(store)}
                wanted = ["SQLite"] if store == "LMDB" else ["Redis", "Redis, GLIDE"]
                others = {name: self._ask(theirs[name]) for name in wanted}
                _say(f"measuring {way}")
                found = self._in_turn(own | others)
                for size in SIZES:
                    feast = min(others, key=lambda name: np.median(found[name, size]))
                    yield from (_row(way, size, name, found[name, size], feast, found[feast, size]) for name in own)

    def _ask(self, turn: Turn) -> Ask:
        return lambda size: turn.seconds(self._questions.of[size], SECONDS)

    def _in_turn(self, sides: Mapping[str, Ask]) -> dict[tuple[str, int], Any]:
        """The seconds of all questions; the first round warms up and does not count."""
        found: dict[tuple[str, int], list[float]] = {(name, size): [] for name in sides for size in SIZES}
        for number in range(self._rounds + 1):
            for name, ask in sides.items():
                for size in SIZES:
                    found[name, size] += ask(size) if number else ask(size)[:0]
        return {key: np.array(seconds) for key, seconds in found.items()}

    def over_http(self) -> Iterator[Row]:
        """`zipline serve` beside `feast serve`, one worker each."""
        with ExitStack() as stack:
            own = {store: stack.enter_context(features.serving(project)) for store, project in self._ours.items()}
            ours = {f"{kind}, {store}": _Ours(server.port, kind) for store, server in own.items() for kind in KINDS}
            theirs = {}
            for store in ("SQLite", "Redis"):
                port = stack.enter_context(feasts.serving(self._feast[store]))
                theirs[store] = _quicker(port, self._questions)
            servers: dict[str, _Ours | _Feasts] = {**ours, **theirs}
            for name, server in servers.items():
                if not name.startswith("merged"):
                    _compare(f"{name} over HTTP", server.values(self._questions.checked), self._midnight)
            _say("measuring HTTP")
            found = self._in_turn({name: self._calling(server, 1) for name, server in servers.items()})
            many = self._in_turn({name: self._calling(server, CALLERS) for name, server in servers.items()})
            for name in ours:
                for feast in theirs if name.endswith("LMDB") else ["Redis"]:
                    for size in SIZES:
                        yield _row("HTTP", size, name, found[name, size], feast, found[feast, size])
                    for size in SIZES:
                        mine, other = (len(many[each, size]) / self._rounds / SECONDS for each in (name, feast))
                        asked = f"{size} x 50, {CALLERS} callers"
                        yield Row("HTTP", asked, name, (mine,), feast, (other,), mine / other)

    def _calling(self, server: _Ours | _Feasts, callers: int) -> Ask:
        def ask(size: int) -> list[float]:
            return measured(server.port, [server.request(keys) for keys in self._questions.of[size]], callers, SECONDS)

        return ask


class _Ours:
    """A running server of ours, asked for one join."""

    def __init__(self, port: int, kind: str) -> None:
        self.port, self._path = port, f"/v1/features/{join_name(kind)}"

    def request(self, keys: Sequence[int]) -> bytes:
        return request(self._path, json.dumps({"rows": [{"key": key} for key in keys]}).encode())

    def values(self, keys: Sequence[int]) -> Values:
        rows = json.loads(asked_once(self.port, self.request(keys)))["rows"]
        return [[row["values"][name] for name in sorted(row["values"])] for row in rows]


class _Feasts:
    """A running server of Feast's; `what` names the features."""

    def __init__(self, port: int, what: Mapping[str, Any]) -> None:
        self.port, self._what = port, what

    def request(self, keys: Sequence[int]) -> bytes:
        content = json.dumps({**self._what, "entities": {"key": list(keys)}}).encode()
        return request("/get-online-features", content)

    def values(self, keys: Sequence[int]) -> Values:
        answer = json.loads(asked_once(self.port, self.request(keys)))
        names = answer["metadata"]["feature_names"]
        columns = {name: own["values"] for name, own in zip(names, answer["results"], strict=True)}
        return [list(row) for row in zip(*(columns[name] for name in sorted(columns) if name != "key"), strict=True)]

    def names(self) -> list[str]:
        found: list[str] = json.loads(asked_once(self.port, self.request([1])))["metadata"]["feature_names"]
        return [name for name in found if name != "key"]


def _quicker(port: int, questions: Questions) -> _Feasts:
    """Feast takes a feature service or a list of features: whichever it answers sooner."""
    service = _Feasts(port, {"feature_service": "fifty"})
    listed = _Feasts(port, {"features": [f"{name.partition('_')[0]}:{name}" for name in service.names()]})

    def seconds(server: _Feasts) -> float:
        requests = [server.request(keys) for keys in questions.of[1]]
        measured(port, requests, 1, SECONDS / 2)
        return float(np.median(measured(port, requests, 1, SECONDS)))

    return min((service, listed), key=seconds)


def _ours(project: Path, kind: str) -> list[str]:
    return [sys.executable, "-m", "tests.performance.feast.ours", str(project), join_name(kind)]


def _compare(what: str, found: Values, expected: Values) -> None:
    """AssertionError names the first that differs."""
    assert len(found) == len(expected), f"{what}: {len(found)} rows, not {len(expected)}"
    for number, (mine, other) in enumerate(zip(found, expected, strict=True)):
        assert len(mine) == len(other), f"{what}: {len(mine)} features, not {len(other)}"
        for value, wanted in zip(mine, other, strict=True):
            is_same = value == wanted if value is None or wanted is None else math.isclose(value, wanted, rel_tol=1e-9)
            assert is_same, f"{what}, row {number}: {value}, not {wanted}"


def _row(way: str, size: int, name: str, mine: Any, feast: str, other: Any) -> Row:
    ours, theirs = (tuple(np.quantile(each, [0.5, 0.99]) * 1e3) for each in (mine, other))
    aim = AIMS[way][SIZES.index(size)]
    undisturbed = float(np.quantile(other, 0.05) / np.quantile(mine, 0.05))
    return Row(way, f"{size} x 50", name, ours, feast, theirs, theirs[0] / ours[0], aim, undisturbed)


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.performance.feast", description=__doc__)
    parser.add_argument("--keys", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=4, help="turns of each side")
    parser.add_argument("--only", choices=["process", "http"], help="in process and over Redis, or over HTTP")
    parser.add_argument("--out", default="build/bench_feast.json", help="where the figures are written as JSON")
    return parser.parse_args(arguments)


def _table(rows: Sequence[Row]) -> Table:
    table = Table(title=f"ours against Feast {VERSION}, same values out; milliseconds p50 / p99, or requests/s")
    for heading in ("way", "asked", "ours", "", "Feast", "its", "ratio", "aim", "met", "at 5 %"):
        table.add_column(heading, justify="right" if heading in ("", "its", "ratio", "at 5 %") else "left")
    for row in rows:
        table.add_row(
            row.way,
            row.asked,
            row.ours,
            _figures(row.ours_figures),
            row.feast,
            _figures(row.feast_figures),
            f"{row.ratio:.1f}x",
            "" if row.aim is None else f">= {row.aim:g}x",
            {True: "yes", False: "NO", None: ""}[row.is_met],
            "" if row.undisturbed is None else f"{row.undisturbed:.1f}x",
        )
    return table


def _figures(figures: Sequence[float]) -> str:
    return f"{figures[0]:,.0f}/s" if len(figures) == 1 else " / ".join(f"{each:.2f}" for each in figures)


def _write(path: Path, asked: argparse.Namespace, rows: Sequence[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    machine: dict[str, Any] = {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "system": platform.platform(),
    }
    machine["load"] = os.getloadavg()[0]
    found = {"feast": VERSION, "keys": asked.keys, "machine": machine, "rows": [asdict(row) for row in rows]}
    path.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    sys.exit(main())
