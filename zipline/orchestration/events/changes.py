"""Changes as Debezium tells them: `{"op": "u", "before": {...}, "after": {...}, "source": {"ts_us": ...}}`.

Of a change become the row that it took away and the one that it brought: `c` and `r` bring one, `d` takes one away, `u`
does both. A change was made at `source.ts_us`, or else `source.ts_ms`, or else `ts_ms`. What else the envelope says is
passed over, so is `{"schema": ..., "payload": ...}` around it; the rows are checked as strictly as events are.
"""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

import msgspec

from zipline.clock import FIRST_INSTANT, LAST_INSTANT
from zipline.errors import EventError

_NULL = msgspec.Raw(b"null")
_Long = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class _Source(msgspec.Struct):
    ts_us: _Long | None = None
    ts_ms: _Long | None = None


class _Envelope(msgspec.Struct):
    before: msgspec.Raw = _NULL
    after: msgspec.Raw = _NULL
    op: str | None = None
    ts_ms: _Long | None = None
    source: _Source | None = None
    payload: msgspec.Raw = _NULL


class Change(NamedTuple):
    """The rows as JSON (None where there is none), when the change was made, and where its envelope stands."""

    before: msgspec.Raw | None
    after: msgspec.Raw | None
    micros: int
    path: str


_decode = msgspec.json.Decoder(_Envelope).decode


def change_of(text: Any) -> Change:
    """The change that a message tells; EventError or an error of msgspec where it is none."""
    found, path = _decode(text), "$"
    if not _is_null(found.payload):
        path = "$.payload"
        try:
            found = _decode(found.payload)
        except msgspec.ValidationError as wrong:
            said, _, rest = str(wrong).partition(" - at `$")
            raise msgspec.ValidationError(f"{said} - at `$.payload{rest or '`'}") from None
    if found.op in ("c", "r"):
        before, after = None, _after(found, path)
    elif found.op == "u":
        before, after = _before(found, path), _after(found, path)
    elif found.op == "d":
        before, after = _before(found, path), None
    else:
        said = "is missing: it says what kind of change it is" if found.op is None else "is no change of a row"
        raise EventError(said, path=f"{path}.op")
    return Change(before, after, _micros(found, path), path)


def _is_null(value: msgspec.Raw) -> bool:
    return bytes(value) == b"null"


def _before(found: _Envelope, path: str) -> msgspec.Raw:
    if _is_null(found.before):
        raise EventError(
            "is missing: what the change took away is not known (give the table REPLICA IDENTITY FULL)",
            path=f"{path}.before",
        )
    return found.before


def _after(found: _Envelope, path: str) -> msgspec.Raw:
    if _is_null(found.after):
        raise EventError("is missing: what the change brought is not known", path=f"{path}.after")
    return found.after


def _micros(found: _Envelope, path: str) -> int:
    """When the change was made."""
    source = found.source or _Source()
    for value, unit, name in (
        (source.ts_us, 1, "source.ts_us"),
        (source.ts_ms, 1000, "source.ts_ms"),
        (found.ts_ms, 1000, "ts_ms"),
    ):
        if value is not None:
            if not FIRST_INSTANT <= value * unit <= LAST_INSTANT:
                raise EventError("is outside the years 1 to 9999", path=f"{path}.{name}")
            return value * unit
    raise EventError(
        "it does not say when the change was made: neither source.ts_us, source.ts_ms nor ts_ms", path=path
    )
