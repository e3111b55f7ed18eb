"""Starting a job: in a JVM that is its mini cluster, or on a cluster that is there.

A job is a text: settings, then statements (`zipline.flink.Main` says how it is written). A mini cluster ends with its
job, and its process with this one; a cluster's job is submitted, and goes on by itself.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from zipline.engines.flink.rest import Jobs
from zipline.engines.flink.setup import JAR, class_path, java_binary
from zipline.errors import EngineError
from zipline.flink_settings import FIXED, Flink
from zipline.ports import free_port
from zipline.values import dataclass

_OPENED = ("java.base/java.util=ALL-UNNAMED", "java.base/java.lang=ALL-UNNAMED", "java.base/java.nio=ALL-UNNAMED")
"""Packages of the JDK that Flink's serializers look into."""


@dataclass(frozen=True, eq=False)
class Running:
    """A job that was started; `process` is its mini cluster, None of one on a cluster."""

    id: str
    jobs: Jobs
    log: Path
    process: subprocess.Popen[bytes] | None

    @property
    def has_ended(self) -> bool:
        """Whether its process has; a cluster's job is asked for its state."""
        return self.process is not None and self.process.poll() is not None

    def kill(self) -> None:
        """Ends the mini cluster at once; what it has not checkpointed is read again. A cluster's job goes on."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


def defaults(flink: Flink, name: str, folder: str) -> dict[str, str]:
    """The settings of a job, those of the project last. `folder` is where its checkpoints lie."""
    return {
        "pipeline.name": name,
        "pipeline.object-reuse": "true",
        "execution.buffer-timeout.interval": "10 ms",
        "parallelism.default": str(flink.parallelism),
        "restart-strategy.type": "exponential-delay",
        "restart-strategy.exponential-delay.initial-backoff": "1 s",
        "restart-strategy.exponential-delay.max-backoff": "10 s",
        "execution.checkpointing.interval": f"{flink.checkpoint} ms",
        "execution.checkpointing.dir": _url(folder),
        "execution.checkpointing.num-retained": "2",
        "execution.checkpointing.tolerable-failed-checkpoints": "1000000",
        **flink.settings,
        **FIXED,
    }


class KilledError(EngineError):
    """A JVM was ended by a signal before its job ran: there may be nothing wrong with the job."""


def start(flink: Flink, settings: Mapping[str, str], statements: Sequence[str], folder: Path) -> Running:
    """Starts a job; EngineError where it cannot be planned or its JVM does not come up. `folder` is for its log."""
    folder.mkdir(parents=True, exist_ok=True)
    return (
        _submitted(flink, settings, statements, folder)
        if flink.cluster
        else _local(flink, settings, statements, folder)
    )


def ended(settings: Mapping[str, str], statements: Sequence[str], folder: Path, memory: str = "1g") -> str:
    """Runs a job that ends, and gives what it printed."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "job.log"
    command = _command(memory, folder, log, ["-"])
    return _heard(command, _text(settings, statements), log)


def _local(flink: Flink, settings: Mapping[str, str], statements: Sequence[str], folder: Path) -> Running:
    log = folder / "job.log"
    port = free_port()
    own = {
        "rest.port": str(port),
        "rest.bind-address": "127.0.0.1",
        "rest.address": "127.0.0.1",
        "taskmanager.numberOfTaskSlots": str(flink.parallelism),
        "taskmanager.memory.network.min": "64mb",
        "taskmanager.memory.network.max": "64mb",
    }
    errors = folder / "job.errors"
    with errors.open("wb") as told:
        process = subprocess.Popen(
            _command(flink.memory, folder, log, ["-"]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=told,
            start_new_session=True,
        )
    assert process.stdin is not None
    assert process.stdout is not None
    with suppress(BrokenPipeError):  # it has ended already: what it said is told below
        process.stdin.write(_text(own | dict(settings), statements))
        process.stdin.flush()
    line = b""
    for line in process.stdout:
        if line.startswith(b"JOB "):
            break
    if not line.startswith(b"JOB "):
        if process.wait() < 0:
            raise KilledError(f"the JVM was killed by signal {-process.returncode} while it began", hint=f"see {log}")
        raise _failed(errors.read_text("utf-8", "replace"), log)
    return Running(line.split()[1].decode(), Jobs(f"http://127.0.0.1:{port}"), log, process)


def _submitted(flink: Flink, settings: Mapping[str, str], statements: Sequence[str], folder: Path) -> Running:
    place = urlsplit(flink.cluster)
    own = {
        "execution.target": "remote",
        "execution.attached": "false",
        "rest.address": place.hostname or "",
        "rest.port": str(place.port or (443 if place.scheme == "https" else 80)),
        "pipeline.jars": JAR.as_uri(),
    }
    log = folder / "submit.log"
    command = _command("512m", folder, log, ["-", "--detached"])
    found = re.search(r"^JOB (\w+)", _heard(command, _text(own | dict(settings), statements), log), re.MULTILINE)
    if found is None:
        raise EngineError("the cluster has not told which job it began", hint=f"the log is {log}")
    return Running(found.group(1), Jobs(flink.cluster), log, None)


def _heard(command: Sequence[str], text: bytes, log: Path) -> str:
    """What a process printed that ends by itself: its input stays open until then."""
    with tempfile.TemporaryFile() as told:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=told)
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(text)
            process.stdin.flush()
            found = process.stdout.read().decode()
            code = process.wait()
        finally:
            process.kill()
            process.stdin.close()
        told.seek(0)
        if code:
            raise _failed(told.read().decode("utf-8", "replace"), log)
    return found


def _command(memory: str, folder: Path, log: Path, arguments: Sequence[str]) -> list[str]:
    logging = folder / "log4j2.properties"
    logging.write_text(_LOGGING.format(log=log))
    return [
        java_binary(),
        f"-Xmx{memory}",
        "-XX:+UseG1GC",
        *(f"--add-opens={package}" for package in _OPENED),
        f"-Dlog4j2.configurationFile={logging.as_uri()}",
        "-cp",
        class_path(),
        "zipline.flink.Main",
        *arguments,
    ]


_LOGGING = """rootLogger.level = INFO
rootLogger.appenderRef.file.ref = file
appender.file.name = file
appender.file.type = RollingFile
appender.file.fileName = {log}
appender.file.filePattern = {log}.%i
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = %d{{yyyy-MM-dd HH:mm:ss,SSS}} %-5p %c{{1}} - %m%n
appender.file.policies.type = Policies
appender.file.policies.size.type = SizeBasedTriggeringPolicy
appender.file.policies.size.size = 16MB
appender.file.strategy.type = DefaultRolloverStrategy
appender.file.strategy.max = 2
"""


def _text(settings: Mapping[str, str], statements: Sequence[str]) -> bytes:
    lines = "".join(f"{name}={value}\n" for name, value in settings.items())
    content = "\0".join([lines, *statements]).encode()
    return b"%d\n" % len(content) + content


def _failed(told: str, log: Path) -> EngineError:
    found = re.findall(r"^ERROR (.*)$", told, re.MULTILINE)
    what = found[-1] if found else (told.strip().splitlines() or ["no reason given"])[-1]
    return EngineError(f"the job could not be started: {what}", hint=f"its log is {log}")


def _url(folder: str) -> str:
    return folder if "://" in folder else Path(os.path.abspath(folder)).as_uri()
