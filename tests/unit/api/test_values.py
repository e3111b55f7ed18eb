"""Values behave as dataclasses of the standard library do, which are the measure here."""

import copy
import dataclasses
import inspect
import pickle
from collections.abc import Mapping
from dataclasses import field

import pytest

from zipline.values import dataclass

BOTH = pytest.mark.parametrize("made", [dataclass, dataclasses.dataclass])


@dataclass(frozen=True)
class Point:
    """A place."""

    x: int
    y: int = 2
    tags: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Slotted:
    x: int
    note: str = field(default="", compare=False, repr=False)


@dataclass(frozen=True)
class Deep(Point):
    z: int = 3


def test_arguments_are_taken_by_place_and_by_name_with_defaults_made_for_each():
    first, second = Point(1), Point(x=1, y=2)
    assert (first.x, first.y, first.tags) == (1, 2, {})
    assert first.tags is not second.tags
    assert Deep(1, z=9) == Deep(1, 2, {}, 9)


@pytest.mark.parametrize("arguments", [{}, {"x": 1, "w": 2}])
def test_wrong_arguments_are_the_same_type_error(arguments):
    with pytest.raises(TypeError, match=r"Point\.__init__\(\) (missing|got)"):
        Point(**arguments)


def test_equal_by_value_among_objects_of_one_class_alone():
    assert Point(1) == Point(1)
    assert Point(1) != Point(2)
    assert Point(1, 2, {}) != Deep(1, 2, {}, 3)
    assert Slotted(1, "a") == Slotted(1, "b")
    assert len({Slotted(1, "a"), Slotted(1, "b"), Slotted(2)}) == 2


@BOTH
def test_text_hash_and_equality_are_those_of_the_standard_library(made):
    class Plain:
        a: int
        b: float = 0.5

    kind = made(frozen=True)(Plain)
    assert repr(kind(1)).endswith("Plain(a=1, b=0.5)")
    assert hash(kind(1)) == hash((1, 0.5))
    assert kind(1).__eq__(1) is NotImplemented
    nan = float("nan")
    assert kind(1, nan) == kind(1, nan)


@BOTH
def test_what_can_change_and_is_compared_has_no_hash(made):
    class Open:
        a: int

    kind = made(Open)
    value = kind(1)
    value.a = 2
    assert value == kind(2)
    with pytest.raises(TypeError, match="unhashable"):
        hash(value)
    assert hash(made(eq=False)(type("Same", (), {"__annotations__": {"a": int}, "__doc__": "s"}))(1)) is not None


@BOTH
def test_methods_that_a_class_has_are_its_own(made):
    class Own:
        a: int

        def __repr__(self):
            return "mine"

        def __eq__(self, other):
            return True

        def __hash__(self):
            return 7

    kind = made(frozen=True)(Own)
    assert (repr(kind(1)), kind(1) == 5, hash(kind(1))) == ("mine", True, 7)


@pytest.mark.parametrize("value", [Point(1), Deep(1), Slotted(1)])
def test_a_frozen_value_refuses_change(value):
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot assign to field 'x'"):
        value.x = 3
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot delete field 'x'"):
        del value.x
    with pytest.raises((dataclasses.FrozenInstanceError, AttributeError)):
        value.unheard = 1


@pytest.mark.parametrize("value", [Point(1, 5, {"a": 1}), Deep(1), Slotted(1, "n")])
def test_values_are_pickled_copied_and_replaced(value):
    assert pickle.loads(pickle.dumps(value)) == value
    assert copy.deepcopy(value) == value
    assert dataclasses.replace(value, x=9).x == 9
    assert dataclasses.asdict(value)["x"] == 1
    assert not hasattr(Slotted(1), "__dict__")


def test_a_value_inside_itself_has_a_text():
    tags: dict[str, object] = {}
    value = Point(1, 2, tags)  # type: ignore[arg-type]
    tags["me"] = value
    assert repr(value) == "Point(x=1, y=2, tags={'me': ...})"


def test_what_follows_the_constructor_is_called():
    @dataclass(frozen=True)
    class Checked:
        a: int

        def __post_init__(self):
            if self.a < 0:
                raise ValueError(self.a)

    assert Checked(1).a == 1
    with pytest.raises(ValueError, match="-1"):
        Checked(-1)


def test_the_signature_is_that_of_the_fields():
    assert str(inspect.signature(Slotted)) in ("(x: int, note: str = '')", "(x: 'int', note: 'str' = '')")
    assert str(inspect.signature(Point)).startswith("(x: int, y: int = 2, tags:")


def test_defining_a_class_compiles_nothing(monkeypatch):
    compiled = []
    monkeypatch.setattr("builtins.exec", lambda *given: compiled.append(given))
    dataclass(frozen=True)(type("Quick", (), {"__annotations__": {"a": int, "b": str}}))
    assert compiled == []
