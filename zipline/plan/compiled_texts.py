"""What a registry keeps of a compiled definition, taken from its JSON text without making values of all that is in it.

Most of a text are columns and identities, which are skipped: a thousand texts take a twentieth of a second.
"""

from __future__ import annotations

import json

import msgspec

from zipline.plan.canonical import compact
from zipline.values import dataclass


@dataclass(frozen=True, slots=True)
class Summary:
    """The heading of a compiled text, and the canonical definition in it as JSON in one line."""

    kind: str
    fingerprint: str
    owner: str
    location: str
    needs: tuple[str, ...]
    canonical: str


class _Text(msgspec.Struct):
    kind: str
    fingerprint: str
    owner: str
    location: str
    needs: tuple[str, ...]
    definition: msgspec.Raw


_DECODER = msgspec.json.Decoder(_Text)


def summary_of(text: str) -> Summary:
    """The summary of a text that `zipline compile` wrote."""
    try:
        read = _DECODER.decode(text)
    except UnicodeEncodeError:
        return _of_any_text(text)
    # The text is sorted and spelled as `compact` does it: only the white space between its parts is another.
    canonical = msgspec.json.format(bytes(read.definition), indent=-1).decode()
    return Summary(read.kind, read.fingerprint, read.owner, read.location, read.needs, canonical)


def _of_any_text(text: str) -> Summary:
    """A text with half of a surrogate pair, which is no UTF-8."""
    read = json.loads(text)
    heading = {name: read[name] for name in ("kind", "fingerprint", "owner", "location")}
    return Summary(**heading, needs=tuple(read["needs"]), canonical=compact(read["definition"]))
