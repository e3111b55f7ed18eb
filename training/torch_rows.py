"""Stored rows as a torch dataset: what `training.stored.torch_rows` gives. Only here is torch imported for reading."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch.utils.data import IterableDataset, get_worker_info

from training.stored import matrix
from zipline.tables.stored_rows import BATCH, StoredRows


class TorchRows(IterableDataset[Any]):
    """See `training.stored.torch_rows`."""

    def __init__(
        self, rows: StoredRows, features: tuple[str, ...], label: str | None, *, size: int, shuffle: bool
    ) -> None:
        super().__init__()
        self._rows, self._columns, self._has_label = rows, [*features, *([label] if label else [])], bool(label)
        self._size, self._shuffle, self._epoch = size, shuffle, 0

    def __iter__(self) -> Iterator[Any]:
        info = get_worker_info()
        number, workers = (0, 1) if info is None else (info.id, info.num_workers)
        if not self._shuffle:
            yield from self._parts(self._rows.share(number, workers).batches(self._size), None)
            return
        seed = self._seed()
        order = np.random.default_rng(seed).permutation(len(self._rows.files))
        shuffled = replace(self._rows, files=tuple(self._rows.files[place] for place in order))
        batches = shuffled.share(number, workers).batches(max(BATCH, self._size))
        yield from self._parts(batches, np.random.default_rng((*seed, number)))

    def _parts(self, batches: Iterator[pa.RecordBatch], random: np.random.Generator | None) -> Iterator[Any]:
        for batch in batches:
            found = matrix(batch, self._columns)
            if random is not None:
                found = found[random.permutation(len(found))]
            for part in torch.from_numpy(found).split(self._size):
                yield (part[:, :-1], part[:, -1]) if self._has_label else part

    def _seed(self) -> tuple[int, int]:
        """One for all workers of an epoch, another for the next, the same again after the same `torch.manual_seed`.

        A worker that lives on keeps the seed of its first epoch, so it counts its epochs.
        """
        info = get_worker_info()
        if info is None:
            return int(torch.empty((), dtype=torch.int64).random_()), 0
        self._epoch += 1
        return int(info.seed - info.id), self._epoch
