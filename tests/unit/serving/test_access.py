"""Tokens and scopes."""

import hashlib
from pathlib import Path

import pytest

from serving.access import Access, load_tokens, new_token
from serving.problems import Problem
from zipline.errors import ProjectError


def status(access: Access, token: str | None, verb: str, *teams: str) -> int:
    headers = [(b"host", b"x")] + ([(b"authorization", f"Bearer {token}".encode())] if token else [])
    try:
        access.check(headers, verb, teams)
    except Problem as problem:
        return problem.status
    return 200


def test_a_token_may_what_its_scopes_say(tmp_path: Path) -> None:
    file = tmp_path / "tokens.toml"
    ranking = new_token(file, "ranking", ["flights:read", "shop:read", "shop:write"])
    admin = new_token(file, "admin", ["*:admin"])
    access = load_tokens(file)
    assert status(access, ranking, "read", "flights") == 200
    assert status(access, ranking, "read", "flights", "shop") == 200
    assert status(access, ranking, "write", "flights", "shop") == 403
    assert status(access, ranking, "read", "network") == 403
    assert status(access, ranking, "read", "*") == 403
    assert status(access, admin, "admin", "anything") == 200
    assert status(access, admin, "read", "anything") == 403
    assert status(access, None, "read", "flights") == 401
    assert status(access, ranking[:-1], "read", "flights") == 401
    assert status(access, hashlib.sha256(ranking.encode()).hexdigest(), "read", "flights") == 401


def test_without_tokens_everybody_may(tmp_path: Path) -> None:
    assert status(Access(), None, "admin", "flights") == 200
    assert status(Access([]), None, "read", "flights") == 401


def test_the_name_of_the_scheme_may_be_written_in_any_case(tmp_path: Path) -> None:
    file = tmp_path / "tokens.toml"
    text = new_token(file, "one", ["*:read"])
    load_tokens(file).check([(b"authorization", f"bearer  {text} ".encode())], "read", ["shop"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("not toml", "cannot be read"),
        ("other = 1", "has other things in it"),
        ('[tokens.a]\nsha256 = "ab"\nscopes = ["x:read"]', "is no hash"),
        (f'[tokens.a]\nsha256 = "{"0" * 64}"\nscopes = []', "at least one"),
        (f'[tokens.a]\nsha256 = "{"0" * 64}"\nscopes = ["x:delete"]', "is no scope"),
        (f'[tokens.a]\nsha256 = "{"0" * 64}"\nscopes = ["x:read"]\npassword = "x"', "and nothing else"),
    ],
)
def test_a_file_that_is_wrong_says_where(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "tokens.toml"
    file.write_text(text)
    with pytest.raises(ProjectError, match=said):
        load_tokens(file)


def test_a_new_token_is_refused_where_it_would_be_wrong(tmp_path: Path) -> None:
    file = tmp_path / "tokens.toml"
    new_token(file, "one", ["*:read"])
    for name, scopes, said in (
        ("one", ["*:read"], "already"),
        ("a b", ["*:read"], "no name"),
        ("b", [], "needs a scope"),
    ):
        with pytest.raises(ProjectError, match=said):
            new_token(file, name, scopes)
    with pytest.raises(ProjectError, match="is no scope"):
        new_token(file, "b", ["read"])
