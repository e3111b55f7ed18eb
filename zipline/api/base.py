"""What every definition has in common: it is a frozen value, checked when made, that knows the author's line.

`@definition` makes a frozen dataclass of a class. A field's metadata may hold `check`, a function of (value, field
label) that returns the value in its stored form or raises `Wrong`; the decorator turns that into a DefinitionError
which names the object, the field, the author's file and line. After the fields, `_validate` checks what concerns
several of them.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from types import FrameType
from typing import Any, NoReturn, TypeVar, cast, dataclass_transform

from zipline.errors import DefinitionError, Location

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_T = TypeVar("_T")


class Wrong(Exception):
    """A field's value is not what the field takes."""

    def __init__(
        self, what: str, *, asked: str | None = None, valid: Iterable[str] = (), hint: str | None = None
    ) -> None:
        super().__init__(what)
        self.facts: dict[str, Any] = {"asked": asked, "valid": tuple(valid), "hint": hint}


class FrozenMap(dict[str, Any]):
    """A dict that is hashable and refuses change."""

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise TypeError("definitions are frozen: make a new one with dataclasses.replace")

    __setitem__ = __delitem__ = clear = pop = popitem = setdefault = update = _refuse

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))

    def __reduce__(self) -> tuple[Any, ...]:
        return FrozenMap, (dict(self),)


class Definition:
    """Base of everything an author constructs."""

    _location: Location | None = None

    def _validate(self) -> None:
        """Checks that concern several fields."""

    @property
    def location(self) -> Location | None:
        """The author's line that made this object."""
        return self._location

    @property
    def title(self) -> str:
        """How errors and plans call this object."""
        name = getattr(self, "name", None)
        return str(name) if name else type(self).__name__

    def _repr_html_(self) -> str:
        from zipline.api.notebook import definition_page

        return definition_page(self)

    def wrong(self, what: str, **facts: Any) -> DefinitionError:
        """The error that `what` is wrong with this object, at its author's line."""
        return DefinitionError(what, subject=self.title, where=self.location, **facts)


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field,))
def definition(cls: type[_T]) -> type[_T]:
    """A frozen dataclass whose construction is checked and located."""
    made = dataclasses.dataclass(frozen=True, repr=True)(cls)
    build: Callable[..., None] = made.__init__
    fields = dataclasses.fields(cast(Any, made))
    names = tuple(field.name for field in fields)
    required = tuple(
        field.name
        for field in fields
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    )

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        object.__setattr__(self, "_location", author_line())
        _check_call(self, names, required, args, kwargs)
        build(self, *args, **kwargs)
        _check_fields(self, fields)
        self._validate()

    __init__.__wrapped__ = build  # type: ignore[attr-defined]
    __init__.__doc__ = f"{cls.__name__}({', '.join(names)})"
    made.__init__ = __init__  # type: ignore[method-assign]
    return made


def author_line() -> Location | None:
    """The nearest caller outside the platform."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if not file.startswith((_PACKAGE, "<string>", "<frozen")) and os.path.basename(file) != "dataclasses.py":
            return Location(_readable(file), frame.f_lineno)
        frame = frame.f_back
    return None


def _readable(file: str) -> str:
    here = os.getcwd() + os.sep
    return file.removeprefix(here)


def _check_call(
    self: Definition, names: tuple[str, ...], required: tuple[str, ...], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    kind = type(self).__name__
    if len(args) > len(names):
        raise self.wrong(f"{kind} takes at most {len(names)} arguments, got {len(args)}", valid=names)
    given = set(names[: len(args)]) | set(kwargs)
    for extra in kwargs:
        if extra not in names:
            raise self.wrong(f"{kind} has no argument {extra!r}", asked=extra, valid=names)
    for missing in required:
        if missing not in given:
            raise self.wrong(f"{kind} needs the argument {missing!r}", valid=names)


def _check_fields(self: Definition, fields: tuple[dataclasses.Field[Any], ...]) -> None:
    for field in fields:
        check = field.metadata.get("check")
        if check is None:
            continue
        try:
            object.__setattr__(self, field.name, check(getattr(self, field.name)))
        except Wrong as wrong:
            raise self.wrong(f"{type(self).__name__}.{field.name}: {wrong}", **wrong.facts) from None


def checked(check: Callable[[Any], Any], default: Any = dataclasses.MISSING) -> Any:
    """A dataclass field whose value passes through `check`."""
    return dataclasses.field(default=default, metadata={"check": check})


def assign_name(subject: Definition, name: str, short_name: str) -> None:
    """Gives an object the name under which it was loaded: the one change a definition ever sees."""
    object.__setattr__(subject, "name", name)
    object.__setattr__(subject, "_short_name", short_name)


def children(subject: Definition) -> Iterator[Definition]:
    """The definitions directly inside one."""
    kind: Any = type(subject)
    for name in field_names(kind):
        yield from _definitions_in(getattr(subject, name))


@cache
def field_names(kind: Any) -> tuple[str, ...]:
    """The fields of a kind of definition, in order."""
    return tuple(field.name for field in dataclasses.fields(cast(Any, kind)))


def _definitions_in(value: object) -> Iterator[Definition]:
    if isinstance(value, Definition):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _definitions_in(item)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _definitions_in(item)
