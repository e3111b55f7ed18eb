"""Will this flight land more than 15 minutes late? Gradient-boosted trees, tested on later flights than they saw.

Three models answer, on the same rows with the same settings: one without windowed features, one with the platform's,
and one with averages of the day that leak (naive_daily). The last is tested twice: as its author would see it, and as
it would be served. Everything is deterministic: one seed, two threads, histogram trees.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

# Threads that wait must sleep: spinning makes training five times slower where another process wants the cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import xgboost
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score

from training.datasets import Dataset, Split, split_by_time
from training.pipelines import naive_daily

LABEL = "label_flight_outcome_late_max_2d"
TIMETABLE = ("carrier", "origin", "dest", "distance", "local_hour", "weekday")
START, SPLIT, LABEL_OFFSET = "2013-02-01", "2013-10-01", "2d"
ROUNDS = 80
PARAMETERS: Mapping[str, Any] = {
    "objective": "binary:logistic",
    "tree_method": "hist",
    "max_depth": 5,
    "max_bin": 64,
    "eta": 0.2,
    "subsample": 0.8,
    "colsample_bytree": 0.5,
    "min_child_weight": 20,
    "seed": 7,
    "nthread": 2,
}


@dataclass(frozen=True)
class Metrics:
    """How well probabilities fit what happened. `base_rate` is the share of late flights: what PR AUC starts from."""

    n: int
    base_rate: float
    roc_auc: float
    pr_auc: float
    log_loss: float


@dataclass(frozen=True)
class Model:
    """Trees, and the columns they were trained on."""

    trees: xgboost.Booster
    features: tuple[str, ...]

    def predict(self, data: Dataset) -> np.ndarray[Any, np.dtype[np.float32]]:
        """The probability of each row."""
        probabilities: np.ndarray[Any, np.dtype[np.float32]] = self.trees.predict(_matrix(data.select(self.features)))
        return probabilities

    def importance(self, most: int = 10) -> list[tuple[str, float]]:
        """The features that lowered the loss most, with their share of it."""
        gains = {name: float(gain) for name, gain in self.trees.get_score(importance_type="total_gain").items()}
        ranked = sorted(gains.items(), key=lambda pair: (-pair[1], pair[0]))[:most]
        return [(name, gain / sum(gains.values())) for name, gain in ranked]


@dataclass(frozen=True)
class Comparison:
    """What `compare` found. `leaking` is as its author sees it, `leaking_served` the same model in use."""

    split: Split
    model: Model
    timetable: Metrics
    windowed: Metrics
    leaking: Metrics
    leaking_served: Metrics


def train(data: Dataset) -> Model:
    """Trees that tell late rows from others."""
    return Model(xgboost.train(dict(PARAMETERS), _matrix(data), ROUNDS), data.features)


def evaluate(model: Model, data: Dataset) -> Metrics:
    probabilities = model.predict(data)
    return Metrics(
        n=data.rows,
        base_rate=float(data.labels.mean()),
        roc_auc=float(roc_auc_score(data.labels, probabilities)),
        pr_auc=float(average_precision_score(data.labels, probabilities)),
        log_loss=float(log_loss(data.labels, probabilities)),
    )


def compare(rows: pa.Table, flights: pa.Table) -> Comparison:
    """Trains on the output of the join `departures`; `flights` is the source table, for the features that leak."""
    split = _split(rows)
    plain = [name for name in TIMETABLE if name in split.train.features]
    model = train(split.train)
    timetable = train(split.train.select(plain))
    asked = rows.select([*TIMETABLE, "flight_id", "ts", LABEL])
    daily = [*plain, *naive_daily.column_names()]
    shown = _split(naive_daily.daily_features(flights, asked), daily)
    served = _split(naive_daily.as_served(flights, asked), daily)
    leaking = train(shown.train)
    return Comparison(
        split=split,
        model=model,
        timetable=evaluate(timetable, split.test),
        windowed=evaluate(model, split.test),
        leaking=evaluate(leaking, shown.test),
        leaking_served=evaluate(leaking, served.test),
    )


def _split(rows: pa.Table, features: Sequence[str] | None = None) -> Split:
    return split_by_time(rows, label=LABEL, at=SPLIT, gap=LABEL_OFFSET, start=START, features=features)


def _matrix(data: Dataset) -> xgboost.DMatrix:
    kinds = ["c" if data.is_categorical(name) else "q" for name in data.features]
    return xgboost.DMatrix(
        data.matrix,
        label=data.labels,
        feature_names=list(data.features),
        feature_types=kinds,
        enable_categorical=True,
        nthread=PARAMETERS["nthread"],
    )
