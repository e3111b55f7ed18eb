"""What a store of many machines knows of a space: one value, replaced by compare-and-set, and its transitions.

An upload is *begun*, is *seen* with everything it writes, and ends as a generation or as *dropped*: its rows are still
to be deleted. What was not seen for long was killed, and is dropped by the next upload. An upload that was taken for
killed and goes on all the same cannot publish: rows of it may be gone.

Pure: instants are passed in. Each transition may be tried again after an answer that did not come.
"""

from __future__ import annotations

from dataclasses import field, replace

import msgspec

from zipline.clock import MINUTE
from zipline.stores.contract import DamagedError, Generation, StoreError
from zipline.stores.uploads import succeeded
from zipline.values import dataclass

ALIVE = 10 * MINUTE
"""Microseconds after it was seen last in which an upload is taken to be going on."""


@dataclass(frozen=True, slots=True)
class SpaceState:
    """`generations` can be read, the current one last; `begun` says when each upload was seen last."""

    generations: list[Generation] = field(default_factory=list)
    begun: dict[str, int] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)

    def with_seen(self, name: str, at: int, *, is_new: bool = False) -> SpaceState:
        """An upload that begins, or still goes on; StoreError for one that was taken for killed."""
        if name not in self.begun and not is_new:
            raise StoreError(
                f"the upload {name} stood still for more than {ALIVE // MINUTE} minutes and was given up",
                hint="upload again",
            )
        return replace(self, begun={**self.begun, name: at})

    def with_published(self, generation: Generation, grace: float) -> SpaceState:
        """The upload is current, and what has not been for the grace is dropped."""
        if generation in self.generations:
            return self
        seen = self.with_seen(generation.name, generation.published)
        listing, old = succeeded(self.generations, generation, grace)
        begun = {name: at for name, at in seen.begun.items() if name != generation.name}
        return SpaceState(listing, begun, [*self.dropped, *(each.name for each in old)])

    def without(self, name: str) -> SpaceState:
        """An upload that is given up, unless it was published or dropped."""
        if name not in self.begun:
            return self
        begun = {other: at for other, at in self.begun.items() if other != name}
        return replace(self, begun=begun, dropped=[*self.dropped, name])

    def emptied(self) -> SpaceState:
        """Without generations: nobody reads the space any more."""
        return replace(self, generations=[], dropped=[*self.dropped, *(each.name for each in self.generations)])

    def swept(self, at: int) -> SpaceState:
        """Without the uploads that were killed."""
        state = self
        for name in [name for name, seen in self.begun.items() if seen < at - ALIVE]:
            state = state.without(name)
        return state

    def deleted(self, names: list[str]) -> SpaceState:
        """Nothing is left of these that were dropped."""
        return replace(self, dropped=[name for name in self.dropped if name not in names])


def written(state: SpaceState) -> str:
    return msgspec.json.encode(state).decode()


def read(content: str | None, space: str) -> SpaceState:
    """The inverse; DamagedError where it is none."""
    if content is None:
        return SpaceState()
    try:
        return msgspec.json.decode(content, type=SpaceState)
    except msgspec.MsgspecError as wrong:
        raise DamagedError(f"the listing of {space} cannot be read: {wrong}", hint="upload again") from None


def readable(content: str | None, space: str) -> SpaceState:
    """What an upload goes on from: a state that is damaged is begun anew."""
    try:
        return read(content, space)
    except DamagedError:
        return SpaceState()
