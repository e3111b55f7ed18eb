"""Which fields of a definition an author changed: two canonical forms compared, and the author's line of each change.

A field is named by its path: `sources[0].query.where`, `aggregations[delay AVERAGE].default`. Elements of lists that
authors tell apart by what they are (aggregations, derivations, parts) are matched by that, others by their place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

from zipline.api.base import Definition
from zipline.plan.canonical import Json, compact
from zipline.values import dataclass

_LONGEST = 100


@dataclass(frozen=True)
class FieldChange:
    """One field before and now; None is a field at its default, or an element that is not there."""

    of: str
    path: tuple[str, ...]
    before: Json
    now: Json
    where: str | None = None

    @property
    def field(self) -> str:
        """`sources[0].query.where`"""
        text = ""
        for step in self.path:
            text += step if step.startswith("[") else f".{step}" if text else step
        return text

    def __str__(self) -> str:
        if self.before is None and self.path[-1].startswith("["):
            return f"{self.field} added"
        if self.now is None and self.path[-1].startswith("["):
            return f"{self.field} taken out"
        return f"{self.field}: {self.difference}"

    @property
    def difference(self) -> str:
        """Before and now in one line; of lists, what went and what came."""
        before, now = _differing(self.before, self.now)
        return f"{shown(before)} -> {shown(now)}"


def field_changes(of: str, before: Json, now: Json, live: Definition | None = None) -> tuple[FieldChange, ...]:
    """Every field that differs between two canonical forms; `live` is the definition that the second is of."""
    return tuple(_compare(of, (), before, now, live, _line(live, None)))


def shown(value: Json) -> str:
    """A value as a person reads it, in one line."""
    if value is None:
        return "(not set)"
    if isinstance(value, list) and not any(isinstance(each, (list, dict)) for each in value):
        return ", ".join(shown(each) for each in value) or "(none)"
    text = value if isinstance(value, str) else compact(value)
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _differing(before: Json, now: Json) -> tuple[Json, Json]:
    """Of two lists of which the elements differ, those elements."""
    if isinstance(before, list) and isinstance(now, list):
        went: list[Json] = [each for each in before if each not in now]
        came: list[Json] = [each for each in now if each not in before]
        if went or came:
            return went, came
    return before, now


def _compare(
    of: str, path: tuple[str, ...], before: Json, now: Json, live: Any, where: str | None
) -> Iterator[FieldChange]:
    if before == now:
        return
    where = _line(live, where)
    if _is_reference(before) and _is_reference(now) and before["name"] == now["name"]:
        return
    if isinstance(before, dict) and isinstance(now, dict) and before.get("kind") == now.get("kind"):
        for name in dict.fromkeys((*before, *now)):
            one, other = before.get(name), now.get(name)
            yield from _compare(of, (*path, name), *_as_columns(one, other), getattr(live, name, None), where)
    elif _is_list_of_parts(before, now):
        yield from _compare_lists(of, path, before or [], now or [], live, where)
    else:
        yield FieldChange(of, path, before, now, where)


def _as_columns(before: Json, now: Json) -> tuple[Json, Json]:
    """Lists of pairs (a select) as mappings from column, unless only their order differs."""
    if _is_pairs(before) and _is_pairs(now):
        one, other = ({str(name): text for name, text in side} for side in (before, now))
        if one != other:
            return one, other
    return before, now


def _is_pairs(value: Json) -> TypeGuard[list[list[Json]]]:
    return isinstance(value, list) and bool(value) and all(isinstance(v, list) and len(v) == 2 for v in value)


def _is_reference(value: Json) -> TypeGuard[dict[str, Json]]:
    return isinstance(value, dict) and value.keys() == {"kind", "name", "fingerprint"}


def _is_list_of_parts(before: Json, now: Json) -> bool:
    sides = [side for side in (before, now) if side is not None]
    return all(isinstance(side, list) and side and all(isinstance(v, dict) for v in side) for side in sides)


def _compare_lists(
    of: str, path: tuple[str, ...], before: Any, now: Any, live: Any, where: str | None
) -> Iterator[FieldChange]:
    one, other = _labelled(before), _labelled(now)
    lives = dict(zip(other, live, strict=False)) if isinstance(live, (list, tuple)) else {}
    for label in dict.fromkeys((*one, *other)):
        if label in one and label in other:
            yield from _compare(of, (*path, f"[{label}]"), one[label], other[label], lives.get(label), where)
        else:
            line = _line(lives.get(label), where)
            yield FieldChange(of, (*path, f"[{label}]"), one.get(label), other.get(label), line)
    if list(one) != list(other) and one.keys() == other.keys():
        yield FieldChange(of, (*path, "order"), [*one], [*other], where)


def _labelled(elements: list[dict[str, Json]]) -> dict[str, dict[str, Json]]:
    labels = [_label(element) or str(place) for place, element in enumerate(elements)]
    unique = [label if labels.count(label) == 1 else f"{place}" for place, label in enumerate(labels)]
    return dict(zip(unique, elements, strict=True))


def _label(element: Mapping[str, Json]) -> str | None:
    """What an author calls an element of a list."""
    if element["kind"] == "Aggregation":
        arguments = [shown(element[name]) for name in ("k", "percentiles") if name in element]
        return " ".join([str(element["input"]), str(element["operation"]), *arguments])
    if element["kind"] == "Derivation":
        return str(element["name"])
    source = element.get("source")
    if element["kind"] == "JoinPart" and isinstance(source, dict):
        return ":".join([str(source.get("name")), *([str(element["prefix"])] if "prefix" in element else [])])
    return None


def _line(live: Any, otherwise: str | None) -> str | None:
    found = live.location if isinstance(live, Definition) else None
    return str(found) if found else otherwise
