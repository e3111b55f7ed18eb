"""The soak's judge sees what may not be answered, and the memory bench reads what it wrote."""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import Any

import pytest

from tests.performance import memory
from tests.performance.resident import Resident, resident
from tests.performance.soak.judge import LATEST, Judge
from tests.performance.soak.world import BEFORE, BUYERS, GENERATIONS, SPENT, SWITCHED

COLUMNS = [
    f"{column}_{operation}_{window}" for column in "xy" for operation in ("sum", "max") for window in ("7d", "30d")
]
KEYS = [3, BUYERS + 1]


def row(key: int, generation: int = 0, spent: int | None = None) -> dict[str, Any]:
    """What a server answers for a key."""
    told = key * GENERATIONS + generation
    values: dict[str, Any] = {f"{g}_{c}": told if c[0] == "x" else -float(told) for g in SWITCHED for c in COLUMNS}
    values[SPENT] = spent if spent is not None else BEFORE if key < BUYERS else None
    return {"values": values, "status": {} if key < BUYERS else {SPENT: "default"}, "time": {}}


def judged(rows: list[dict[str, Any]], begun: int = 0, published: int = 0) -> dict[str, int]:
    judge = Judge(array("q", [begun] * 2), array("q", [published] * 2))
    judge.answers(judge.asks(KEYS, 0.0), rows)
    return dict(judge.wrong)


def test_an_answer_of_the_generation_that_is_there_or_of_the_one_being_uploaded_is_right() -> None:
    assert judged([row(key) for key in KEYS]) == {}
    assert judged([row(key, 3) for key in KEYS], begun=4, published=3) == {}
    assert judged([row(key, 4) for key in KEYS], begun=4, published=3) == {}


@pytest.mark.parametrize(
    ("rows", "kinds"),
    [
        ([row(KEYS[0], 2), row(KEYS[1], 2)], {"generations": 2}),
        ([row(KEYS[0], 5), row(KEYS[1], 5)], {"generations": 2}),
        ([row(KEYS[0], 3), row(KEYS[1], 4)], {"mixtures": 2}),
        ([row(KEYS[0] + 1, 3), row(KEYS[1], 3)], {"values": 2}),
        ([row(KEYS[0], 3)], {"rows": 1}),
    ],
)
def test_an_older_one_a_mixture_another_key_and_too_few_rows_are_wrong(rows: Any, kinds: dict[str, int]) -> None:
    assert judged(rows, begun=4, published=3) == kinds


def test_features_of_one_row_tell_the_same_generation_and_have_no_unexpected_status() -> None:
    first, second = row(KEYS[0]), row(KEYS[1])
    first["values"]["levels_y_max_30d"] -= 1
    second["status"]["balances_x_sum_7d"] = "stale"
    assert judged([first, second]) == {"values": 1, "status": 1}


def test_no_answer_is_older_than_one_that_was_seen() -> None:
    judge = Judge(array("q", [4, 4]), array("q", [3, 3]))
    judge.answers(judge.asks(KEYS, 0.0), [row(key, 4) for key in KEYS])
    judge.answers(judge.asks(KEYS, 0.0), [row(key, 3) for key in KEYS])
    assert dict(judge.wrong) == {"generations": 2}


def test_accepted_events_are_in_the_answers_after_a_while_and_none_that_was_not_sent() -> None:
    judge = Judge(array("q", [0, 0]), array("q", [0, 0]))

    def answer(spent: int, at: float) -> dict[str, int]:
        judge.wrong.clear()
        judge.answers(judge.asks(KEYS, at), [row(KEYS[0], spent=spent), row(KEYS[1])])
        return dict(judge.wrong)

    judge.send(KEYS[0], 10)
    judge.accept(KEYS[0], 10, 1.0)
    assert [answer(BEFORE + spent, 1.5) for spent in (0, 10, 11)] == [{}, {}, {"events": 1}]
    assert [answer(BEFORE + spent, 2 + LATEST) for spent in (0, 10)] == [{"events": 1}, {}]
    assert judge.final()[KEYS[0]] == BEFORE + 10


def test_every_key_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert memory.write(tmp_path, 2_000).rows == 2_000
    found = list(memory.looks(tmp_path, 2_000, (0, 1_000, 2_000)))
    assert [look.reads for look in found] == [0, 1_000, 2_000]
    assert memory.growth(found) == found[2].held.anonymous - found[1].held.anonymous


def test_a_value_of_another_key_ends_the_bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory.write(tmp_path, 200)
    values = memory.values_of
    monkeypatch.setattr(memory, "values_of", lambda keys: values(keys + 1))
    with pytest.raises(AssertionError, match="g_n_max_1d"):
        list(memory.looks(tmp_path, 200, (100,)))


def test_memory_is_told_by_what_it_is_made_of() -> None:
    before = resident()
    kept = bytearray(b"x" * 30_000_000)
    assert resident().anonymous - before.anonymous > 25_000_000
    assert str(Resident(len(kept), 5_000_000)) == "30.0 MB anonymous, 5.0 MB mapped"
