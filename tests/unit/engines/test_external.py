"""External sources offline: a twin group-by's values, else given ones, else null."""

import pyarrow as pa
import pytest

from zipline import (
    Aggregation,
    BootstrapPart,
    Derivation,
    EventSource,
    ExternalSource,
    GroupBy,
    Join,
    JoinPart,
    LabelPart,
    Operation,
    Query,
    backfill,
)
from zipline.engines.frames import run
from zipline.errors import DataError, DefinitionError

EVENTS = [
    {"user": "ann", "amount": 4, "t": "2024-01-01"},
    {"user": "ann", "amount": 6, "t": "2024-01-01T06:00:00"},
    {"user": "bob", "amount": 3, "t": "2024-01-01"},
]
LEFT = [
    {"id": 1, "user": "ann", "t": "2024-01-02"},
    {"id": 2, "user": "bob", "t": "2024-01-02"},
    {"id": 3, "user": "eve", "t": "2024-01-02"},
]
TABLES = {"events": EVENTS, "left": LEFT}


def fetch_score(keys):
    raise AssertionError("a handler is called online only")


twin = GroupBy(
    keys=["user"],
    sources=[EventSource("events", query=Query(select=["user", "amount"], time="t"))],
    aggregations=[Aggregation("amount", Operation.SUM), Aggregation("amount", Operation.MAX)],
    derivations=[Derivation("score", "amount_sum * 10"), Derivation("best", "amount_max")],
    name="twin",
)
VALUES = {"score": "BIGINT", "best": "DOUBLE"}


def external(values=None, *, offline=twin, keys=None) -> ExternalSource:
    return ExternalSource(
        keys=keys or {"user": "STRING"}, values=values or VALUES, handler=fetch_score, offline=offline, name="team.risk"
    )


def join(source: ExternalSource, *, part=None, **options) -> Join:
    left = EventSource("left", query=Query(select=["id", "user"], time="t"))
    return Join(left, [JoinPart(source, **(part or {}))], **({"name": "joined"} | options))


def column(table: pa.Table, name: str) -> list:
    return table.column(name).to_pylist()


def test_a_twins_values_stand_under_the_sources_names_in_the_declared_types():
    table = backfill(join(external()), TABLES)
    assert table.column_names == ["id", "user", "ts", "risk_score", "risk_best"]
    assert [table.schema.field(name).type for name in ("risk_score", "risk_best")] == [pa.int64(), pa.float64()]
    assert column(table, "risk_score") == [100, 30, None]
    assert column(table, "risk_best") == [6.0, 3.0, None]


def test_a_prefix_and_a_choice_of_values_are_those_of_any_part():
    part = {"prefix": "payer", "features": ["best"], "key_map": {"user": "user"}}
    assert backfill(join(external(), part=part), TABLES).column_names == ["id", "user", "ts", "payer_risk_best"]


def test_without_a_twin_values_are_null_of_their_types_in_the_order_of_the_parts():
    bare = external({"tags": "ARRAY<STRING>", "score": "DOUBLE"}, offline=None)
    left = EventSource("left", query=Query(select=["id", "user"], time="t"))
    table = backfill(Join(left, [JoinPart(bare), JoinPart(twin), JoinPart(bare, prefix="b")], name="joined"), TABLES)
    assert table.column_names[3:] == [
        "risk_tags",
        "risk_score",
        "twin_amount_sum",
        "twin_amount_max",
        "twin_score",
        "twin_best",
        "b_risk_tags",
        "b_risk_score",
    ]
    assert column(table, "risk_tags") == [None, None, None]
    assert table.schema.field("risk_tags").type == pa.list_(pa.string())


def test_without_a_twin_given_values_are_theirs():
    bare = external({"tags": "ARRAY<STRING>", "score": "DOUBLE"}, offline=None)
    joined = join(
        bare,
        row_id=["id"],
        bootstrap=[BootstrapPart("log", ["risk_tags", "risk_score"])],
        derivations=[Derivation("high", "risk_score > 0.5")],
    )
    table = backfill(joined, TABLES | {"log": [{"id": 2, "risk_tags": ["x"], "risk_score": 0.75}]})
    assert column(table, "risk_tags") == [None, ["x"], None]
    assert column(table, "high") == [None, True, None]


def test_given_values_come_before_the_twins_which_are_then_not_computed():
    joined = join(external(), row_id=["id"], bootstrap=[BootstrapPart("log", ["risk_score", "risk_best"])])
    log = [{"id": n, "risk_score": n, "risk_best": n / 8} for n in (1, 2, 3)]
    some = run(joined, TABLES | {"log": log[:2]})
    assert column(some.table, "risk_score") == [1, 2, None]
    assert column(some.table, "risk_best") == [0.125, 0.25, None]
    every = run(joined, TABLES | {"log": log})
    assert column(every.table, "risk_best") == [0.125, 0.25, 0.375]
    assert every.report.rows_read == {}


def test_one_given_value_does_not_change_another():
    chained = GroupBy(
        keys=["user"],
        sources=[EventSource("events", query=Query(select=["user", "amount"], time="t"))],
        aggregations=[Aggregation("amount", Operation.SUM)],
        derivations=[Derivation("score", "amount_sum"), Derivation("more", "score + 1")],
        name="chained",
    )
    source = external({"score": "BIGINT", "more": "BIGINT"}, offline=chained)
    joined = join(source, row_id=["id"], bootstrap=[BootstrapPart("log", ["risk_score"])])
    table = backfill(joined, TABLES | {"log": [{"id": 1, "risk_score": 1000}]})
    assert column(table, "risk_score") == [1000, 3, None]
    assert column(table, "risk_more") == [11, 4, None]


def test_keys_are_found_by_name_whatever_their_order():
    pairs = GroupBy(
        keys=["user", "amount"],
        sources=[EventSource("events", query=Query(select=["user", "amount"], time="t"))],
        aggregations=[Aggregation("amount", Operation.COUNT)],
        name="pairs",
    )
    source = external({"amount_count": "BIGINT"}, offline=pairs, keys={"amount": "INT", "user": "STRING"})
    left = EventSource("left", query=Query(select={"who": "user", "paid": "amount"}, time="t"))
    joined = Join(left, [JoinPart(source, key_map={"who": "user", "paid": "amount"})], name="joined")
    rows = [{"user": "ann", "amount": 6, "t": "2024-01-02"}, {"user": "ann", "amount": 3, "t": "2024-01-02"}]
    assert column(backfill(joined, TABLES | {"left": rows}), "risk_amount_count") == [1, 0]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (lambda: external({"scor": "BIGINT"}), "its twin twin has no feature 'scor'"),
        (lambda: external({"score": "STRING"}), "declared STRING, but is BIGINT in its twin"),
        (lambda: external({"score": "INT"}), "declared INT, but is BIGINT in its twin"),
        (lambda: external({"score": "NUMBER"}), "'NUMBER' is not a type"),
        (lambda: external(keys={"id": "BIGINT"}), "its keys are 'id', but those of its twin twin are 'user'"),
        (lambda: external(keys={"user": "BIGINT"}), "left column 'user' is STRING, but the key 'user' is BIGINT"),
        (lambda: external(offline=None, keys={"who": "STRING"}), "column 'who' .a key of team.risk. is missing"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_read(source, message):
    with pytest.raises(DefinitionError, match=message):
        backfill(join(source()), TABLES)


def test_a_value_that_the_declared_type_cannot_hold_is_an_error_not_another_number():
    big = [{"user": "ann", "amount": 2**53 + 1, "t": "2024-01-01"}]
    with pytest.raises(DataError, match="risk_amount_sum"):
        backfill(join(external({"amount_sum": "DOUBLE"})), TABLES | {"events": big})


def test_an_external_source_is_no_label():
    with pytest.raises(DefinitionError, match="labels come from tables"):
        LabelPart([JoinPart(external())], offset="1d")
