"""The tables of a registry, as the newest schema has them.

A change here comes with a step in `migrations`. Names begin with `zipline_`, so a database may have other tenants.
`scope` is the project and environment that a row belongs to: several may share one server.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Float, Index, Integer, MetaData, String, Table, Text

metadata = MetaData()
Id = BigInteger().with_variant(Integer, "sqlite")
_NAME, _HASH = String(500), String(64)

schemas = Table(
    "zipline_schema",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("software", String(100), nullable=False),
    Column("applied", BigInteger, nullable=False),
)

versions = Table(
    "zipline_versions",
    metadata,
    Column("id", Id, primary_key=True),
    Column("scope", _NAME, nullable=False),
    Column("name", _NAME, nullable=False),
    Column("kind", String(50), nullable=False),
    Column("fingerprint", _HASH, nullable=False),
    Column("canonical", Text, nullable=False),
    Column("owner", Text),
    Column("location", Text),
    Column("first_seen", BigInteger, nullable=False),
    Column("active_from", BigInteger, nullable=False),
    Column("active_to", BigInteger),
    Column("compiled_by", Text, nullable=False),
    Index("zipline_versions_by_name", "scope", "name", "active_from"),
)

consumers = Table(
    "zipline_consumers",
    metadata,
    Column("scope", _NAME, primary_key=True),
    Column("definition", _NAME, primary_key=True),
    Column("consumer", _NAME, primary_key=True),
)

overrides = Table(
    "zipline_overrides",
    metadata,
    Column("id", Id, primary_key=True),
    Column("scope", _NAME, nullable=False),
    Column("name", _NAME, nullable=False),
    Column("reason", Text, nullable=False),
    Column("made_by", Text, nullable=False),
    Column("from_fingerprint", _HASH),
    Column("to_fingerprint", _HASH),
    Column("made", BigInteger, nullable=False),
    Index("zipline_overrides_by_name", "scope", "name"),
)

runs = Table(
    "zipline_runs",
    metadata,
    Column("id", Id, primary_key=True),
    Column("scope", _NAME, nullable=False),
    Column("what", Text, nullable=False),
    Column("subject", _NAME, nullable=False),
    Column("arguments", Text, nullable=False),
    Column("fingerprint", _HASH),
    Column("first_day", String(10)),
    Column("last_day", String(10)),
    Column("days", Integer, nullable=False),
    Column("rows", BigInteger),
    Column("bytes_read", BigInteger),
    Column("bytes_written", BigInteger),
    Column("peak_bytes", BigInteger),
    Column("seconds", Float(53)),
    Column("outcome", String(10), nullable=False),
    Column("error", Text),
    Column("started", BigInteger, nullable=False),
    Column("ended", BigInteger),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("machine", Text),
    Column("process_started", BigInteger),
    Column("lock", Text),
    Column("token", BigInteger),
    Column("step_seconds", Text, nullable=False, server_default="{}"),
    Column("predicted", Text, nullable=False, server_default="{}"),
    Index("zipline_runs_by_subject", "scope", "subject", "started"),
    Index("zipline_runs_by_lock", "lock", "token"),
)

locks = Table(
    "zipline_locks",
    metadata,
    Column("name", String(1000), primary_key=True),
    Column("token", BigInteger, nullable=False),
    Column("what", Text),
    Column("host", Text),
    Column("pid", Integer),
    Column("machine", Text),
    Column("process_started", BigInteger),
    Column("since", BigInteger),
    Column("renewed", BigInteger),
    Column("expires", BigInteger),
)
