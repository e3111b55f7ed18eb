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
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import Any, TypeAlias

from zipline.api import (
    EntitySource,
    EventSource,
    ExternalSource,
    GroupBy,
    Join,
    JoinSource,
    Model,
    StagingQuery,
    Window,
)
from zipline.api.base import Definition
from zipline.errors import DefinitionError

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
Reference: TypeAlias = Callable[[Definition], Json]
Shared: TypeAlias = "dict[int, tuple[Definition, dict[str, Json], list[Json]]]"
"""Id of a source -> the source, its fields, and those left out."""

REFERENCED = (GroupBy, Join, ExternalSource, StagingQuery, Model)
"""Kinds that stand for themselves: inside others they are references."""
SOURCES = (EventSource, EntitySource, JoinSource)

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


def canonical_identity(
    definition: Definition, reference: Reference, shared: Shared | None = None
) -> tuple[dict[str, Json], list[Json]]:
    """The definition with `identity`, and the fields that are then left out, in the order in which they were met.

    `shared` holds what was made of sources, of which many definitions may read the same.
    """
    left_out: list[Json] = []
    return _Form(definition, reference, True, left_out, shared).fields_of(definition), left_out


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
    import msgspec

    try:
        return msgspec.json.format(compact(value), indent=2) + "\n"
    except UnicodeEncodeError:
        # Half of a surrogate pair, which is no UTF-8.
        return json.dumps(value, sort_keys=True, ensure_ascii=False, indent=2, allow_nan=False) + "\n"


@dataclasses.dataclass(frozen=True)
class _Form:
    subject: Definition
    reference: Reference
    identity: bool
    left_out: list[Json] | None = None
    shared: Shared | None = None

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
        kind: Any = type(value)
        form = _form_of(kind)
        if form is _as_it_is:
            return value  # type: ignore[no-any-return]
        return form(self, value)

    def _referenced(self, value: Any) -> Json:
        return self.reference(value)

    def _definition(self, value: Any) -> Json:
        return self.fields_of(value)

    def _source(self, value: Any) -> Json:
        if self.shared is None or self.left_out is None:
            return self.fields_of(value)
        if id(value) not in self.shared:
            apart: list[Json] = []
            fields = dataclasses.replace(self, left_out=apart).fields_of(value)
            self.shared[id(value)] = value, fields, apart
        _, fields, apart = self.shared[id(value)]
        self.left_out.extend(apart)
        return fields

    def _mapping(self, value: Mapping[Any, Any]) -> Json:
        return {self._key(key): self._value(element) for key, element in value.items()}

    def _list(self, value: Iterable[Any]) -> Json:
        return [self._value(element) for element in value]

    def _set(self, value: Iterable[Any]) -> Json:
        return {"kind": "set", "values": sorted((self._value(element) for element in value), key=compact)}

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


def _as_it_is(_form: _Form, value: Any) -> Json:
    return value  # type: ignore[no-any-return]


def _window(_form: _Form, value: Window) -> Json:
    return value.text


def _named(_form: _Form, value: Enum) -> Json:
    return value._name_


_FORMS: tuple[tuple[tuple[type, ...], Callable[[_Form, Any], Json]], ...] = (
    ((Window,), _window),
    (REFERENCED, _Form._referenced),
    (SOURCES, _Form._source),
    ((Definition,), _Form._definition),
    ((Enum,), _named),
    ((Mapping,), _Form._mapping),
    ((list, tuple), _Form._list),
    ((set, frozenset), _Form._set),
)
"""Of several that a type is, the first."""


@functools.cache
def _form_of(kind: type) -> Callable[[_Form, Any], Json]:
    if kind in _AS_IS:
        return _as_it_is
    return next((form for kinds, form in _FORMS if issubclass(kind, kinds)), _Form._scalar)


@functools.cache
def _fields(kind: Any) -> tuple[tuple[str, Any, bool], ...]:
    """(name, default, whether it is part of the identity) of the fields of a kind of definition."""
    return tuple((f.name, f.default, not _is_left_out(kind, f.name)) for f in dataclasses.fields(kind))


def _is_default(default: Any, value: Any) -> bool:
    return type(value) is type(default) and bool(value == default)


def _is_left_out(kind: type[Definition], field: str) -> bool:
    return field in NO_PART_OF_IDENTITY or (field == "start" and issubclass(kind, _FIRST_DAY_OF_OUTPUT))
