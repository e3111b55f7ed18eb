"""Answers from results: JSON by row, or Arrow.

    {"rows": [{"values": {feature: value}, "status": {feature: status}, "time": {feature: instant}}],
     "fingerprint": "..."}

`status` lists what is not `ok`; `time` is until when a feature's input is complete. JSON has no infinity: it is the
text "Infinity" or "-Infinity". Keys of maps are text. In Arrow the features are columns, `__status` is a map of what is
not `ok`, and the schema's metadata has the fingerprint and the times.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec
import pyarrow as pa

from zipline.clock import to_text
from zipline.fetch.results import Result, Status, as_json
from zipline.values import dataclass

JSON = b"application/json"
ARROW = b"application/vnd.apache.arrow.stream"
_ENCODER = msgspec.json.Encoder()


@dataclass(frozen=True, eq=False)
class Answered:
    """A result as its rows are written: several requests may share one."""

    result: Result
    values: list[dict[str, Any]]
    statuses: list[dict[str, Status]]
    times: list[Any]

    def json(self, first: int, last: int) -> bytes:
        """The answer that is these rows."""
        own = zip(self.values[first:last], self.statuses[first:last], self.times[first:last], strict=True)
        rows = [{"values": values, "status": statuses, "time": times} for values, statuses, times in own]
        return _ENCODER.encode({"rows": rows, "fingerprint": self.result.fingerprint})


def answered(result: Result) -> Answered:
    """The rows of a result, as JSON knows them."""
    values = result.rows()
    if result.has_boolean_keys or result.has_infinities():
        values = [{name: as_json(value) for name, value in row.items()} for row in values]
    return Answered(result, values, result.statuses(), times_of(result))


def times_of(result: Result) -> list[Any]:
    """Of every row the data time of its features, as JSON or nearly."""
    shared = result.shared_times()
    if shared is not None:
        return [_times(result.features, shared)] * len(result)
    return [
        dict(zip(result.features, map(_text, times), strict=True))
        for times in zip(*(result.times_of(name) for name in result.features), strict=True)
    ]


@lru_cache(maxsize=256)
def _times(names: tuple[str, ...], times: tuple[int | None, ...]) -> msgspec.Raw:
    return msgspec.Raw(_ENCODER.encode(dict(zip(names, map(_text, times), strict=True))))


def _text(time: int | None) -> str | None:
    return None if time is None else to_text(time)


def arrow(result: Result, first: int, last: int) -> bytes:
    """The same rows as one stream of Arrow's IPC."""
    statuses = [list(row.items()) for row in result.statuses()[first:last]]
    table = result.columns().slice(first, last - first)
    table = table.append_column("__status", pa.array(statuses, pa.map_(pa.string(), pa.string())))
    times = _ENCODER.encode({name: _text(result.times_of(name)[first]) for name in result.features if last > first})
    table = table.replace_schema_metadata({"zipline.fingerprint": result.fingerprint, "zipline.times": times})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    found: bytes = sink.getvalue().to_pybytes()
    return found
