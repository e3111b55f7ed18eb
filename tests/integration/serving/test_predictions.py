"""A model over a join's features: online scores are those of a batch, and a model of another join is refused."""

import json
import random
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import xgboost

from tests.integration.servers.features import JOIN, Server, orders, project, serving, today
from tests.integration.serving.test_life import until
from training.repo.saved import ModelError, SavedModel, open_model, save
from zipline import Client, backfill, load
from zipline.client import Refused
from zipline.clock import HOUR, to_text

INPUTS = [
    {"name": "item", "categories": ["a", "b", "c"]},
    {"name": "amount"},
    {"name": "spent_amount_sum_30d"},
    {"name": "spent_amount_sum_7d"},
    {"name": "sold_amount_max_30d"},
    {"name": "share"},
]


def at() -> str:
    """An instant of today. Not a constant: this file may be imported long before it is run."""
    return to_text(today() + HOUR)


def visits(count: int) -> list[dict[str, Any]]:
    draw = random.Random(3)
    users, items = ["u1", "u2", "u3", "u4", None], ["a", "b", "c", "d", None]
    return [
        {
            "user": draw.choice(users),
            "item": draw.choice(items),
            "amount": draw.choice([None, 1.0, 2.5, 40.0]),
            "t": at(),
        }
        for _ in range(count)
    ]


def rows_at(folder: Path, asked: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The batch: a backfill of the same rows."""
    join = load(folder / "configs").find(JOIN)
    found = backfill(join, {"visits": asked, "orders": orders()}, training=False)
    return list(found.to_pylist())


def trained(folder: Path, fingerprint: str) -> SavedModel:
    """A model of the join, saved where the server looks for it."""
    rows = rows_at(folder, visits(400))
    facts = {"name": "buys", "join": JOIN, "fingerprint": fingerprint, "inputs": INPUTS}
    place = folder / ".zipline" / "models" / "buys"
    untrained = SavedModel(_facts(facts), None)
    draw = random.Random(1)
    labels = np.array(
        [float(draw.random() * 10 < ord(row["item"] or "z") % 7 + (row["amount"] or 3) % 4) for row in rows]
    )
    names, kinds = [each["name"] for each in INPUTS], ["c", "q", "q", "q", "q", "q"]
    data = xgboost.DMatrix(
        _finite(untrained.matrix(rows)), labels, feature_names=names, feature_types=kinds, enable_categorical=True
    )
    trees = xgboost.train({"objective": "binary:logistic", "tree_method": "hist", "nthread": 1, "seed": 1}, data, 20)
    save(place, trees, facts)
    return open_model(place)


def _facts(facts: dict[str, Any]) -> Any:
    import msgspec

    from training.repo.saved import Facts

    return msgspec.convert({**facts, "sha256": ""}, Facts)


def _finite(matrix: Any) -> Any:
    return np.where(np.isinf(matrix), np.nan, matrix)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return project(tmp_path_factory.mktemp("predicting"))


@pytest.fixture(scope="module")
def running(folder: Path) -> Any:
    with serving(folder) as server:
        yield server


@pytest.fixture(scope="module")
def model(folder: Path, running: Server) -> SavedModel:
    with Client(running.url, timeout=60) as client:
        return trained(folder, client.joins()[0]["fingerprint"])


def test_scores_equal_those_of_a_batch_of_the_same_rows(folder: Path, running: Server, model: SavedModel) -> None:
    asked = visits(60)
    request = [{name: value for name, value in row.items() if name != "t"} for row in asked]
    with Client(running.url, timeout=60) as client:
        together = client.predict("buys", request, at=at())
        alone = [client.predict("buys", [row], at=at())[0] for row in request[:10]]
    matrix = model.matrix(rows_at(folder, asked))
    is_finite = [not infinite for infinite in model.infinite(matrix)]
    scores = iter(model.scores(matrix[is_finite]))
    expected = [next(scores) if finite else None for finite in is_finite]
    assert [each.score for each in together] == expected
    assert [each.score for each in alone] == expected[:10]
    assert len(set(expected)) > 4
    assert not all(is_finite)
    assert all(("error" in each.status.values()) is (each.score is None) for each in together)


def test_a_row_that_lacks_what_the_model_takes_is_refused(running: Server, model: SavedModel) -> None:
    with Client(running.url, timeout=60) as client:
        (found,) = client.predict("buys", [{"user": "u1", "item": "a", "amount": 1.0}], at=at())
        assert found.score is not None
        with pytest.raises(Refused, match="the model takes 'amount'"):
            client.predict("buys", [{"user": "u1", "item": "a"}], at=at())


def test_where_a_feature_cannot_be_had_there_is_no_score(running: Server, model: SavedModel) -> None:
    late = to_text(today() + 72 * HOUR)  # more than two days after the upload
    with Client(running.url, timeout=60) as client:
        (found,) = client.predict("buys", [{"user": "u1", "item": "a", "amount": 1.0}], at=late)
    assert found.score is None
    assert found.status["spent_amount_sum_30d"] == "unavailable"


def test_other_models_and_paths_are_not_there(running: Server, model: SavedModel) -> None:
    for path, code in (
        ("nothing/predict", "unknown_model"),
        ("buys", "not_found"),
        ("..%2f..%2fbuys/predict", "unknown_model"),
    ):
        answer = httpx.post(f"{running.url}/v1/models/{path}", json={"rows": []})
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, code)


def test_a_model_is_refused_when_its_join_has_changed(tmp_path: Path) -> None:
    folder = project(tmp_path)
    with serving(folder) as server, Client(server.url, timeout=60) as client:
        trained(folder, client.joins()[0]["fingerprint"])
        row = {"user": "u1", "item": "a", "amount": 1.0}
        assert client.predict("buys", [row], at=at())[0].score is not None
        config = folder / "configs" / "shop" / "orders.py"
        before = client.joins()[0]["fingerprint"]
        config.write_text(config.read_text().replace("amount / spent", "2 * amount / spent"))
        until(lambda: client.joins()[0]["fingerprint"] != before)
        with pytest.raises(Refused, match="another version") as caught:
            client.predict("buys", [row], at=at())
        assert (caught.value.status, caught.value.code) == (409, "model_mismatch")


def test_a_damaged_model_is_not_used(tmp_path: Path, folder: Path, model: SavedModel) -> None:
    import shutil

    place = tmp_path / "buys"
    shutil.copytree(folder / ".zipline" / "models" / "buys", place)
    content = bytearray((place / "model.ubj").read_bytes())
    content[len(content) // 2] ^= 1
    (place / "model.ubj").write_bytes(content)
    with pytest.raises(ModelError, match="its hash differs"):
        open_model(place)
    (place / "model.json").write_text(json.dumps({"name": "buys"}))
    with pytest.raises(ModelError, match="is no stored model"):
        open_model(place)
