"""What is answered to a request that cannot be: a status of HTTP, a code for programs, words for people.

Values of a request are never in it: what is wrong is told by its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec


class Problem(Exception):
    """`code` is one word that stays; `path` is the place in the request; `retry_after` are seconds."""

    def __init__(
        self,
        status: int,
        code: str,
        what: str,
        *,
        path: str | None = None,
        valid: Sequence[str] = (),
        hint: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(what)
        self.status, self.code, self.what, self.path = status, code, what, path
        self.valid, self.hint, self.retry_after = tuple(valid), hint, retry_after

    def body(self) -> bytes:
        """The answer as JSON."""
        named = {"path": self.path, "valid": list(self.valid) or None, "hint": self.hint}
        facts: dict[str, Any] = {"code": self.code, "message": self.what}
        return msgspec.json.encode({"error": facts | {name: fact for name, fact in named.items() if fact is not None}})

    def headers(self) -> list[tuple[bytes, bytes]]:
        found = [(b"content-type", b"application/json")]
        if self.retry_after is not None:
            found.append((b"retry-after", str(self.retry_after).encode()))
        if self.status == 401:
            found.append((b"www-authenticate", b"Bearer"))
        return found
