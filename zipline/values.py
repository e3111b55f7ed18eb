"""Dataclasses that are quick to define.

`dataclass` is that of the standard library, which compiles the text of six methods for every class at the moment it is
defined: nearly a millisecond each, so that the platform's hundred classes took a seventh of a second of every command.
Here comparison, hash, text and the refusal of changes are functions that all classes share, and only the constructor is
compiled, when the first object is made. Fields, `replace`, `asdict`, pickling and what they raise are the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from operator import attrgetter
from reprlib import recursive_repr
from typing import TYPE_CHECKING, Any, NoReturn

__all__ = ["dataclass"]

if TYPE_CHECKING:
    from dataclasses import dataclass
else:

    def dataclass(
        cls: type | None = None, /, *, frozen: bool = False, eq: bool = True, slots: bool = False
    ) -> type | Callable[[type], type]:
        """The class with fields, a constructor, `repr`, and equality by value; hashable where it is frozen."""

        def made(given: type) -> type:
            return _made(given, frozen, eq, slots)

        return made if cls is None else made(cls)


def _made(given: type, frozen: bool, eq: bool, slots: bool) -> type:
    own = given.__dict__
    has_hash = "__hash__" in own and not (own["__hash__"] is None and "__eq__" in own)
    # The standard library would look for the signature of what has no docstring, which takes longer than all the rest.
    given.__doc__ = given.__doc__ or f"{given.__name__}({', '.join(own.get('__annotations__', ()))})"
    made: Any = dataclasses.dataclass(init=False, repr=False, eq=False, slots=slots)(given)
    fields = dataclasses.fields(made)
    methods = {"__init__": _constructor(made, frozen), "__repr__": _repr([f.name for f in fields if f.repr])}
    methods |= _comparison([f.name for f in fields if f.compare], frozen, has_hash) if eq else {}
    methods |= _refusals(made, frozenset(f.name for f in fields)) if frozen else {}
    methods |= _state([f.name for f in fields]) if frozen and slots else {}
    for name, method in methods.items():
        if name not in own or name == "__hash__":
            setattr(made, name, method)
    made.__signature__ = _SIGNATURE
    finished: type = made
    return finished


class _Signature:
    """What `inspect.signature` and `help` show of a class: its fields, with their types and defaults."""

    def __get__(self, subject: object, kind: Any) -> Any:
        from inspect import Parameter, Signature

        made = Parameter.POSITIONAL_OR_KEYWORD
        return Signature(
            [
                Parameter(field.name, made, default=_shown_default(field), annotation=field.type)
                for field in dataclasses.fields(kind)
            ]
        )


_SIGNATURE = _Signature()


def _shown_default(field: dataclasses.Field[Any]) -> Any:
    from inspect import Parameter

    made = field.default if field.default_factory is dataclasses.MISSING else field.default_factory
    return Parameter.empty if made is dataclasses.MISSING else made


def _constructor(made: Any, frozen: bool) -> Callable[..., None]:
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        compiled = _compiled(made, frozen)
        type.__setattr__(made, "__init__", compiled)
        compiled(self, *args, **kwargs)

    return __init__


def _compiled(made: Any, frozen: bool) -> Callable[..., None]:
    """The constructor, from its text; its names begin with an underscore twice, so that no field has them."""
    scope: dict[str, Any] = {"__set": object.__setattr__, "__made": dataclasses.MISSING}
    parameters, body = ["__self"], []
    for field in dataclasses.fields(made):
        name, value = field.name, field.name
        if field.default is not dataclasses.MISSING:
            scope[f"__default_{name}"] = field.default
            parameters.append(f"{name}=__default_{name}")
        elif field.default_factory is not dataclasses.MISSING:
            scope[f"__default_{name}"] = field.default_factory
            parameters.append(f"{name}=__made")
            value = f"__default_{name}() if {name} is __made else {name}"
        else:
            parameters.append(name)
        body.append(f"__set(__self, {name!r}, {value})" if frozen else f"__self.{name} = {value}")
    if hasattr(made, "__post_init__"):
        body.append("__self.__post_init__()")
    exec(f"def __init__({', '.join(parameters)}):\n  " + "\n  ".join(body or ["pass"]), scope)
    compiled: Callable[..., None] = scope["__init__"]
    compiled.__qualname__ = f"{made.__qualname__}.__init__"
    return compiled


def _repr(names: list[str]) -> Callable[[Any], str]:
    @recursive_repr()
    def __repr__(self: Any) -> str:
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"{type(self).__qualname__}({shown})"

    return __repr__


def _comparison(names: list[str], frozen: bool, has_hash: bool) -> dict[str, Any]:
    """By value, among objects of one class; what can change and is compared has no hash."""
    values = _values(names)

    def __eq__(self: Any, other: Any) -> bool:
        return values(self) == values(other) if other.__class__ is self.__class__ else NotImplemented

    def __hash__(self: Any) -> int:
        return hash(values(self))

    return {"__eq__": __eq__} | ({} if has_hash else {"__hash__": __hash__ if frozen else None})


def _values(names: list[str]) -> Callable[[Any], tuple[Any, ...]]:
    if len(names) > 1:
        return attrgetter(*names)
    return lambda subject: tuple(getattr(subject, name) for name in names)


def _refusals(made: Any, names: frozenset[str]) -> dict[str, Any]:
    def __setattr__(self: Any, name: str, value: Any) -> None:
        if type(self) is made or name in names:
            _refuse("assign to", name)
        super(made, self).__setattr__(name, value)

    def __delattr__(self: Any, name: str) -> None:
        if type(self) is made or name in names:
            _refuse("delete", name)
        super(made, self).__delattr__(name)

    return {"__setattr__": __setattr__, "__delattr__": __delattr__}


def _refuse(what: str, name: str) -> NoReturn:
    raise dataclasses.FrozenInstanceError(f"cannot {what} field {name!r}")


def _state(names: list[str]) -> dict[str, Any]:
    """For pickling objects without a dictionary that refuse to be set."""

    def __getstate__(self: Any) -> list[Any]:
        return [getattr(self, name) for name in names]

    def __setstate__(self: Any, state: list[Any]) -> None:
        for name, value in zip(names, state, strict=True):
            object.__setattr__(self, name, value)

    return {"__getstate__": __getstate__, "__setstate__": __setstate__}
