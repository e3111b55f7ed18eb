"""What is stored: types that changed, damage, a killed run, a full disk, no permission; nothing half-written."""

import ctypes
import errno
import json
import os
import random
import re
import resource
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.e2e.spoiling import BACKFILL, CLICK_FILE, FEATURES, ORDERS, VISITS, check_error
from tests.e2e.test_command_line import (
    JOIN,
    RANGE,
    ZIPLINE,
    Zipline,
    command,
    output,
    shop,
    write_day,
    write_project,
    zipline,
)
from zipline.tables import delta
from zipline.tables.delta import DeltaOutput

__all__ = ["shop", "zipline"]


def test_a_type_that_changed_between_runs_is_refused_before_any_work(zipline: Zipline, shop: Path) -> None:
    assert zipline(*BACKFILL).code == 0
    before = output(shop).read()
    path = shop / VISITS
    path.write_text(re.sub(r'"visit": (\d)', r'"visit": "v\1"', path.read_text()))
    for name in ("plan", "backfill"):
        check_error(zipline(name, JOIN, *RANGE), 1, "'visit' is STRING now, but BIGINT in the days", "mend the source")
    assert output(shop).read().equals(before)


@pytest.mark.parametrize("content", ['{"commitInfo":', "", "no json\n"])
def test_a_damaged_log_of_the_output(zipline: Zipline, shop: Path, content: str) -> None:
    zipline("backfill", JOIN, "--start", "2024-05-02", "--end", "2024-05-02")
    [log] = Path(output(shop).uri, "_delta_log").glob("*.json")
    log.write_text(content)
    for name in ("plan", "backfill"):
        check_error(zipline(name, JOIN, *RANGE), 1, output(shop).uri, "_delta_log is damaged", "from a copy")
    assert log.read_text() == content
    doctor = zipline("doctor", "--json")
    assert doctor.code == 1
    assert "wrong" in [each["state"] for each in doctor.facts["findings"] if each["what"] == "outputs"]


def test_a_file_where_the_output_should_be(zipline: Zipline, shop: Path) -> None:
    path = Path(output(shop).uri)
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    check_error(zipline(*BACKFILL), 1, str(path), "is a file")
    assert path.read_text() == "mine"


def test_a_damaged_day_of_the_output_is_mended_with_force(zipline: Zipline, shop: Path) -> None:
    zipline(*BACKFILL)
    before = output(shop).read()
    [path] = Path(output(shop).uri).glob("ds=2024-05-02/*.parquet")
    path.write_bytes(path.read_bytes()[:-9])
    assert zipline("backfill", JOIN, "--start", "2024-05-02", "--end", "2024-05-02", "--force").code == 0
    assert output(shop).read().equals(before)


def test_what_a_killed_writer_leaves_behind_is_not_seen(zipline: Zipline, shop: Path) -> None:
    """The least tidy moments there are: a data file cut short, a commit half written beside the log."""
    zipline("backfill", JOIN, "--start", "2024-05-02", "--end", "2024-05-02")
    stored = Path(output(shop).uri)
    half = next(stored.glob("ds=2024-05-02/*.parquet")).read_bytes()[:100]
    for day in ("2024-05-02", "2024-05-03"):
        (stored / f"ds={day}").mkdir(exist_ok=True)
        (stored / f"ds={day}" / "part-00000-killed.parquet").write_bytes(half)
    (stored / "_delta_log" / "_commit_killed.json.tmp").write_text('{"add":')
    assert output(shop).days() == {"2024-05-02"}
    assert zipline(*BACKFILL).code == 0
    clean = write_project(shop / "clean")
    assert command(*BACKFILL, project=clean).code == 0
    assert output(shop).read().equals(output(clean).read())


def many_visits(root: Path, days: int = 30) -> tuple[str, ...]:
    """Visits and clicks of many days, and the command that runs them a day at a time."""
    names = [f"2024-06-{day:02d}" for day in range(1, days + 1)]
    customers = ("ann", "bob", "cat")
    rows = [{"visit": n, "customer": customers[n % 3], "at": f"{names[n % days]}T0{n % 9}:30:00Z"} for n in range(500)]
    (root / VISITS).write_text("".join(json.dumps(row) + "\n" for row in rows))
    for n, day in enumerate(names):
        clicks = [{"customer": customers[m % 3], "page": "x", "at": f"{day}T0{m % 9}:00:00Z"} for m in range(n)]
        write_day(root, "clicks", day, [*clicks, {"customer": "bob", "page": "cart", "at": f"{day}T12:00:00Z"}])
    return ("backfill", JOIN, "--scoring", "--start", names[0], "--end", names[-1], "--step-days", "1")


def scored(root: Path) -> Any:
    return output(root, f"dev_{JOIN}.scoring")


def test_a_run_killed_at_any_moment_leaves_whole_days_and_goes_on(tmp_path: Path) -> None:
    root, clean = write_project(tmp_path / "killed"), write_project(tmp_path / "clean")
    arguments = many_visits(root)
    many_visits(clean)
    assert command(*arguments, project=clean).code == 0
    whole = scored(clean).read()
    assert whole.num_rows == 500
    log = Path(scored(root).uri, "_delta_log")
    for commits in (1, 4, 12, 18):
        kill_after(commits, log, arguments, root)
        for day in scored(root).days():
            assert scored(root).read([day]).equals(scored(clean).read([day])), day
    done = len(scored(root).days())
    assert 0 < done < 30
    again = command(*arguments, "--json", project=root)
    assert again.code == 0, again.err
    assert len(again.facts["skipped"]) == done
    assert scored(root).read().equals(whole)


def kill_after(commits: int, log: Path, arguments: tuple[str, ...], root: Path) -> None:
    """Runs the command and kills it (-9) a random moment after so many commits are there."""
    with subprocess.Popen([ZIPLINE, *arguments], cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
        until = time.monotonic() + 120
        while len(list(log.glob("*.json"))) < commits and run.poll() is None and time.monotonic() < until:
            time.sleep(0.001)
        time.sleep(random.uniform(0, 0.03))
        run.send_signal(signal.SIGKILL)


def full_disk(most: int) -> Callable[[], None]:
    """Files end at so many bytes, as they do on a disk that is full."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    return limit


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("most", [0, 2000])
def test_a_full_disk_while_publishing_keeps_what_is_there(shop: Path, most: int) -> None:
    assert command("backfill", JOIN, "--start", "2024-05-02", "--end", "2024-05-02", project=shop).code == 0
    stored, before = Path(output(shop).uri), output(shop).read()
    files = files_below(stored)
    ran = command(*BACKFILL, "--force", project=shop, preexec_fn=full_disk(most))
    check_error(ran, 1, "could not be written", "make room on the disk")
    assert output(shop).read().equals(before)
    assert files_below(stored) == files, "nothing half-written stays on a disk that is full"
    assert command(*BACKFILL, project=shop).code == 0
    assert output(shop).days() == {"2024-05-02", "2024-05-03", "2024-05-04"}


def test_a_disk_that_fills_while_files_are_written_keeps_what_is_there(
    zipline: Zipline, shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []

    def fill(storage: Any, path: str, rows: pa.Table) -> int:
        written.append(path)
        if len(written) == 1:
            return write(storage, path, rows)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(b"PAR1 and no more")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    assert zipline("backfill", JOIN, "--start", "2024-05-02", "--end", "2024-05-02").code == 0
    before, files = output(shop).read(), files_below(Path(output(shop).uri))
    write = delta.write_parquet
    monkeypatch.setattr(delta, "write_parquet", fill)
    check_error(zipline(*BACKFILL, "--force"), 1, "could not be written", "No space left on device", "make room")
    assert len(written) == 2
    assert output(shop).read().equals(before)
    assert files_below(Path(output(shop).uri)) == files, "nothing half-written stays on a disk that is full"


def test_a_full_disk_while_committing_keeps_what_is_there(
    zipline: Zipline, shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    assert zipline("backfill", JOIN, "--start", "2024-05-02", "--end", "2024-05-02").code == 0
    before, files = output(shop).read(), files_below(Path(output(shop).uri))
    monkeypatch.setattr(DeltaOutput, "_publish", full)
    check_error(zipline(*BACKFILL, "--force"), 1, "could not be written", "No space left on device", "make room")
    assert output(shop).read().equals(before)
    assert files_below(Path(output(shop).uri)) == files


def test_a_full_disk_while_a_training_set_is_written(shop: Path) -> None:
    (shop / "rows.csv").write_text("customer,ts\nann,2024-05-02T08:30:00Z\n")
    (shop / "out.parquet").write_bytes(b"the old one")
    named = ("--features", "store.features.spend.amount_sum_1d", "--out", "out.parquet")
    ran = command("train-set", "--rows", "rows.csv", *named, project=shop, preexec_fn=full_disk(100))
    check_error(ran, 1, "File too large")
    assert [path.name for path in shop.glob("*out*")] == ["out.parquet"]
    assert (shop / "out.parquet").read_bytes() == b"the old one"


def test_a_full_disk_while_compiling(shop: Path) -> None:
    ran = command("compile", project=shop, preexec_fn=full_disk(100))
    check_error(ran, 1, "File too large")
    assert files_below(shop / ".zipline") == set()


def as_anybody() -> None:
    """The administrator's right to read and write everything is given up; others do not have it."""
    if os.geteuid() == 0:
        for capability in (1, 2):
            ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)


@pytest.mark.parametrize(
    ("name", "mode", "code", "said"),
    [
        (ORDERS, 0o000, 1, ["table 'orders'", "orders.csv cannot be read: Permission denied"]),
        (VISITS, 0o000, 1, ["table 'visits'", "visits.jsonl"]),
        (CLICK_FILE, 0o000, 1, ["ds=2024-05-02"]),
        (FEATURES, 0o000, 2, ["cannot be read: Permission denied", "features.py"]),
        ("zipline.toml", 0o000, 2, ["cannot be read", "Permission denied", "zipline.toml"]),
        (".", 0o555, 1, ["registry", "cannot be opened for writing", "ermission denied", ".zipline"]),
    ],
)
def test_what_may_not_be_read_or_written(shop: Path, name: str, mode: int, code: int, said: list[str]) -> None:
    before = (shop / name).stat().st_mode
    (shop / name).chmod(mode)
    try:
        ran = command(*BACKFILL, project=shop, preexec_fn=as_anybody)
    finally:
        (shop / name).chmod(before)
    check_error(ran, code, *said)
    assert not (shop / ".zipline" / "warehouse").exists()


def test_of_two_runs_at_once_one_is_told_of_the_other_and_the_days_are_those_of_one_run(tmp_path: Path) -> None:
    root = write_project(tmp_path)
    arguments = many_visits(root, days=6)
    how: Any = {"cwd": root, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    runs = [subprocess.Popen([ZIPLINE, *arguments], **how) for _ in range(2)]
    ended = [(said, run.returncode) for run in runs for _, said in [run.communicate()]]
    assert 0 in [code for _, code in ended]
    for said, code in ended:
        assert code == 0 or ("another run is at work on it" in said and "wait until it ends" in said)
    assert scored(root).read(columns=["visit"]).num_rows == 500
    assert pq.read_table(root / CLICK_FILE).num_rows == 1


def test_every_commit_says_of_which_run_it_is_and_with_which_token(zipline: Zipline, shop: Path) -> None:
    zipline(*BACKFILL, "--step-days", "1")
    zipline(*BACKFILL, "--force")
    found = [(version.metadata["run"], version.metadata["token"]) for version in output(shop).versions()]
    assert found == [("2", "2"), ("1", "1"), ("1", "1"), ("1", "1")]
