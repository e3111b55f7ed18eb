"""A process is dead once all of it is: while one of its threads still runs, it may be writing."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace

from zipline.registry import process

LEADERLESS = """
import ctypes, threading, time
threading.Thread(target=time.sleep, args=(30,)).start()
print("ready", flush=True)
ctypes.CDLL(None).pthread_exit(None)
"""


def test_a_process_whose_first_thread_is_over_is_not_dead_before_the_others() -> None:
    child = subprocess.Popen([sys.executable, "-c", LEADERLESS], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    started = process._started(child.pid)
    assert started is not None
    found = replace(process.this_process(), pid=child.pid, started=started)
    ends = time.monotonic() + 20
    while _state(child.pid) != "Z":
        assert time.monotonic() < ends
        time.sleep(0.01)
    assert not process.is_dead(found)
    child.kill()
    child.wait()
    assert process.is_dead(found)


def _state(pid: int) -> str:
    with open(f"/proc/{pid}/stat") as stat:
        return stat.read().rpartition(")")[2].split()[0]
