"""What a URL of Cassandra says, what is none, and who makes the keyspace."""

from __future__ import annotations

import ssl
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from zipline.stores.cassandra_session import Address, CassandraSession, Tls, address_of
from zipline.stores.contract import StoreError


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("cassandra://one/features", Address([("one", 9042)], "features", "")),
        ("cassandra://one:9043,two/f_1", Address([("one", 9043), ("two", 9042)], "f_1", "")),
        ("cassandra://[::1]:9043,10.0.0.1/F", Address([("::1", 9043), ("10.0.0.1", 9042)], "F", "")),
        ("cassandra://one/features?local_dc=eu-west", Address([("one", 9042)], "features", "eu-west")),
        ("cassandra://one/f?ssl=false", Address([("one", 9042)], "f", "")),
        ("cassandra://one/f?ssl=true", Address([("one", 9042)], "f", "", Tls())),
        (
            "cassandra://one/f?ssl=true&ssl_ca_certs=/a&ssl_certfile=b&ssl_keyfile=c&ssl_check_hostname=false",
            Address([("one", 9042)], "f", "", Tls("/a", "b", "c", checks_names=False)),
        ),
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
        ("cassandra://one/f?ssl=yes", "ssl=yes is neither true nor false"),
        ("cassandra://one/f?ssl=true&ssl_check_hostname=", "ssl_check_hostname= is neither"),
        ("cassandra://one/f?ssl_ca_certs=a", "'ssl_ca_certs' is for ssl=true"),
        ("cassandra://one/f?ssl=false&ssl_certfile=a", "'ssl_certfile' is for ssl=true"),
        ("cassandra://one/f?ssl=true&ssl_keyfile=a", "'ssl_keyfile' is for an 'ssl_certfile'"),
    ],
)
def test_anything_else_is_a_store_error_that_says_why(url: str, why: str) -> None:
    with pytest.raises(StoreError, match=why) as told:
        address_of(url)
    assert "cassandra://host:port,host:port/keyspace?local_dc=name" in str(told.value)
    assert "secret" not in str(told.value)


def test_a_keyspace_of_several_nodes_is_made_by_who_runs_them() -> None:
    hosts = ["one", "two", "three"]
    cluster: Any = SimpleNamespace(metadata=SimpleNamespace(keyspaces={}, all_hosts=lambda: hosts))
    session = CassandraSession(address_of("cassandra://one/features"), "", "", 1.0, (), ())
    with pytest.raises(StoreError, match="the cluster of 3 nodes has no keyspace 'features'") as told:
        session._make_tables(cluster, None)
    assert told.value.hint == (
        "CREATE KEYSPACE \"features\" WITH replication = {'class': 'NetworkTopologyStrategy', ...}"
    )


def test_files_of_the_url_that_are_not_there_or_no_certificates_are_told(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no certificate")
    for name in ("missing", "text"):
        for tls in (Tls(str(tmp_path / name)), Tls(certificate=str(tmp_path / name))):
            with pytest.raises(StoreError, match="a file of the URL of the online store cannot be taken") as told:
                tls.context()
            assert str(tmp_path / name) in told.value.hint


@pytest.mark.parametrize("checks_names", [True, False])
def test_a_certificate_is_always_looked_at_and_its_names_unless_told_otherwise(checks_names: bool) -> None:
    context = Tls(checks_names=checks_names).context()
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, checks_names)
