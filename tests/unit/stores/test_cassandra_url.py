"""What a URL of Cassandra says, and what is none."""

from __future__ import annotations

import pytest

from zipline.stores.cassandra_session import Address, address_of
from zipline.stores.contract import StoreError


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("cassandra://one/features", Address([("one", 9042)], "features", "")),
        ("cassandra://one:9043,two/f_1", Address([("one", 9043), ("two", 9042)], "f_1", "")),
        ("cassandra://[::1]:9043,10.0.0.1/F", Address([("::1", 9043), ("10.0.0.1", 9042)], "F", "")),
        ("cassandra://one/features?local_dc=eu-west", Address([("one", 9042)], "features", "eu-west")),
    ],
)
def test_a_url_names_hosts_a_keyspace_and_a_data_centre(url: str, address: Address) -> None:
    assert address_of(url) == address


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("redis://one/features", "begins with redis://"),
        ("one:9042/features", "begins with one://"),
        ("", "begins with nothing"),
        ("cassandra://one", "'' is no name of a keyspace"),
        ("cassandra://one/a-b", "'a-b' is no name of a keyspace"),
        ("cassandra://one/a/b", "'a/b' is no name of a keyspace"),
        ("cassandra:///features", "'' is no host and port"),
        ("cassandra://one,/features", "'' is no host and port"),
        ("cassandra://one:port/features", "'one:port' is no host and port"),
        ("cassandra://one:99999/features", "'one:99999' is no host and port"),
        ("cassandra://me:secret@one/features", r"settings of \[online\]"),
        ("cassandra://one/features?dc=eu", "'dc' is no option"),
    ],
)
def test_anything_else_is_a_store_error_that_says_why(url: str, why: str) -> None:
    with pytest.raises(StoreError, match=why) as told:
        address_of(url)
    assert "cassandra://host:port,host:port/keyspace?local_dc=name" in str(told.value)
    assert "secret" not in str(told.value)
