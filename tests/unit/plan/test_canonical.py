"""The canonical JSON of definitions: one text for one meaning."""

import datetime as dt
import decimal
import json

import pytest

from zipline import (
    Accuracy,
    Aggregation,
    Check,
    EventSource,
    ExternalSource,
    GroupBy,
    Join,
    JoinPart,
    Operation,
    Query,
)
from zipline.api.base import Definition
from zipline.errors import DefinitionError
from zipline.plan.canonical import canonical, compact, pretty


def named(definition: Definition) -> str:
    return f"<{definition.title}>"


def source(**query: object) -> EventSource:
    return EventSource(table="flights", query=Query(time="t", **query))  # type: ignore[arg-type]


def group_by(**changes: object) -> GroupBy:
    fields: dict[str, object] = {
        "keys": ["carrier"],
        "sources": [source()],
        "aggregations": [Aggregation("delay", Operation.AVERAGE, windows=["24h", None])],
    }
    return GroupBy(**(fields | changes), name="g")  # type: ignore[arg-type]


def handler(keys: object) -> object:
    return keys


def test_a_definition_is_tagged_json_without_its_defaults() -> None:
    assert canonical(group_by(accuracy=Accuracy.SNAPSHOT), named) == {
        "kind": "GroupBy",
        "name": "g",
        "keys": ["carrier"],
        "accuracy": "SNAPSHOT",
        "sources": [{"kind": "EventSource", "table": "flights", "query": {"kind": "Query", "time": "t"}}],
        "aggregations": [
            {"kind": "Aggregation", "input": "delay", "operation": "AVERAGE", "windows": ["1d", None]},
        ],
    }


def test_named_definitions_are_references_inside_others() -> None:
    join = Join(left=source(), parts=[JoinPart(group_by(), key_map={"b": "carrier"})], name="j")
    parts = canonical(join, named)["parts"]
    assert parts == [{"kind": "JoinPart", "source": "<g>", "key_map": {"b": "carrier"}}]


def test_mappings_of_columns_keep_their_order_and_others_are_sorted() -> None:
    columns = canonical(Query(select={"b": "x", "a": "y"}), named)["select"]
    assert columns == [["b", "x"], ["a", "y"]]
    assert canonical(Query(select=["b", "a"]), named)["select"] == [["b", "b"], ["a", "a"]]
    one = compact(canonical(Check.between("x", 1, 2), named))
    assert '"arguments":{"high":2,"low":1}' in one


def test_one_text_is_one_line_and_the_other_is_for_people() -> None:
    value = canonical(group_by(), named)
    assert "\n" not in compact(value)
    assert pretty(value).startswith('{\n  "aggregations": [')
    assert json.loads(pretty(value)) == json.loads(compact(value)) == value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, 1),
        (1.0, 1.0),
        (True, True),
        (float("inf"), {"kind": "float", "value": "inf"}),
        (dt.date(2013, 7, 1), {"kind": "date", "value": "2013-07-01"}),
        (dt.datetime(2013, 7, 1, 6), {"kind": "datetime", "value": "2013-07-01T06:00:00"}),
        (decimal.Decimal("1.50"), {"kind": "decimal", "value": "1.50"}),
        (b"\x00\xff", {"kind": "bytes", "value": "00ff"}),
        ({"b", "a"}, {"kind": "set", "values": ["a", "b"]}),
        (["é", None], ["é", None]),
        ({"b": 1, "a": 2}, {"b": 1, "a": 2}),
        (handler, f"{__name__}:handler"),
    ],
)
def test_every_value_has_one_form(value: object, expected: object) -> None:
    aggregation = Aggregation("x", Operation.MIN, default=value)
    assert compact(canonical(aggregation, named)["default"]) == compact(expected)  # type: ignore[arg-type]


def test_numbers_and_booleans_that_compare_equal_differ_as_text() -> None:
    texts = {compact(canonical(Aggregation("x", Operation.MIN, default=v), named)) for v in (1, 1.0, True)}
    assert len(texts) == 3


@pytest.mark.parametrize("value", [object(), lambda: 1, complex(1, 2)])
def test_a_value_without_a_lasting_form_is_refused_at_the_authors_line(value: object) -> None:
    subject = group_by(aggregations=[Aggregation("delay", Operation.MIN, default=value)])
    with pytest.raises(DefinitionError, match="has no lasting form") as caught:
        canonical(subject, named)
    assert caught.value.where is not None
    assert caught.value.where.file.endswith("test_canonical.py")


def test_a_handler_is_named_by_module_and_function() -> None:
    external = ExternalSource(keys={"k": "BIGINT"}, values={"v": "DOUBLE"}, handler=handler, name="e")
    form = canonical(external, named)
    assert form["handler"] == f"{__name__}:handler"
    assert form["keys"] == [["k", "BIGINT"]]
