"""The journal: what `append` has kept is read once, in order, whatever became of who wrote beside it."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from zipline.clock import DAY
from zipline.errors import DataError
from zipline.orchestration.events import journal as module
from zipline.orchestration.events.journal import Journal, JournalError
from zipline.orchestration.events.logs import FileLog, JournalLog, journal_line

ROOT = Path(__file__).parents[3]


def lines_of(journal: Journal, offset: int = 0, most: int = 1 << 20) -> list[bytes]:
    found: list[bytes] = []
    end = journal.end()
    while offset < end:
        lines = journal.read(offset, end, most)
        assert lines
        found += [line for _, line in lines]
        offset = lines[-1][0]
    return found


@pytest.mark.parametrize("most", [1, 7, 1 << 20])
def test_lines_are_read_as_they_were_appended_over_all_files(most: int, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", full=50)
    lines = [b"x" * (number % 23) + b"%d" % number for number in range(100)]
    for line in lines:
        journal.append(line)
    assert len(list(journal.folder.glob("*.jsonl"))) > 10
    assert lines_of(journal, most=most) == lines
    assert lines_of(Journal(journal.folder), most=most) == lines


def test_a_journal_that_nobody_wrote_is_empty(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    assert (journal.exists, journal.identity, journal.end(), journal.read(0, 0)) == (False, "", 0, [])
    assert not journal.folder.exists()
    assert JournalLog("t", journal).read({})[:3] == ([], {}, frozenset())


@pytest.mark.parametrize("rest", [b"tor", b"x" * 200_000, b"\xff"])
def test_a_line_without_its_end_is_never_read_and_cut_off(rest: bytes, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    journal.append(b"one")
    (path,) = journal.folder.glob("*.jsonl")
    with path.open("ab") as file:
        file.write(rest)
    assert (journal.end(), lines_of(journal)) == (4, [b"one"])
    Journal(journal.folder).append(b"two")
    assert lines_of(journal) == [b"one", b"two"]


def test_a_line_without_its_end_is_cut_off_before_the_next_file_begins(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", full=4)
    journal.append(b"one")
    (path,) = journal.folder.glob("*.jsonl")
    with path.open("ab") as file:
        file.write(b"torn")
    journal.append(b"two")
    assert len(list(journal.folder.glob("*.jsonl"))) == 2
    assert lines_of(journal) == [b"one", b"two"]


def test_a_disk_that_refuses_accepts_nothing_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path / "j")
    journal.append(b"one")
    with monkeypatch.context() as patch:

        def full(_file: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        patch.setattr(module.os, "fsync", full)
        with pytest.raises(JournalError, match=r"nothing was accepted.*No space left"):
            journal.append(b"two")
    journal.append(b"three")
    assert lines_of(journal) == [b"one", b"three"]


def test_threads_that_wait_are_written_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal, synced = Journal(tmp_path / "j"), []
    first_writes, all_wait = threading.Event(), threading.Event()
    journal.append(b"60")  # what begins a journal is synced, too
    fsync = os.fsync

    def slow(file: int) -> None:
        synced.append(file)
        first_writes.set()
        assert all_wait.wait(60)
        fsync(file)

    monkeypatch.setattr(module.os, "fsync", slow)
    threads = [threading.Thread(target=journal.append, args=(b"%d" % number,)) for number in range(60)]
    threads[0].start()
    assert first_writes.wait(60)
    for thread in threads[1:]:
        thread.start()
    while len(journal._waiting) < 59:
        time.sleep(0.01)
    all_wait.set()
    for thread in threads:
        thread.join()
    assert sorted(map(int, lines_of(journal))) == list(range(61))
    assert len(synced) == 2, "the first, and all that waited for it"


def _append(folder: Path, name: int) -> None:
    journal = Journal(folder, full=500)
    for number in range(100):
        journal.append(b"%d-%d" % (name, number))


def test_processes_append_to_one_journal(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_append, args=(tmp_path / "j", name)) for name in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    lines = lines_of(Journal(tmp_path / "j"))
    assert sorted(lines) == sorted(b"%d-%d" % (name, number) for name in range(3) for number in range(100))
    for name in range(3):
        own = [line for line in lines if line.startswith(b"%d-" % name)]
        assert own == [b"%d-%d" % (name, number) for number in range(100)]


def test_what_a_killed_writer_said_it_had_is_there(tmp_path: Path) -> None:
    code = f"""
        from zipline.orchestration.events.journal import Journal
        from pathlib import Path
        journal = Journal(Path({str(tmp_path / "j")!r}), full=2000)
        for number in range(10**6):
            journal.append(b"%d" % number)
            print(number, flush=True)
    """
    said: list[str] = []
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, cwd=ROOT)
        assert process.stdout is not None
        before = len(lines_of(Journal(tmp_path / "j")))
        for _ in range(50):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        said = process.stdout.read().decode().split()
        process.stdout.close()
        process.wait(30)
        lines = lines_of(Journal(tmp_path / "j"))[before:]
        assert lines == [b"%d" % number for number in range(len(lines))]
        assert len(lines) >= int(said[-1] if said else 49) + 1


def test_files_are_dropped_once_they_are_read_and_old_and_the_last_never(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", full=4)
    for number in range(3):
        journal.append(b"%03d" % number)
    files = sorted(journal.folder.glob("*.jsonl"))
    assert journal.drop(12, DAY) == []
    for path in files:
        os.utime(path, (0, 0))
    assert journal.drop(7, DAY) == files[:1]
    assert journal.drop(12, DAY) == files[1:2]
    assert lines_of(journal) == [b"002"]
    journal.append(b"003")
    assert lines_of(journal, 12) == [b"003"]


def test_a_journal_that_was_deleted_is_another_one(tmp_path: Path) -> None:
    import shutil

    journal = Journal(tmp_path / "j")
    journal.append(b"one")
    before = journal.identity
    shutil.rmtree(journal.folder)
    journal.append(b"two")
    assert journal.identity not in ("", before)
    with pytest.raises(DataError, match="its files were changed"):
        journal.read(1000, journal.end())


def test_a_journal_is_a_log(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    log = JournalLog("t", journal)
    assert log.parts() == []
    journal.append(journal_line(7, [b'{"a":1}', b"{}"]))
    journal.append(b"damaged")
    read = log.read({})
    part = journal.identity
    assert [(r.part, r.at, [bytes(e) for e in r.events]) for r in read.records] == [
        (part, 7, [b'{"a":1}', b"{}"]),
        (part, None, [b"damaged"]),
    ]
    assert (read.position, read.is_all) == ({part: journal.end()}, True)
    assert log.read(read.position).records == []


def test_a_file_is_a_log_and_its_last_line_counts_once_it_is_an_object(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"a":1}\n\n{"b"')
    log = FileLog("t", path)
    read = log.read({})
    assert [record.events for record in read.records] == [[b'{"a":1}']]
    assert read.is_all == (not read.behind)
    with path.open("ab") as file:
        file.write(b":2}")
    then = log.read(read.position)
    assert [record.events for record in then.records] == [[b'{"b":2}']]
    with path.open("ab") as file:
        file.write(b'\n{"c":3}\n')
    last = log.read(then.position)
    assert [record.events for record in last.records] == [[b'{"c":3}']]
    assert last.position == {"": path.stat().st_size}
    path.write_bytes(b"{}")
    with pytest.raises(DataError, match="is shorter now"):
        log.read(last.position)


def test_a_file_longer_than_what_is_read_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from zipline.orchestration.events import logs

    monkeypatch.setattr(logs, "AT_ONCE", 10)
    path = tmp_path / "events.jsonl"
    lines = [b'{"a":"%s"}' % (b"x" * (number % 40)) for number in range(50)]
    path.write_bytes(b"\n".join(lines))
    log, position, found = FileLog("t", path), {}, []
    for _ in range(200):
        read = log.read(position)
        found += [bytes(record.events[0]) for record in read.records]
        position = read.position
        if read.is_all:
            break
    assert found == lines
