"""The first model: deterministic, tested on later rows, better than chance where there is something to learn."""

from __future__ import annotations

import datetime as dt
import random

import numpy as np
import pyarrow as pa
import pytest

from training.datasets import Split, split_by_time
from training.pipelines.first_model import evaluate, train

FIRST = dt.datetime(2013, 7, 1, tzinfo=dt.timezone.utc)


def learnable(rows: int = 4_000) -> Split:
    """Late three times in four where the weather is bad, once in ten where it is not."""
    dice = random.Random(7)
    bad = [dice.random() < 0.5 for _ in range(rows)]
    table = pa.table(
        {
            "ts": [FIRST + dt.timedelta(minutes=n) for n in range(rows)],
            "rain": [dice.uniform(1, 2) if b else dice.uniform(0, 1) for b in bad],
            "carrier": [dice.choice(["AA", "UA", None]) for _ in bad],
            "noise": [dice.random() for _ in bad],
            "label_late": [int(dice.random() < (0.75 if b else 0.1)) for b in bad],
        }
    )
    return split_by_time(table, label="label_late", at=(FIRST + dt.timedelta(minutes=rows * 3 // 4)).isoformat())


def test_metrics_are_those_of_the_test_rows() -> None:
    split = learnable()
    metrics = evaluate(train(split.train), split.test)
    assert metrics.n == split.test.rows == 1_000
    assert metrics.base_rate == pytest.approx(float(split.test.labels.mean()))
    # Knowing the rain alone gives 0.825; the rest is noise.
    assert 0.75 < metrics.roc_auc < 0.87
    assert metrics.pr_auc > metrics.base_rate
    assert metrics.log_loss < -np.mean(
        np.log(np.where(split.test.labels == 1, metrics.base_rate, 1 - metrics.base_rate))
    )


def test_the_same_rows_give_the_same_probabilities() -> None:
    split = learnable()
    first, second = (train(split.train).predict(split.test) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_what_mattered_comes_first() -> None:
    ranked = train(learnable().train).importance()
    assert ranked[0][0] == "rain"
    assert sum(share for _, share in ranked) == pytest.approx(1)
