"""`POST /v1/models/{name}/predict`: the rows are those of the model's join, the answer is a score of each.

What a model takes comes from the join's features and, for the columns of its left, from the request. A row of which
something is `unavailable` or in `error` has no score: a model would take it for a null, which it has learned something
from. Nor has one with an infinite input, which trees do not take: that input's status is `error` then. What is `stale`
is told beside the score.

A model is refused, as a whole, where its join is no longer the one that it was trained on.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from serving.features.batching import Answer
from serving.features.requests import Request
from serving.features.served import Served, ServedJoin
from serving.problems import Problem
from training.repo.saved import ModelError, SavedModel, open_model, read_facts, stored

MODELS = "/v1/models/"
PREDICT = "/predict"
_UNUSABLE = ("unavailable", "error")


class Models:
    """The stored models below a folder; one that is written anew is taken up with the next request."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = Path(folder)
        self._opened: dict[str, tuple[int, SavedModel]] = {}

    def model(self, name: str, told: Callable[[str], bool]) -> SavedModel:
        """Problem 404 where there is none of the name, with those over joins of the teams that whoever asks is `told`
        of; 503 where it cannot be read."""
        place = self._folder / name
        known = self._opened.get(name)
        try:
            changed = (place / "model.json").stat().st_mtime_ns
        except (OSError, ValueError):
            raise self._unknown(told) from None
        if known is not None and known[0] == changed:
            return known[1]
        if name not in self.names():
            raise self._unknown(told)
        try:
            model = open_model(place)
        except ModelError as wrong:
            raise Problem(503, "model_unusable", wrong.what, hint=wrong.hint) from None
        self._opened[name] = changed, model
        return model

    def names(self) -> list[str]:
        return list(stored(self._folder))

    def _unknown(self, told: Callable[[str], bool]) -> Problem:
        valid = []
        for name in self.names():
            with suppress(ModelError):
                if told(read_facts(self._folder / name).join.partition(".")[0]):
                    valid.append(name)
        return Problem(404, "unknown_model", "there is no model of that name", valid=valid)


def join_of(model: SavedModel, served: Served) -> ServedJoin:
    """The join that a model takes its features from; Problem 409 where it is another one by now."""
    facts = model.facts
    join = served.joins.get(facts.join)
    if join is None:
        raise Problem(409, "model_mismatch", f"the model's join {facts.join} is not online")
    if join.fetch.plan.fingerprint != facts.fingerprint:
        raise Problem(
            409,
            "model_mismatch",
            f"the model was trained on another version of {facts.join}",
            hint="train it anew, or bring the definition back",
        )
    return join


def predicted(model: SavedModel, request: Request, answer: Answer) -> bytes:
    """The scores of the rows of a request, and what is not `ok` of them. To be called where it may take a moment."""
    values = answer.values()
    statuses = answer.statuses()
    taken = [each.name for each in model.facts.inputs]
    rows: list[dict[str, Any]] = []
    for number, (given, found) in enumerate(zip(request.rows, values, strict=True)):
        row = given | found
        for name in taken:
            if name not in row:
                raise Problem(
                    400, "invalid_request", f"the model takes {name!r}", path=f"$.rows[{number}]", valid=taken
                )
        rows.append(row)
    told = [{name: status for name, status in row.items() if name in taken} for row in statuses]
    matrix = model.matrix(rows)
    for status, infinite in zip(told, model.infinite(matrix), strict=True):
        status.update(dict.fromkeys(infinite, "error"))
    usable = np.array([not any(status in _UNUSABLE for status in row.values()) for row in told], np.bool_)
    scores = iter(model.scores(matrix[usable]))
    listed = [
        {"score": next(scores) if is_usable else None, "status": status}
        for is_usable, status in zip(usable.tolist(), told, strict=True)
    ]
    facts = model.facts
    named = {"model": facts.name, "sha256": facts.sha256, "fingerprint": facts.fingerprint}
    return msgspec.json.encode({"rows": listed, **named})
