"""Events as JSON, checked against the table of their source: nothing is guessed, nothing is coerced.

The one rule: a value is of its column's type as JSON writes it. Integers for integers (1.0 is none, neither is "12"),
within their width; numbers for floats and decimals (decimals also as text, and exactly: no digit is dropped); text;
true and false; ISO 8601 text, or whole microseconds, for instants, where no zone is UTC; ISO dates; base64 for bytes;
lists; objects for maps and structs. Null is allowed but in the columns that say when the event happened, or which way a
change goes; a column left out is null; a column that the table does not have is an error. NaN and infinities are no
JSON. Of two fields, or keys of a map, that are the same the last counts.

The streaming engine's format (`zipline.flink.events`) takes and refuses the same: tests/unit/events/event_cases.py has
what both must agree on.

The partition column is not part of an event: it is the day on which the event happened.

Besides, what the sources over the table compute of an event must be computable (`evaluation`).
"""

from __future__ import annotations

import datetime as dt
import re
import struct
from collections.abc import Callable, Collection, Mapping, Sequence
from decimal import Context, Decimal, Inexact, InvalidOperation
from typing import Annotated, Any, NamedTuple

import msgspec
import pyarrow as pa

from zipline.arrow import to_arrow
from zipline.clock import FIRST_INSTANT, LAST_INSTANT, to_micros
from zipline.errors import EventError, TableError, UsageError
from zipline.json_instants import Instant, InstantKey, may_be_finer, read_instant
from zipline.orchestration.events.changes import change_of
from zipline.orchestration.events.evaluation import Evaluation
from zipline.plan.steps import Projection
from zipline.types import (
    BINARY,
    BOOLEAN,
    DATE,
    DOUBLE,
    FLOAT,
    NULL,
    STRING,
    TIMESTAMP,
    ArrayType,
    DataType,
    DecimalType,
    MapType,
    StructType,
    every_type,
)

MOST_EVENTS = 10_000
"""Events of one batch."""
LONGEST = 16 << 20
"""Bytes of one batch."""
LONGEST_EVENT = 1 << 20
"""Bytes of one event."""

_LARGEST = {FLOAT: 3.4028234663852886e38, DOUBLE: 1.7976931348623157e308}
_UNFIT = (pa.ArrowException, ValueError, OverflowError, UsageError)
_PLAIN: dict[DataType, Any] = {BOOLEAN: bool, STRING: str, BINARY: bytes, DATE: dt.date, NULL: type(None)}
_AT = re.compile(r"^(?P<reason>.*?)(?: - at (?P<key>`key` in )?`(?P<path>.*)`)?$", re.DOTALL)
_OF_BATCH = re.compile(r"\$(\.[^.\[]+)?")
"""What is wrong beside the events, and not in one of them."""
_POSTED = re.compile(r"\$\.events\[[0-9]+\]")
_FIELD = re.compile(r"field `(.*)`$", re.DOTALL)

_MALFORMED = (msgspec.MsgspecError, UnicodeError, RecursionError, ValueError)

Event = Any
"""A checked event: a struct with one field for each column."""


class Intake:
    """Checks the events of one source. `required` are the columns that may not be null, `sources` what reads them.

    Of changes `envelope` names the two columns that their envelope fills: when, and whether the row was taken away.
    """

    def __init__(
        self,
        table: str,
        schema: Mapping[str, DataType],
        required: frozenset[str],
        partition: str | None = None,
        sources: Sequence[Projection] = (),
        envelope: tuple[str, str] | None = None,
    ) -> None:
        self.table, self.required = table, required
        self._partition, self._envelope = partition, envelope
        self.columns = {name: dtype for name, dtype in schema.items() if name != partition}
        self.evaluation = Evaluation(table, self.columns, sources)
        self._fields = {name: f"c{number}" for number, name in enumerate(self.columns)}
        self._convert = {name: _converter(dtype) for name, dtype in self.columns.items()}
        self._keyed = {name for name, dtype in self.columns.items() if any(map(_is_by_instants, every_type(dtype)))}
        try:
            self._batch = self._batch_of(_CUT_OFF)
            self._decode_batch = _decoder(self._batch_of)
            self._decode = _decoder(self._event_of)
            if envelope is not None:
                self._check_envelope(envelope)
                self._event = self._event_of(_AS_THEY_ARE)
                self._decode_row = _decoder(lambda instants: _struct("Row", self.columns, instants, required, envelope))
        except (TypeError, ValueError) as wrong:
            raise TableError(f"{table} has a column that JSON cannot hold: {wrong}") from None

    def _event_of(self, instants: _Instants) -> Any:
        return _struct("Event", self.columns, instants, self.required)

    def _batch_of(self, instants: _Instants) -> Any:
        fields = [("events", list[self._event_of(instants)])]  # type: ignore[misc]
        return msgspec.defstruct("Batch", fields, forbid_unknown_fields=True)

    def _check_envelope(self, envelope: tuple[str, str]) -> None:
        for name, dtype in zip(envelope, (TIMESTAMP, BOOLEAN), strict=True):
            if self.columns.get(name) != dtype:
                raise TableError(
                    f"the column {name!r} of {self.table} is {self.columns.get(name)}, where a change's envelope fills "
                    f"one that is {dtype}"
                )

    def posted(self, batch: bytes | Sequence[Mapping[str, Any]]) -> list[Event]:
        """The events of `{"events": [...]}` as JSON, or of a list of objects; EventError names the first that is
        wrong, and where."""
        if isinstance(batch, bytes) and len(batch) > LONGEST:
            raise UsageError(f"{len(batch):,} bytes are too many", hint=f"post at most {LONGEST:,} bytes at once")
        try:
            if isinstance(batch, bytes):
                events: list[Event] = self._decode_batch(batch).events
            else:
                rows = [self._row(number, row) for number, row in enumerate(batch)]
                events = msgspec.convert({"events": rows}, self._batch, dec_hook=read_instant).events
        except (msgspec.MsgspecError, UnicodeError, RecursionError, TypeError, ValueError) as wrong:
            found = self._wrong(wrong)
            is_no_batch = isinstance(wrong, msgspec.ValidationError) and _OF_BATCH.fullmatch(found.path or "")
            raise (self._no_batch(found) if is_no_batch else found) from None
        if len(events) > MOST_EVENTS:
            raise UsageError(f"{len(events):,} events are too many", hint=f"post at most {MOST_EVENTS:,} at once")
        self.evaluation.check(self.arrow(events, "$.events"), "$.events")
        return events

    def _row(self, number: int, given: Mapping[str, Any]) -> dict[str, Any]:
        """With instants for what is text of them as keys of maps, for which msgspec asks nobody."""
        row = dict(given)
        for name in self._keyed & row.keys():
            try:
                row[name] = _with_instants(row[name], self.columns[name])
            except ValueError as wrong:
                raise EventError(f"{wrong} as a key", path=f"$.events[{number}].{name}", subject=self.table) from None
        return row

    def event(self, text: Any) -> Event:
        """One event as JSON; EventError where it is none. What Arrow cannot hold is found by `arrow`."""
        _check_length(text)
        try:
            return self._decode(text)
        except _MALFORMED as wrong:
            raise self._wrong(wrong) from None

    def changes(self, text: Any) -> list[Event]:
        """The rows of one change as Debezium tells it: the one that it took away, the one that it brought."""
        _check_length(text)
        try:
            change = change_of(text)
        except _MALFORMED as wrong:
            raise self._wrong(wrong) from None
        sides = ((change.before, "before"), (change.after, "after"))
        return [self._side(row, name, change.micros, change.path) for row, name in sides if row is not None]

    def check_changes(self, events: Sequence[Event]) -> None:
        """EventError for the first of these rows of a change that Arrow cannot hold."""
        assert self._envelope is not None
        is_before = self._fields[self._envelope[1]]
        for event in events:
            self.arrow([event], "$.before" if getattr(event, is_before) else "$.after")

    def _side(self, row: Any, name: str, micros: int, path: str) -> Event:
        """A row of a change, with what the envelope says of it."""
        assert self._envelope is not None, "a table of changes names the columns that say when, and which way"
        try:
            found = self._decode_row(row)
        except _MALFORMED as wrong:
            raise self._wrong(wrong, f"{path}.{name}") from None
        time, is_before = (self._fields[column] for column in self._envelope)
        values = {field: getattr(found, field) for field in self._fields.values() if field not in (time, is_before)}
        return self._event(**values, **{time: micros, is_before: name == "before"})

    def encoded(self, events: Sequence[Event]) -> list[bytes]:
        """The events as JSON again, in one spelling; EventError where text is no Unicode or an event is too long."""
        try:
            texts = [msgspec.json.encode(event) for event in events]
        except UnicodeError as wrong:
            raise EventError(f"text that is no Unicode: {wrong}", path="$.events", subject=self.table) from None
        for number, text in enumerate(texts):
            if len(text) > LONGEST_EVENT:
                raise EventError(f"{len(text):,} bytes are too many for an event", path=f"$.events[{number}]")
        return texts

    def arrow(self, events: Sequence[Event], path: str = "$") -> pa.Table:
        """The events as rows of the table, without its partition column."""
        return pa.table({name: self._column(name, events, path) for name in self.columns})

    def _column(self, name: str, events: Sequence[Event], path: str) -> pa.Array:
        field, convert = self._fields[name], self._convert[name]
        values = [getattr(event, field) for event in events]
        try:
            if convert is not None:
                values = [None if value is None else convert(value) for value in values]
            return pa.array(values, to_arrow(self.columns[name]))
        except _UNFIT as wrong:
            if len(events) == 1:
                place = f"{path}.{name}"
                raise EventError(f"{wrong} (the column is {self.columns[name]})", path=place) from None
        for number, event in enumerate(events):
            self._column(name, [event], f"{path}[{number}]")
        raise EventError("the values do not fit together", path=f"{path}.{name}", subject=self.table)

    def _wrong(self, wrong: Exception, within: str = "$") -> EventError:
        """What msgspec found, as what and where."""
        if isinstance(wrong, UnicodeDecodeError):
            said = f"text that is no UTF-8: byte 0x{wrong.object[wrong.start]:02x}"
            return EventError(said, path="$", subject=self.table)
        found = _AT.match(str(wrong))
        assert found is not None
        said, path = found["reason"], within + (found["path"] or "$")[1:]
        if found["key"]:
            said += " as a key"
        named = _FIELD.search(said)
        if named is not None and "unknown field" in said:
            return self._unknown(named[1], path, is_column=path == within or _POSTED.fullmatch(path) is not None)
        if named is not None and "missing required field" in said:
            return EventError(
                "is missing: it says when the event happened, or which way a change goes", path=f"{path}.{named[1]}"
            )
        return EventError(said.replace("`", ""), path=path, subject=self.table)

    def _no_batch(self, wrong: EventError) -> EventError:
        return EventError('a batch is {"events": [{...}, ...]} and nothing else', path=wrong.path, subject=self.table)

    def _unknown(self, name: str, path: str, *, is_column: bool) -> EventError:
        if not is_column:
            return EventError("there is no such field", path=f"{path}.{name}", subject=self.table)
        if name == self._partition:
            return EventError(
                "is not part of an event: it is the day on which the event happened",
                path=f"{path}.{name}",
                subject=self.table,
                hint="leave it out",
            )
        if name in (self._envelope or ()):
            return EventError("is not part of a row: the envelope says it", path=f"{path}.{name}", subject=self.table)
        return EventError(
            "the table has no such column",
            path=f"{path}.{name}",
            subject=self.table,
            asked=name,
            valid=self.columns,
        )


def _check_length(text: Any) -> None:
    if not text:
        raise EventError("an empty message", path="$")
    if len(text) > LONGEST_EVENT:
        raise EventError(f"{len(text):,} bytes are too many for an event", path="$")


class _Instants(NamedTuple):
    """The types of instants: of values, and of the keys of maps."""

    value: Any
    key: Any


_MICROS = Annotated[int, msgspec.Meta(ge=FIRST_INSTANT, le=LAST_INSTANT)]
_AS_THEY_ARE, _CUT_OFF = _Instants(_MICROS | dt.datetime, _MICROS | dt.datetime), _Instants(Instant, InstantKey)


def _is_by_instants(dtype: DataType) -> bool:
    return isinstance(dtype, MapType) and dtype.key == TIMESTAMP


def _with_instants(value: Any, dtype: DataType) -> Any:
    """A value in which keys of maps that are text of instants are these; what it is besides is not looked at."""
    if isinstance(dtype, ArrayType) and isinstance(value, (list, tuple)):
        return [_with_instants(each, dtype.element) for each in value]
    if isinstance(dtype, StructType) and isinstance(value, Mapping):
        fields = dict(dtype.fields)
        return {name: _with_instants(each, fields[name]) if name in fields else each for name, each in value.items()}
    if isinstance(dtype, MapType) and isinstance(value, Mapping):
        is_text = _is_by_instants(dtype)
        return {
            read_instant(InstantKey, key) if is_text and type(key) is str else key: _with_instants(each, dtype.value)
            for key, each in value.items()
        }
    return value


def _decoder(kind: Callable[[_Instants], Any]) -> Callable[[Any], Any]:
    """Decodes text that is finer than microseconds by a hook, which takes longer."""
    plain = msgspec.json.Decoder(kind(_AS_THEY_ARE)).decode
    careful = msgspec.json.Decoder(kind(_CUT_OFF), dec_hook=read_instant).decode
    return lambda text: careful(text) if may_be_finer(text) else plain(text)


def _struct(
    name: str,
    columns: Mapping[str, DataType],
    instants: _Instants,
    required: Collection[str] = (),
    left_out: Collection[str] = (),
) -> Any:
    """A struct whose fields are c0, c1, ... for the columns of these names: a column may have any name."""
    fields: list[Any] = []
    rename = {f"c{number}": column for number, column in enumerate(columns) if column not in left_out}
    for number, (column, dtype) in enumerate(columns.items()):
        if column not in left_out:
            kind = _kind(dtype, f"{name}_{number}", instants)
            fields.append((f"c{number}", kind) if column in required else (f"c{number}", kind | None, None))
    return msgspec.defstruct(
        name, fields, rename=rename, forbid_unknown_fields=True, omit_defaults=True, kw_only=True, gc=False
    )


def _kind(dtype: DataType, name: str, instants: _Instants) -> Any:
    """The Python type that msgspec checks JSON against."""
    if dtype.is_integer:
        least, most = dtype.bounds
        return Annotated[int, msgspec.Meta(ge=least, le=most)]
    if dtype in _LARGEST:
        return Annotated[float, msgspec.Meta(ge=-_LARGEST[dtype], le=_LARGEST[dtype])]
    if dtype == TIMESTAMP:
        return instants.value
    if isinstance(dtype, DecimalType):
        return Decimal
    if isinstance(dtype, ArrayType):
        return list[_kind(dtype.element, name, instants) | None]  # type: ignore[misc]
    if isinstance(dtype, MapType):
        key: Any = instants.key if dtype.key == TIMESTAMP else _kind(dtype.key, name, instants)
        return dict[key, _kind(dtype.value, name, instants) | None]  # type: ignore[misc]
    if isinstance(dtype, StructType):
        return _struct(name, dict(dtype.fields), instants)
    return _PLAIN[dtype]


def _converter(dtype: DataType) -> Callable[[Any], Any] | None:
    """What makes of a checked value one that Arrow takes; None where it is one."""
    if dtype == TIMESTAMP:
        return _instant
    if isinstance(dtype, DecimalType):
        return _fitting(dtype.precision, dtype.scale)
    if isinstance(dtype, ArrayType):
        element = _nullable(dtype.element)
        return lambda values: [element(value) for value in values]
    if isinstance(dtype, MapType):
        key = _short if dtype.key == FLOAT else _nullable(dtype.key)
        item = _nullable(dtype.value)
        return lambda values: list({key(k): item(v) for k, v in values.items()}.items())
    if isinstance(dtype, StructType):
        fields = [(name, f"c{n}", _nullable(kind)) for n, (name, kind) in enumerate(dtype.fields)]
        return lambda value: {name: convert(getattr(value, field)) for name, field, convert in fields}
    return None


def _nullable(dtype: DataType) -> Callable[[Any], Any]:
    convert = _converter(dtype)
    if convert is None:
        return lambda value: value
    return lambda value: None if value is None else convert(value)


def _instant(value: dt.datetime | int) -> int:
    try:
        return to_micros(value)
    except UsageError:
        raise ValueError("is outside the years 1 to 9999") from None


def _short(value: float) -> float:
    """The nearest float of 32 bits."""
    found: float = struct.unpack("f", struct.pack("f", value))[0]
    return found


def _fitting(precision: int, scale: int) -> Callable[[Decimal], Decimal]:
    """What gives a decimal its column's digits after the point, and refuses one that is not exactly of as many."""
    unit, context = Decimal(1).scaleb(-scale), Context(prec=precision, traps=[Inexact, InvalidOperation])

    def fit(value: Decimal) -> Decimal:
        if not value.is_finite():
            raise ValueError("is no number")
        if value and value.adjusted() >= precision - scale:
            raise ValueError(f"has more than {precision - scale} digits before the point")
        try:
            return value.quantize(unit, context=context)
        except (Inexact, InvalidOperation):
            raise ValueError(f"would cause data loss: it has more than {scale} digits after the point") from None

    return fit
