"""A model as two files: `model.ubj`, the trees as XGBoost writes them, and `model.json`, what goes in and comes out.

No pickle: opening a model runs no code of it. `model.json` names the join whose features the model takes, with the
fingerprint that the join had, the inputs in order, the values of each text input (a text is the number of its value),
and a SHA-256 of the trees. A folder is written whole or not at all.

The same row gives the same score, to the bit, alone or among others, online or in a batch.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from zipline.errors import UsageError, ZiplineError

Floats = NDArray[np.float32]
TREES, FACTS = "model.ubj", "model.json"
FORMAT: Literal[1] = 1


class ModelError(ZiplineError):
    """A stored model is missing, damaged, or of another join than the one that is served."""


class Input(msgspec.Struct, frozen=True):
    """A column that the model takes; `categories` are the values of a text, in order."""

    name: str
    categories: tuple[str, ...] | None = None


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in `model.json`."""

    name: str
    join: str
    fingerprint: str
    inputs: tuple[Input, ...]
    sha256: str
    description: str = ""
    format: Literal[1] = FORMAT


class SavedModel:
    """A model that was opened."""

    def __init__(self, facts: Facts, trees: Any) -> None:
        self.facts, self._trees = facts, trees
        self._places = {
            each.name: {value: float(place) for place, value in enumerate(each.categories)}
            for each in facts.inputs
            if each.categories is not None
        }
        self._kinds = ["q" if each.categories is None else "c" for each in facts.inputs]
        self._names = [each.name for each in facts.inputs]

    def matrix(self, rows: Sequence[Mapping[str, Any]]) -> Floats:
        """Rows x inputs; null, and a text that training did not know, is NaN. UsageError names an input that lacks."""
        found = np.empty((len(rows), len(self._names)), np.float32)
        for place, name in enumerate(self._names):
            of_text = self._places.get(name)
            try:
                values = [row[name] for row in rows]
            except KeyError:
                raise UsageError(f"a row has no {name!r}, which the model takes", asked=name) from None
            if of_text is not None:
                values = [None if value is None else of_text.get(value) for value in values]
            found[:, place] = [np.nan if value is None else value for value in values]
        return found

    def infinite(self, matrix: Floats) -> list[list[str]]:
        """Of every row the inputs that are infinite, as single precision has them: trees take none."""
        found: list[list[str]] = [[] for _ in matrix]
        for row, place in np.argwhere(np.isinf(matrix)).tolist():
            found[row].append(self._names[place])
        return found

    def scores(self, matrix: Floats) -> list[float]:
        """One score of each row of `matrix`."""
        if not len(matrix):
            return []
        import xgboost

        data = xgboost.DMatrix(
            matrix, feature_names=self._names, feature_types=self._kinds, enable_categorical=True, nthread=1
        )
        return [float(score) for score in self._trees.predict(data)]


def save(folder: str | os.PathLike[str], trees: Any, facts: Mapping[str, Any]) -> Facts:
    """Writes a model of XGBoost; `facts` are those of `Facts` but for the hash."""
    target = Path(folder)
    target.parent.mkdir(parents=True, exist_ok=True)
    content = bytes(trees.save_raw("ubj"))
    whole = msgspec.convert({**facts, "sha256": hashlib.sha256(content).hexdigest()}, Facts)
    written = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        (written / TREES).write_bytes(content)
        (written / FACTS).write_bytes(msgspec.json.format(msgspec.json.encode(whole), indent=2))
        replaced = target.with_name(f"{written.name}-old")
        if target.exists():
            target.rename(replaced)
        written.rename(target)
        shutil.rmtree(replaced, ignore_errors=True)
    finally:
        shutil.rmtree(written, ignore_errors=True)
    return whole


def open_model(folder: str | os.PathLike[str]) -> SavedModel:
    """The model of a folder; ModelError where it is not one, or not as it was written."""
    place = Path(folder)
    facts = read_facts(place)
    try:
        content = (place / TREES).read_bytes()
    except OSError as wrong:
        raise ModelError(f"the model {facts.name} cannot be read: {wrong.strerror}") from None
    if hashlib.sha256(content).hexdigest() != facts.sha256:
        raise ModelError(
            f"the model {facts.name} is not the one that was saved: its hash differs", hint="save it again"
        )
    try:
        import xgboost
    except ModuleNotFoundError:
        raise ModelError("XGBoost is not installed", hint="pip install xgboost-cpu") from None
    trees = xgboost.Booster(params={"nthread": 1})
    trees.load_model(bytearray(content))
    return SavedModel(facts, trees)


def read_facts(folder: Path) -> Facts:
    """What a model's file says of it."""
    try:
        return msgspec.json.decode((folder / FACTS).read_bytes(), type=Facts)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as wrong:
        raise ModelError(f"{folder.name} is no stored model: {wrong}") from None


def stored(folder: str | os.PathLike[str]) -> dict[str, Path]:
    """Name -> folder of every model below a folder."""
    return {path.parent.name: path.parent for path in sorted(Path(folder).glob(f"*/{FACTS}"))}
