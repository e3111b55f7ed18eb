"""Everything authored under a folder, loaded, named and checked as a whole.

`load("configs")` gives `Definitions`: a frozen mapping from name to definition in the order of names. It refuses, with
the author's file and line, what cannot be imported, two objects of one name, circles, group-bys without a name, and
definitions that nobody owns.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from zipline.api import GroupBy, Join, Model, Team
from zipline.api.base import Definition
from zipline.errors import DefinitionError, near
from zipline.plan.dependencies import dependencies
from zipline.plan.imports import import_files
from zipline.plan.names import Found, Nameable, Place
from zipline.values import dataclass

_T = TypeVar("_T", bound=Definition)


def load(path: str | os.PathLike[str] = "configs") -> Definitions:
    """Every definition in the .py files under `path`, imported afresh; DefinitionError says what is wrong where."""
    root = Path(os.path.abspath(path))
    if not root.is_dir():
        raise DefinitionError(
            f"there is no folder {os.fspath(path)!r} to load definitions from",
            hint="write them as configs/<team>/<file>.py, or say where the project is: --project DIR",
            next_command="zipline doctor",
        )
    found = Found(root)
    import_files(root, found.take)
    named = found.named()
    places = {id(place.definition): place for place in found.places.values()}
    return Definitions(
        root=root,
        _named=MappingProxyType(named),
        _needs=MappingProxyType(dependencies(named)),
        _owners=MappingProxyType({n: _owner(d, places[id(d)], found.teams) for n, d in named.items()}),
        _sites=MappingProxyType({n: _site(d, places[id(d)], root) for n, d in named.items()}),
        teams=MappingProxyType(dict(sorted(found.teams.items()))),
    )


@dataclass(frozen=True, eq=False)
class Definitions(Mapping[str, Nameable]):
    """A frozen mapping from name to definition, in the order of names.

    `teams` maps the dotted path of a folder to the Team of its team.py.
    """

    root: Path
    teams: Mapping[str, Team]
    _named: Mapping[str, Nameable]
    _needs: Mapping[str, tuple[str, ...]]
    _owners: Mapping[str, str]
    _sites: Mapping[str, str]

    def __getitem__(self, name: str) -> Nameable:
        found: Nameable = self.find(name)
        return found

    def __contains__(self, name: object) -> bool:
        return name in self._named

    def get(self, name: str, default: Any = None) -> Any:
        return self._named.get(name, default)

    def __iter__(self) -> Iterator[str]:
        return iter(self._named)

    def __len__(self) -> int:
        return len(self._named)

    def __repr__(self) -> str:
        return f"Definitions({str(self.root)!r}, {len(self)} objects)"

    @property
    def joins(self) -> tuple[Join, ...]:
        return self.of(Join)

    @property
    def group_bys(self) -> tuple[GroupBy, ...]:
        return self.of(GroupBy)

    @property
    def models(self) -> tuple[Model, ...]:
        return self.of(Model)

    def of(self, *kinds: type[_T]) -> tuple[_T, ...]:
        """The definitions of these kinds, in the order of their names."""
        return tuple(definition for definition in self._named.values() if isinstance(definition, kinds))

    def find(self, name: str, *kinds: type[Definition]) -> Any:
        """The definition of that name; where `kinds` are given it must be one of them."""
        found = self._named.get(name)
        if found is not None and (not kinds or isinstance(found, kinds)):
            return found
        what = " or ".join(kind.__name__ for kind in kinds) or "definition"
        article = "an" if type(found).__name__[0] in "AEIO" else "a"
        valid = [n for n, d in self._named.items() if not kinds or isinstance(d, kinds)]
        other = f": it is {article} {type(found).__name__}" if found is not None else ""
        raise _unknown(f"there is no {what} {name!r}{other}", name, valid)

    def owner(self, subject: Nameable | str) -> str:
        """The owner a definition names, or else that of the team whose folder it lies in."""
        return self._owners[self._name(subject)]

    def site(self, subject: Nameable | str) -> str:
        """The author's file and line, from the folder on: the same on every machine."""
        return self._sites[self._name(subject)]

    def needs(self, subject: Nameable | str) -> tuple[str, ...]:
        """The names of the definitions that this one is directly made from."""
        return self._needs[self._name(subject)]

    def feature(self, name: str) -> tuple[GroupBy, str]:
        """The group-by and the feature in it that `group_by's name.feature` names."""
        owner, _, feature = name.rpartition(".")
        source = self._named.get(owner)
        if not isinstance(source, GroupBy) and not owner:
            raise self._ownerless(name)
        if not isinstance(source, GroupBy):
            raise _unknown(
                f"{name!r} is no feature: there is no group-by {owner!r}",
                owner,
                [group_by.title for group_by in self.group_bys],
                hint="a feature's name is its group-by's name, a dot, and its column",
            )
        features = source.features
        if features is not None and feature not in features:
            raise source.wrong(f"has no feature {feature!r}", asked=feature, valid=features)
        return source, feature

    def _ownerless(self, column: str) -> DefinitionError:
        meant = self._features_of_column(column)
        error = DefinitionError(
            f"{column!r} is no feature: before its column it needs the name of its group-by and a dot",
            valid=meant or [group_by.title for group_by in self.group_bys],
            next_command="zipline compile",
        )
        error.suggestion = meant[0] if len(meant) == 1 else None
        return error

    def _features_of_column(self, column: str) -> list[str]:
        """The full names of the features whose column is this, or nearly."""
        features = {f"{g.title}.{feature}": feature for g in self.group_bys for feature in g.features or ()}
        meant = near(column, features.values())
        return [name for name, feature in features.items() if feature == meant]

    def _name(self, subject: Nameable | str) -> str:
        name = subject if isinstance(subject, str) else str(subject.name)
        self.find(name)
        return name


def _unknown(what: str, asked: str, valid: Iterable[str], hint: str | None = None) -> DefinitionError:
    names = tuple(valid)
    error = DefinitionError(what, asked=asked, valid=names, hint=hint, next_command="zipline compile")
    if error.suggestion is None or asked in error.suggestion:
        error.suggestion = _by_last_part(asked, names) or error.suggestion
    return error


def _by_last_part(asked: str, names: tuple[str, ...]) -> str | None:
    """`departures` may mean flights.training.departures, if nothing else ends so."""
    wanted = asked.rpartition(".")[2]
    last = near(wanted, {name.rpartition(".")[2] for name in names})
    found = [name for name in names if name.rpartition(".")[2] == last]
    return found[0] if len(found) == 1 else None


def _owner(definition: Nameable, place: Place, teams: Mapping[str, Team]) -> str:
    if definition.owner:
        return definition.owner
    folder = place.file.folder
    while folder and folder not in teams:
        folder = folder.rpartition(".")[0]
    if folder in teams:
        return teams[folder].owner
    first = place.file.folder.split(".")[0] or "<team>"
    raise definition.wrong(
        "has no owner, and neither has its folder",
        hint=f'give owner="...", or write {first}/team.py with team = Team(owner="...")',
    )


def _site(definition: Definition, place: Place, root: Path) -> str:
    where = definition.location
    shown = _site_of_file(os.path.abspath(where.file) if where else str(place.file.path), root)
    return f"{shown}:{where.line}" if where else shown


@lru_cache(maxsize=4096)
def _site_of_file(path: str, root: Path) -> str:
    file = Path(path)
    return (file.relative_to(root.parent) if file.is_relative_to(root) else Path(file.name)).as_posix()
