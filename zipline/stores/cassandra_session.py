"""The way to Cassandra: its URL, one session for a store, the tables, and the driver's failures as StoreErrors.

The URL is cassandra://host:port,host:port/keyspace?local_dc=name. One host that answers is enough: the driver learns
of the others, sends each statement to a replica of its key, and comes back by itself to a host that was down. Without
`local_dc` the data centre is that of the hosts named.

With `ssl=true` all connections are encrypted, and nodes show certificates of an authority that this machine trusts, or
of those in the file `ssl_ca_certs`, for the addresses by which they are known: with `ssl_check_hostname=false` for any.
`ssl_certfile` and `ssl_keyfile` are shown to a cluster that asks for them. (The names are those of a URL of Redis.)

Nothing waits without end: a statement that is not answered in its time is a StoreError, and so is a cluster that
cannot be reached. After a failure to connect the same is said for a second without trying. What the driver logs goes to
the logger `cassandra` and, unless somebody listens there, nowhere.
"""

from __future__ import annotations

import logging
import re
import ssl
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import parse_qsl, urlsplit

from cassandra import ConsistencyLevel, DriverException, ReadFailure, Unavailable
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable, ProtocolVersion
from cassandra.concurrent import execute_concurrent
from cassandra.connection import ConnectionException
from cassandra.policies import ConstantReconnectionPolicy, DCAwareRoundRobinPolicy, RetryPolicy, TokenAwarePolicy
from cassandra.query import tuple_factory

from zipline.clock import monotonic
from zipline.stores.contract import PlaceError, StoreError

PORT = 9042
CONNECT = 5.0
"""Seconds in which a host takes a connection, else the next one is tried."""
SLOW = 30.0
"""Seconds for a statement that nobody waits for who asks for features: of an upload, or of a table's making."""
CONNECT_AGAIN = 1.0
"""Seconds after a failure to connect in which it is not tried again."""
AT_ONCE = 512
"""Statements on their way at one time."""
RETRIES = 5
EXPECTED = "cassandra://host:port,host:port/keyspace?local_dc=name&ssl=true"
OPTIONS = ("local_dc", "ssl", "ssl_ca_certs", "ssl_certfile", "ssl_check_hostname", "ssl_keyfile")

Statement: TypeAlias = tuple[Any, Sequence[Any]]
"""(a prepared statement or a batch, its parameters)"""

logging.getLogger("cassandra").addHandler(logging.NullHandler())


class Tls(NamedTuple):
    """Files in PEM, where they are named: authorities, and the certificate and key to be shown."""

    authorities: str = ""
    certificate: str = ""
    key: str = ""
    checks_names: bool = True

    def context(self) -> ssl.SSLContext:
        """What connections are made with; StoreError where a file is none."""
        try:
            found = ssl.create_default_context(cafile=self.authorities or None)
            if self.certificate:
                found.load_cert_chain(self.certificate, self.key or None)
        except OSError as wrong:  # what SSL raises is one
            named = ", ".join(filter(None, self[:3]))
            raise StoreError(
                f"a file of the URL of the online store cannot be taken: {wrong}", hint=f"is it PEM? {named}"
            ) from None
        found.check_hostname = self.checks_names
        return found


class Address(NamedTuple):
    hosts: list[tuple[str, int]]
    keyspace: str
    local_dc: str
    tls: Tls | None = None


class Query(NamedTuple):
    """What is asked of the cluster, and how many of its replicas answer."""

    text: str
    consistency: int
    is_idempotent: bool = True


def address_of(url: str) -> Address:
    """What the URL says; StoreError where it is none."""
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    keyspace = parts.path.removeprefix("/")
    if parts.scheme != "cassandra":
        raise _wrong_url(f"it begins with {parts.scheme or 'nothing'}://")
    if "@" in parts.netloc:
        raise _wrong_url("username and password are settings of [online], no part of it")
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,47}", keyspace):
        raise _wrong_url(f"{keyspace!r} is no name of a keyspace")
    if unknown := sorted(options.keys() - set(OPTIONS)):
        raise _wrong_url(f"{unknown[0]!r} is no option: {', '.join(OPTIONS)} are")
    hosts = [_host(each) for each in parts.netloc.split(",")]
    return Address(hosts, keyspace, options.get("local_dc", ""), _tls(options))


def _tls(options: Mapping[str, str]) -> Tls | None:
    if not _is_true(options, "ssl", "false"):
        if given := sorted(name for name in options if name.startswith("ssl_")):
            raise _wrong_url(f"{given[0]!r} is for ssl=true")
        return None
    if "ssl_keyfile" in options and "ssl_certfile" not in options:
        raise _wrong_url("'ssl_keyfile' is for an 'ssl_certfile'")
    return Tls(
        options.get("ssl_ca_certs", ""),
        options.get("ssl_certfile", ""),
        options.get("ssl_keyfile", ""),
        _is_true(options, "ssl_check_hostname", "true"),
    )


def _is_true(options: Mapping[str, str], name: str, default: str) -> bool:
    value = options.get(name, default)
    if value not in ("true", "false"):
        raise _wrong_url(f"{name}={value} is neither true nor false")
    return value == "true"


def _host(text: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = None
    if host is None:
        raise _wrong_url(f"{text!r} is no host and port")
    return host, PORT if port is None else port


def _wrong_url(why: str) -> StoreError:
    return StoreError(f"the URL of the online store is no URL of Cassandra: {why}", hint=f"write {EXPECTED}")


@contextmanager
def told() -> Iterator[None]:
    """Failures of the driver, of the cluster and of the way to it as StoreErrors."""
    try:
        yield
    except (Unavailable, ReadFailure) as wrong:
        # Of the replicas of one key; other keys have others.
        raise PlaceError(f"Cassandra: {wrong}", hint="are enough nodes of the cluster up?") from None
    except (DriverException, NoHostAvailable, ConnectionException, OSError) as wrong:
        hint = "is the cluster of [online] running and reachable, and the login right?"
        raise StoreError(f"Cassandra: {wrong}", hint=hint) from None


class CassandraSession:
    """One session, opened when it is first used. Thread-safe.

    `tables` are (name, statement that creates it), `queries` all that will be asked: each is prepared once, before the
    first is asked. In both %s stands for the keyspace.
    """

    def __init__(
        self,
        address: Address,
        username: str,
        password: str,
        timeout: float,
        tables: Iterable[tuple[str, str]],
        queries: Iterable[Query],
    ) -> None:
        self._address, self._tables, self._queries = address, list(tables), list(queries)
        self._keyspace = f'"{address.keyspace}"'
        self._timeout = timeout
        self._login = PlainTextAuthProvider(username, password) if username else None
        self._lock = threading.Lock()
        self._cluster: Any = None
        self._session: Any = None
        self._prepared: dict[Query, Any] = {}
        self._failed: tuple[float, StoreError] | None = None

    def prepared(self, query: Query) -> Any:
        """The query as a statement."""
        self._opened()
        return self._prepared[query]

    def rows(self, statements: Sequence[Statement]) -> list[list[tuple[Any, ...]]]:
        """What each gives, all asked at the same time, within the store's timeout each."""
        return self._executed(statements, EXEC_PROFILE_DEFAULT)

    def patient_rows(self, statements: Sequence[Statement]) -> list[list[tuple[Any, ...]]]:
        """The same for an upload, which may be more than the cluster takes at once."""
        return self._executed(statements, "patient")

    def is_applied(self, query: Query, parameters: Sequence[Any]) -> bool:
        """Whether a compare-and-set has found what it compares with; a driver's failure where nobody knows."""
        session = self._opened()
        return bool(session.execute(self._prepared[query], parameters, execution_profile="change").was_applied)

    def close(self) -> None:
        with self._lock:
            cluster, self._cluster, self._session = self._cluster, None, None
        if cluster is not None:
            cluster.shutdown()

    def _executed(self, statements: Sequence[Statement], profile: Any) -> list[list[tuple[Any, ...]]]:
        with told():
            found = execute_concurrent(self._opened(), statements, AT_ONCE, execution_profile=profile)
        return [list(each.result_or_exc) for each in found]

    def _opened(self) -> Any:
        if self._session is None:
            with self._lock:
                if self._session is None:
                    self._open()
        return self._session

    def _open(self) -> None:
        if self._failed is not None and monotonic() - self._failed[0] < CONNECT_AGAIN:
            raise StoreError(self._failed[1].what, hint=self._failed[1].hint)
        cluster = None
        try:
            with told():
                cluster = self._new_cluster()
                session = cluster.connect()
                self._make_tables(cluster, session)
                self._prepared = {query: self._statement(session, query) for query in self._queries}
        except StoreError as wrong:
            self._failed = monotonic(), wrong
            if cluster is not None:
                cluster.shutdown()
            raise
        self._cluster, self._session, self._failed = cluster, session, None

    def _statement(self, session: Any, query: Query) -> Any:
        statement = session.prepare(query.text % self._keyspace)
        statement.consistency_level, statement.is_idempotent = query.consistency, query.is_idempotent
        return statement

    def _new_cluster(self) -> Any:
        near = TokenAwarePolicy(DCAwareRoundRobinPolicy(self._address.local_dc))

        def profile(timeout: float, retry: Any) -> Any:
            return ExecutionProfile(
                near,
                retry,
                serial_consistency_level=ConsistencyLevel.SERIAL,
                request_timeout=timeout,
                row_factory=tuple_factory,
            )

        return Cluster(
            self._address.hosts,
            auth_provider=self._login,
            ssl_context=None if self._address.tls is None else self._address.tls.context(),
            # The newest that Cassandra 3, 4 and 5 speak: negotiating costs connections.
            protocol_version=ProtocolVersion.V4,
            connect_timeout=CONNECT,
            control_connection_timeout=CONNECT,
            reconnection_policy=ConstantReconnectionPolicy(CONNECT_AGAIN, max_attempts=None),
            execution_profiles={
                EXEC_PROFILE_DEFAULT: profile(self._timeout, RetryPolicy()),
                "change": profile(SLOW, RetryPolicy()),
                "patient": profile(SLOW, _Patience()),
            },
        )

    def _make_tables(self, cluster: Any, session: Any) -> None:
        name = self._address.keyspace
        keyspace = cluster.metadata.keyspaces.get(name)
        there = set() if keyspace is None else set(keyspace.tables)
        if keyspace is None:
            self._make_keyspace(cluster, session)
        for table, statement in self._tables:
            if table not in there:
                session.execute(statement % self._keyspace, timeout=SLOW)

    def _make_keyspace(self, cluster: Any, session: Any) -> None:
        """On a single node; of more, only who runs them knows where copies are to lie."""
        name, nodes = self._address.keyspace, len(cluster.metadata.all_hosts())
        if nodes > 1:
            raise StoreError(
                f"the cluster of {nodes} nodes has no keyspace {name!r}",
                hint=f"CREATE KEYSPACE {self._keyspace} WITH replication = {{'class': 'NetworkTopologyStrategy', ...}}",
            )
        single = "{'class': 'SimpleStrategy', 'replication_factor': 1}"
        session.execute(f"CREATE KEYSPACE IF NOT EXISTS {self._keyspace} WITH replication = {single}", timeout=SLOW)


class _Patience(RetryPolicy):
    """Sends again what was not written in the cluster's own time."""

    def on_write_timeout(
        self, _query: Any, *, consistency: int, retry_num: int, **_others: Any
    ) -> tuple[int, int | None]:
        return (self.RETRY, consistency) if retry_num < RETRIES else (self.RETHROW, None)
