"""Flink in one process: what of it is Java is built once, into `build/`, and run with the jars that pyflink brings."""

import fcntl
import subprocess
from functools import cache
from pathlib import Path

import pytest

from tests.integration.servers.kafka import BUILD, _program

MODULE = Path(__file__).parents[3] / "zipline" / "engines" / "flink" / "java"
JAR = "zipline-flink-0.1.0.jar"


@cache
def flink_jar() -> Path:
    """The jar of the streaming job, made anew where a source is newer."""
    maven = _program("mvn", "maven")
    target = BUILD / "flink" / JAR
    target.parent.mkdir(parents=True, exist_ok=True)
    with (BUILD / "flink" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run in several processes
        sources = [MODULE / "pom.xml", *(path for path in (MODULE / "src").rglob("*") if path.is_file())]
        if not target.exists() or target.stat().st_mtime < max(path.stat().st_mtime for path in sources):
            goal = ["package", "-DskipTests", f"-Dmaven.repo.local={BUILD / 'maven'}"]
            made = subprocess.run([maven, "-q", "-B", *goal], cwd=MODULE, capture_output=True, text=True, check=False)
            if made.returncode != 0:
                pytest.fail(f"the jar of the streaming job could not be built:\n{made.stdout[-4000:]}", pytrace=False)
            (MODULE / "target" / JAR).replace(target)
    return target


def class_path() -> str:
    """Of a process that is a cluster of its own."""
    pyflink = pytest.importorskip("pyflink")
    library = Path(next(iter(pyflink.__path__))) / "lib"
    return ":".join(map(str, [flink_jar(), *sorted(library.glob("*.jar"))]))


def run_java(main: str, *arguments: str, text: str = "") -> str:
    """What a main class prints; what it says of an error fails the test."""
    java = _program("java", "openjdk-17-jdk-headless")
    command = [java, "-Xmx1g", "-XX:+UseSerialGC", "-cp", class_path(), main, *arguments]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode != 0:
        pytest.fail(f"{main} failed:\n{done.stdout[-2000:]}{done.stderr[-4000:]}", pytrace=False)
    return done.stdout
