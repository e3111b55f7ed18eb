"""IRs as bytes, canonical and versioned: equal states give equal bytes, and what was damaged is never read.

A blob is a version byte, the body and a CRC-32 of both. In a packed blob, the IRs of one group-by, the body begins with
the fingerprint (32 bytes) of the schema that they belong to, and their number. Every value is a tag byte and its
content; small integers are one byte. Integers are zigzag varints, big ones are stored without their trailing zero bits,
floats as an integer where that is shorter, mappings in the order of their encoded keys.
"""

from __future__ import annotations

import datetime as dt
import struct
import zlib
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from zipline.errors import DataError

VERSION = 1
PACKED_VERSION = 0x41
FINGERPRINT_SIZE = 32

_NONE, _FALSE, _TRUE, _INT, _BIG, _FLOAT, _WHOLE, _TEXT, _BYTES, _DECIMAL, _DATE, _TUPLE, _DICT, _SKETCH = range(14)
_SMALL = 0x80
_DOUBLE = struct.Struct("<d")
_CHECKSUM = struct.Struct("<I")


class CodecError(DataError):
    """Bytes that are not an IR: damaged, of another version, or of another schema."""


def encode(ir: Any) -> bytes:
    """The blob of one IR."""
    out = bytearray([VERSION])
    _write(out, ir)
    return _sealed(out)


def decode(blob: bytes) -> Any:
    """The IR of a blob that `encode` gave."""
    reader = Reader(_opened(blob, VERSION), 1)
    return reader.finish(reader.read())


def pack(fingerprint: bytes, irs: Sequence[Any]) -> bytes:
    """The blob of the IRs of one group-by, in the order of its schema."""
    if len(fingerprint) != FINGERPRINT_SIZE:
        raise CodecError(f"a schema's fingerprint has {FINGERPRINT_SIZE} bytes, not {len(fingerprint)}")
    out = bytearray([PACKED_VERSION]) + fingerprint
    _write_varint(out, len(irs))
    for ir in irs:
        _write(out, ir)
    return _sealed(out)


def unpack(fingerprint: bytes, blob: bytes) -> list[Any]:
    """The IRs of a packed blob; CodecError where it belongs to another schema."""
    reader = Reader(_opened(blob, PACKED_VERSION), 1)
    found = reader.take(FINGERPRINT_SIZE)
    if found != fingerprint:
        raise CodecError(
            f"the stored results belong to schema {found.hex()}, not {fingerprint.hex()}",
            hint="the definition changed: upload again",
        )
    irs = [reader.read() for _ in range(reader.varint())]
    reader.finish(irs)
    return irs


def _sealed(out: bytearray) -> bytes:
    return bytes(out + _CHECKSUM.pack(zlib.crc32(out)))


def _opened(blob: bytes, version: int) -> bytes:
    """The version byte and body of a blob that is whole."""
    if not blob:
        raise CodecError("there are no bytes to decode")
    if blob[0] != version:
        raise CodecError(f"stored results of version {blob[0]}, this release reads version {version}")
    content, checksum = blob[: -_CHECKSUM.size], blob[-_CHECKSUM.size :]
    if len(blob) <= _CHECKSUM.size or _CHECKSUM.pack(zlib.crc32(content)) != checksum:
        raise CodecError("the stored results are damaged: their checksum is wrong")
    return content


def _write_varint(out: bytearray, value: int) -> None:
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def _zigzag(value: int) -> int:
    return value << 1 if value >= 0 else ~(value << 1)


def _unzigzag(value: int) -> int:
    return ~(value >> 1) if value & 1 else value >> 1


def _write(out: bytearray, value: Any) -> None:
    writer = _WRITERS.get(type(value))
    if writer is None:
        writer = _write_sketch if hasattr(value, "payload") else None
    if writer is None:
        raise CodecError(f"{type(value).__name__} is no part of an IR", valid=[kind.__name__ for kind in _WRITERS])
    writer(out, value)


def _write_constant(out: bytearray, value: bool | None) -> None:
    out.append(_NONE if value is None else _TRUE if value else _FALSE)


def _write_int(out: bytearray, value: int) -> None:
    zigzag = _zigzag(value)
    if zigzag < _SMALL:
        out.append(_SMALL | zigzag)
    elif zigzag < 1 << 64:
        out.append(_INT)
        _write_varint(out, zigzag)
    else:
        shift = (value & -value).bit_length() - 1
        odd = value >> shift
        out.append(_BIG)
        _write_varint(out, shift)
        _write_sized(out, odd.to_bytes(odd.bit_length() // 8 + 1, "big", signed=True))


def _write_float(out: bytearray, value: float) -> None:
    if abs(value) < 1 << 40 and value == int(value):
        out.append(_WHOLE)
        _write_varint(out, _zigzag(int(value)))
    else:
        out.append(_FLOAT)
        out += _DOUBLE.pack(value)


def _write_sized(out: bytearray, content: bytes) -> None:
    _write_varint(out, len(content))
    out += content


def _write_text(out: bytearray, value: str) -> None:
    out.append(_TEXT)
    _write_sized(out, value.encode("utf-8", "surrogatepass"))


def _write_bytes(out: bytearray, value: bytes) -> None:
    out.append(_BYTES)
    _write_sized(out, value)


def _write_decimal(out: bytearray, value: Decimal) -> None:
    sign, digits, exponent = value.as_tuple()
    unscaled = int("".join(map(str, digits)))
    out.append(_DECIMAL)
    _write_int(out, int(exponent))
    _write_int(out, -unscaled if sign else unscaled)


def _write_date(out: bytearray, value: dt.date) -> None:
    out.append(_DATE)
    _write_varint(out, value.toordinal())


def _write_tuple(out: bytearray, values: tuple[Any, ...]) -> None:
    out.append(_TUPLE)
    _write_varint(out, len(values))
    for value in values:
        _write(out, value)


def _write_dict(out: bytearray, mapping: dict[Any, Any]) -> None:
    out.append(_DICT)
    _write_varint(out, len(mapping))
    for key, value in _by_key(mapping):
        out += key
        _write(out, value)


def _by_key(mapping: dict[Any, Any]) -> list[tuple[bytes, Any]]:
    return sorted(((_alone(key), value) for key, value in mapping.items()), key=lambda pair: pair[0])


def _alone(value: Any) -> bytes:
    out = bytearray()
    _write(out, value)
    return bytes(out)


def _write_sketch(out: bytearray, sketch: Any) -> None:
    out += bytes([_SKETCH, sketch.tag])
    _write_sized(out, sketch.payload())


_WRITERS: dict[type, Callable[[bytearray, Any], None]] = {
    type(None): _write_constant,
    bool: _write_constant,
    int: _write_int,
    float: _write_float,
    str: _write_text,
    bytes: _write_bytes,
    Decimal: _write_decimal,
    dt.date: _write_date,
    tuple: _write_tuple,
    dict: _write_dict,
}


class Reader:
    """A position in bytes that values were written to one behind the other. CodecError where there is no value."""

    def __init__(self, content: bytes, position: int) -> None:
        self.content = content
        self.position = position

    def take(self, size: int) -> bytes:
        end = self.position + size
        if end > len(self.content):
            raise CodecError("the stored results end too early")
        taken = self.content[self.position : end]
        self.position = end
        return taken

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def sized(self) -> bytes:
        return self.take(self.varint())

    def read(self) -> Any:
        tag = self.take(1)[0]
        if tag >= _SMALL:
            return _unzigzag(tag & 0x7F)
        if tag >= len(_READERS):
            raise CodecError(f"the stored results hold a value of unknown kind {tag}")
        return _READERS[tag](self)

    def finish(self, value: Any) -> Any:
        if self.position != len(self.content):
            raise CodecError("the stored results go on after their end")
        return value


def _read_big(reader: Reader) -> int:
    shift = reader.varint()
    return int.from_bytes(reader.sized(), "big", signed=True) << shift


def _read_decimal(reader: Reader) -> Decimal:
    exponent, unscaled = reader.read(), reader.read()
    digits = tuple(int(digit) for digit in str(abs(unscaled)))
    return Decimal((int(unscaled < 0), digits, exponent))


def _read_sketch(reader: Reader) -> Any:
    from zipline.algebra.sketches import KINDS

    tag = reader.take(1)[0]
    if tag not in KINDS:
        raise CodecError(f"the stored results hold a sketch of unknown kind {tag}")
    return KINDS[tag](reader.sized())


_READERS: tuple[Callable[[Reader], Any], ...] = (
    lambda reader: None,  # noqa: ARG005
    lambda reader: False,  # noqa: ARG005
    lambda reader: True,  # noqa: ARG005
    lambda reader: _unzigzag(reader.varint()),
    _read_big,
    lambda reader: _DOUBLE.unpack(reader.take(8))[0],
    lambda reader: float(_unzigzag(reader.varint())),
    lambda reader: reader.sized().decode("utf-8", "surrogatepass"),
    lambda reader: reader.sized(),
    _read_decimal,
    lambda reader: dt.date.fromordinal(reader.varint()),
    lambda reader: tuple(reader.read() for _ in range(reader.varint())),
    lambda reader: {reader.read(): reader.read() for _ in range(reader.varint())},
    _read_sketch,
)
