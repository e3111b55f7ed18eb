"""IRs as bytes: every kind of value, canonical, compact, and never read when damaged."""

from __future__ import annotations

import binascii
import datetime as dt
import math
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.algebra.replays import quick, replay, rows
from zipline.algebra import CodecError, aggregator, decode, encode, pack, unpack
from zipline.types import BIGINT, DOUBLE, STRING

SCALARS = st.one_of(
    st.none(),
    st.integers(),
    st.integers(-(2**80), 2**80).map(lambda n: n << 1074),
    st.floats(allow_nan=False),
    st.text(),
    st.binary(),
    st.dates(),
    st.decimals(allow_nan=False, allow_infinity=False),
)
IRS = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(tuple), st.dictionaries(st.one_of(st.text(), st.integers()), inner, max_size=4)
    ),
    max_leaves=12,
)
FINGERPRINT = bytes(range(32))


@quick
@given(IRS)
def test_decode_undoes_encode_for_every_value(ir: Any) -> None:
    blob = encode(ir)
    assert decode(blob) == ir
    assert encode(decode(blob)) == blob


@pytest.mark.parametrize("value", [True, False, None, 0.0, 1.5, -3.0, math.inf, -math.inf, 2.0**900, 5e-324, 1e16])
def test_types_survive(value: Any) -> None:
    again = decode(encode(value))
    assert again == value
    assert type(again) is type(value)


@pytest.mark.parametrize("bits", [0, 1, 6, 7, 8, 31, 32, 62, 63, 64, 65, 127, 128, 1074, 2200])
def test_integers_at_the_edges_of_their_encodings(bits: int) -> None:
    for value in (2**bits - 1, 2**bits, 2**bits + 1):
        assert decode(encode((value, -value))) == (value, -value)


def test_equal_states_give_equal_bytes() -> None:
    assert encode({"a": 1, "b": 2}) == encode({"b": 2, "a": 1})
    assert encode((0.0,)) == encode((-0.0,))
    assert encode({(1, 2, "x"): 1, (1, 1, "y"): -1}) == encode({(1, 1, "y"): -1, (1, 2, "x"): 1})


@pytest.mark.parametrize(
    ("ir", "size"),
    [(5, 1), (-64, 1), (64, 3), (None, 1), (3.0, 2), (0.1, 9), ("abc", 5), ((1, 2, 3), 5), (dt.date(2024, 1, 1), 4)],
)
def test_small_values_are_small(ir: Any, size: int) -> None:
    assert len(encode(ir)) == size + 5


def test_exact_totals_are_compact() -> None:
    total = aggregator("SUM", DOUBLE)
    assert len(encode(replay(total, rows(*([2.5] * 1000))))) <= 20
    assert len(encode(replay(total, rows(0.1, 1e5, -3.7)))) <= 30


def test_the_bytes_of_version_one_stay_as_they_are() -> None:
    body = bytes.fromhex("01 0b04 82 0702c3a9 0604 00")
    assert encode((1, "é", 2.0, None)) == body + binascii.crc32(body).to_bytes(4, "little")


@quick
@given(IRS, st.data())
def test_a_flipped_bit_is_never_read(ir: Any, data: st.DataObject) -> None:
    blob = bytearray(encode(ir))
    position = data.draw(st.integers(0, len(blob) * 8 - 1))
    blob[position // 8] ^= 1 << position % 8
    with pytest.raises(CodecError):
        decode(bytes(blob))


@quick
@given(IRS, st.data())
def test_a_shortened_or_lengthened_blob_is_never_read(ir: Any, data: st.DataObject) -> None:
    blob = encode(ir)
    with pytest.raises(CodecError):
        decode(blob[: data.draw(st.integers(0, len(blob) - 1))])
    with pytest.raises(CodecError):
        decode(blob + data.draw(st.binary(min_size=1, max_size=5)))


def test_another_version_is_named() -> None:
    with pytest.raises(CodecError, match="version 9, this release reads version 1"):
        decode(b"\x09" + encode(1)[1:])
    with pytest.raises(CodecError, match="no bytes"):
        decode(b"")
    with pytest.raises(CodecError, match="version"):
        decode(pack(FINGERPRINT, [1]))


def test_what_is_no_ir_is_refused() -> None:
    with pytest.raises(CodecError, match="datetime is no part of an IR"):
        encode(dt.datetime(2024, 1, 1))


@quick
@given(st.lists(IRS, max_size=5))
def test_packed_irs_come_back_in_order(irs: list[Any]) -> None:
    blob = pack(FINGERPRINT, irs)
    assert unpack(FINGERPRINT, blob) == irs
    assert blob[1:33] == FINGERPRINT


def test_packed_irs_of_another_schema_are_refused() -> None:
    with pytest.raises(CodecError, match="belong to schema 0001"):
        unpack(bytes(32), pack(FINGERPRINT, [1]))
    with pytest.raises(CodecError, match="32 bytes"):
        pack(b"short", [1])


def test_a_packed_group_by_finalizes_as_before() -> None:
    built = [aggregator("SUM", BIGINT), aggregator("LAST", STRING), aggregator("APPROX_UNIQUE_COUNT", STRING)]
    irs = [replay(built[0], rows(1, 2)), replay(built[1], rows("a", "b")), replay(built[2], rows("a", "b"))]
    again = unpack(FINGERPRINT, pack(FINGERPRINT, irs))
    assert [one.finalize(ir) for one, ir in zip(built, again, strict=True)] == [3, "b", 2]


def test_decimals_keep_their_scale() -> None:
    assert str(decode(encode(Decimal("-1.500")))) == "-1.500"
