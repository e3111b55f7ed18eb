"""What Spark could not do, said of the table or the step: its own words are a Java stack trace that names neither.

`translated` is the one place where its exceptions become ours. What an author can mend is told without the trace; for
what nobody foresaw the exception stays the cause of ours.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import unquote

from zipline import errors
from zipline.engines.local.failures import article
from zipline.engines.spark.lanes import Lane, column_sql
from zipline.engines.spark.left import query_time
from zipline.engines.spark.statements import clock
from zipline.errors import DataError, EngineError, TableError, ZiplineError
from zipline.plan.steps import Projection
from zipline.values import dataclass

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_ROOM = "make room there, or name a larger disk in spark.local.dir and [spark] scratch; nothing half-written stays"
_MEMORY = "give it more memory ({}), or smaller partitions (spark.zipline.rowsPerTask)"
_SHIP = "ship the platform and what it needs to the executors: docs/spark.md says how"
_RULES: Sequence[tuple[str, type[ZiplineError], str, str]] = (
    (
        r"FAILED_READ_FILE\.FILE_NOT_EXIST\].*?file (\S+?)\.? File does not|FileNotFoundException: (?:File )?(\S+)",
        TableError,
        "the file {} is gone: it was there when the run began",
        "run the same command again, when nobody rewrites the table",
    ),
    (
        r"PARQUET_COLUMN_DATA_TYPE_MISMATCH\].*?file (\S+)\. .*?column \[(.+?)\].*?Spark type (\S+?), .*?type (\S+?)\.",
        TableError,
        "the column {1} is {3} in the file {0}, and {2} in the table",
        "write the file again, with the types of the others",
    ),
    (
        r"(?:FAILED_READ_FILE[.\w]*|CANNOT_READ_FILE\w*)\].*?file:? (\S+?)\.? ",
        TableError,
        "the file {} cannot be read",
        "it is damaged, or of another format: write it again",
    ),
    (
        r"PATH_NOT_FOUND\] Path does not exist: (\S+?)\.? ",
        TableError,
        "there is nothing at {}",
        "it was there when the run began, on this machine: is it gone, or on a disk that the executors do not share?",
    ),
    (
        r"TABLE_OR_VIEW_NOT_FOUND\] The table or view (\S+)",
        TableError,
        "there is no table {} in the catalog of the session",
        "SHOW TABLES lists what is there",
    ),
    (
        r"REQUIRES_SINGLE_PART_NAMESPACE\] (\S+) requires",
        TableError,
        "a table of the catalog {} is named by its database and its own name",
        'write it as "database.table"',
    ),
    (
        r"UNSUPPORTED_DATA_TYPE_FOR_ARROW_CONVERSION\] (\w+)",
        TableError,
        "a column has the type {}, which the platform does not read",
        "give it another type in a view, or leave it out",
    ),
    (
        r"Cannot find catalog plugin class for catalog '?(\w+)'?: ([\w.$]+\w)",
        EngineError,
        "the session has no jar with {1}, which is to be its catalog {0}",
        "name its package in spark.jars.packages of [spark.settings], or its jar in spark.jars",
    ),
    (r"No space left on device|Errno 28|Disk quota exceeded", EngineError, "a disk is full", _ROOM),
    (
        r"PYTHON_VERSION_MISMATCH\D+([\d.]+)\D+([\d.]+)",
        EngineError,
        "the executors have Python {}, the driver {}",
        "PYSPARK_PYTHON names a Python of the driver's minor version on every executor",
    ),
    (
        r"ModuleNotFoundError: No module named '(zipline|\w+)",
        EngineError,
        "the executors' Python has no {}",
        _SHIP,
    ),
    (
        r'Cannot run program "(\S+?)"',
        EngineError,
        "the executors have no {}, which is to run tasks",
        "PYSPARK_PYTHON names a Python that is there",
    ),
    (
        r"OutOfMemoryError: ([\w ]+)|exceed(?:ed|ing) (?:physical )?memory limits|maxResultSize",
        EngineError,
        "Java ran out of memory",
        _MEMORY.format("spark.executor.memory, spark.driver.memory"),
    ),
    (
        r"Python worker exited unexpectedly|MemoryError|ArrowMemoryError",
        EngineError,
        "a Python that ran a task was killed, or ran out of memory",
        _MEMORY.format("spark.executor.memoryOverhead"),
    ),
    (
        r"ExecutorLostFailure \(executor (\S+) exited(?:.*?Reason: ([^\n]{1,200}))?|FetchFailed\((\S+?),",
        EngineError,
        "the executor {0} was lost, again and again",
        "its own log says why; most of the time it had too little memory: " + _MEMORY.format("spark.executor.memory"),
    ),
    (
        r"Answer from Java side is empty|Connection refused|Error while sending or receiving|Connection reset",
        EngineError,
        "the JVM of the driver is gone",
        "it was killed, or ran out of memory: " + _MEMORY.format("spark.driver.memory"),
    ),
    (
        r"StatusCode\.UNAVAILABLE|RETRIES_EXCEEDED|failed to connect to all addresses",
        EngineError,
        "the server of Spark Connect does not answer",
        "is it up, and is [spark] remote its address? zipline doctor --spark tries it",
    ),
    (
        r"Job \S+ cancelled|OPERATION_CANCELED|SparkContext was shut down",
        EngineError,
        "the work was cancelled in Spark",
        "run the same command again: it goes on where it stopped",
    ),
)
_OURS = re.compile(r"^zipline\.errors\.(\w+): (.+?)(?:\n\s*\n|\n\tat |\Z)", re.MULTILINE | re.DOTALL)
_OF_DATA = re.compile(r"\[([A-Z_.]+)\] ((?:(?!SQLSTATE).)+?)\s+SQLSTATE: 22\w{3}", re.DOTALL)
_VALUE = re.compile(r"value '(?:not an? [A-Z]+: )?(.*?)' of the type .*? cannot be cast to \"(\w+)\"", re.DOTALL)
_STATEMENT = re.compile(r"== SQL \(line \d+, position \d+\) ==\n(.*?)\n[ ^]*\^", re.DOTALL)
_RAISED = re.compile(r"^Traceback \(most recent.*?^([\w.]+: [^\n]+)", re.MULTILINE | re.DOTALL)
_CAUSE = re.compile(r"^(?:Caused by: )?(?:[\w$]+\.)+(\w*(?:Exception|Error)): (.+)$", re.MULTILINE)
_TRIED = 20
"""So many expressions are evaluated one by one to find the one that failed."""


@dataclass(frozen=True, eq=False)
class Reading:
    """A table as it is read: `expressions` are the author's texts -> SQL over the `frame`."""

    table: str
    frame: DataFrame
    expressions: Mapping[str, str]


def reading_of_left(frame: DataFrame, left: Projection) -> Reading:
    """The table of the left rows."""
    own = {plain(expression.text): expression.sql("spark") for _, expression in left.select}
    time = left.time.text if left.time is not None else str(left.partition)
    return Reading(left.table, frame, own | _conditions(left) | {plain(time): query_time(left)})


def reading_of_lane(frame: DataFrame, lane: Lane) -> Reading:
    """A table of events, of snapshots or of mutations, by all that read it together."""
    found: dict[str, str] = {}
    for source in lane.projections:
        for each in (source.time, source.known_at, source.mutation_time):
            found |= {} if each is None else {plain(each.text): clock(each)}
        found |= _conditions(source)
    texts = {plain(source.columns[name].text): column_sql(source, name) for source, name in lane.aliases}
    return Reading(lane.first.table, frame, found | texts)


def _conditions(source: Projection) -> dict[str, str]:
    return {plain(condition.text): condition.sql("spark") for condition in source.where}


def plain(expression: str) -> str:
    """An author's expression on one line; a column without its quotes."""
    column = re.fullmatch(r'"([^"]+)"', expression)
    return column.group(1) if column else " ".join(expression.split())


_LOGS = ("SQLQueryContextLogger", "DataFrameQueryContextLogger")
"""Where Spark writes an error down before it raises it."""


@contextmanager
def translated(subject: str, readings: Sequence[Reading] = (), step: Callable[[], str] = str) -> Iterator[None]:
    """Raises what Spark raises within as one of our errors: of `subject`, in the `step` at which it is then."""
    from py4j.protocol import Py4JError  # type: ignore[import-untyped]
    from pyspark.errors import PySparkException
    from pyspark.logger import PySparkLogger

    # A logger that Python's own `getLogger` makes first lacks what Spark's has: its errors could not be raised.
    logs = [PySparkLogger.getLogger(name) for name in _LOGS]
    were_silent = [log.disabled for log in logs]
    for log in logs:
        log.disabled = True
    try:
        yield
    except (PySparkException, Py4JError, ConnectionRefusedError) as failure:
        error = error_of(str(failure), readings, step())
        error.subject = error.subject or subject
        is_known = type(error) is not EngineError or not error.what.startswith("Spark failed")
        raise error from (None if is_known else failure)
    finally:
        for log, was_silent in zip(logs, were_silent, strict=True):
            log.disabled = was_silent


def error_of(text: str, readings: Sequence[Reading] = (), step: str = "") -> ZiplineError:
    """The error of what Spark said."""
    if found := _OURS.search(text):
        return _ours(*found.groups())
    if found := _OF_DATA.search(text):
        return _of_data(found.group(2), text, readings, step)
    for pattern, kind, what, hint in _RULES:
        if found := re.search(pattern, text, re.DOTALL):
            facts = [unquote(each).removeprefix("file://") for each in found.groups() if each]
            return kind(f"{_place(found, readings, step)}{what.format(*facts)}", hint=hint)
    raised, causes = _RAISED.findall(text), _CAUSE.findall(text)
    why = raised[-1] if raised else ": ".join(causes[-1]) if causes else text.strip().splitlines()[0]
    hint = "the Spark UI and the logs of the executors have the whole of it"
    return EngineError(f"Spark failed{_at(step)}: {why[:400]}", hint=hint)


def _at(step: str) -> str:
    return f" at {step}" if step else ""


def _ours(name: str, text: str) -> ZiplineError:
    """One of our errors that a task raised, from its text."""
    kind = getattr(errors, name, EngineError)
    lines = text.split("\n  ")
    facts = dict(line.split(": ", 1) for line in lines[1:] if line.startswith(("hint: ", "next: ")))
    error: ZiplineError = kind(lines[0], hint=facts.get("hint"), next_command=facts.get("next"))
    return error


def _place(found: re.Match[str], readings: Sequence[Reading], step: str) -> str:
    """The table whose file it is, else the step."""
    path = next((each for each in found.groups() if each and "/" in each), None)
    table = None if path is None else _table_of(path, readings)
    if table is not None:
        return f"reading {table!r}: "
    return f"{step}: " if step else ""


def _table_of(path: str, readings: Iterable[Reading]) -> str | None:
    name = unquote(path).rsplit("/", 1)[-1]
    for reading in readings:
        try:
            files = reading.frame.inputFiles()
        except Exception:  # Spark, asked again after it has failed, may fail at anything: then the table is not named.
            return None
        if any(unquote(file).endswith(f"/{name}") for file in files):
            return reading.table
    return None


def _of_data(said: str, text: str, readings: Sequence[Reading], step: str) -> DataError:
    value = _VALUE.search(said)
    what = said.split(". ")[0].strip()
    if value:
        what = f"{value.group(1)!r} is not {article(value.group(2))} {value.group(2)}"
    dtype = value.group(2) if value else "type"
    form = "times are ISO 8601, such as 2013-07-01T06:30:00Z; " if dtype in ("TIMESTAMP", "DATE") else ""
    is_cast = value is not None
    hint = f"{form}mend the value, or TRY_CAST(... AS {dtype}) gives null where one does not convert"
    statement = _STATEMENT.search(text)
    place = _failing(statement.group(1) if statement else "", readings)
    where = f"reading {place[0]!r}, {place[1]}: " if place else (f"{step}: " if step else "")
    return DataError(f"{where}{what}", hint=hint if is_cast else None)


def _failing(statement: str, readings: Sequence[Reading]) -> tuple[str, str] | None:
    """(table, the author's expression) of what failed in this statement; evaluated only where it may be one of many."""
    found = {
        (reading.table, expression): (reading, sql)
        for reading in readings
        for expression, sql in reading.expressions.items()
        if sql in statement
    }
    longest = max((len(sql) for _, sql in found.values()), default=0)
    likely = {place: each for place, each in found.items() if len(each[1]) == longest}
    if len(likely) == 1:
        return next(iter(likely))
    return next((place for place, each in list(likely.items())[:_TRIED] if _fails(*each)), None)


def _fails(reading: Reading, sql: str) -> bool:
    try:
        reading.frame.selectExpr(f"count({sql}) AS n").toArrow()
    except Exception:  # whatever it is that Spark raises: this is the expression that it could not evaluate
        return True
    return False
