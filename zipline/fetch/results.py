"""What a fetch gives: of every row its features, each with a value, a status and a data time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from zipline.arrow import to_arrow
from zipline.clock import to_datetime
from zipline.errors import UsageError
from zipline.fetch.online_values import reader_of
from zipline.plan.steps import Column
from zipline.types import BOOLEAN, ArrayType, DataType, MapType, StructType
from zipline.values import dataclass

Status: TypeAlias = Literal["ok", "default", "stale", "unavailable", "error"]
STATUSES: tuple[Status, ...] = ("default", "ok", "stale", "unavailable", "error")
"""By number, from the least to the worst: what is computed of several features has the worst of their statuses."""
OK = STATUSES.index("ok")


@dataclass(frozen=True, eq=False)
class Values:
    """One feature of every row: values, statuses, and until when its input is complete (microseconds, or None)."""

    values: list[Any]
    statuses: Sequence[Status]
    times: Sequence[int | None]

    def without(self, rows: Sequence[int]) -> Values:
        """The same, but for rows that could not be read."""
        if not rows:
            return self
        unread = set(rows)
        values = [None if number in unread else value for number, value in enumerate(self.values)]
        statuses: list[Status] = [
            "unavailable" if number in unread else status for number, status in enumerate(self.statuses)
        ]
        return Values(values, statuses, self.times)


@dataclass(frozen=True, eq=False)
class Block:
    """Features as words (rows x features), whether there is a value, and numbers of statuses.

    `times` are of every part; `blocks` is what the parts were computed of, for the features that take more.
    """

    @classmethod
    def beside(cls, blocks: Sequence[Block]) -> Block:
        """The features of all of them, in order."""
        words, present, status = (
            np.concatenate([getattr(each, name) for each in blocks], axis=1) for name in ("words", "present", "status")
        )
        return cls(words, present, status, [time for each in blocks for time in each.times], [])

    words: NDArray[np.int64]
    present: NDArray[np.bool_]
    status: NDArray[np.uint8]
    times: Sequence[int | None]
    blocks: Sequence[Any]


class Shape:
    """What is the same for all results of a join: its columns, and which of them are words."""

    def __init__(self, columns: Sequence[Column], names: Sequence[str], types: Sequence[DataType]) -> None:
        self.columns = tuple(columns)
        self.names = tuple(name for name, _ in columns)
        self.place = {name: number for number, name in enumerate(names)}
        self.types = tuple(types)
        self.schema = pa.schema([(name, to_arrow(dtype)) for name, dtype in columns])
        self.stored = [_stored(dtype) for dtype in types]
        self.read = {n: read for n, dtype in enumerate(self.types) if (read := reader_of(dtype)) is not None}
        self.floats = [n for n, dtype in enumerate(self.types) if dtype.is_float]
        self.chosen = frozenset(self.names)
        self.rest = [name for name in self.names if name not in self.place]
        self.doubtful = [name for name, dtype in self.columns if name in self.rest and _has_floats(dtype)]
        order = [self.place[name] if name in self.place else len(names) + self.rest.index(name) for name in self.names]
        self.in_order: Callable[[Sequence[Any]], Any] = (
            itemgetter(*order) if len(order) > 1 else lambda values: tuple(values[n] for n in order)
        )


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
        others = [self._others[name].values for name in shape.rest]
        found = []
        for number, values in enumerate(self._values()):
            values += [column[number] for column in others]
            found.append(dict(zip(names, shape.in_order(values), strict=True)))
        return found

    def _values(self) -> list[list[Any]]:
        """Of every row the values that are words."""
        shape, block = self._shape, self._block
        rows: list[list[Any]] = block.words.tolist()
        floats = block.words.view(np.float64).tolist()
        is_whole = block.present.all()
        absent = [] if is_whole else np.argwhere(~block.present).tolist()
        for values, doubles in zip(rows, floats, strict=True):
            for place in shape.floats:
                values[place] = doubles[place]
        for row, place in absent:
            rows[row][place] = None
        for place, read in shape.read.items():
            for values in rows:
                if values[place] is not None:
                    values[place] = read(values[place])
        return rows

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

    def troubles(self) -> Iterator[tuple[int, str, Status]]:
        """(row, feature, status) of all that is not `ok`."""
        names = list(self._shape.place)
        block = self._block.status
        for row, place in np.argwhere(block != OK).tolist():
            if names[place] in self._shape.chosen:
                yield row, names[place], STATUSES[block[row, place]]
        for name in self._shape.rest:
            statuses = self._others[name].statuses
            if statuses.count("ok") != len(statuses):
                yield from ((row, name, status) for row, status in enumerate(statuses) if status != "ok")

    def count_statuses(self) -> list[int]:
        """How many values have each of STATUSES."""
        found: list[int] = np.bincount(self._block.status.ravel(), minlength=len(STATUSES)).tolist()
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
        parts = self._block.times
        if not self._shape.rest:
            return tuple([parts[self._part_of[name]] for name in self._shape.names])
        found = {name: parts[part] for name, part in self._part_of.items()}
        for name in self._shape.rest:
            times = self._others[name].times
            if times and times.count(times[0]) != len(times):
                return None
            found[name] = times[0] if times else None
        return tuple([found[name] for name in self._shape.names])

    def has_infinities(self) -> bool:
        """Whether there may be an infinite value: there is none where this is False."""
        if np.isinf(self._block.words.view(np.float64)[:, self._shape.floats]).any():
            return True
        return any(_is_infinite(value) for name in self._shape.doubtful for value in self._others[name].values)

    def columns(self) -> pa.Table:
        """The values as Arrow columns, a row for each of the request's."""
        shape, block = self._shape, self._block
        words = np.ascontiguousarray(block.words.T)
        bits = None
        if not block.present.all():
            bits = np.packbits(np.ascontiguousarray(block.present.T), axis=1, bitorder="little")
        arrays = []
        for field in shape.schema:
            place = shape.place.get(field.name)
            if place is None:
                arrays.append(pa.array([_pairs(value) for value in self._others[field.name].values], field.type))
                continue
            data = shape.stored[place](words[place])
            valid = None if bits is None else pa.py_buffer(bits[place])
            arrays.append(pa.Array.from_buffers(field.type, self._count, [valid, pa.py_buffer(data)]))
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
    if isinstance(dtype, ArrayType):
        return _has_floats(dtype.element)
    if isinstance(dtype, MapType):
        return _has_floats(dtype.key) or _has_floats(dtype.value)
    if isinstance(dtype, StructType):
        return any(_has_floats(field) for _, field in dtype.fields)
    return dtype.is_float


def _is_infinite(value: Any) -> bool:
    if isinstance(value, float):
        return math.isinf(value)
    if isinstance(value, dict):
        return any(map(_is_infinite, value)) or any(map(_is_infinite, value.values()))
    return isinstance(value, list) and any(map(_is_infinite, value))


def _stored(dtype: DataType) -> Callable[[NDArray[np.int64]], Any]:
    """From words to what Arrow keeps of a column of this type."""
    arrow = to_arrow(dtype)
    if dtype == BOOLEAN:
        return lambda words: np.packbits(words != 0, bitorder="little")
    if arrow.bit_width == _WORD_BITS:
        return lambda words: words
    if dtype.is_float:
        return lambda words: words.view(np.float64).astype(np.float32)
    narrow = np.dtype(f"i{arrow.bit_width // 8}")
    return lambda words: words.astype(narrow)


_WORD_BITS = 64


def _pairs(value: Any) -> Any:
    """Maps as Arrow takes them."""
    return list(value.items()) if isinstance(value, dict) else value
