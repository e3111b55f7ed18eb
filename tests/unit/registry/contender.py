"""A process that wants the lock `table`: `hold URL LEASE` or `contend URL LEASE INSIDE JOURNAL`.

`hold` takes it, says so, waits for a line and says whether it still has it. `contend` takes it again and again; while
it has it, it holds the kernel's lock on the file INSIDE, and appends a line to JOURNAL only after a check.
"""

import fcntl
import os
import sys
import time

from zipline.errors import LockedError, LockLostError
from zipline.registry import Registry, open_registry


def hold(registry: Registry, lease: float) -> None:
    with registry.locks.acquire("table", "hold", lease=lease) as lock:
        print("held", lock.token, flush=True)
        sys.stdin.readline()
        try:
            lock.check()
        except LockLostError:
            print("lost", flush=True)
        else:
            print("still held", flush=True)


def contend(registry: Registry, lease: float, inside: str, journal: str) -> None:
    print("ready", flush=True)
    while True:
        try:
            with registry.locks.acquire("table", "contend", lease=lease) as lock:
                publish(lock.check, inside, journal, lock.token)
        except LockedError:
            time.sleep(0.002)


def publish(check, inside: str, journal: str, token: int) -> None:
    with open(inside, "a") as held:
        what = "published"
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            what = "violated"
        time.sleep(0.003)
        check()
        line = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(line, f"{what} {token} {os.getpid()}\n".encode())
        os.close(line)
        time.sleep(0.001)


if __name__ == "__main__":
    mode, url, seconds, *paths = sys.argv[1:]
    with open_registry(url) as opened:
        hold(opened, float(seconds)) if mode == "hold" else contend(opened, float(seconds), *paths)
