"""What one aggregation of a job keeps: the partials of one group-by, or of several that take the same rows.

Group-bys that take the same rows of their tables, by the same keys and clocks into tiles of one width, differ in what
they keep alone. So their rows are moved once, into a tile that has the states of all, each once; of a tile that is sent
each group-by takes the words and IRs that are its own (`Tiles.of`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Hashable, Iterable
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from zipline.algebra.columnar.blocks import Irs
from zipline.algebra.layout import FIRST_STATE, ROWS, WORDS, Layout
from zipline.expressions import Expression
from zipline.plan.online import Kept
from zipline.plan.steps import Projection
from zipline.types import DataType
from zipline.values import dataclass

LATEST = "LATEST"
"""The operation of a lookup."""
_NAMED = 2
"""Group-bys that the name of an aggregation tells."""


class _Part(NamedTuple):
    """Where what a group-by keeps stands in a tile."""

    words: NDArray[np.int64]
    irs: tuple[int, ...]


class Tiles(NamedTuple):
    """Tiles in the order of their places: `keys` are distinct (`zipline.byte_strings`), `key` the number of each one's,
    `day` when it became available, `words` a row for each, and `irs` a list for each, or none where no IR is kept."""

    shared: Shared
    keys: pa.Array
    key: NDArray[np.int64]
    day: NDArray[np.int64]
    words: NDArray[np.int64]
    irs: Irs

    def of(self, kept: Kept) -> Tiles:
        """What a group-by takes of them."""
        if len(self.shared.members) == 1:
            return self
        part = self.shared.part(kept)
        irs = [[each[number] for number in part.irs] for each in self.irs] if part.irs else []
        return self._replace(words=np.ascontiguousarray(self.words[:, part.words]), irs=irs)

    def parts(self, most: int) -> list[Tiles]:
        """The same in parts of about so many tiles; all of a key are in one part."""
        bounds = np.unique([0, *np.searchsorted(self.key, self.key[most::most]), len(self.key)]).tolist()
        return [self._at(slice(first, last)) for first, last in pairwise(bounds)]

    def _at(self, part: slice) -> Tiles:
        return self._replace(key=self.key[part], day=self.day[part], words=self.words[part], irs=self.irs[part])


@dataclass(frozen=True, eq=False)
class Shared:
    """See the module. `members` are never none."""

    members: tuple[Kept, ...]

    @property
    def first(self) -> Kept:
        """Which rows there are is the same of all."""
        return self.members[0]

    @property
    def name(self) -> str:
        names = [kept.group_by.name for kept in self.members]
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        return ", ".join(names[:_NAMED]) + more

    @cached_property
    def tag(self) -> int:
        """What its messages say that they are of."""
        if len(self.members) == 1:
            return self.first.tag
        found = hashlib.sha256(" ".join(kept.fingerprint for kept in self.members).encode())
        return int.from_bytes(found.digest()[:8], "little", signed=True)

    @cached_property
    def columns(self) -> dict[str, DataType]:
        """The columns that a tile takes, in the order in which the job has them behind place, weight and clocks."""
        found: dict[str, DataType] = {}
        for feature in (feature for kept in self.members for feature in kept.features):
            if feature.bucket is not None and feature.bucket_type is not None:
                found.setdefault(feature.bucket, feature.bucket_type)
            found.setdefault(feature.input, feature.input_type)
        return found

    @cached_property
    def layout(self) -> Layout:
        """Of the words of a tile."""
        if len(self.members) == 1:
            return self.first.layout
        states = (state for kept in self.members for state in kept.layout.states)
        return Layout.of((state.kind, state.input, state.type) for state in states)

    @cached_property
    def reductions(self) -> tuple[str, ...]:
        """The IRs of a tile, each as it is described."""
        return tuple(dict.fromkeys(text for kept in self.members for text in self._reductions_of(kept)))

    @cached_property
    def spec(self) -> str:
        """What is kept, as the job is told it."""
        place = self._numbers
        told = {
            "signed": self.first.is_signed,
            "width": self.first.tile,
            "columns": [str(dtype) for dtype in self.columns.values()],
            "states": [
                {"kind": state.kind, "column": None if state.input == ROWS else place[state.input]}
                for state in self.layout.states
            ],
            "irs": [json.loads(each) for each in self.reductions],
        }
        return json.dumps(told, separators=(",", ":"))

    def part(self, kept: Kept) -> _Part:
        """Where what a member keeps stands."""
        words = list(range(FIRST_STATE))
        for state in kept.layout.states:
            at = self.layout.state(state.kind, state.input).at
            words += range(at, at + WORDS[state.kind])
        return _Part(np.array(words, np.int64), tuple(map(self.reductions.index, self._reductions_of(kept))))

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.columns)}

    def _reductions_of(self, kept: Kept) -> list[str]:
        bucketed = {kept.reduction(feature): feature.bucket is not None for feature in kept.others}
        return [
            json.dumps(
                {
                    "operation": LATEST if kept.group_by.lookup else each.operation,
                    "columns": [self._numbers[name] for name in each.columns],
                    "k": each.k,
                    "percentiles": each.percentiles,
                    "bucket": bucketed[each],
                }
            )
            for each in kept.reductions
        ]


def shared(feeds: Iterable[Kept]) -> tuple[Shared, ...]:
    """Group-bys by what they can share, in the order of the first of each."""
    found: list[tuple[Hashable, list[Kept]]] = []
    for kept in feeds:
        rows = _rows(kept)
        for known, members in found:
            if known == rows and all(_agree(kept, member) for member in members):
                members.append(kept)
                break
        else:
            found.append((rows, [kept]))
    return tuple(Shared(tuple(members)) for _, members in found)


def _rows(kept: Kept) -> Hashable:
    """Which rows a group-by takes, and the places that they have."""
    return kept.tile, kept.is_signed, tuple(_rows_of(kept, source) for source in kept.streams)


def _rows_of(kept: Kept, source: Projection) -> Hashable:
    clocks = (source.time, source.known_at, source.mutation_time, source.is_before, source.event_id)
    keys = [(source.columns[name].text, str(dtype)) for name, dtype in kept.group_by.keys]
    return source.table, source.start, source.end, *map(_text, clocks), tuple(map(_text, source.where)), tuple(keys)


def _agree(one: Kept, other: Kept) -> bool:
    """Whether columns of one name are the same columns."""
    names = Shared((one,)).columns.keys() & Shared((other,)).columns.keys()
    sources = zip(one.streams, other.streams, strict=True)
    return all(_column(a, name) == _column(b, name) for a, b in sources for name in names)


def _column(source: Projection, name: str) -> Hashable:
    return source.columns[name].text, str(source.column_types[name])


def _text(expression: Expression | None) -> str | None:
    return None if expression is None else expression.text
