"""Flink in one process: the jars that `apache-flink-libraries` brings, and ours, as its sources are now."""

import fcntl
import subprocess
from functools import cache
from pathlib import Path

import pytest

from tests.integration.servers.kafka import BUILD
from training.broker import program
from zipline.engines.flink import setup

ROOT = Path(__file__).parents[3]


@cache
def flink_jar() -> Path:
    """The jar of the streaming job, made anew where a source is newer."""
    program("mvn", "maven")
    BUILD.mkdir(exist_ok=True)
    with (BUILD / "flink.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run in several processes
        made = subprocess.run(["make", "flink"], cwd=ROOT, capture_output=True, text=True, check=False)
    if made.returncode != 0:
        pytest.fail(f"the jar of the streaming job could not be built:\n{made.stdout[-4000:]}", pytrace=False)
    return setup.JAR


def class_path() -> str:
    """Of a process that is a cluster of its own."""
    flink_jar()
    return setup.class_path()


def flink_command(*arguments: str) -> list[str]:
    """A command of Java with Flink's jars and ours."""
    return [program("java", "openjdk-17-jdk-headless"), "-cp", class_path(), *arguments]


def run_java(main: str, *arguments: str, text: str = "") -> str:
    """What a main class prints; what it says of an error fails the test."""
    java = program("java", "openjdk-17-jdk-headless")
    command = [java, "-Xmx1g", "-XX:+UseSerialGC", "-cp", class_path(), main, *arguments]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode != 0:
        pytest.fail(f"{main} failed:\n{done.stdout[-2000:]}{done.stderr[-4000:]}", pytrace=False)
    return done.stdout
