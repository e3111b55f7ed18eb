"""What the kernels promise beside the values: compiled ahead, sorted and numbered exactly."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import zipline
from zipline.algebra.columnar import hashing, kernel, order
from zipline.algebra.columnar.parallel import balanced, slices
from zipline.algebra.columnar.rehearsal import SCENES, rehearse

NONE = np.zeros(0, np.bool_)


@pytest.mark.parametrize("scene", SCENES)
def test_every_rehearsal_runs(scene: str) -> None:
    rehearse(scene)


def test_a_compilation_that_takes_long_is_announced_once(tmp_path: Path) -> None:
    code = """
import zipline.algebra.columnar.kernel as k
k.PATIENCE = 0.0
for name in ("one", "two"):
    exec(f"def {name}(n):\\n    total = 0\\n    for i in range(n): total += i * i\\n    return total")
    function = locals()[name]; function.__module__ = "zipline.made.here"
    import numba
    numba.njit(function)(3)
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert found.stderr.count(kernel.NOTICE) == 1


def test_warming_up_twice_does_nothing_the_second_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "cache_folder", lambda: str(tmp_path))
    for scene in SCENES:
        (tmp_path / f"{scene}.rehearsed").touch()
    reported: list[tuple[int, int]] = []
    kernel.warm_up(lambda done, total: reported.append((done, total)))
    assert reported == []


def test_a_scene_alone_is_warmed_up_and_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "cache_folder", lambda: str(tmp_path))
    monkeypatch.setenv("ZIPLINE_KERNEL_CACHE", str(tmp_path))
    reported: list[tuple[int, int]] = []
    for _ in range(2):
        kernel.warm_up(lambda done, total: reported.append((done, total)), ["hashes of keys"])
    assert reported == [(1, 1)]


def test_equal_sources_in_another_place_are_not_compiled_again(tmp_path: Path) -> None:
    code = """
from numba.core import event
from zipline.algebra.columnar.rehearsal import rehearse
with event.install_recorder("numba:compile") as recorder:
    rehearse("hashes of keys")
print(len(recorder.buffer))
"""
    shutil.copytree(Path(zipline.__file__).parent, tmp_path / "zipline", ignore=shutil.ignore_patterns("java", "*.jar"))
    places = {**os.environ, "ZIPLINE_KERNEL_CACHE": str(tmp_path / "cache"), "ZIPLINE_KERNELS_QUIET": "1"}
    counts = []
    for path in (Path(zipline.__file__).parents[1], tmp_path):
        environment = {**places, "PYTHONPATH": str(path)}
        command = [sys.executable, "-c", code]
        counts.append(int(subprocess.check_output(command, env=environment, cwd=path, text=True)))
    assert counts[0] > 0
    assert counts[1] == 0


def test_processes_that_compile_one_kernel_for_different_types_at_once_keep_both_apart(tmp_path: Path) -> None:
    code = """
import sys, time
import numpy as np
from numba.core.caching import IndexDataCacheFile as File
def late(name, seconds):
    before = getattr(File, name)
    def slowly(*given):
        time.sleep(seconds)
        return before(*given)
    setattr(File, name, slowly)
# Both see that no number is taken; the index of one comes last, and the code of the other.
late("_save_index", {"int64": 1.5, "float64": 3.0}[sys.argv[2]])
late("_save_data", {"int64": 3.0, "float64": 0.0}[sys.argv[2]])
sys.path.insert(0, sys.argv[1])
from doubled import doubled
print(doubled(np.dtype(sys.argv[2]).type(2.5)))
"""
    (tmp_path / "doubled.py").write_text(
        "from zipline.algebra.columnar.kernel import kernel\n\n@kernel\ndef doubled(x):\n    return x + x\n"
    )
    environment = {**os.environ, "ZIPLINE_KERNEL_CACHE": str(tmp_path / "cache"), "ZIPLINE_KERNELS_QUIET": "1"}

    def started(kind: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", code, str(tmp_path), kind]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)

    for _ in range(2):  # the second time they find what was kept
        both = [started(kind) for kind in ("int64", "float64")]
        assert [process.communicate()[0].strip() for process in both] == ["4", "5.0"]


@pytest.mark.parametrize("status", [0, 1])
def test_where_the_cache_cannot_be_written_warming_up_hurts_nobody(
    status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(kernel, "cache_folder", lambda: str(tmp_path / "file" / "kernels"))
    ended = [sys.executable, "-c", f"raise SystemExit({status})"]
    monkeypatch.setattr(kernel, "_rehearse", lambda _: subprocess.Popen(ended))
    reported: list[tuple[int, int]] = []
    kernel.warm_up(lambda done, total: reported.append((done, total)), ["hashes of keys"])
    assert reported == [(1, 1)]


def numbered(values: NDArray[np.int64], asked: NDArray[np.int64]) -> list[int]:
    table, numbers, count = hashing.build(order.frozen(values), order.frozen(NONE))
    out = np.empty(len(asked), np.int32)
    hashing.find(table, numbers, order.frozen(asked), order.frozen(NONE), out, 0, len(asked))
    assert count == len(set(values.tolist()))
    return [int(number) for number in out]


def test_values_are_numbered_in_order_of_appearance() -> None:
    assert numbered(np.array([7, -1, 7, 2**62]), np.array([2**62, 7, 8, -1])) == [2, 0, -1, 1]


def test_numbers_survive_the_growth_of_the_table() -> None:
    values = np.random.default_rng(1).permutation(np.arange(-20_000, 20_000) * 4096)
    assert numbered(values, values) == list(range(len(values)))


def test_an_empty_table_knows_no_value() -> None:
    assert numbered(np.zeros(0, np.int64), np.array([0, 1])) == [-1, -1]


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 100, 1000])
def test_a_merge_sort_is_stable(size: int) -> None:
    keys = np.random.default_rng(size).integers(0, 9, size)
    expected = np.argsort(keys, kind="stable")
    ordered, rows = keys.copy(), np.arange(size)
    spare = np.empty((2, size), np.int64)
    order.merge_sort(ordered, rows, kernel.ZERO, np.int64(size), spare[0], spare[1])
    assert rows.tolist() == expected.tolist()
    assert ordered.tolist() == keys[expected].tolist()


def test_rows_are_grouped_alike_by_one_thread_and_by_many(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    codes, t = rng.integers(-1, 50, 10_000).astype(np.int32), rng.integers(0, 1000, 10_000)
    alone = order.arrange(codes, 50, t, t % 7)
    monkeypatch.setattr("zipline.algebra.columnar.parallel.WORTHWHILE", 100)
    monkeypatch.setattr("zipline.algebra.columnar.parallel.THREADS", 5)
    assert len(slices(10_000)) == 5
    for mine, other in zip(alone, order.arrange(codes, 50, t, t % 7), strict=True):
        assert mine is not None
        assert other is not None
        assert mine.tolist() == other.tolist()


def test_balanced_parts_are_all_the_runs_once() -> None:
    offsets = np.array([0, 900_000, 900_001, 1_000_000, 1_000_000])
    parts = balanced(offsets)
    assert [run for first, last in parts for run in range(first, last)] == [0, 1, 2, 3]
