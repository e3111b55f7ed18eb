"""Which name each definition has: the first place that holds it.

Modules come in the order in which they finished (so an imported object is named where it was made), the variables of a
module in the order in which they were first bound. What a module-level dict, list or tuple holds is named
`module.variable.key`; variables that begin with an underscore name nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import field
from pathlib import Path
from types import ModuleType
from typing import TypeAlias

from zipline.api import (
    EntitySource,
    EventSource,
    ExternalSource,
    GroupBy,
    Join,
    JoinSource,
    Model,
    StagingQuery,
    Team,
)
from zipline.api.base import Definition, assign_name
from zipline.errors import DefinitionError, Location
from zipline.plan.files import ConfigFile, readable
from zipline.values import dataclass

Nameable: TypeAlias = GroupBy | Join | Model | ExternalSource | StagingQuery | EventSource | EntitySource | JoinSource
NAMEABLE = (GroupBy, Join, Model, ExternalSource, StagingQuery, EventSource, EntitySource, JoinSource)
"""Everything that has a name of its own, in `zipline compile` a file of its own."""


@dataclass(frozen=True)
class Place:
    """Where a definition was found: `path` is the variable and the keys below it."""

    file: ConfigFile
    path: tuple[str, ...]
    definition: Nameable

    @property
    def name(self) -> str:
        return ".".join((*self.file.name.split("."), *self.path) if self.file.name else self.path)


@dataclass
class Found:
    """The definitions and teams of the modules seen so far."""

    root: Path
    places: dict[int, Place] = field(default_factory=dict)
    teams: dict[str, Team] = field(default_factory=dict)
    _modules: list[tuple[ConfigFile, ModuleType]] = field(default_factory=list)

    def take(self, file: ConfigFile, module: ModuleType) -> None:
        """Takes note of what a module holds when it has just run."""
        self._modules.append((file, module))
        self._take(file, module)
        if file.path.name == "team.py":
            self.teams[file.folder] = _team(file, module)

    def named(self) -> dict[str, Nameable]:
        """Every definition by its name, in the order of names; gives the definitions these names."""
        for file, module in self._modules:
            self._take(file, module)
        named: dict[str, Place] = {}
        for place in self.places.values():
            name = self._name(place)
            if name in named:
                raise _two_of(name, named[name].definition, place.definition)
            named[name] = place
        for name, place in named.items():
            if name == place.name:
                assign_name(place.definition, name, "_".join(place.path))
        return {name: named[name].definition for name in sorted(named)}

    def _take(self, file: ConfigFile, module: ModuleType) -> None:
        for variable, value in list(vars(module).items()):
            if not variable.startswith("_"):
                for path, definition in _held(value, (variable,), file):
                    self.places.setdefault(id(definition), Place(file, path, definition))

    def _name(self, place: Place) -> str:
        """By the place; an object made outside the folder keeps the name that it was given there."""
        definition = place.definition
        given = None if hasattr(definition, "_short_name") else definition.name
        if given is None or given == place.name:
            return place.name
        if definition.location and not Path(os.path.abspath(definition.location.file)).is_relative_to(self.root):
            return given
        raise definition.wrong(
            f"name={given!r}, but by its place the name is {place.name!r}",
            hint="take name= out: it is for objects made outside this folder, in a notebook or a test",
        )


def _held(
    value: object, path: tuple[str, ...], file: ConfigFile, around: tuple[int, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Nameable]]:
    """The definitions in a value with their paths; `around` are the containers it lies in."""
    if isinstance(value, NAMEABLE):
        yield path, value
    elif isinstance(value, (Mapping, list, tuple)) and id(value) not in around:
        items = list(value.items() if isinstance(value, Mapping) else enumerate(value))
        for key, element in items:
            for below, definition in _held(element, (*path, str(key)), file, (*around, id(value))):
                _check_key(key, path, file, definition)
                yield below, definition


def _check_key(key: object, path: tuple[str, ...], file: ConfigFile, definition: Definition) -> None:
    plain = isinstance(key, (str, int)) and not isinstance(key, bool) and key != ""
    if not plain or not f"_{key}".isidentifier():
        raise DefinitionError(
            f"the key {key!r} cannot be part of a name",
            subject=".".join((file.name, *path)),
            where=definition.location,
            hint="use letters, digits and underscores",
        )


def _two_of(name: str, first: Definition, second: Definition) -> DefinitionError:
    where = f"the first is at {first.location}" if first.location else "the first is elsewhere"
    return DefinitionError(
        f"two objects of one name: {where}",
        subject=name,
        where=second.location,
        hint="rename one of the variables, keys or files",
    )


def _team(file: ConfigFile, module: ModuleType) -> Team:
    teams = {id(value): value for value in vars(module).values() if isinstance(value, Team)}
    if len(teams) != 1:
        raise DefinitionError(
            f"holds {len(teams)} objects of Team, and a folder has one",
            subject=file.name,
            where=Location(readable(file.path), 1) if not teams else list(teams.values())[-1].location,
            hint='write team = Team(owner="...")',
        )
    return next(iter(teams.values()))
