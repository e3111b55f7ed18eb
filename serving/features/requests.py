"""What a request for features may look like, from the join's plan: a decoder of JSON bodies, and the schema to publish.

One rule: JSON's own types as the schema says, nothing is converted. Integers are JSON integers (`"12"` and `1.0` are
none), numbers may be written as integers, instants are ISO 8601 text (without a zone: UTC), days are text such as
2013-07-01, bytes are base64. A key may be null, which is nobody's key; where it is not there at all, features of that
key are `error`. The other columns of the join's left are taken where they are given: derivations may need them. What
the join does not know is refused.
"""

from __future__ import annotations

import datetime as dt
import zlib
from collections.abc import Sequence
from contextlib import suppress
from decimal import Decimal
from functools import cache
from typing import Annotated, Any, Literal

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import UNSET, Meta

from serving.problems import Problem
from zipline.arrow import from_arrow, to_arrow
from zipline.clock import DAY, now, to_micros
from zipline.errors import TableError, UsageError
from zipline.fetch.joins import JoinFetch
from zipline.json_instants import Instant, read_datetime
from zipline.plan.steps import Column
from zipline.types import (
    BINARY,
    BOOLEAN,
    DATE,
    NULL,
    STRING,
    TIMESTAMP,
    ArrayType,
    DataType,
    DecimalType,
    MapType,
    StructType,
    every_type,
    kind,
)
from zipline.values import dataclass

LONGEST_TEXT = 4096
"""Characters of a text, bytes of a binary."""


@dataclass(frozen=True, eq=False)
class Request:
    """Rows of a request; `at` in microseconds, None for now."""

    rows: list[dict[str, Any]]
    at: int | None = None


class RequestReader:
    """Reads the requests of one join. `given` are all columns that a row may have, `keys` those that features need."""

    def __init__(self, fetch: JoinFetch, most_rows: int) -> None:
        self.keys = fetch.keys
        self.given: tuple[Column, ...] = fetch.given
        self._names = tuple(name for name, _ in self.given)
        self._most_rows = most_rows
        self._nested = [
            (name, dtype)
            for name, dtype in self.given
            if any(isinstance(each, StructType) or _is_map_of_boolean(each) for each in every_type(dtype))
        ]
        row = row_type(f"{fetch.plan.name}.Row", self.given)
        rows = Annotated[list[row], Meta(max_length=most_rows)]  # type: ignore[valid-type]
        self.type = msgspec.defstruct(
            f"{fetch.plan.name}.Request", [("rows", rows), ("at", Instant | None, None)], forbid_unknown_fields=True
        )
        self._decoder: Any = msgspec.json.Decoder(self.type, dec_hook=read_datetime)

    def read(self, body: bytes | bytearray) -> Request:
        """Problem names the place that is wrong."""
        try:
            found = self._decoder.decode(body)
        except msgspec.ValidationError as wrong:
            raise self._problem(str(wrong)) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as wrong:
            raise Problem(400, "invalid_json", f"the body is no JSON: {_said(wrong)}") from None
        names, values = self._names, msgspec.structs.astuple
        nested = self._nested
        rows = [
            {name: value for name, value in zip(names, values(row), strict=True) if value is not UNSET}
            for row in found.rows
        ]
        for name, dtype in nested:
            for row in rows:
                if name in row:
                    row[name] = _plain(row[name], dtype)
        return Request(rows, None if found.at is None else self._time(found.at))

    def _time(self, at: dt.datetime) -> int:
        with suppress(UsageError):
            if (micros := to_micros(at)) <= now() + _AHEAD:
                return micros
        raise Problem(400, "invalid_request", "a time is of the years from 1 to the next one", path="$.at")

    def read_table(self, table: pa.Table) -> Request:
        """The same of rows that came as Arrow: columns are of their kind, and fit into their type."""
        if table.num_rows > self._most_rows:
            raise Problem(400, "invalid_request", f"at most {self._most_rows} rows are taken", path="$.rows")
        for name in table.column_names:
            if name not in self._names or table.column_names.count(name) > 1:
                raise self._problem(f"Object contains unknown field `{name}` - at `$.rows`")
        types = dict(self.given)
        columns = {name: _column(name, table.column(name), types[name]) for name in table.column_names}
        try:
            return Request(pa.table(columns).to_pylist() if columns else [{} for _ in range(table.num_rows)])
        except (OverflowError, ValueError):
            raise Problem(400, "invalid_request", "a time is beyond the years 1 to 9999", path="$.rows") from None

    def _problem(self, said: str) -> Problem:
        what, _, place = said.rpartition(" - at ")
        if not what:
            what, place = said, "$"
        valid = self._names if "unknown field" in what else ()
        if place.startswith("`key` in "):
            what, place = f"{what} (a key)", place.removeprefix("`key` in ")
        return Problem(400, "invalid_request", what, path=place.strip("`"), valid=valid)


def _column(name: str, column: pa.ChunkedArray, dtype: DataType) -> pa.ChunkedArray:
    """A column as its declared type. Problem where it is of another kind, or has a value that does not fit."""
    try:
        found = from_arrow(column.type, name)
        if found != NULL and kind(found) != kind(dtype):
            raise Problem(400, "invalid_request", f"Expected `{dtype}`, got `{found}`", path=f"$.rows[*].{name}")
        fit = column.cast(to_arrow(dtype))
        length = {STRING: pc.utf8_length, BINARY: pc.binary_length}.get(dtype)
        if length is not None and (pc.max(length(fit)).as_py() or 0) > LONGEST_TEXT:
            what = f"at most {LONGEST_TEXT:,} characters are taken"
            raise Problem(400, "invalid_request", what, path=f"$.rows[*].{name}")
        return fit
    except (pa.ArrowException, TableError):
        what = f"the column does not fit into `{dtype}`"
        raise Problem(400, "invalid_request", what, path=f"$.rows[*].{name}") from None


def row_type(title: str, columns: Sequence[Column]) -> type[msgspec.Struct]:
    """The type of a row: every column may be null, or be left out."""
    fields = [
        (f"f{number}", json_type(dtype) | None | msgspec.UnsetType, UNSET) for number, (_, dtype) in enumerate(columns)
    ]
    names = {f"f{number}": name for number, (name, _) in enumerate(columns)}
    return msgspec.defstruct(title, fields, rename=names, forbid_unknown_fields=True, gc=False)


def json_type(dtype: DataType) -> Any:
    """What a value of the type is in JSON, as msgspec reads it."""
    if dtype.is_integer:
        least, most = dtype.bounds
        return Annotated[int, Meta(ge=least, le=most)]
    if dtype.is_float:
        return float
    if isinstance(dtype, DecimalType):
        return Decimal
    if isinstance(dtype, ArrayType):
        return list[json_type(dtype.element) | None]  # type: ignore[misc]
    if isinstance(dtype, MapType):
        key = Literal["true", "false"] if dtype.key == BOOLEAN else json_type(dtype.key)
        return dict[key, json_type(dtype.value) | None]  # type: ignore[misc, valid-type]
    if isinstance(dtype, StructType):
        return _struct_type(dtype)
    return _JSON[dtype]


@cache
def _struct_type(dtype: StructType) -> type[msgspec.Struct]:
    fields = [(f"f{n}", json_type(field) | None, None) for n, (_, field) in enumerate(dtype.fields)]
    names = {f"f{n}": name for n, (name, _) in enumerate(dtype.fields)}
    title = f"Struct{zlib.crc32(str(dtype).encode()):08x}"
    return msgspec.defstruct(title, fields, rename=names, forbid_unknown_fields=True, gc=False)


def _is_map_of_boolean(dtype: DataType) -> bool:
    """Whose keys are texts in JSON, as all names of an object are."""
    return isinstance(dtype, MapType) and dtype.key == BOOLEAN


def _plain(value: Any, dtype: DataType) -> Any:
    """A value with structs as mappings of their fields, and keys that are truth values as these."""
    if value is None:
        return None
    if isinstance(dtype, ArrayType):
        return [_plain(each, dtype.element) for each in value]
    if isinstance(dtype, MapType):
        is_of_boolean = _is_map_of_boolean(dtype)
        return {key == "true" if is_of_boolean else key: _plain(each, dtype.value) for key, each in value.items()}
    if isinstance(dtype, StructType):
        values = msgspec.structs.astuple(value)
        return {name: _plain(each, field) for (name, field), each in zip(dtype.fields, values, strict=True)}
    return value


_JSON: dict[DataType, Any] = {
    BOOLEAN: bool,
    STRING: Annotated[str, Meta(max_length=LONGEST_TEXT)],
    BINARY: Annotated[bytes, Meta(max_length=LONGEST_TEXT)],
    DATE: dt.date,
    TIMESTAMP: Instant,
}


def _said(wrong: Exception) -> str:
    """Without anything of the body in it."""
    if isinstance(wrong, UnicodeDecodeError):
        return f"invalid UTF-8 at byte {wrong.start}"
    return "nested too deep" if isinstance(wrong, RecursionError) else str(wrong).removeprefix("JSON is malformed: ")


_AHEAD = 366 * DAY
"""So far ahead of the clock may be asked: every day of tiles up to then is looked for."""
