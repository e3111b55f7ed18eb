"""Columns that arrive with the request: offline the left's, else given by bootstrap, else null."""

import pyarrow as pa
import pytest

from zipline import (
    Aggregation,
    BootstrapPart,
    Contextual,
    Derivation,
    EventSource,
    GroupBy,
    Join,
    JoinPart,
    JoinSource,
    Operation,
    Query,
    aggregate,
    backfill,
)
from zipline.errors import DefinitionError
from zipline.plan.build import plan_join
from zipline.tables.catalog import open_catalog

EVENTS = [{"user": "ann", "amount": 4, "t": "2024-01-01"}]
LEFT = [
    {"id": 1, "user": "ann", "device": "phone", "t": "2024-01-02"},
    {"id": 2, "user": "bob", "device": None, "t": "2024-01-02"},
]
TABLES = {"events": EVENTS, "left": LEFT}

paid = GroupBy(
    keys=["user"],
    sources=[EventSource("events", query=Query(select=["user", "amount"], time="t"))],
    aggregations=[Aggregation("amount", Operation.SUM)],
    name="paid",
)


def join(fields: dict[str, str], select=("id", "user"), **options) -> Join:
    left = EventSource("left", query=Query(select=list(select), time="t"))
    return Join(left, [JoinPart(paid)], contextual=Contextual(fields), name="joined", **options)


def column(table: pa.Table, name: str) -> list:
    return table.column(name).to_pylist()


def test_without_a_column_of_the_left_or_given_values_they_are_null_behind_the_parts():
    table = backfill(
        join({"device": "STRING", "tags": "ARRAY<INT>"}, derivations=[Derivation("seen", "device IS NOT NULL")]), TABLES
    )
    assert table.column_names == ["id", "user", "ts", "paid_amount_sum", "device", "tags", "seen"]
    assert table.schema.field("tags").type == pa.list_(pa.int32())
    assert column(table, "device") == column(table, "tags") == [None, None]
    assert column(table, "seen") == [False, False]


def test_a_column_of_the_left_is_the_contextual_one_and_stays_where_it_is():
    derived = [Derivation("upper_device", "upper(device)")]
    table = backfill(join({"device": "STRING"}, ("device", "id", "user"), derivations=derived), TABLES)
    assert table.column_names == ["device", "id", "user", "ts", "paid_amount_sum", "upper_device"]
    assert column(table, "upper_device") == ["PHONE", None]


def test_given_values_are_theirs_and_derivations_see_them():
    log = [{"id": 2, "device": "desk", "score": 7}]
    table = backfill(
        join(
            {"device": "STRING", "score": "BIGINT"},
            row_id=["id"],
            bootstrap=[BootstrapPart("log", ["device", "score"])],
            derivations=[Derivation("total", "score + paid_amount_sum"), Derivation("next", "score + 1")],
        ),
        TABLES | {"log": log},
    )
    assert column(table, "device") == [None, "desk"]
    assert column(table, "next") == [None, 8]
    assert column(table, "total") == [None, None]


def test_a_left_column_of_another_type_is_refused():
    with pytest.raises(DefinitionError, match="'device' is BIGINT, but the left's column of that name is STRING"):
        backfill(join({"device": "BIGINT"}, ("id", "user", "device")), TABLES)


def test_a_type_that_is_none_is_refused_with_the_types_there_are():
    with pytest.raises(DefinitionError, match="'STRNG' is not a type") as failed:
        backfill(join({"device": "STRNG"}), TABLES)
    assert failed.value.suggestion == "STRING"


def test_keys_may_be_contextual_only_where_the_left_has_them():
    by_device = GroupBy(
        keys=["device"],
        sources=[EventSource("events", query=Query(select={"device": "user", "amount": "amount"}, time="t"))],
        aggregations=[Aggregation("amount", Operation.SUM)],
        name="by_device",
    )
    left = EventSource("left", query=Query(select=["id"], time="t"))
    with pytest.raises(DefinitionError, match=r"'device' \(a key of by_device\) is contextual") as failed:
        Join(left, [JoinPart(by_device)], contextual=Contextual({"device": "STRING"}), name="joined")
    assert "select device in the left too" in str(failed.value)
    every = EventSource("left", query=Query(time="t"))
    joined = Join(every, [JoinPart(by_device)], contextual=Contextual({"device": "STRING"}), name="joined")
    with pytest.raises(DefinitionError, match="'device' is contextual: the left does not have it"):
        backfill(joined, TABLES | {"left": [{"id": 1, "t": "2024-01-02"}]})
    left = EventSource("left", query=Query(select=["device"], time="t"))
    joined = Join(left, [JoinPart(by_device)], contextual=Contextual({"device": "STRING"}), name="joined")
    rows = [{"device": "ann", "t": "2024-01-02"}]
    assert column(backfill(joined, TABLES | {"left": rows}), "by_device_amount_sum") == [4]


def test_a_row_id_cannot_be_contextual_only():
    with pytest.raises(DefinitionError, match=r"'id' \(row_id\) is contextual, and the left does not select it"):
        join({"id": "BIGINT"}, ("user",), row_id=["id"], bootstrap=[BootstrapPart("log", ["paid_amount_sum"])])


def test_a_contextual_column_of_a_features_name_is_a_collision():
    with pytest.raises(DefinitionError, match="two columns would be named 'paid_amount_sum'"):
        backfill(join({"paid_amount_sum": "BIGINT"}), TABLES)


def test_a_contextual_column_of_the_left_is_not_given_by_bootstrap():
    joined = join(
        {"device": "STRING"},
        ("id", "user", "device"),
        row_id=["id"],
        bootstrap=[BootstrapPart("log", ["device"])],
    )
    with pytest.raises(DefinitionError, match="a column of the left"):
        backfill(joined, TABLES | {"log": [{"id": 1, "device": "x"}]})


def test_the_plan_knows_all_contextual_columns_also_those_of_the_left():
    catalog = open_catalog(TABLES)
    fields = {"device": "STRING", "score": "DOUBLE"}
    plan = plan_join(join(fields, ("id", "user", "device")), lambda name: catalog.table(name).schema)
    assert [name for name, _ in plan.contextual] == ["device", "score"]
    assert [name for name, _ in plan.scoring_columns] == ["id", "user", "device", "ts", "paid_amount_sum", "score"]


def test_what_reads_the_join_sees_its_contextual_columns():
    parent = join({"score": "BIGINT"}, row_id=["id"], bootstrap=[BootstrapPart("log", ["score"])])
    scores = GroupBy(["user"], [JoinSource(parent)], [Aggregation("score", Operation.SUM)], name="scores")
    asked = [{"user": "ann", "ts": "2024-01-03"}, {"user": "bob", "ts": "2024-01-03"}]
    table = aggregate(scores, asked, TABLES | {"log": [{"id": 1, "score": 6}]})
    assert column(table, "score_sum") == [6, None]
