"""The section `[serve]` of `zipline.toml`: how `zipline serve` answers, and what is wrong in it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from zipline.values import dataclass

DEFAULTS = {
    "host": "127.0.0.1",
    "port": "8080",
    "workers": "1",
    "tokens": "",
    "body": "1MiB",
    "rows": "1000",
    "waiting": "2000",
    "deadline": "1s",
    "log": "0",
    "log_folder": ".zipline/requests",
}
LOOPBACK = ("127.0.0.1", "localhost", "::1")
_UNITS = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20}


@dataclass(frozen=True, slots=True)
class Serve:
    """`tokens` is the file of those who may ask; without one only this machine can. A request has at most `body` bytes
    and `rows` rows, and is answered within `deadline` seconds or refused; at most `waiting` rows wait for their turn.
    The share `log` of all keys is logged, into files below `log_folder`.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    workers: int = 1
    tokens: str = ""
    body: int = 1 << 20
    rows: int = 1000
    waiting: int = 2000
    deadline: float = 1.0
    log: float = 0.0
    log_folder: str = ".zipline/requests"

    @property
    def is_loopback(self) -> bool:
        return self.host in LOOPBACK


class WrongSetting(ValueError):
    """`key` has the value `value`; `valid` says what it may be."""

    def __init__(self, key: str, value: str, valid: str) -> None:
        super().__init__(f"[serve] {key} = {value!r} is not {valid}")
        self.key = key


def parsed(given: dict[str, str]) -> Serve:
    """The settings of their texts; WrongSetting."""
    found: dict[str, Any] = {}
    for key, text in given.items():
        read, valid = _READ.get(key, (str, ""))
        try:
            found[key] = read(text)
        except ValueError:
            raise WrongSetting(key, text, valid) from None
    return Serve(**found)


def _whole(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        number = int(text)
        if not low <= number <= high:
            raise ValueError
        return number

    return read


def _size(text: str) -> int:
    found = re.fullmatch(r"(\d+)\s*(KiB|MiB|)", text)
    if not found or not 0 < (size := int(found[1]) * _UNITS[found[2]]) <= 1 << 30:
        raise ValueError
    return size


def _seconds(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s)", text)
    if not found or not 0 < (seconds := float(found[1]) * (0.001 if found[2] == "ms" else 1)) <= 600:
        raise ValueError
    return seconds


def _share(text: str) -> float:
    if not 0 <= (share := float(text)) <= 1:
        raise ValueError
    return share


_READ: dict[str, tuple[Callable[[str], Any], str]] = {
    "port": (_whole(0, 65535), "a port, 0 to 65535 (0: a free one)"),
    "workers": (_whole(1, 256), "a number of processes, 1 to 256"),
    "body": (_size, 'a size such as "512KiB" or "1MiB", at most 1024MiB'),
    "rows": (_whole(1, 100_000), "a number of rows, 1 to 100000"),
    "waiting": (_whole(1, 1_000_000), "a number of rows, 1 to 1000000"),
    "deadline": (_seconds, 'a time such as "200ms" or "1s", at most 600s'),
    "log": (_share, "a share from 0 to 1"),
}
