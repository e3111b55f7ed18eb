"""Stored rows as a torch dataset. The only module here that imports torch for reading."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from training.stored import matrix
from zipline.tables.stored_rows import StoredRows


class TorchRows(IterableDataset[Any]):
    """See `training.stored.torch_rows`."""

    def __init__(
        self, rows: StoredRows, features: tuple[str, ...], label: str | None, size: int, seed: int | None
    ) -> None:
        super().__init__()
        self._rows, self._features, self._label, self._size, self._seed = rows, features, label, size, seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Which order comes next; without it each iteration takes the one after."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[Any]:
        info = get_worker_info()
        number, of = (0, 1) if info is None else (info.id, info.num_workers)
        rng = None if self._seed is None else np.random.default_rng((self._seed, self._epoch))
        self._epoch += 1
        rows = self._rows
        if rng is not None:
            rows = replace(rows, files=tuple(rows.files[place] for place in rng.permutation(len(rows.files))))
        for batch in rows.share(number, of).batches(self._size):
            columns = matrix(batch, [*self._features, *([self._label] if self._label is not None else [])])
            if rng is not None:
                columns = columns[rng.permutation(len(columns))]
            found = torch.from_numpy(columns)
            yield found if self._label is None else (found[:, :-1], found[:, -1])
