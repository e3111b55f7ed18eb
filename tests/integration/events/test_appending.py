"""Events in the warehouse: once, on the day on which they happened, whoever else appends."""

from __future__ import annotations

import datetime as dt
import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.integration.events.shop import event, make_shop, stored
from zipline.clock import now
from zipline.errors import TableError
from zipline.orchestration.events.appending import Appender
from zipline.orchestration.events.logs import FileLog
from zipline.orchestration.events.opening import open_stream
from zipline.orchestration.events.posting import EventLog
from zipline.orchestration.events.sources import event_sources, folder_of
from zipline.plan.definitions import load
from zipline.project import Project
from zipline.tables.appending import DeltaAppend, MovedError
from zipline.tables.catalog import open_catalog
from zipline.tables.delta import write_source

EVENTS = [event(number, "ann", 1.0, f"2024-05-0{4 + number // 5}T10:{number:02}:00Z") for number in range(10)]


def appender(project: Project, *files: Path) -> Appender:
    sources = event_sources(project, load(project.root / "configs"), open_catalog(project=project))
    logs = [FileLog("purchases", file) for file in files]
    return Appender(sources.table("purchases"), logs, folder_of(project, "purchases"), now)


def written(path: Path, events: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(each) + "\n" for each in events))
    return path


def test_events_are_appended_once_with_the_day_on_which_they_happened(tmp_path: Path) -> None:
    project, file = make_shop(tmp_path), written(tmp_path / "events.jsonl", EVENTS)
    assert appender(project, file).append() == 10
    assert appender(project, file).append() == 0
    assert [(row["event"], row["ds"]) for row in stored(project)][2:] == [
        (f"e{number}", "2024-05-04" if number < 5 else "2024-05-05") for number in range(10)
    ]


def test_an_event_that_the_table_has_is_not_appended_again(tmp_path: Path) -> None:
    project = make_shop(tmp_path)
    first = written(tmp_path / "first.jsonl", [*EVENTS[:6], EVENTS[2]])
    second = written(
        tmp_path / "second.jsonl",
        [{**EVENTS[3], "amount": 5.0}, *EVENTS[5:], event(0, "bob", 9.0, "2024-05-04T09:00:00Z")],
    )
    assert appender(project, first).append() == 6
    assert appender(project, second).append() == 4
    assert [row["amount"] for row in stored(project)][2:] == [1.0] * 10, "the first that came"


def test_without_an_id_every_event_that_was_accepted_is_appended(tmp_path: Path) -> None:
    project = make_shop(tmp_path, with_ids=False)
    first = written(tmp_path / "first.jsonl", [*EVENTS, EVENTS[0]])
    assert appender(project, first, written(tmp_path / "second.jsonl", EVENTS[:3])).append() == 14


@pytest.mark.parametrize("dtype", [pa.string(), pa.date32(), None])
def test_tables_are_appended_to_whatever_type_their_partition_has(dtype: pa.DataType | None, tmp_path: Path) -> None:
    project, file = make_shop(tmp_path), written(tmp_path / "events.jsonl", EVENTS)
    columns: dict[str, pa.DataType] = {
        "event": pa.string(),
        "user": pa.string(),
        "amount": pa.float64(),
        "more": pa.int32(),
        "bought_at": pa.timestamp("us", "UTC"),
    }
    empty = pa.schema(columns | ({"ds": dtype} if dtype else {})).empty_table()
    shutil.rmtree(project.table_uri("purchases"))
    write_source("purchases", empty, "ds" if dtype == pa.string() else None, project=project)
    assert appender(project, file).append() == 10
    rows = stored(project)
    assert {row["more"] for row in rows} == {None}
    if dtype is not None:
        days = {"2024-05-04", "2024-05-05"}
        assert {row["ds"] for row in rows} == (days if dtype == pa.string() else set(map(dt.date.fromisoformat, days)))


def test_appenders_that_begin_at_one_position_append_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on two machines, whose locks do not see each other."""
    project, file = make_shop(tmp_path, with_ids=False), written(tmp_path / "events.jsonl", EVENTS)
    counts: list[int] = []
    appenders = [appender(project, file) for _ in range(4)]
    for number, each in enumerate(appenders):
        each._folder = tmp_path / f"machine-{number}"
    started = threading.Barrier(4)

    def run(each: Appender) -> None:
        started.wait()
        counts.append(each.append())

    threads = [threading.Thread(target=run, args=(each,)) for each in appenders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(counts) == [0, 0, 0, 10]
    assert len(stored(project)) == 12


def test_of_two_appends_from_one_position_the_second_is_refused(tmp_path: Path) -> None:
    project = make_shop(tmp_path)
    uri = project.table_uri("purchases")
    one, two = DeltaAppend(uri), DeltaAppend(uri)
    rows = pa.table({"event": ["x"], "ds": ["2024-05-04"]})
    one.append(rows, {"log": 5})
    assert DeltaAppend(uri).positions(["log", "other"]) == {"log": 5}
    with pytest.raises(MovedError):
        two.append(rows, {"log": 5})
    with pytest.raises(TableError, match="has no column 'evnt' any more"):
        DeltaAppend(uri).append(pa.table({"evnt": ["x"]}), {})


def test_a_row_whose_time_cannot_be_evaluated_is_not_appended_and_holds_up_no_other(tmp_path: Path) -> None:
    project = make_shop(tmp_path)
    spending = tmp_path / "configs" / "shop" / "spending.py"
    spending.write_text(spending.read_text().replace('time="bought_at"', 'time="CAST(user AS TIMESTAMP)"'))
    timed = [each | {"user": "ann" if number == 3 else "2024-05-07T10:00:00Z"} for number, each in enumerate(EVENTS)]
    assert appender(project, written(tmp_path / "events.jsonl", timed)).append() == 9
    assert {row["ds"] for row in stored(project)[2:]} == {"2024-05-07"}


def test_events_that_are_all_known_are_passed_over_for_good(tmp_path: Path) -> None:
    project = make_shop(tmp_path)
    assert appender(project, written(tmp_path / "first.jsonl", EVENTS)).append() == 10
    second = written(tmp_path / "second.jsonl", [*EVENTS, {"user": "nobody"}])
    for _ in range(2):
        assert appender(project, second).append() == 0
    position = appender(project, second).position(FileLog("purchases", second))
    assert position == {"": second.stat().st_size}


def test_an_event_of_the_first_day_that_there_is(tmp_path: Path) -> None:
    first = written(tmp_path / "first.jsonl", [event(1, "ann", 1.0, "0001-01-01T00:00:00Z")])
    assert appender(make_shop(tmp_path), first).append() == 1


def test_a_snapshot_group_by_has_events_in_the_warehouse_alone(tmp_path: Path) -> None:
    project = make_shop(tmp_path)
    spending = tmp_path / "configs" / "shop" / "spending.py"
    text = spending.read_text().replace("online=True", "online=True, accuracy=Accuracy.SNAPSHOT")
    spending.write_text(text.replace("import ", "import Accuracy, ").replace('"1h", "1d"', '"1d"'))
    EventLog(project).post("purchases", EVENTS)
    with open_stream(project) as stream:
        assert stream.once().tables["purchases"].appended == 10
