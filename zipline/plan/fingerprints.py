"""The identity of a definition: SHA-256 of its canonical JSON, with the fingerprints of what it is made from.

Description, owner, tags and the first day of output are no part of it. It is the same in every process and on every
machine.
"""

from __future__ import annotations

import hashlib

from zipline.api import GroupBy, Join
from zipline.api.base import Definition
from zipline.plan.canonical import Json, Shared, canonical_identity, compact
from zipline.plan.upstream import chained_joins


def fingerprint(definition: Definition) -> str:
    """64 hexadecimal digits that change exactly when the meaning of `definition`, or of anything upstream, changes."""
    return Fingerprints().of(definition)


class Fingerprints:
    """Fingerprints of many definitions that share what is upstream: each is computed once."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Definition, str, list[Json]]] = {}
        self._sources: Shared = {}

    def of(self, definition: Definition) -> str:
        return self._of(definition)[1]

    def besides(self, definition: Definition) -> list[Json]:
        """The fields of a definition that are no part of its fingerprint, where they are not at their default."""
        return self._of(definition)[2]

    def _of(self, definition: Definition) -> tuple[Definition, str, list[Json]]:
        known = self._known.get(id(definition))
        if known is None:
            for join in chained_joins(definition) if isinstance(definition, (GroupBy, Join)) else ():
                self.of(join)
            identity, left_out = canonical_identity(definition, self.reference, self._sources)
            text = compact(identity)
            known = definition, hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest(), left_out
            self._known[id(definition)] = known
        return known

    def reference(self, definition: Definition) -> dict[str, Json]:
        """What stands for a definition inside another one."""
        return {
            "kind": type(definition).__name__,
            "name": getattr(definition, "name", None),
            "fingerprint": self.of(definition),
        }
