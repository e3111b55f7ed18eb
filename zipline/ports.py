"""Ports of the loopback interface that nobody listens on."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

from zipline.clock import monotonic


def free_port() -> int:
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """Different ones: all are held until the last is found."""
    listeners = [socket.socket() for _ in range(count)]
    try:
        for listener in listeners:
            listener.bind(("127.0.0.1", 0))
        return [int(listener.getsockname()[1]) for listener in listeners]
    finally:
        for listener in listeners:
            listener.close()


def await_listening(port: int, is_alive: Callable[[], bool], seconds: float) -> bool:
    """Whether somebody listens before the time is over; False as soon as the server has ended."""
    until = monotonic() + seconds
    while is_alive() and monotonic() < until:
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return True
        time.sleep(0.05)
    return False
