"""The functions of the algebra inside Flink: planned, shuffled, checkpointed and restored."""

from __future__ import annotations

import re
import subprocess
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.integration.flink import drawn
from tests.integration.flink.test_partials import compare, expected
from tests.integration.servers.flink import class_path, flink_command
from tests.integration.streaming.jobs import make_topic
from training.broker import program
from zipline import Aggregation, EventSource, GroupBy, Operation, Query, Topic
from zipline.algebra.layout import EVENTS as EVENTS_AT
from zipline.byte_strings import listed
from zipline.clock import to_datetime
from zipline.engines.flink.messages import read_message
from zipline.engines.flink.sharing import Shared
from zipline.expressions.dialects import type_name
from zipline.orchestration.streaming.brokers import Admin, TileReader
from zipline.plan.build import plan_group_by
from zipline.plan.online import Kept
from zipline.project import Brokers
from zipline.stores.keys import key_writer
from zipline.types import BIGINT, DATE, DOUBLE, STRING, TIMESTAMP, DecimalType, array

EVENTS, FAILS_AT = 600, 300
TYPES = {
    "n": BIGINT,
    "x": DOUBLE,
    "s": STRING,
    "m": DecimalType(precision=20, scale=2),
    "d": DATE,
    "at": TIMESTAMP,
    "xs": array(DOUBLE),
}
FUNCTIONS = """
CREATE TEMPORARY SYSTEM FUNCTION zipline_place AS 'zipline.flink.algebra.PlaceFunction'
;
CREATE TEMPORARY SYSTEM FUNCTION zipline_micros AS 'zipline.flink.algebra.MicrosFunction'
;
"""


def kept() -> Kept:
    wanted = [Aggregation("n", Operation.SUM), Aggregation("x", Operation.AVERAGE), Aggregation("x", Operation.LAST)]
    wanted += [Aggregation("x", Operation.VARIANCE), Aggregation("s", Operation.LAST_K, k=5)]
    wanted += [Aggregation("s", Operation.HISTOGRAM), Aggregation("n", Operation.APPROX_UNIQUE_COUNT)]
    wanted += [Aggregation("x", Operation.MAX, buckets=["s"]), Aggregation("m", Operation.TOP_K, k=3)]
    wanted += [Aggregation("d", Operation.FIRST), Aggregation("at", Operation.BOTTOM_K, k=2)]
    wanted += [Aggregation("xs", Operation.UNIQUE_COUNT)]
    source = EventSource("events", topic=Topic("t"), query=Query(["k", *TYPES], time="t"))
    schema = {"k": BIGINT, **TYPES, "t": TIMESTAMP}
    return Kept(plan_group_by(GroupBy(["k"], [source], wanted, name="g"), lambda _: schema))


@pytest.mark.parametrize(("reuse", "state"), [("true", "hashmap"), ("false", "hashmap"), ("true", "rocksdb")])
def test_tiles_outlive_a_failure_of_the_job(
    tmp_path: Path,
    kafka_servers: str,
    reuse: str,
    state: str,
) -> None:
    group_by, topic = kept(), f"tiles-{uuid.uuid4().hex[:8]}"
    make_topic(kafka_servers, topic, 1)
    source = f"""
        CREATE TEMPORARY TABLE events (i BIGINT) WITH ('connector' = 'datagen', 'rows-per-second' = '100',
            'fields.i.kind' = 'sequence', 'fields.i.start' = '1', 'fields.i.end' = '{EVENTS}')
        ;
        CREATE TEMPORARY SYSTEM FUNCTION fail_once AS 'Checkpointed$FailOnce'
        ;
        CREATE TEMPORARY VIEW clean AS SELECT fail_once(i, {FAILS_AT}) AS n FROM events
        ;
        CREATE TEMPORARY VIEW typed AS SELECT n, MOD(n, 3) AS k, n / CAST(8 AS DOUBLE) AS x,
            CAST(MOD(n, 7) AS STRING) AS s, CAST(n / CAST(4 AS DECIMAL(20, 2)) AS DECIMAL(20, 2)) AS m,
            DATE '2024-02-29' AS d, TO_TIMESTAMP_LTZ(n, 3) AS `at`,
            ARRAY[CAST(n AS DOUBLE), CAST(NULL AS DOUBLE), CAST(1 AS DOUBLE)] AS xs,
            zipline_micros(TO_TIMESTAMP_LTZ(n, 3)) AS t FROM clean
        ;
    """
    columns = Shared((group_by,)).columns
    names = ", ".join(f"`{name}`" for name in columns)
    declared = ", ".join(f"`{name}` {type_name('flink', dtype)}" for name, dtype in columns.items())
    script = f"""{FUNCTIONS}{source}
        CREATE TEMPORARY VIEW placed AS SELECT zipline_place({group_by.tile}, t, t, k) AS place, * FROM typed
        ;
        CREATE TEMPORARY TABLE tiles (place BYTES, weight INT, t BIGINT, known BIGINT, {declared}) WITH (
            'connector' = 'zipline-tiles', 'servers' = '{kafka_servers}', 'topic' = '{topic}', 'feed' = '7',
            'kept' = '1 d', 'tile' = '{Shared((group_by,)).spec}')
        ;
        INSERT INTO tiles SELECT place, 1, t, CAST(NULL AS BIGINT), {names} FROM placed
        ;
    """
    failed, seen = run(tmp_path, re.sub(r"(?m)^ +;$", ";", script), reuse, state)
    found = tiles_of(Brokers(kafka_servers), topic)
    assert failed >= FAILS_AT, "it failed"
    assert EVENTS <= seen < EVENTS + failed, "it went on from a checkpoint"  # of the very event before, once in a while
    rows = [event(n) for n in range(1, EVENTS + 1)]
    of = expected(group_by, rows, TYPES)
    write = key_writer([BIGINT])
    assert len(found) == len(of.words) == 3
    for place in range(3):
        key = of.keys[of.key[place]]
        name = key + (0).to_bytes(4, "big") + (0).to_bytes(8, "big")
        own = [row for row in rows if write([row["k"]]) == key]
        compare(group_by, of, place, own, found[name], f"in Flink, reuse {reuse}, {state}")


def test_a_tile_is_forgotten_when_nothing_was_added_to_it_for_long(tmp_path: Path, kafka_servers: str) -> None:
    source = EventSource("events", topic=Topic("t"), query=Query(["k", "n"], time="t"))
    wanted = GroupBy(["k"], [source], [Aggregation("n", Operation.COUNT)], name="g")
    schema = {"k": BIGINT, "n": BIGINT, "t": TIMESTAMP}
    counted, topic = Kept(plan_group_by(wanted, lambda _: schema)), f"tiles-{uuid.uuid4().hex[:8]}"
    make_topic(kafka_servers, topic, 1)
    script = f"""{FUNCTIONS}
CREATE TEMPORARY TABLE events (i BIGINT) WITH ('connector' = 'datagen', 'rows-per-second' = '1', -- of each subtask
    'fields.i.kind' = 'sequence', 'fields.i.start' = '1', 'fields.i.end' = '24')
;
CREATE TEMPORARY TABLE tiles (place BYTES, weight INT, t BIGINT, known BIGINT, n BIGINT) WITH (
    'connector' = 'zipline-tiles', 'servers' = '{kafka_servers}', 'topic' = '{topic}', 'feed' = '7',
    'kept' = '10 s', 'tile' = '{Shared((counted,)).spec}')
;
INSERT INTO tiles SELECT zipline_place({counted.tile}, CAST(0 AS BIGINT), CAST(0 AS BIGINT),
    CASE WHEN i IN (1, 2, 24) THEN CAST(0 AS BIGINT) ELSE CAST(1 AS BIGINT) END), 1, CAST(0 AS BIGINT),
    CAST(NULL AS BIGINT), i FROM events
;
"""
    run(tmp_path, script, "true", "hashmap")
    found = tiles_of(Brokers(kafka_servers), topic)
    write = key_writer([BIGINT])
    counts = []
    for key in (0, 1):
        (content,) = (tile for place, tile in found.items() if place.startswith(write([key]) or b""))
        counts.append(int.from_bytes(content[EVENTS_AT * 8 : EVENTS_AT * 8 + 8], "little"))
    assert counts == [1, 21], "the first two of one are twenty seconds old, the others never more than one or two apart"


def event(n: int) -> drawn.Row:
    time = to_datetime(n * 1000)
    row: dict[str, Any] = {"n": n, "k": n % 3, "x": n / 8, "s": str(n % 7), "m": drawn.Decimal(n) / 4}
    row["m"] = row["m"].quantize(drawn.Decimal("0.01"), "ROUND_HALF_UP")
    more = {"d": drawn.dt.date(2024, 2, 29), "at": time, "xs": [float(n), None, 1.0], "t": time}
    return row | more | {"known": None, "changed": None, "old": None, "ds": None}


def tiles_of(brokers: Brokers, topic: str) -> dict[bytes, bytes]:
    """The last that was sent of each place."""
    admin, reader, found = Admin(brokers), TileReader(brokers, topic), dict[bytes, bytes]()
    end, at = admin.end(topic), reader.begin([0])[0]
    while at < end:
        for tile in reader.read(100, 1.0):
            message, at = read_message(tile.content), tile.after
            assert message.feed == 7
            found.update(zip(listed(message.places), listed(message.tiles), strict=True))
    reader.close()
    admin.close()
    return found


def run(folder: Path, script: str, reuse: str, state: str) -> tuple[int, int]:
    """How many rows a job had seen when it failed, and in the end."""
    path = folder / "script.sql"
    path.write_text(script)
    compiler = program("javac", "openjdk-17-jdk-headless")
    source = Path(__file__).with_name("Checkpointed.java")
    subprocess.run([compiler, "-cp", class_path(), "-d", folder, source], check=True)
    checkpoints = folder / "checkpoints"
    checkpoints.mkdir()
    command = flink_command("Checkpointed", str(path), reuse, str(checkpoints), state)
    command[2] += f":{folder}"
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]
    ((failed, seen),) = re.findall(r"SEEN (\d+) (\d+)", done.stdout)
    return int(failed), int(seen)
