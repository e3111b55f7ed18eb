"""Equality to the bit, which decides whether columns may be carried over."""

import struct

import pyarrow as pa
import pytest

from zipline.orchestration.carry import same_bits

NAN = float("nan")
OTHER_NAN = struct.unpack("d", struct.pack("Q", 0x7FF8000000000001))[0]


def column(values, dtype, pieces=1):
    whole = pa.array(values, dtype)
    size = max(1, len(whole) // pieces)
    return pa.chunked_array([whole.slice(n, size) for n in range(0, len(whole), size)], dtype)


NESTED = pa.list_(pa.float64())
PAIRS = pa.map_(pa.string(), pa.float64())
FIELDS = pa.struct([("x", pa.float64())])


@pytest.mark.parametrize(
    ("one", "other", "dtype", "expected"),
    [
        ([1, None], [1, None], pa.int64(), True),
        ([1, None], [1, 0], pa.int64(), False),
        ([NAN, 1.0, None], [NAN, 1.0, None], pa.float64(), True),
        ([NAN], [OTHER_NAN], pa.float64(), False),
        ([0.0], [-0.0], pa.float64(), False),
        (["a", ""], ["a", None], pa.string(), False),
        ([[NAN], [], None], [[NAN], [], None], NESTED, True),
        ([[0.0]], [[-0.0]], NESTED, False),
        ([[], [1.0]], [[1.0], []], NESTED, False),
        ([None], [[]], NESTED, False),
        ([[("a", NAN)], None], [[("a", NAN)], None], PAIRS, True),
        ([[("a", 1.0)]], [[("b", 1.0)]], PAIRS, False),
        ([[]], [None], PAIRS, False),
        ([{"x": NAN}, None], [{"x": NAN}, None], FIELDS, True),
        ([{"x": None}], [None], FIELDS, False),
        ([], [], PAIRS, True),
    ],
)
def test_values_are_the_same_to_the_bit(one, other, dtype, expected):
    assert same_bits(column(one, dtype), column(other, dtype)) is expected


def test_chunks_do_not_matter_and_types_and_lengths_do():
    values = [[1.0, None], None, [2.0], []]
    assert same_bits(column(values, NESTED), column(values, NESTED, pieces=3))
    assert not same_bits(column([1], pa.int64()), column([1], pa.int32()))
    assert not same_bits(column([1], pa.int64()), column([1, 1], pa.int64()))


def test_a_slice_is_compared_for_what_it_shows():
    whole = pa.array([[1.0], [2.0], [3.0]], NESTED)
    assert same_bits(pa.chunked_array([whole.slice(1)]), column([[2.0], [3.0]], NESTED))
