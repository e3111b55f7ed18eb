"""What Flink stands on, looked at without starting it: Java, Flink's libraries, the job's own jar.

Each check gives in words what it found, or raises an EngineError with the remedy.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from zipline.errors import EngineError

JAR = Path(__file__).parent / "zipline-flink.jar"
"""All of the job that is ours, with the connector to Kafka; built by `make flink`, and part of the wheel."""
JAVAS = (17, 21)
NEEDED = "2.3"
INSTALL = "pip install 'zipline-features[flink]'"


def checks() -> Iterator[tuple[str, Callable[[], str]]]:
    """(what is looked at, the look)."""
    yield "libraries", flink
    yield "java", java
    yield "jar", jar


def check() -> None:
    """Raises the first thing that would keep a job from starting."""
    for _, look in checks():
        look()


def flink() -> str:
    """The version of Flink's libraries."""
    try:
        found = distribution("apache-flink-libraries").version
    except PackageNotFoundError:
        raise EngineError("Flink's libraries are not installed", hint=INSTALL) from None
    if not found.startswith(f"{NEEDED}."):
        raise EngineError(f"Flink is {found}, not {NEEDED}", hint=f"pip install 'apache-flink-libraries=={NEEDED}.*'")
    return found


def java() -> str:
    """The version of Java."""
    return f"{_java_version(java_binary())} in {java_binary()}"


@cache
def _java_version(binary: str) -> str:
    told = subprocess.run([binary, "-version"], capture_output=True, text=True, check=False).stderr
    found = re.search(r'version "(\d+)([^"]*)"', told)
    if found is None or int(found.group(1)) not in JAVAS:
        wanted = " or ".join(map(str, JAVAS))
        raise EngineError(f"{binary} is no Java {wanted}", hint="install a full JDK 17, or point JAVA_HOME at one")
    return found.group(1) + found.group(2)


def java_binary() -> str:
    """That of JAVA_HOME, else the first on PATH."""
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=str(Path(home) / "bin")) if home else shutil.which("java")
    if found is None:
        raise EngineError("there is no Java", hint="install a full JDK 17 (Debian: openjdk-17-jdk-headless)")
    return found


def jar() -> str:
    """Where the job's jar is."""
    if not JAR.is_file():
        raise EngineError(
            f"{JAR.name} was not built",
            hint="it is part of the wheel; in a checkout Maven builds it",
            next_command="make flink",
        )
    return str(JAR)


def class_path() -> str:
    """Of a JVM that runs a job, or submits one."""
    check()
    return os.pathsep.join([*(str(path) for path in sorted(library().glob("*.jar"))), str(JAR)])


def library() -> Path:
    """The folder of Flink's jars, of which a cluster consists too."""
    return Path(str(distribution("apache-flink-libraries").locate_file("pyflink"))) / "lib"
