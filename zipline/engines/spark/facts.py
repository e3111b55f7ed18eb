"""What tasks find out beside their rows: counts for the report, and what makes a result impossible.

Both travel as rows of their own, whose column `__facts` is set: so they are those of the attempts that counted.
"""

from __future__ import annotations

import base64
import json
import pickle
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from zipline.engines.contract import KeyCount, Report, most_keys
from zipline.errors import ZiplineError

FACTS = "__facts"
COUNTS = ("null_keys", "without_time", "orphan_reversals", "bootstrapped", "rows_read", "seconds")
TOTALS = ("rows", "null_times", "immature", "undated")
KEY_COUNTS = ("repeated_keys", "older_keys")
RANGE_OF = "range_of"


def counted(report: Report, range_of: int | None = None) -> str:
    """The counts of one task as text; `range_of` is the hot key, of which other tasks count other times."""
    facts = {name: value for name, value in asdict(report).items() if value}
    return json.dumps(facts | ({} if range_of is None else {RANGE_OF: range_of}))


def failed(error: ZiplineError) -> str:
    """An error as text. It is read by the driver that sent the task."""
    return json.dumps({"error": base64.b64encode(pickle.dumps(error)).decode()})


def add(report: Report, texts: Iterable[str]) -> None:
    """Adds what tasks counted; raises the first error that one of them met."""
    hot: dict[int, Report] = {}
    for facts in map(json.loads, texts):
        if "error" in facts:
            raise pickle.loads(base64.b64decode(facts["error"]))
        if RANGE_OF in facts:
            _add_range(hot.setdefault(facts[RANGE_OF], Report()), facts)
        _add(report, facts)
    for own in hot.values():
        for name in KEY_COUNTS:
            setattr(report, name, summed_keys(getattr(report, name), getattr(own, name)))


def _add_range(own: Report, facts: dict[str, Any]) -> None:
    """Takes the counts of keys out of the facts: a key that is met in several of its ranges is one key."""
    for name in KEY_COUNTS:
        more = {key: KeyCount(**count) for key, count in facts.pop(name, {}).items()}
        setattr(own, name, most_keys(getattr(own, name), more))


def _add(report: Report, facts: Mapping[str, Any]) -> None:
    for name in TOTALS:
        setattr(report, name, getattr(report, name) + facts.get(name, 0))
    for name in COUNTS:
        own: dict[str, int] = getattr(report, name)
        for key, count in facts.get(name, {}).items():
            own[key] = own.get(key, 0) + count
    for name in KEY_COUNTS:
        more = {key: KeyCount(**count) for key, count in facts.get(name, {}).items()}
        setattr(report, name, summed_keys(getattr(report, name), more))
    report.waiting = tuple(sorted({*report.waiting, *facts.get("waiting", ())}))


def summed_keys(one: Mapping[str, KeyCount], other: Mapping[str, KeyCount]) -> dict[str, KeyCount]:
    """Of counts of different keys, the sums by name."""
    found = dict(one)
    for name, keys in other.items():
        own = found.get(name)
        found[name] = keys if own is None else KeyCount(own.count + keys.count, own.of + keys.of, own.example)
    return dict(sorted(found.items()))


def with_facts(table: pa.Table, schema: pa.Schema, facts: Iterable[str]) -> Iterator[pa.RecordBatch]:
    """Batches of rows in the types of the schema, and one of facts."""
    rows = table.append_column(FACTS, pa.nulls(table.num_rows, pa.string()))
    yield from typed(rows, schema).to_batches(max_chunksize=BATCH)
    yield from only_facts(schema, facts)


def only_facts(schema: pa.Schema, facts: Iterable[str]) -> Iterator[pa.RecordBatch]:
    """A batch of facts in the columns of the schema."""
    if texts := list(facts):
        columns = [pa.array(texts) if field.name == FACTS else pa.nulls(len(texts), field.type) for field in schema]
        yield pa.record_batch(columns, schema=schema)


BATCH = 100_000


def typed(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The columns of the schema in its types."""
    columns = [table.column(field.name) for field in schema]
    cast = [c if c.type == f.type else c.cast(f.type) for c, f in zip(columns, schema, strict=True)]
    return pa.table(cast, schema=schema)
