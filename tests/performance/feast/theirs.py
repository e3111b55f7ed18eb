"""Feast's side. It runs in Feast's environment: `load` fills a store from a file of values, `fetch` takes its turns.

python -m tests.performance.feast.theirs load FOLDER VALUES [there]
python -m tests.performance.feast.theirs fetch FOLDER
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pandas as pd
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.types import Float64, Int64

from tests.performance.feast.turns import Values, take_turns

KEY, TIME, SERVICE = "key", "event_timestamp", "fifty"


def load(folder: str, values: str, there: str = "") -> None:
    """A feature view for all columns that begin alike (`g0_...`), in one service, and the rows in the online store,
    unless they are `there`."""
    rows = pd.read_parquet(values, dtype_backend="numpy_nullable")
    key = Entity(name=KEY, join_keys=[KEY], value_type=ValueType.INT64)
    source = FileSource(path=values, timestamp_field=TIME)
    columns = [name for name in rows.columns if name not in (KEY, TIME)]
    groups = {name: [c for c in columns if c.startswith(f"{name}_")] for name in dict.fromkeys(map(_group, columns))}
    views = [
        FeatureView(
            name=name,
            entities=[key],
            ttl=timedelta(0),
            schema=[Field(name=c, dtype=Float64 if rows[c].dtype == "Float64" else Int64) for c in own],
            source=source,
            online=True,
        )
        for name, own in groups.items()
    ]
    store = FeatureStore(repo_path=folder)
    store.apply([key, *views, FeatureService(name=SERVICE, features=views)])
    for name, own in groups.items() if not there else ():
        store.write_to_online_store(name, df=rows[[KEY, TIME, *own]])


def fetch(folder: str) -> None:
    store = FeatureStore(repo_path=folder)
    service = store.get_feature_service(SERVICE)

    def fetched(keys: Sequence[int]) -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = store.get_online_features(service, entity_rows={KEY: list(keys)}).to_dict()
        return found

    def values(keys: Sequence[int]) -> Values:
        found = fetched(keys)
        names = sorted(name for name in found if name != KEY)
        return [list(row) for row in zip(*(found[name] for name in names), strict=True)]

    take_turns(fetched, values)


def _group(column: str) -> str:
    return column.partition("_")[0]


if __name__ == "__main__":
    {"load": load, "fetch": fetch}[sys.argv[1]](*sys.argv[2:])
