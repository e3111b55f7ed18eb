"""Cassandra from its Maven artefacts: one node in a temporary folder, on Java 17.

Maven resolves the classpath once for each test session, from its local repository if it can. The node keeps nothing:
its commit log is not synced before an answer, and truncating a table takes no snapshot.
"""

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from zipline.ports import await_listening, free_ports

VERSION = "5.0.4"
MISSING = "Cassandra is needed for this test: apt-get install -y maven openjdk-17-jdk-headless"
PASSWORD = "of the tests"
"""Of the key with which the node encrypts."""
LOGIN = {"username": "cassandra", "password": "cassandra"}
"""Of the user that every new node has."""
START_UP = 120.0
"""Seconds."""
POM = f"""\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>zipline</groupId>
  <artifactId>cassandra-of-tests</artifactId>
  <version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.cassandra</groupId>
      <artifactId>cassandra-all</artifactId>
      <version>{VERSION}</version>
    </dependency>
  </dependencies>
</project>
"""
LOGGING = """\
<configuration>
  <appender name="out" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%-5level %d{HH:mm:ss.SSS} %msg%n</pattern></encoder>
  </appender>
  <root level="WARN"><appender-ref ref="out"/></root>
</configuration>
"""
EXPORTED = (
    "java.base/jdk.internal.misc",
    "java.base/java.lang.ref",
    "java.base/java.lang.reflect",
    "java.base/sun.nio.ch",
    "java.management.rmi/com.sun.jmx.remote.internal.rmi",
    "java.rmi/sun.rmi.registry",
    "java.rmi/sun.rmi.server",
    "java.rmi/sun.rmi.transport",
    "java.rmi/sun.rmi.transport.tcp",
    "java.sql/java.sql",
    "jdk.unsupported/sun.misc",
)
OPENED = (
    "java.base/java.io",
    "java.base/java.lang",
    "java.base/java.lang.module",
    "java.base/java.lang.reflect",
    "java.base/java.net",
    "java.base/java.nio",
    "java.base/java.util",
    "java.base/java.util.concurrent",
    "java.base/java.util.concurrent.atomic",
    "java.base/jdk.internal.loader",
    "java.base/jdk.internal.math",
    "java.base/jdk.internal.module",
    "java.base/jdk.internal.ref",
    "java.base/jdk.internal.reflect",
    "java.base/jdk.internal.util.jar",
    "java.base/sun.nio.ch",
    "jdk.compiler/com.sun.tools.javac.file",
    "jdk.management/com.sun.management.internal",
    "jdk.management.agent/jdk.internal.agent",
    "java.management/java.lang.management",
)


@pytest.fixture(scope="session")
def cassandra_address() -> Iterator[str]:
    """host:port of a running node, for the tests of this process."""
    with running_cassandra() as (address, _):
        yield address


@pytest.fixture(scope="session")
def cassandra_client(cassandra_address: str) -> Iterator[Any]:
    """A session of the driver, to look at what a store has written."""
    with connected(cassandra_address) as session:
        yield session


@contextmanager
def connected(address: str) -> Iterator[Any]:
    from cassandra.auth import PlainTextAuthProvider
    from cassandra.cluster import Cluster

    host, _, port = address.partition(":")
    with Cluster([(host, int(port))], protocol_version=4, auth_provider=PlainTextAuthProvider(**LOGIN)) as cluster:
        session = cluster.connect()
        session.default_timeout = 60.0
        yield session


@contextmanager
def running_cassandra() -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """(host:port, process) of a node of its own."""
    classpath = _classpath()
    folder = Path(tempfile.mkdtemp(prefix="cassandra-"))
    try:
        port, storage_port, management_port = free_ports(3)
        _configure(folder, port, storage_port)
        log = folder / "log"
        with log.open("wb") as output:
            command = _command(folder, classpath, management_port)
            server = subprocess.Popen(command, stdout=output, stderr=output, cwd=folder)
        try:
            if not await_listening(port, lambda: server.poll() is None, START_UP):
                pytest.fail(f"Cassandra did not start:\n{log.read_text('utf-8', 'replace')[-3000:]}", pytrace=False)
            _await_login(f"127.0.0.1:{port}")
            yield f"127.0.0.1:{port}", server
        finally:
            server.kill()
            server.wait(timeout=60)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _await_login(address: str) -> None:
    """The node makes its first user after it has begun to listen."""
    from cassandra.cluster import NoHostAvailable

    for _ in range(100):
        try:
            with connected(address):
                return
        except NoHostAvailable:
            time.sleep(0.2)
    pytest.fail("Cassandra lets nobody in", pytrace=False)


@cache
def _classpath() -> str:
    maven = shutil.which("mvn")
    if maven is None:
        pytest.fail(MISSING, pytrace=False)
    with tempfile.TemporaryDirectory(prefix="cassandra-pom-") as folder:
        (Path(folder) / "pom.xml").write_text(POM)
        command = [maven, "-B", "-q", "dependency:build-classpath", "-Dmdep.outputFile=classpath"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, check=False)
        if done.returncode:
            pytest.fail(f"Maven cannot get Cassandra {VERSION}:\n{done.stdout[-3000:]}", pytrace=False)
        return (Path(folder) / "classpath").read_text().strip()


def _configure(folder: Path, port: int, storage_port: int) -> None:
    folders = {f"{name}_directory": str(folder / name) for name in ("commitlog", "saved_caches", "hints", "cdc_raw")}
    settings = {
        "cluster_name": "tests",
        "num_tokens": 1,
        "authenticator": "PasswordAuthenticator",
        "partitioner": "org.apache.cassandra.dht.Murmur3Partitioner",
        "listen_address": "127.0.0.1",
        "rpc_address": "127.0.0.1",
        "native_transport_port": port,
        "storage_port": storage_port,
        "endpoint_snitch": "SimpleSnitch",
        "seed_provider": [
            {
                "class_name": "org.apache.cassandra.locator.SimpleSeedProvider",
                "parameters": [{"seeds": f"127.0.0.1:{storage_port}"}],
            }
        ],
        "data_file_directories": [str(folder / "data")],
        **folders,
        "commitlog_sync": "periodic",
        "commitlog_sync_period": "10000ms",
        "auto_snapshot": False,
        "concurrent_reads": 8,
        "concurrent_writes": 8,
        "memtable_heap_space": "64MiB",
        "memtable_offheap_space": "64MiB",
        "key_cache_size": "8MiB",
        "file_cache_size": "64MiB",
        # On the one port, for those who ask for it.
        "client_encryption_options": {
            "enabled": True,
            "optional": True,
            "keystore": str(_keystore(folder)),
            "keystore_password": PASSWORD,
        },
    }
    # Every text of JSON is one of YAML.
    (folder / "cassandra.yaml").write_text(json.dumps(settings))
    (folder / "logback.xml").write_text(LOGGING)


def _keystore(folder: Path) -> Path:
    """The node's key, with a certificate for 127.0.0.1 that it has given itself."""
    made = folder / "keystore.p12"
    command = [_java().removesuffix("java") + "keytool", "-genkeypair", "-keystore", str(made), "-storepass", PASSWORD]
    command += ["-keyalg", "RSA", "-dname", "CN=cassandra", "-ext", "san=ip:127.0.0.1", "-storetype", "PKCS12"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return made


def _command(folder: Path, classpath: str, management_port: int) -> list[str]:
    properties = {
        "cassandra.config": (folder / "cassandra.yaml").as_uri(),
        "logback.configurationFile": str(folder / "logback.xml"),
        "cassandra.storagedir": str(folder),
        "cassandra.jmx.local.port": str(management_port),
        "cassandra.superuser_setup_delay_ms": "0",
        "cassandra.ring_delay_ms": "100",
        "cassandra.skip_wait_for_gossip_to_settle": "0",
        "java.io.tmpdir": str(folder),
        "jdk.attach.allowAttachSelf": "true",
        "io.netty.tryReflectionSetAccessible": "true",
    }
    return [
        _java(),
        "-Xms256m",
        "-Xmx768m",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-XX:ReservedCodeCacheSize=128m",
        "-Xss512k",
        *(f"-D{name}={value}" for name, value in properties.items()),
        *(part for package in EXPORTED for part in ("--add-exports", f"{package}=ALL-UNNAMED")),
        *(part for package in OPENED for part in ("--add-opens", f"{package}=ALL-UNNAMED")),
        "-cp",
        classpath,
        "org.apache.cassandra.service.CassandraDaemon",
    ]


def _java() -> str:
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    if java is None:
        pytest.fail(MISSING, pytrace=False)
    return java
