"""Keys of a part: which columns of the left they are, and that their kinds can be equal."""

from __future__ import annotations

from collections.abc import Mapping

from zipline.api import Join, JoinPart
from zipline.api.base import Definition
from zipline.plan.steps import Column
from zipline.types import NULL, DataType, kind


def left_keys_of(
    join: Join, part: JoinPart, source: str, keys: tuple[Column, ...], left: Mapping[str, DataType]
) -> tuple[str, ...]:
    """The left's columns in the order of the keys."""
    contextual = join.contextual.fields if join.contextual else ()
    for key, dtype in keys:
        column = part.left_keys[key]
        if column in contextual and column not in left:
            raise join.wrong(
                f"{source} needs the key {key!r}, and {column!r} is contextual: the left does not have it",
                asked=column,
                valid=left,
                hint="keys are looked up offline too: select the column in the left",
            )
        if column not in left:
            raise join.wrong(
                f"{source} needs the key {key!r}, and the left has no column {column!r}",
                asked=column,
                valid=left,
                hint="select it, or map another left column to the key with key_map",
            )
        check_key_kinds(join, column, left[column], key, dtype)
    return tuple(part.left_keys[key] for key, _ in keys)


def are_one_kind(one: DataType, other: DataType) -> bool:
    """Whether keys of these types can be equal."""
    return NULL in (one, other) or kind(one) == kind(other)


def check_key_kinds(subject: Definition, column: str, left: DataType, key: str, right: DataType) -> None:
    """Refuses keys of different kinds: they would never be equal."""
    if not are_one_kind(left, right):
        raise subject.wrong(
            f"left column {column!r} is {left}, but the key {key!r} is {right}",
            hint=f"keys compare by type and value: CAST({column} AS {right}) on the left, or the key in its source",
        )
