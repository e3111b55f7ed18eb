"""The peak of memory, as the kernel keeps it and where only looking tells."""

import time

import pytest

from zipline.orchestration import memory
from zipline.orchestration.memory import PeakMemory, resident_bytes

MEGABYTE = 2**20


@pytest.fixture(params=["kernel", "looking"])
def way(request, monkeypatch):
    if request.param == "looking":
        monkeypatch.setattr(memory, "_set_back", lambda: False)


def test_memory_that_was_held_for_a_while_is_in_the_peak(way):
    with PeakMemory() as peak:
        held = bytearray(100 * MEGABYTE)
        time.sleep(1)
        del held
        assert 95 * MEGABYTE < peak.bytes - resident_bytes() < 150 * MEGABYTE


def test_memory_of_before_and_after_is_not(way):
    before = bytearray(200 * MEGABYTE)
    del before
    with PeakMemory() as peak:
        start = resident_bytes()
    after = bytearray(200 * MEGABYTE)
    assert abs(peak.bytes - start) < 30 * MEGABYTE
    del after
