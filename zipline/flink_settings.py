"""The section `[flink]` of `zipline.toml`: where streaming jobs run, and what is wrong in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field

from zipline.values import dataclass

DEFAULTS = {
    "cluster": "",
    "parallelism": "1",
    "memory": "1g",
    "state": ".zipline/flink",
    "checkpoint": "5s",
    "flush": "50ms",
}
FIXED = {
    "execution.checkpointing.mode": "EXACTLY_ONCE",
    # What a checkpoint has of a topic must be in the tiles that were sent before it, not on its way there.
    "execution.checkpointing.unaligned.enabled": "false",
    "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
}
"""Settings of a job without which its values are not right; any other value of theirs is refused."""
_UNITS = {"ms": 1, "s": 1000, "m": 60_000}
_DURATION = re.compile(r"(\d+)\s*(ms|s|m)")
_MEMORY = re.compile(r"\d+[mg]", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Flink:
    """`cluster` is the address of a cluster's REST endpoint; without one a job has a mini cluster of its own, in a JVM
    of `memory`. Checkpoints lie below `state`, a folder or URL that the cluster can write. In milliseconds,
    `checkpoint` is how often one is made, and `flush` for how long changes of a tile are gathered. `settings` are the
    job's own."""

    cluster: str = ""
    parallelism: int = 1
    memory: str = DEFAULTS["memory"]
    state: str = DEFAULTS["state"]
    checkpoint: int = 5000
    flush: int = 50
    settings: Mapping[str, str] = field(default_factory=dict, repr=False)


class WrongFlink(ValueError):
    """`key` has a value that it cannot have; `valid` says what it may be."""

    def __init__(self, what: str, key: str, *valid: str) -> None:
        super().__init__(what)
        self.key, self.valid = key, valid


def parsed(given: Mapping[str, str], settings: Mapping[str, str]) -> Flink:
    """WrongFlink names the first that is wrong."""
    cluster = given["cluster"].rstrip("/")
    if cluster and not re.fullmatch(r"https?://[^/]+(/.*)?", cluster):
        raise WrongFlink(f"{cluster!r} is no address of a cluster", "cluster", "http://host:8081")
    if not re.fullmatch(r"[1-9]\d{0,3}", given["parallelism"]):
        raise WrongFlink(f"{given['parallelism']!r} is no parallelism", "parallelism", "a whole number from 1 on")
    if not _MEMORY.fullmatch(given["memory"]):
        raise WrongFlink(f"{given['memory']!r} is no size of a JVM's heap", "memory", "512m", "2g")
    for name, value in FIXED.items():
        if settings.get(name, value).upper() != value.upper():
            raise WrongFlink(f"tiles are right only where {name} is {value}, not {settings[name]!r}", "settings")
    return Flink(
        cluster=cluster,
        parallelism=int(given["parallelism"]),
        memory=given["memory"],
        state=given["state"],
        checkpoint=_milliseconds("checkpoint", given),
        flush=_milliseconds("flush", given),
        settings=settings,
    )


def _milliseconds(key: str, given: Mapping[str, str]) -> int:
    found = _DURATION.fullmatch(given[key])
    if found is None or int(found.group(1)) == 0:
        raise WrongFlink(f"{given[key]!r} is no duration", key, "50ms", "5s", "1m")
    return int(found.group(1)) * _UNITS[found.group(2)]
