"""Stored rows through torch's DataLoader: `make test-torch`, for torch is no part of the environment of other tests."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
import torch
from torch.utils.data import DataLoader

from training.stored import stored_rows, torch_rows
from zipline.project import load_project
from zipline.tables.delta import DeltaOutput
from zipline.tables.stored_rows import StoredRows

DAYS = {"2024-05-01": 500, "2024-05-02": 90, "2024-05-03": 410}


@pytest.fixture
def rows(tmp_path: Path) -> StoredRows:
    (tmp_path / "zipline.toml").write_text('name = "shop"\n')
    project, first = load_project(tmp_path), 0
    days = {}
    for day, count in DAYS.items():
        numbers = range(first, first + count)
        spent = [None if number % 7 == 0 else number / 2 for number in numbers]
        days[day] = pa.table(
            {"n": numbers, "spent": spent, "late": [n % 3 == 0 for n in numbers], "who": map(str, numbers)}
        )
        first += count
    DeltaOutput(project.table_uri("shop.visits")).replace_days(days)
    return stored_rows("shop.visits", project=project)


def seen(rows: StoredRows, workers: int, *, shuffle: bool) -> list[int]:
    loader = DataLoader(torch_rows(rows, ["n"], size=64, shuffle=shuffle), batch_size=None, num_workers=workers)
    return [int(number) for batch in loader for number in batch[:, 0]]


def test_batches_are_the_rows_in_order_with_null_as_nan(rows: StoredRows) -> None:
    found = list(DataLoader(torch_rows(rows, ["n", "spent"], "late", size=300), batch_size=None))
    assert [tuple(features.shape) for features, _ in found] == [(300, 2), (200, 2), (90, 2), (300, 2), (110, 2)]
    features, labels = (torch.cat(parts) for parts in zip(*found, strict=True))
    assert features.dtype == labels.dtype == torch.float32
    assert features[:, 0].tolist() == list(range(1000))
    assert labels.tolist() == [float(number % 3 == 0) for number in range(1000)]
    assert torch.isnan(features[:, 1]).tolist() == [number % 7 == 0 for number in range(1000)]
    assert features[1:7, 1].tolist() == [number / 2 for number in range(1, 7)]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("shuffle", [False, True])
def test_every_row_is_seen_once_in_an_epoch(rows: StoredRows, workers: int, *, shuffle: bool) -> None:
    assert sorted(seen(rows, workers, shuffle=shuffle)) == list(range(1000))


@pytest.mark.parametrize("workers", [0, 2])
def test_each_epoch_is_shuffled_anew_and_a_seed_makes_it_the_same_again(rows: StoredRows, workers: int) -> None:
    torch.manual_seed(3)
    loader = DataLoader(torch_rows(rows, ["n"], size=64, shuffle=True), batch_size=None, num_workers=workers)
    epochs = [[int(number) for batch in loader for number in batch[:, 0]] for _ in range(3)]
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert all(epoch != sorted(epoch) for epoch in epochs)
    torch.manual_seed(3)
    assert seen(rows, workers, shuffle=True) == epochs[0]


def test_workers_that_live_on_shuffle_anew_too(rows: StoredRows) -> None:
    dataset = torch_rows(rows, ["n"], size=64, shuffle=True)
    loader = DataLoader(dataset, batch_size=None, num_workers=2, persistent_workers=True)
    epochs = [[int(number) for batch in loader for number in batch[:, 0]] for _ in range(3)]
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert all(sorted(epoch) == list(range(1000)) for epoch in epochs)


def test_a_model_learns_from_it(rows: StoredRows) -> None:
    torch.manual_seed(0)
    model = torch.nn.Linear(1, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    losses = []
    for _ in range(15):
        for features, labels in torch_rows(rows, ["n"], "n", size=100, shuffle=True):
            loss = ((model(features / 1000)[:, 0] - labels / 1000) ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 100
