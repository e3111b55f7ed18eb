"""What a fetch gives: of every row its features, each with a value, a status and a data time."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from zipline.algebra.columnar.folding import ABSENT, INFINITE, TROUBLED
from zipline.arrow import to_arrow
from zipline.clock import to_datetime
from zipline.errors import UsageError
from zipline.fetch.online_values import reader_of
from zipline.plan.steps import Column
from zipline.types import BOOLEAN, DataType, MapType, every_type
from zipline.values import dataclass

Status: TypeAlias = Literal["ok", "default", "stale", "unavailable", "error"]
STATUSES: tuple[Status, ...] = ("default", "ok", "stale", "unavailable", "error")
"""By number, from the least to the worst: what is computed of several features has the worst of their statuses."""
OK = STATUSES.index("ok")
_NO_TROUBLES: dict[str, Status] = {}
_PATTERNS = 100_000
"""Statuses of the rows of which it is kept what is said of them."""


@dataclass(frozen=True, eq=False)
class Values:
    """One feature of every row: values, statuses, and until when its input is complete (microseconds, or None)."""

    values: list[Any]
    statuses: Sequence[Status]
    times: Sequence[int | None]

    def withheld(self, withheld: Iterable[tuple[Sequence[int], Status]]) -> Values:
        """The same, but with null and such a status in some rows."""
        some = list(withheld)
        if not some:
            return self
        values, statuses = list(self.values), list(self.statuses)
        for rows, status in some:
            for row in rows:
                values[row], statuses[row] = None, status
        return Values(values, statuses, self.times)


@dataclass(frozen=True, eq=False)
class Block:
    """Features as words (rows x features), whether there is a value, and numbers of statuses.

    `times` are of every part. `said` is what a kernel knows of all values together (`folding.ABSENT` and so on), so
    that nobody has to look at each; None where that is not known.
    """

    @classmethod
    def beside(cls, blocks: Sequence[Block]) -> Block:
        """The features of all of them, in order."""
        words, present, status = (
            np.concatenate([getattr(each, name) for each in blocks], axis=1) for name in ("words", "present", "status")
        )
        said = None if any(each.said is None for each in blocks) else 0
        for each in blocks:
            said = None if said is None or each.said is None else said | each.said
        return cls(words, present, status, [time for each in blocks for time in each.times], said)

    words: NDArray[np.int64]
    present: NDArray[np.bool_]
    status: NDArray[np.uint8]
    times: Sequence[int | None]
    said: int | None = None

    def withheld(self, rows: Sequence[int], columns: slice, status: Status) -> Block:
        """The same, but with null and this status in some columns of some rows."""
        self.present[rows, columns], self.status[rows, columns] = False, STATUSES.index(status)
        said = None if self.said is None else self.said | ABSENT | TROUBLED
        return Block(self.words, self.present, self.status, self.times, said)

    def may(self, be: int) -> bool:
        """Whether some of the values may be so."""
        return self.said is None or bool(self.said & be)


Found: TypeAlias = tuple[Block, dict[str, Values]]
"""The features that are words, and all others by name."""


class Shape:
    """What is the same for all results of a join: its columns, and which of them are words."""

    def __init__(self, columns: Sequence[Column], names: Sequence[str], types: Sequence[DataType]) -> None:
        self.columns = tuple(columns)
        self.names = tuple(name for name, _ in columns)
        self.place = {name: number for number, name in enumerate(names)}
        self.types = tuple(types)
        self.schema = pa.schema([(name, to_arrow(dtype)) for name, dtype in columns])
        self.fields = [(field.name, field.type, self.place.get(field.name)) for field in self.schema]
        self.stored = [_stored(dtype) for dtype in types]
        self.read = {n: read for n, dtype in enumerate(self.types) if (read := reader_of(dtype)) is not None}
        self.floats = [n for n, dtype in enumerate(self.types) if dtype.is_float]
        self.chosen = frozenset(self.names)
        self.rest = [name for name in self.names if name not in self.place]
        self.doubtful = [name for name, dtype in self.columns if name in self.rest and _has_floats(dtype)]
        self.has_boolean_keys = any(has_boolean_keys(dtype) for _, dtype in self.columns)
        self.troubles: dict[bytes, dict[str, Status]] = {}
        self.times: dict[tuple[int | None, ...], tuple[int | None, ...]] = {}
        order = [self.place[name] if name in self.place else len(names) + self.rest.index(name) for name in self.names]
        self.is_in_order = order == list(range(len(names)))
        self.in_order: Callable[[Sequence[Any]], Any] = (
            itemgetter(*order) if len(order) > 1 else lambda values: tuple(values[n] for n in order)
        )
        self.unpack = struct.Struct("=" + "".join("d" if dtype.is_float else "q" for dtype in types)).iter_unpack


class Result:
    """The features of the rows of one request, in their order."""

    def __init__(
        self,
        shape: Shape,
        block: Block,
        part_of: Mapping[str, int],
        others: Mapping[str, Values],
        count: int,
        fingerprint: str,
    ) -> None:
        self._shape, self._block, self._part_of, self._others, self._count = shape, block, part_of, others, count
        self.fingerprint = fingerprint

    def __len__(self) -> int:
        return self._count

    @property
    def features(self) -> tuple[str, ...]:
        return self._shape.names

    def rows(self) -> list[dict[str, Any]]:
        """Of every row its values by feature; instants are zoned datetimes."""
        shape, names = self._shape, self._shape.names
        rows = self._values()
        if shape.rest:
            others = zip(*(self._others[name].values for name in shape.rest), strict=True)
            rows = [(*values, *more) for values, more in zip(rows, others, strict=True)]
        if not shape.is_in_order:
            rows = map(shape.in_order, rows)
        return [dict(zip(names, values, strict=True)) for values in rows]

    def _values(self) -> Iterable[Sequence[Any]]:
        """Of every row the values that are words."""
        shape, block = self._shape, self._block
        if not shape.types:
            return [()] * self._count
        rows: Iterable[Sequence[Any]] = shape.unpack(block.words.tobytes())
        if not shape.read and not block.may(ABSENT):
            return rows
        found = list(map(list, rows))
        if block.may(ABSENT):
            width = len(shape.types)
            for number in np.flatnonzero(~block.present.ravel()).tolist():
                found[number // width][number % width] = None
        for place, read in shape.read.items():
            for values in found:
                if values[place] is not None:
                    values[place] = read(values[place])
        return found

    def status(self, row: int, feature: str) -> Status:
        """`ok`, `default`, `stale`, `unavailable` or `error`."""
        place = self._shape.place.get(feature)
        if place is not None:
            return STATUSES[int(self._block.status[row, place])]
        return self._other(feature).statuses[row]

    def time(self, row: int, feature: str) -> Any:
        """Until when the feature's input is complete, a zoned datetime; None where that is not known."""
        if feature in self._shape.place:
            micros = self._block.times[self._part_of[feature]]
        else:
            micros = self._other(feature).times[row]
        return None if micros is None else to_datetime(micros)

    def statuses(self) -> list[dict[str, Status]]:
        """Of every row what is not `ok`, by feature. Rows share what is alike: it is not to be changed."""
        known = self._shape.troubles
        if self._block.may(TROUBLED):
            status = self._block.status
            found = [known[each] if each in known else self._told(each) for each in map(bytes, status)]
        else:
            found = [_NO_TROUBLES] * self._count
        for name in self._shape.rest:
            statuses = self._others[name].statuses
            if statuses.count("ok") != len(statuses):
                found = [each if s == "ok" else {**each, name: s} for each, s in zip(found, statuses, strict=True)]
        return found

    def _told(self, status: bytes) -> dict[str, Status]:
        """What is not `ok` in a row with these numbers of statuses."""
        shape = self._shape
        names = zip(shape.place, status, strict=True)
        found = {name: STATUSES[number] for name, number in names if number != OK and name in shape.chosen}
        if len(shape.troubles) * len(status) < _PATTERNS:
            shape.troubles[status] = found
        return found

    def count_statuses(self) -> list[int]:
        """How many values have each of STATUSES."""
        if self._block.may(TROUBLED):
            found: list[int] = np.bincount(self._block.status.ravel(), minlength=len(STATUSES)).tolist()
        else:
            found = [self._block.status.size if number == OK else 0 for number in range(len(STATUSES))]
        for name in self._shape.rest:
            statuses = self._others[name].statuses
            for number, status in enumerate(STATUSES):
                found[number] += statuses.count(status)
        return found

    def times_of(self, feature: str) -> Sequence[int | None]:
        """Of every row the data time of a feature, in microseconds."""
        if feature in self._shape.place:
            return [self._block.times[self._part_of[feature]]] * self._count
        return self._other(feature).times

    def shared_times(self) -> tuple[int | None, ...] | None:
        """The data times of the features where they are those of all rows; None where rows differ."""
        parts, shape = tuple(self._block.times), self._shape
        if not shape.rest:
            shared = shape.times.get(parts)
            if shared is None:
                shared = tuple([parts[self._part_of[name]] for name in shape.names])
                shape.times = {parts: shared}  # the last one is that of all requests of a moment
            return shared
        found = {name: parts[part] for name, part in self._part_of.items()}
        for name in shape.rest:
            times = self._others[name].times
            if times and times.count(times[0]) != len(times):
                return None
            found[name] = times[0] if times else None
        return tuple([found[name] for name in shape.names])

    def has_infinities(self) -> bool:
        """Whether there may be an infinite value: there is none where this is False."""
        block = self._block
        if block.may(INFINITE) and np.isinf(block.words.view(np.float64)[:, self._shape.floats]).any():
            return True
        return any(_is_infinite(value) for name in self._shape.doubtful for value in self._others[name].values)

    @property
    def has_boolean_keys(self) -> bool:
        """Whether there may be a map whose keys are true and false: JSON has no such keys."""
        return self._shape.has_boolean_keys

    def columns(self) -> pa.Table:
        """The values as Arrow columns, a row for each of the request's."""
        shape, block, count = self._shape, self._block, self._count
        words = np.ascontiguousarray(block.words.T)
        whole, size = pa.py_buffer(words), count * words.itemsize
        bits, step = None, -(-count // 8)
        if block.may(ABSENT):
            bits = pa.py_buffer(np.packbits(np.ascontiguousarray(block.present.T), axis=1, bitorder="little"))
        arrays = []
        for name, arrow, place in shape.fields:
            if place is None:
                arrays.append(pa.array([_pairs(value) for value in self._others[name].values], arrow))
                continue
            stored = shape.stored[place]
            data = whole.slice(place * size, size) if stored is None else pa.py_buffer(stored(words[place]))
            valid = None if bits is None else bits.slice(place * step, step)
            arrays.append(pa.Array.from_buffers(arrow, count, [valid, data]))
        return pa.Table.from_arrays(arrays, schema=shape.schema)

    def find(self, feature: str) -> Values | None:
        """A feature of all rows, if it is words."""
        place = self._shape.place.get(feature)
        if place is None:
            return None
        read = self._shape.read.get(place)
        column = np.ascontiguousarray(self._block.words[:, place])
        found = (column.view(np.float64) if self._shape.types[place].is_float else column).tolist()
        present = self._block.present[:, place].tolist()
        values = [
            None if not there else v if read is None else read(v) for v, there in zip(found, present, strict=True)
        ]
        statuses = [STATUSES[number] for number in self._block.status[:, place].tolist()]
        return Values(values, statuses, [self._block.times[self._part_of[feature]]] * self._count)

    def _other(self, feature: str) -> Values:
        if feature not in self._others:
            raise UsageError(f"there is no feature {feature!r}", asked=feature, valid=self.features)
        return self._others[feature]


def _has_floats(dtype: DataType) -> bool:
    return any(each.is_float for each in every_type(dtype))


def has_boolean_keys(dtype: DataType) -> bool:
    """Whether a value may have a map whose keys are true and false: JSON has no such keys."""
    return any(isinstance(each, MapType) and each.key == BOOLEAN for each in every_type(dtype))


def _is_infinite(value: Any) -> bool:
    if isinstance(value, float):
        return math.isinf(value)
    if isinstance(value, dict):
        return any(map(_is_infinite, value)) or any(map(_is_infinite, value.values()))
    return isinstance(value, list) and any(map(_is_infinite, value))


def _stored(dtype: DataType) -> Callable[[NDArray[np.int64]], Any] | None:
    """From words to what Arrow keeps of a column of this type; None where it keeps the words."""
    arrow = to_arrow(dtype)
    if dtype == BOOLEAN:
        return lambda words: np.packbits(words != 0, bitorder="little")
    if arrow.bit_width == _WORD_BITS:
        return None
    if dtype.is_float:
        return lambda words: words.view(np.float64).astype(np.float32)
    narrow = np.dtype(f"i{arrow.bit_width // 8}")
    return lambda words: words.astype(narrow)


_WORD_BITS = 64


def _pairs(value: Any) -> Any:
    """Maps as Arrow takes them."""
    return list(value.items()) if isinstance(value, dict) else value


def as_json(value: Any) -> Any:
    """A value without what JSON has no word for, as msgspec writes it: infinities and truths as keys are text."""
    if isinstance(value, float) and math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, list):
        return [as_json(each) for each in value]
    if isinstance(value, dict):
        return {_as_key(key): as_json(each) for key, each in value.items()}
    return value


def _as_key(key: Any) -> Any:
    """The same of the key of a map, which JSON knows as text."""
    return ("true" if key else "false") if isinstance(key, bool) else as_json(key)
