"""The files that both sides read: events and queries of Zipf-distributed keys over ninety days."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

DAY = 86_400_000_000
BEGIN = 19_700 * DAY
DAYS = 90
WARM_UP_DAYS = 30
SEED = 20130101
TIME = pa.timestamp("us", tz="UTC")


def make(folder: Path, events: int, queries: int, keys: int, order: str, *, wide: bool = False) -> tuple[Path, Path]:
    """(events file, queries file), made once. `order` is "time" or "none"; `wide` adds columns of other types."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{'wide_' if wide else ''}{events}_{keys}"
    event_file = folder / f"events_{name}_{order}.parquet"
    query_file = folder / f"queries_{queries}_{keys}.parquet"
    if not event_file.exists():
        _write(_events(events, keys, order, wide=wide), event_file)
    if not query_file.exists():
        _write(_queries(queries, keys), query_file)
    return event_file, query_file


def _write(table: pa.Table, path: Path) -> None:
    unfinished = path.with_suffix(".unfinished")
    pq.write_table(table, unfinished)
    unfinished.rename(path)


def _events(events: int, keys: int, order: str, *, wide: bool) -> pa.Table:
    rng = np.random.default_rng(SEED)
    t = _distinct_times(rng, events)
    columns = {"k": _zipf(rng, keys, events), "t": t, "v": rng.normal(50, 20, events).round(2)}
    if wide:
        columns |= {f"f{n}": rng.normal(0, 1, events) for n in range(4)}
        columns |= {
            "item": _zipf(rng, 50, events),
            "bucket": rng.integers(0, 8, events),
            "n": rng.integers(0, 99, events),
        }
        columns |= {"seen": t - rng.integers(0, DAY, events)}
    if order == "none":
        shuffled = rng.permutation(events)
        columns = {name: column[shuffled] for name, column in columns.items()}
    arrays = {name: pa.array(column) for name, column in columns.items()}
    for name in ("t", "seen"):
        if name in arrays:
            arrays[name] = arrays[name].view(TIME)
    for name in ("item", "bucket"):
        if name in arrays:
            arrays[name] = pa.array([f"{name}{n:02d}" for n in range(50)]).take(arrays[name])
    return pa.table(arrays)


def _queries(queries: int, keys: int) -> pa.Table:
    rng = np.random.default_rng(SEED + 1)
    t = rng.integers(BEGIN + WARM_UP_DAYS * DAY, BEGIN + DAYS * DAY, queries)
    return pa.table({"k": _zipf(rng, keys, queries), "ts": pa.array(t).view(TIME)})


def _zipf(rng: np.random.Generator, values: int, size: int) -> NDArray[np.int64]:
    weights = 1 / np.arange(1, values + 1)
    drawn = np.searchsorted(np.cumsum(weights / weights.sum()), rng.random(size))
    return np.minimum(drawn, values - 1)


def _distinct_times(rng: np.random.Generator, size: int) -> NDArray[np.int64]:
    """In order, no two alike: what DuckDB gives for ties depends on its threads."""
    step = DAYS * DAY // size
    return BEGIN + np.arange(size) * step + rng.integers(0, step, size)
