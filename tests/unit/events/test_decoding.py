"""Records of a log as rows: what is no event stops nobody, and a change is taken whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from zipline import EntitySource, GroupBy, Query, Topic
from zipline.orchestration.events.decoding import DeadLetters, decoded
from zipline.orchestration.events.intake import Intake
from zipline.orchestration.events.logs import CHANGES, FileLog
from zipline.plan.build import plan_group_by
from zipline.plan.online import Kept
from zipline.types import BOOLEAN, STRING, TIMESTAMP

ROW = {"key": STRING, "text": STRING, "t": TIMESTAMP}
CLOCKS = {"changed_at": TIMESTAMP, "was": BOOLEAN}


def update(before: str, after: str, **more: Any) -> dict[str, Any]:
    rows = {"before": {"key": "a", "text": before, "t": 1}, "after": {"key": "a", "text": after, "t": 1}}
    return {"op": "u", **rows, "ts_ms": 5, **more}


def test_a_change_of_which_one_row_cannot_be_computed_is_refused_with_both(tmp_path: Path) -> None:
    source = EntitySource(
        "dump",
        mutations="changes",
        topic=Topic("changes", format="debezium-json"),
        query=Query({"key": "key", "n": "CAST(text AS BIGINT)"}, time="t", mutation_time="changed_at", is_before="was"),
    )
    tables = {"dump": ROW | {"ds": STRING}, "changes": ROW | CLOCKS | {"ds": STRING}}
    streams = Kept(plan_group_by(GroupBy(["key"], [source], name="g"), lambda table: tables[table])).streams
    intake = Intake("changes", tables["changes"], frozenset(CLOCKS), "ds", streams, ("changed_at", "was"))
    path, dead = tmp_path / "changes.jsonl", DeadLetters(tmp_path / "refused.jsonl")
    sent = [update("1", "2"), update("one", "2"), update("1", "two"), update("x", "y"), update("3", "4"), {"op": "u"}]
    path.write_text("".join(json.dumps(each) + "\n" for each in sent))
    log = FileLog("changes", path, CHANGES)
    found = decoded(intake, log, log.read({}).records, dead)
    assert found.rows.select(["text", "was"]).to_pylist() == [
        {"text": "1", "was": True},
        {"text": "2", "was": False},
        {"text": "3", "was": True},
        {"text": "4", "was": False},
    ]
    assert (found.record.tolist(), found.refused) == ([0, 0, 4, 4], 4)
    kept = [json.loads(line) for line in dead.path.read_text().splitlines()]
    assert [each["event"] for each in kept] == [json.dumps(sent[number]) for number in (5, 1, 2, 3)]
