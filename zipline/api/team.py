"""Who owns definitions, what their work may use, and models as far as authors declare them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from zipline.api import fields
from zipline.api.base import Definition, FrozenMap, checked, definition
from zipline.api.join import Join

_optional_text = fields.optional(fields.text)


@definition
class Resources(Definition):
    """What one run may use."""

    cpu: float = checked(fields.amount, 1)
    memory: str = checked(fields.text, "2GiB")
    gpu: int = checked(fields.amount, 0)
    disk: str | None = checked(_optional_text, None)
    network: str | None = checked(_optional_text, None)


@definition
class Team(Definition):
    """The owner of a folder under configs/, in its team.py; definitions there inherit it."""

    owner: str = checked(fields.text)
    contact: str | None = checked(_optional_text, None)
    alerts: Sequence[str] = checked(fields.several(fields.text), ())
    resources: Resources = checked(fields.instance(Resources), Resources())


@definition
class Model(Definition):
    """A model trained on a join's output: rows before `split` train it, rows from then on test it."""

    join: Join = checked(fields.instance(Join))
    label: str = checked(fields.text)
    split: str = checked(fields.day)
    features: Sequence[str] | None = checked(fields.optional(fields.several(fields.text, least=1, distinct=True)), None)
    parameters: Mapping[str, Any] = checked(fields.mapping(lambda value: value), FrozenMap())
    name: str | None = checked(_optional_text, None)
    owner: str | None = checked(_optional_text, None)
    description: str = checked(fields.any_text, "")
    tags: Mapping[str, str] = checked(fields.mapping(fields.any_text), FrozenMap())

    def _validate(self) -> None:
        if self.join.labels is None:
            raise self.wrong(f"the join {self.join.title} has no labels to learn from")
