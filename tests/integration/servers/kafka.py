"""Kafka, one broker without ZooKeeper, from its Maven artefacts on Java 17, on a free port.

The artefacts are fetched once, into `build/`, by a repository of their own: poms without jars in the user's would be
found by Spark.
"""

import base64
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.servers.ports import free_ports

VERSION = "4.1.1"
BUILD = Path(__file__).parents[3] / "build"
MISSING = "Kafka is needed for this test: apt-get install -y {}"
POM = f"""
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion><groupId>tests</groupId><artifactId>kafka</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{VERSION}</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
"""
SETTINGS = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={folder}/data
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
group.initial.rebalance.delay.ms=0
log.cleaner.dedupe.buffer.size=16777216
auto.create.topics.enable=false
"""


@pytest.fixture(scope="session")
def kafka_servers() -> Iterator[str]:
    """host:port of a running broker, for the tests of this process."""
    with running_kafka() as servers:
        yield servers


@contextmanager
def running_kafka() -> Iterator[str]:
    """host:port of a broker of its own."""
    with broker() as started:
        yield started.address


@contextmanager
def broker() -> Iterator["Broker"]:
    """A broker of its own, which can be killed and started again."""
    folder = Path(tempfile.mkdtemp(prefix="kafka-"))
    try:
        started = Broker(folder)
        try:
            yield started
        finally:
            started.kill()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Broker:
    """A broker whose data lie in a folder; it begins at once."""

    def __init__(self, folder: Path) -> None:
        java, library = _program("java", "openjdk-17-jdk-headless"), _library()
        port, controller = free_ports(2)
        self.address, self._folder = f"127.0.0.1:{port}", folder
        self._settings = folder / "server.properties"
        self._settings.write_text(SETTINGS.format(port=port, controller=controller, folder=folder))
        self._command = [java, "-Xmx512m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", f"{library}/*"]
        name = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        formatting = [*self._command, "kafka.tools.StorageTool", "format", "-t", name, "-c", self._settings]
        subprocess.run(formatting, check=True, stdout=subprocess.DEVNULL)
        self.start()

    def start(self) -> None:
        """Starts it, with what it had."""
        with (self._folder / "log").open("ab") as log:
            command = [*self._command, "kafka.Kafka", self._settings]
            self._server = subprocess.Popen(command, stdout=log, stderr=log, cwd=self._folder)
        try:
            _await(self.address, self._server, self._folder / "log")
        except BaseException:
            self.kill()
            raise

    def kill(self) -> None:
        """Ends it at once."""
        self._server.kill()
        self._server.wait(timeout=60)


def _program(name: str, package: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.fail(MISSING.format(package), pytrace=False)
    return found


def _library() -> Path:
    """The folder of the jars."""
    library = BUILD / f"kafka-{VERSION}"
    if library.is_dir():
        return library
    maven = _program("mvn", "maven")
    BUILD.mkdir(exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="kafka-", dir=BUILD))
    try:
        (work / "pom.xml").write_text(POM)
        goal = ["dependency:copy-dependencies", f"-DoutputDirectory={work / 'lib'}"]
        fetched = subprocess.run(
            [maven, "-q", "-B", f"-Dmaven.repo.local={work / 'repository'}", *goal],
            cwd=work,
            capture_output=True,
            text=True,
            check=False,
        )
        if fetched.returncode != 0:
            pytest.fail(f"the artefacts of Kafka could not be fetched:\n{fetched.stdout[-2000:]}", pytrace=False)
        if not library.is_dir():  # another worker may have been quicker
            (work / "lib").rename(library)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return library


def _await(servers: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    from confluent_kafka.admin import AdminClient

    client = AdminClient({"bootstrap.servers": servers, "log_level": 0})
    until = time.monotonic() + 60
    while time.monotonic() < until and server.poll() is None:
        try:
            client.list_topics(timeout=2)
        except Exception:  # not yet
            time.sleep(0.1)
        else:
            return
    pytest.fail(f"Kafka did not start:\n{log.read_text('utf-8', 'replace')[-2000:]}", pytrace=False)
