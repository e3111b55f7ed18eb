"""Definitions as JSON: the same text for the same definition, on every machine and in every process.

Every object is tagged with its kind; fields at their default are left out, so that a field added to the language
changes no existing text. Windows are in canonical text, enums by name, callables as `module:qualified.name`. Mappings
whose order is the order of columns become lists of pairs; all others are sorted. A definition that has a name of its
own (a group-by, a join, ...) appears inside another one only as a reference.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import functools
import json
import math
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, TypeAlias

from zipline.api import ExternalSource, GroupBy, Join, Model, StagingQuery, Window
from zipline.api.base import Definition
from zipline.errors import DefinitionError

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
Reference: TypeAlias = Callable[[Definition], Json]

REFERENCED = (GroupBy, Join, ExternalSource, StagingQuery, Model)
"""Kinds that stand for themselves: inside others they are references."""

_COMPACT = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
_AS_IS = frozenset({str, int, bool, type(None)})
NO_PART_OF_IDENTITY = frozenset({"description", "owner", "tags"})
_FIRST_DAY_OF_OUTPUT = (GroupBy, Join)
_COLUMNS_IN_ORDER = frozenset({"select", "fields", "keys", "values"})


def canonical(definition: Definition, reference: Reference, *, identity: bool = False) -> dict[str, Json]:
    """The definition as JSON values; `reference` gives what stands for another definition inside it.

    With `identity` the fields are left out that change nothing in the values: description, owner, tags and the first
    day of output.
    """
    return _Form(definition, reference, identity).fields_of(definition)


def canonical_identity(definition: Definition, reference: Reference) -> tuple[dict[str, Json], list[Json]]:
    """The definition with `identity`, and the fields that are then left out, in the order in which they were met."""
    left_out: list[Json] = []
    return _Form(definition, reference, True, left_out).fields_of(definition), left_out


def canonical_value(value: Any) -> Json:
    """One value of a definition (a default, an argument) in the same form."""
    if value is None:
        return None
    return _Form(Definition(), lambda definition: definition.title, identity=True)._value(value)


def compact(value: Json) -> str:
    """JSON in one line, keys sorted."""
    return _COMPACT.encode(value)


def pretty(value: Json) -> str:
    """JSON over several lines, keys sorted, for files that are compared by people."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, indent=2, allow_nan=False) + "\n"


@dataclasses.dataclass(frozen=True)
class _Form:
    subject: Definition
    reference: Reference
    identity: bool
    left_out: list[Json] | None = None

    def fields_of(self, definition: Definition) -> dict[str, Json]:
        kind: Any = type(definition)
        given: dict[str, Json] = {"kind": kind.__name__}
        for name, default, is_identity in _fields(kind):
            value = getattr(definition, name)
            if value is default or _is_default(default, value):
                continue
            if is_identity or not self.identity:
                given[name] = self._field(name, value)
            elif self.left_out is not None:
                self.left_out.append([kind.__name__, name, self._field(name, value)])
        return given

    def _field(self, name: str, value: Any) -> Json:
        if name in _COLUMNS_IN_ORDER and isinstance(value, Mapping):
            return [[column, self._value(element)] for column, element in value.items()]
        return self._value(value)

    def _value(self, value: Any) -> Json:
        if type(value) in _AS_IS:
            return value  # type: ignore[no-any-return]
        if isinstance(value, Window):
            return value.text
        if isinstance(value, REFERENCED):
            return self.reference(value)
        if isinstance(value, Definition):
            return self.fields_of(value)
        if isinstance(value, Enum):
            return value.name
        if isinstance(value, Mapping):
            return {self._key(key): self._value(element) for key, element in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._value(element) for element in value]
        if isinstance(value, (set, frozenset)):
            return {"kind": "set", "values": sorted((self._value(element) for element in value), key=compact)}
        return self._scalar(value)

    def _key(self, key: Any) -> str:
        return key if isinstance(key, str) else compact(self._scalar(key))

    def _scalar(self, value: Any) -> Json:
        if value is None or isinstance(value, (bool, str)):
            return value
        if isinstance(value, int):
            return int(value)
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else {"kind": "float", "value": str(float(value))}
        if isinstance(value, (dt.date, dt.time)):
            return {"kind": type(value).__name__, "value": value.isoformat()}
        if isinstance(value, dt.timedelta):
            return {"kind": "timedelta", "microseconds": value // dt.timedelta(microseconds=1)}
        if isinstance(value, decimal.Decimal):
            return {"kind": "decimal", "value": str(value)}
        if isinstance(value, bytes):
            return {"kind": "bytes", "value": value.hex()}
        return self._callable(value)

    def _callable(self, value: Any) -> Json:
        module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
        if not callable(value) or not module or not name or "<" in name:
            raise DefinitionError(
                f"{value!r} has no lasting form",
                subject=self.subject.title,
                where=self.subject.location,
                hint="use text, numbers, dates, lists or mappings of these; of callables, a function of a module",
            )
        return f"{module}:{name}"


@functools.cache
def _fields(kind: Any) -> tuple[tuple[str, Any, bool], ...]:
    """(name, default, whether it is part of the identity) of the fields of a kind of definition."""
    return tuple((f.name, f.default, not _is_left_out(kind, f.name)) for f in dataclasses.fields(kind))


def _is_default(default: Any, value: Any) -> bool:
    return type(value) is type(default) and bool(value == default)


def _is_left_out(kind: type[Definition], field: str) -> bool:
    return field in NO_PART_OF_IDENTITY or (field == "start" and issubclass(kind, _FIRST_DAY_OF_OUTPUT))
