"""What each event of a window did for the value: its share, whether the value is its own, or how often it is there.

Values are compared as the operations compare them: behind the door, where -0.0 is 0.0 and an instant a number.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from zipline.algebra.values import door
from zipline.engines.explanation.contract import Event
from zipline.plan.steps import Feature
from zipline.types import ArrayType
from zipline.values import dataclass

DECIDES = "the value is that of the events marked"
IN_WINDOW = "every event in the window has a part in the value"


@dataclass(frozen=True)
class _Item:
    """One value of one event: its place among the events, and what orders it."""

    place: int
    value: Any
    moment: tuple[int, int]


def contributed(feature: Feature, events: Sequence[Event]) -> tuple[str | None, list[Event]]:
    """The rule of the operation, and the events that were seen with what each contributed."""
    groups: dict[Any, list[_Item]] = defaultdict(list)
    for place, event in enumerate(events):
        moment = (event.time or 0, event.known_at if event.known_at is not None else event.time or 0)
        groups[event.bucket] += [_Item(place, value, moment) for value in elements(feature, event.value)]
    marked = list(events)
    for items in groups.values():
        for place, change in _changes(feature, items).items():
            marked[place] = replace(marked[place], **change)
    return _rule(feature, groups), marked


def elements(feature: Feature, value: Any) -> list[Any]:
    """The clean values that an event gives the operation: those of a list, or its one."""
    element = feature.input_type.element if isinstance(feature.input_type, ArrayType) else feature.input_type
    clean = door(element)
    values = value if isinstance(feature.input_type, ArrayType) else [value]
    return [each for each in map(clean, values or []) if each is not None]


def _changes(feature: Feature, items: list[_Item]) -> dict[int, dict[str, Any]]:
    operation = feature.operation
    if operation in _SHARES:
        share = _SHARES[operation](items)
        shares: dict[int, Any] = {}
        for item in items:
            shares[item.place] = shares.get(item.place, 0) + share(item.value)
        return {place: {"contribution": each} for place, each in shares.items()}
    if operation in _RANKED:
        return {item.place: {"decides": True} for item in _deciding(feature, items)}
    if operation in _COUNTED:
        counts = Counter(item.value for item in items)
        return {item.place: {"contribution": counts[item.value]} for item in items}
    return {}


def _mean(items: list[_Item]) -> Any:
    return sum(item.value for item in items) / len(items)


def _average_share(items: list[_Item]) -> Callable[[Any], Any]:
    return lambda value: value / len(items)


def _squared_deviation(items: list[_Item]) -> Callable[[Any], Any]:
    mean = _mean(items)
    return lambda value: (value - mean) ** 2


_SHARES: dict[str, Callable[[list[_Item]], Callable[[Any], Any]]] = {
    "COUNT": lambda _: lambda _value: 1,
    "SUM": lambda _: lambda value: value,
    "AVERAGE": _average_share,
    "VARIANCE": _squared_deviation,
}


def _by_value(item: _Item) -> Any:
    return item.value


def _by_moment(item: _Item) -> Any:
    return (*item.moment, item.value)


_RANKED: dict[str, tuple[Callable[[_Item], Any], bool]] = {
    "MIN": (_by_value, False),
    "MAX": (_by_value, True),
    "BOTTOM_K": (_by_value, False),
    "TOP_K": (_by_value, True),
    "FIRST": (_by_moment, False),
    "LAST": (_by_moment, True),
    "FIRST_K": (_by_moment, False),
    "LAST_K": (_by_moment, True),
}
_COUNTED = frozenset({"UNIQUE_COUNT", "BOUNDED_UNIQUE_COUNT", "APPROX_UNIQUE_COUNT", "HISTOGRAM", "APPROX_HISTOGRAM_K"})


def _deciding(feature: Feature, items: list[_Item]) -> list[_Item]:
    """Those whose values are the result; of equal ones at the edge all."""
    order, descending = _RANKED[feature.operation]
    kept = sorted((order(item) for item in items), reverse=descending)[: feature.k or 1]
    return [item for item in items if (order(item) >= kept[-1] if descending else order(item) <= kept[-1])]


def _rule(feature: Feature, groups: dict[Any, list[_Item]]) -> str | None:
    if not any(groups.values()):
        return None
    operation, each = feature.operation, "of its bucket" if feature.bucket else ""
    count = "the count of its bucket" if feature.bucket else f"{sum(map(len, groups.values())):,}"
    match operation:
        case "COUNT":
            return "each event counts" if not isinstance(feature.input_type, ArrayType) else "each element counts"
        case "SUM":
            return f"each adds its value{f' to the sum {each}' if each else ''}"
        case "AVERAGE":
            return f"each adds its value / {count}"
        case "VARIANCE":
            mean = "the mean of its bucket" if feature.bucket else f"the mean {_mean(next(iter(groups.values()))):.6g}"
            return f"the squared deviation from {mean}; the value is their mean"
        case _ if operation in _RANKED:
            return DECIDES
        case _ if operation in _COUNTED:
            return f"how often its value is there{' in its bucket' if feature.bucket else ''}"
    return IN_WINDOW
