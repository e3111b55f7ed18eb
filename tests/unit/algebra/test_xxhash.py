"""XXH64 against what its specification's own implementation gives; against Spark's in tests/integration/spark."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from zipline.algebra.columnar.xxhash import hashes


@pytest.mark.parametrize(
    ("text", "digest"),
    [
        ("", 0xEF46DB3751D8E999),
        ("a", 0xD24EC4F1A98C6E5B),
        ("abc", 0x44BC2CF5AD770999),
        ("Nobody inspects the spammish repetition", 0xFBCEA83C8A378BF1),
    ],
)
def test_texts_have_the_digests_of_the_reference(text: str, digest: int) -> None:
    found = hashes([pa.array([text])], 1, seed=0)
    assert int(found.view(np.uint64)[0]) == digest
    assert hashes([pa.array([text.encode()])], 1, seed=0).tolist() == found.tolist()


def test_a_number_is_hashed_as_its_bytes() -> None:
    numbers = np.array([0, 1, -1, 2**63 - 1, -(2**63)])
    as_bytes = pa.array([number.tobytes() for number in numbers.astype("<i8")], pa.binary())
    assert hashes([pa.array(numbers)], 5).tolist() == hashes([as_bytes], 5).tolist()
    floats = numbers.astype(np.float64)
    as_bytes = pa.array([number.tobytes() for number in floats.astype("<f8")], pa.binary())
    assert hashes([pa.array(floats)], 5).tolist() == hashes([as_bytes], 5).tolist()


def test_every_column_counts_and_their_order() -> None:
    one, other = pa.array([1, 2, 1]), pa.array(["a", "a", "b"])
    both = hashes([one, other], 3)
    assert len(set(both.tolist())) == 3
    assert both.tolist() != hashes([other, one], 3).tolist()


def test_a_slice_has_the_hashes_of_its_rows() -> None:
    texts = pa.array(["x" * length for length in range(80)])
    assert hashes([texts.slice(17, 40)], 40).tolist() == hashes([texts], 80)[17:57].tolist()
    assert hashes([texts.slice(80)], 0).tolist() == []
