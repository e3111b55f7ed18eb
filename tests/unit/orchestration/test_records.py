"""What a commit remembers: a round trip, and what is remembered of a day that was written twice."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from zipline.orchestration.records import Definition, Record, defined, encoded, records_of
from zipline.plan.identity import Identity
from zipline.types import BIGINT, DOUBLE

ROWS = Definition("r" * 16, {"a": "1" * 16}, "g" * 12)


@dataclass(frozen=True)
class Commit:
    metadata: dict[str, str]
    days: tuple[str, ...]


def record(left: str = "x", **given):
    return Record(ROWS, left, "all", {"k": "0" * 16}, **given)


labels = st.dictionaries(
    st.integers(-1000, 40_000), st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30
)


@given(labels)
def test_what_is_written_is_read(found):
    present = {"source": {day: (day - before, day + after) for day, (before, after) in found.items()}}
    days = {"2024-05-01": record(present=present), "2024-05-02": record("", present=present)}
    assert records_of([Commit(encoded(days), tuple(days))], days) == days


def test_a_day_has_the_record_of_its_newest_commit():
    old = {"2024-05-01": record("old"), "2024-05-02": record("old")}
    new = {"2024-05-02": record("new")}
    versions = [Commit(encoded(days), tuple(days)) for days in (new, old)]
    found = records_of(versions, ["2024-05-01", "2024-05-02"])
    assert {day: each.left for day, each in found.items()} == {"2024-05-01": "old", "2024-05-02": "new"}


def test_a_day_without_a_record_that_can_be_read_has_none():
    written = encoded({"2024-05-01": record()})
    for metadata in ({}, {"inputs": "{"}, written | {"inputs": written["inputs"].replace('"format":1', '"format":9')}):
        versions = [Commit(metadata, ("2024-05-01",)), Commit(written, ("2024-05-01",))]
        assert records_of(versions, ["2024-05-01"]) == {"2024-05-01": None}, "the older record is of other rows"


def test_days_beside_each_other_are_one_run():
    present = {"source": {day: (day, day) for day in (*range(100, 465), 500)}}
    assert '"0 0":"100:464 500"' in encoded({"2024-05-01": record(present=present)})["inputs"]


def test_a_generation_is_of_columns_their_order_and_types():
    identity = Identity("r", {"a": "1", "b": "2"})
    first = defined(identity, [("a", BIGINT), ("b", BIGINT)])
    assert first == defined(identity, [("a", BIGINT), ("b", BIGINT)])
    for columns in ([("b", BIGINT), ("a", BIGINT)], [("a", BIGINT), ("b", DOUBLE)], [("a", BIGINT)]):
        assert defined(identity, columns).generation != first.generation
    assert defined(Identity("other", identity.columns), [("a", BIGINT), ("b", BIGINT)]).generation != first.generation
