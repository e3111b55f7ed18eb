"""A broker of Kafka of one's own, without ZooKeeper, on free ports of this machine: for demos and tests.

It is made of Kafka's Maven artefacts. They are fetched once, by a repository of their own: poms without jars in the
user's would be found by Spark.
"""

from __future__ import annotations

import base64
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zipline.errors import EngineError, ProjectError
from zipline.ports import await_listening, free_ports

VERSION = "4.1.1"
STARTED_WITHIN = 120.0
_POM = f"""
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion><groupId>own</groupId><artifactId>kafka</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{VERSION}</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
"""
_SETTINGS = """
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


@contextmanager
def broker(build: Path) -> Iterator[Broker]:
    """A broker that ends with the block, and its data with it. Kafka's jars are kept in `build`."""
    folder = Path(tempfile.mkdtemp(prefix="kafka-"))
    try:
        started = Broker(folder, build)
        try:
            yield started
        finally:
            started.kill()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Broker:
    """A broker whose data lie in a folder; it begins at once. `address` is its host:port."""

    def __init__(self, folder: Path, build: Path) -> None:
        java, library = program("java", "openjdk-17-jdk-headless"), _library(build)
        port, controller = free_ports(2)
        self.address, self._folder = f"127.0.0.1:{port}", folder
        settings = folder / "server.properties"
        settings.write_text(_SETTINGS.format(port=port, controller=controller, folder=folder))
        command = [java, "-Xmx512m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", f"{library}/*"]
        # One that begins with a dash would be taken for an option.
        name = "z" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")[1:]
        formatting = [*command, "kafka.tools.StorageTool", "format", "-t", name, "-c", str(settings)]
        subprocess.run(formatting, check=True, stdout=subprocess.DEVNULL)
        self._command = [*command, "kafka.Kafka", str(settings)]
        self.start()

    def start(self) -> None:
        """Starts it, with what it had; EngineError where it does not answer."""
        log = self._folder / "log"
        with log.open("ab") as told:
            self._server = subprocess.Popen(
                self._command, stdout=told, stderr=told, cwd=self._folder, start_new_session=True
            )
        try:
            port = int(self.address.rpartition(":")[2])
            if not await_listening(port, lambda: self._server.poll() is None, STARTED_WITHIN):
                raise EngineError(f"Kafka did not start:\n{log.read_text('utf-8', 'replace')[-2000:]}")
        except BaseException:
            self.kill()
            raise

    def kill(self) -> None:
        """Ends it at once."""
        self._server.kill()
        self._server.wait(timeout=60)


def program(name: str, package: str) -> str:
    """Where a program is; ProjectError where it is not."""
    found = shutil.which(name)
    if found is None:
        raise ProjectError(f"{name} is needed, and not on PATH", hint=f"apt-get install -y {package}")
    return found


def _library(build: Path) -> Path:
    """The folder of the jars."""
    library = build / f"kafka-{VERSION}"
    if library.is_dir():
        return library
    maven = program("mvn", "maven")
    build.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="kafka-", dir=build, ignore_cleanup_errors=True) as folder:
        work = Path(folder)
        (work / "pom.xml").write_text(_POM)
        goal = ["dependency:copy-dependencies", f"-DoutputDirectory={work / 'lib'}"]
        fetched = subprocess.run(
            [maven, "-q", "-B", f"-Dmaven.repo.local={work / 'repository'}", *goal],
            cwd=work,
            capture_output=True,
            text=True,
            check=False,
        )
        if fetched.returncode != 0:
            raise EngineError(f"Kafka's artefacts could not be fetched:\n{fetched.stdout[-2000:]}")
        if not library.is_dir():  # another process may have been quicker
            (work / "lib").rename(library)
    return library
