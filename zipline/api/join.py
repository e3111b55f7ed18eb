"""Join: the features of several group-bys beside the rows of a left source, and labels for training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from zipline.api import fields
from zipline.api.base import Definition, FrozenMap, checked, definition
from zipline.api.checks import Check
from zipline.api.group_by import Derivation, GroupBy
from zipline.api.sources import EntitySource, EventSource, ExternalSource, JoinSource, Query, Source

_optional_text = fields.optional(fields.text)


@definition
class JoinPart(Definition):
    """The features of one group-by in a join.

    `key_map` maps left column to key (keys not in it have the same name on the left), `prefix` stands before the
    columns, `features` takes only some of them, by their unprefixed names.
    """

    source: GroupBy | ExternalSource = checked(fields.instance(GroupBy, ExternalSource))
    key_map: Mapping[str, str] = checked(fields.mapping(fields.text), FrozenMap())
    prefix: str | None = checked(_optional_text, None)
    features: Sequence[str] | None = checked(fields.optional(fields.several(fields.text, least=1, distinct=True)), None)

    def _validate(self) -> None:
        keys = tuple(self.source.keys)
        for key in self.key_map.values():
            if key not in keys:
                raise self.wrong(
                    f"key_map gives {key!r}, which is no key of {self.source.title}", asked=key, valid=keys
                )
        if len(set(self.key_map.values())) < len(self.key_map):
            raise self.wrong("key_map gives one key twice", valid=keys)
        if not self.features:
            return
        known = self.source.features if isinstance(self.source, GroupBy) else tuple(self.source.values)
        for feature in self.features:
            if known is not None and feature not in known:
                raise self.wrong(f"{self.source.title} has no feature {feature!r}", asked=feature, valid=known)

    @property
    def title(self) -> str:
        return f"JoinPart({self.source.title})"

    @property
    def left_keys(self) -> dict[str, str]:
        """Key of the group-by -> column of the left."""
        mapped = {key: column for column, key in self.key_map.items()}
        return {key: mapped.get(key, key) for key in self.source.keys}


@definition
class LabelPart(Definition):
    """What happened after the query: parts seen from `offset` later, over the window before that."""

    parts: Sequence[JoinPart] = checked(fields.several(fields.instance(JoinPart), least=1))
    offset: str = checked(fields.duration)

    def _validate(self) -> None:
        for part in self.parts:
            if not isinstance(part.source, GroupBy):
                raise self.wrong(f"{part.source.title} is external: labels come from tables")
            self._check_windows(part.source)

    def _check_windows(self, group_by: GroupBy) -> None:
        if group_by.is_lookup and not group_by.is_entity:
            raise self.wrong(f"{group_by.title}: a label over events needs aggregations")
        for output in (o for a in group_by.aggregations for o in a.outputs):
            if output.window is None:
                raise self.wrong(f"{output.name}: a label needs a window of at most its offset {self.offset}")
            if output.window.micros > self.offset_micros:
                raise self.wrong(f"{output.name}: the window {output.window} is longer than the offset {self.offset}")

    @property
    def offset_micros(self) -> int:
        return fields.duration_micros(self.offset)


@definition
class BootstrapPart(Definition):
    """Values computed before, for the rows that have them, by the join's row_id.

    A left row takes `columns` of the output (features, derivations, contextual columns; not labels) from the first part
    that has its row_id, nulls too; only what no part gives is computed. The table has the row_id's columns and those of
    `columns` under these names, each row_id once; one with a null is nobody's. The log of the values that were served
    is such a table and stands last: what is computed afresh comes before what was answered then. Nothing is implicit,
    so a log is used where it is written down and nowhere else.
    """

    table: str = checked(fields.text)
    columns: Sequence[str] = checked(fields.several(fields.text, least=1, distinct=True))
    query: Query = checked(fields.instance(Query), Query())


@definition
class Contextual(Definition):
    """Columns that arrive with the request; `fields` maps column to SQL type.

    Offline they are the left's columns of these names and types, else what bootstrap gives, else null. One that a part
    is looked up by, or that is of the row_id, must be the left's.
    """

    fields: Mapping[str, str] = checked(fields.mapping(fields.text))


@definition
class Join(Definition):
    """One row per row of `left`: its columns, the query time `ts`, the parts' features, derivations, labels."""

    left: Source = checked(fields.instance(EventSource, EntitySource, JoinSource))
    parts: Sequence[JoinPart] = checked(fields.several(fields.instance(JoinPart)))
    row_id: Sequence[str] = checked(fields.several(fields.text, distinct=True), ())
    labels: LabelPart | None = checked(fields.optional(fields.instance(LabelPart)), None)
    derivations: Sequence[Derivation] = checked(fields.several(fields.instance(Derivation)), ())
    bootstrap: Sequence[BootstrapPart] = checked(fields.several(fields.instance(BootstrapPart)), ())
    contextual: Contextual | None = checked(fields.optional(fields.instance(Contextual)), None)
    checks: Sequence[Check] = checked(fields.several(fields.instance(Check)), ())
    online: bool = checked(fields.boolean, False)
    start: str | None = checked(fields.optional(fields.day), None)
    name: str | None = checked(_optional_text, None)
    owner: str | None = checked(_optional_text, None)
    description: str = checked(fields.any_text, "")
    tags: Mapping[str, str] = checked(fields.mapping(fields.any_text), FrozenMap())

    def _validate(self) -> None:
        if isinstance(self.left, EventSource) and self.left.query.time is None:
            raise self.wrong(
                f"the left {self.left.table_name!r} has no time", hint='Query(time="...") is the query time of each row'
            )
        if self.bootstrap and not self.row_id:
            raise self.wrong("bootstrap needs row_id, the columns that name a row")
        self._check_left_columns()
        if self.online:
            for part in self.parts:
                if isinstance(part.source, GroupBy) and not part.source.online:
                    raise self.wrong(
                        f"is online, but its part {part.source.title} is not", hint="say online=True there"
                    )

    def _check_left_columns(self) -> None:
        columns = self.left.query.columns
        if columns is None:
            return
        labels = self.labels.parts if self.labels else ()
        needed: list[tuple[str, Any]] = [(column, "row_id") for column in self.row_id]
        needed += [(c, f"a key of {p.source.title}") for p in (*self.parts, *labels) for c in p.left_keys.values()]
        contextual = tuple(self.contextual.fields) if self.contextual else ()
        for column, role in needed:
            if column in contextual and column not in columns:
                raise self.wrong(
                    f"column {column!r} ({role}) is contextual, and the left does not select it: training has no value "
                    "to look it up by",
                    asked=column,
                    valid=columns,
                    hint=f"select {column} in the left too: in training a contextual column is the left's of that name",
                )
            if column not in columns:
                raise self.wrong(
                    f"column {column!r} ({role}) is missing in the select of the left",
                    asked=column,
                    valid=columns,
                    hint="select it, or map another left column to the key with key_map",
                )
