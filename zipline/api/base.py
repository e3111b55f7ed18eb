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
from zipline.values import dataclass

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

    _location: tuple[str, int] | None = None

    def _validate(self) -> None:
        """Checks that concern several fields."""

    @property
    def location(self) -> Location | None:
        """The author's line that made this object."""
        return Location(_readable(self._location[0]), self._location[1]) if self._location else None

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
        try:
            subject = self.title
        except AttributeError:  # what it is called by is not known yet
            subject = type(self).__name__
        return DefinitionError(what, subject=subject, where=self.location, **facts)


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field,))
def definition(cls: type[_T]) -> type[_T]:
    """A frozen dataclass whose construction is checked and located."""
    made = dataclass(frozen=True)(cls)
    parameters = _Parameters(cast(Any, made))

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        state = self.__dict__
        state["_location"] = author_place()
        given = parameters.bind(self, args, kwargs)
        for name, check, default in parameters.fields:
            value = given.get(name, default)
            if check is None:
                state[name] = value
            elif value is default:
                state[name] = parameters.checked_default(name, check, default)
            else:
                try:
                    state[name] = check(value)
                except Wrong as wrong:
                    raise parameters.refuse(self, name, given, wrong) from None
        self._validate()

    __init__.__doc__ = f"{cls.__name__}({', '.join(parameters.names)})"
    made.__init__ = __init__  # type: ignore[method-assign]
    return made


class _Parameters:
    """The fields of a kind of definition, looked up once: what construction needs of them, thousands of times.

    A default is checked when it is first used, and is the same value in every definition from then on.
    """

    def __init__(self, kind: Any) -> None:
        found = dataclasses.fields(kind)
        self.names = tuple(field.name for field in found)
        self.fields = tuple((field.name, field.metadata.get("check"), field.default) for field in found)
        self._known = frozenset(self.names)
        self._required = frozenset(field.name for field in found if field.default is dataclasses.MISSING)
        self._defaults: dict[str, Any] = {}

    def bind(self, subject: Definition, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Name -> value of the arguments; DefinitionError where they are not those of the kind."""
        given = {**dict(zip(self.names, args)), **kwargs} if args else kwargs  # noqa: B905 (the next line compares)
        if len(given) < len(args) + len(kwargs) or not self._required <= given.keys() <= self._known:
            _refuse_call(subject, self, args, kwargs)
        return given

    def checked_default(self, name: str, check: Callable[[Any], Any], default: Any) -> Any:
        if name not in self._defaults:
            checked = check(default)
            self._defaults[name] = default if type(checked) is type(default) and checked == default else checked
        return self._defaults[name]

    def refuse(self, subject: Definition, name: str, given: Mapping[str, Any], wrong: Wrong) -> DefinitionError:
        """The error of a field, in a definition that shows the others as they are so far."""
        for each, _, default in self.fields:
            subject.__dict__.setdefault(each, given.get(each, default))
        return subject.wrong(f"{type(subject).__name__}.{name}: {wrong}", **wrong.facts)

    @property
    def required(self) -> tuple[str, ...]:
        return tuple(name for name in self.names if name in self._required)


def _refuse_call(
    subject: Definition, parameters: _Parameters, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> NoReturn:
    kind, names = type(subject).__name__, parameters.names
    if len(args) > len(names):
        raise subject.wrong(f"{kind} takes at most {len(names)} arguments, got {len(args)}", valid=names)
    for extra in kwargs:
        if extra not in names:
            raise subject.wrong(f"{kind} has no argument {extra!r}", asked=extra, valid=names)
    for twice in names[: len(args)]:
        if twice in kwargs:
            raise subject.wrong(f"{kind} is given the argument {twice!r} twice", hint="by its place and by its name")
    given = {*names[: len(args)], *kwargs}
    missing = next(name for name in parameters.required if name not in given)
    raise subject.wrong(f"{kind} needs the argument {missing!r}", valid=names)


def author_place() -> tuple[str, int] | None:
    """File and line of the nearest caller outside the platform; None where a command makes a definition itself."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(_COMMANDS):
            return None
        if _is_authors(file):
            return file, frame.f_lineno
        frame = frame.f_back
    return None


_COMMANDS = os.path.join(_PACKAGE, "cli") + os.sep


@cache
def _is_authors(file: str) -> bool:
    return not file.startswith((_PACKAGE, "<string>", "<frozen")) and os.path.basename(file) != "dataclasses.py"


def _readable(file: str) -> str:
    here = os.getcwd() + os.sep
    return file.removeprefix(here)


def checked(check: Callable[[Any], Any], default: Any = dataclasses.MISSING) -> Any:
    """A dataclass field whose value passes through `check`."""
    return dataclasses.field(default=default, metadata={"check": check})


def assign_name(subject: Definition, name: str, short_name: str) -> None:
    """Gives an object the name under which it was loaded: the one change a definition ever sees."""
    object.__setattr__(subject, "name", name)
    object.__setattr__(subject, "_short_name", short_name)


def assign_place(copy: Definition, original: Definition) -> None:
    """Gives a copy that the platform makes the author's line of what it was made of."""
    object.__setattr__(copy, "_location", original._location)


_PLAIN = frozenset({str, bool, int, float, type(None)})


def children(subject: Definition) -> tuple[Definition, ...]:
    """The definitions directly inside one, looked for once: it is frozen."""
    state = subject.__dict__
    if "_children" not in state:
        state["_children"] = tuple(_children(subject))
    found: tuple[Definition, ...] = state["_children"]
    return found


def _children(subject: Definition) -> Iterator[Definition]:
    kind: Any = type(subject)
    for name in field_names(kind):
        value = getattr(subject, name)
        if type(value) not in _PLAIN:
            yield from _definitions_in(value)


@cache
def field_names(kind: Any) -> tuple[str, ...]:
    """The fields of a kind of definition, in order."""
    return tuple(field.name for field in dataclasses.fields(cast(Any, kind)))


def _definitions_in(value: object) -> Iterator[Definition]:
    if isinstance(value, Definition):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            if type(item) not in _PLAIN:
                yield from _definitions_in(item)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _definitions_in(item)
