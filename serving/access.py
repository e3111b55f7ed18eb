"""Who may ask for what: bearer tokens, kept as hashes in a TOML file.

    [tokens.ranking]                     # a name for people: it is in the server's log
    sha256 = "5e88...42d8"               # of the token's text, in hex
    scopes = ["flights:read", "*:write"]

A scope is `<team>:<verb>`. The team is the first part of a definition's name, or `*`; the verbs are `read` (features
and predictions), `write` (events) and `admin`. Tokens are 256 random bits, so a plain hash of them cannot be turned
back; every comparison takes the same time, whoever asks.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from serving.problems import Problem
from zipline.errors import ProjectError
from zipline.values import dataclass

VERBS = ("read", "write", "admin")
_SCOPE = re.compile(r"(\*|[A-Za-z0-9_]+):(read|write|admin)")
_NAME = re.compile(r"[A-Za-z0-9_-]+")
_HASH = re.compile(r"[0-9a-f]{64}")
_BEARER = b"bearer "
_MADE = 32


@dataclass(frozen=True)
class Token:
    """Whoever shows a text of this hash may do what the scopes say."""

    name: str
    digest: bytes
    scopes: frozenset[str]

    def may(self, verb: str, teams: Iterable[str]) -> bool:
        """Whether it may do so for all of the teams."""
        return f"*:{verb}" in self.scopes or all(f"{team}:{verb}" in self.scopes for team in teams)


class Access:
    """Decides over requests. Without tokens everybody may do everything: only for a server that this machine alone
    can reach."""

    def __init__(self, tokens: Iterable[Token] | None = None) -> None:
        self._tokens = None if tokens is None else tuple(tokens)

    @property
    def is_open(self) -> bool:
        return self._tokens is None

    def told(self, headers: Iterable[tuple[bytes, bytes]]) -> Callable[[str], bool]:
        """Whether whoever asks may be told the names of what is a team's: those of whose team it has any scope."""

        def is_told(team: str) -> bool:
            if self._tokens is None:
                return True
            token = self._known(headers)
            return token is not None and any(scope.partition(":")[0] in (team, "*") for scope in token.scopes)

        return is_told

    def check(self, headers: Iterable[tuple[bytes, bytes]], verb: str, teams: Iterable[str]) -> None:
        """Problem 401 without a token that is known, 403 where it may not."""
        if self._tokens is None:
            return
        token = self._known(headers)
        if token is None:
            raise Problem(401, "unauthorized", "a bearer token of this server is needed")
        if not token.may(verb, list(teams)):
            raise Problem(403, "forbidden", f"the token has no scope to {verb} here")

    def _known(self, headers: Iterable[tuple[bytes, bytes]]) -> Token | None:
        given = next((value for name, value in headers if name == b"authorization"), b"")
        if given[: len(_BEARER)].lower() != _BEARER:
            return None
        digest = hashlib.sha256(given[len(_BEARER) :].strip()).digest()
        found = None
        for token in self._tokens or ():
            if hmac.compare_digest(token.digest, digest):
                found = token
        return found


def load_tokens(path: str | os.PathLike[str]) -> Access:
    """Those of the file; ProjectError says what is wrong in it."""
    try:
        content = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as wrong:
        raise ProjectError(
            f"the file of tokens {os.fspath(path)} cannot be read: {wrong}",
            next_command=f"zipline serve --new-token NAME --scope 'TEAM:read' --tokens {os.fspath(path)}",
        ) from None
    tokens = content.get("tokens")
    if not isinstance(tokens, dict) or set(content) != {"tokens"}:
        raise ProjectError(f"{os.fspath(path)} has other things in it than [tokens.<name>] sections")
    return Access([_token(name, given, path) for name, given in tokens.items()])


def _token(name: str, given: Any, path: str | os.PathLike[str]) -> Token:
    where = f"[tokens.{name}] of {os.fspath(path)}"
    if not isinstance(given, dict) or set(given) != {"sha256", "scopes"}:
        raise ProjectError(f"{where} needs sha256 and scopes, and nothing else")
    digest, scopes = given["sha256"], given["scopes"]
    if not isinstance(digest, str) or not _HASH.fullmatch(digest.lower()):
        raise ProjectError(f"{where}: sha256 is no hash of 64 hexadecimal digits")
    if not isinstance(scopes, list) or not scopes:
        raise ProjectError(f"{where}: scopes is a list of at least one", hint='write scopes = ["flights:read"]')
    for scope in scopes:
        check_scope(scope)
    return Token(name, bytes.fromhex(digest), frozenset(scopes))


def check_scope(scope: object) -> str:
    """ProjectError where it is none."""
    if not isinstance(scope, str) or not _SCOPE.fullmatch(scope):
        raise ProjectError(f"{scope!r} is no scope", hint=f"write TEAM:VERB or *:VERB; verbs are {', '.join(VERBS)}")
    return scope


def new_token(path: str | os.PathLike[str], name: str, scopes: Iterable[str]) -> str:
    """Adds a token to the file, which only its owner can read, and gives its text: nobody can see it again."""
    scopes, file = [check_scope(scope) for scope in scopes], Path(path)
    if not _NAME.fullmatch(name):
        raise ProjectError(f"{name!r} is no name of a token", hint="letters, digits, - and _")
    if not scopes:
        raise ProjectError("a token needs a scope", hint="write --scope flights:read")
    if file.exists():
        known = load_tokens(file)._tokens or ()
        if name in {token.name for token in known}:
            raise ProjectError(f"{file} has a token {name!r} already", hint="take it out of the file first")
    text = secrets.token_urlsafe(_MADE)
    digest = hashlib.sha256(text.encode()).hexdigest()
    listed = ", ".join(f'"{scope}"' for scope in scopes)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "a", encoding="utf-8") as out:
        out.write(f'[tokens.{name}]\nsha256 = "{digest}"\nscopes = [{listed}]\n\n')
    return text
