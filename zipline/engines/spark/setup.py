"""What Spark stands on, looked at without starting it: Java, the Python of the executors, pyspark, jars.

Each check gives in words what it found, or raises an EngineError with the remedy. Standard library only, and no JVM: a
set-up that cannot work is told of in a moment, where Spark would take its time to die.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from xml.etree import ElementTree

from zipline.errors import EngineError
from zipline.spark_settings import Spark

JAVAS = (17, 21)
NEEDED_MODULES = frozenset({"java.management", "java.security.jgss", "java.sql", "jdk.incubator.vector"})
"""Of the JDK; a runtime that was trimmed to a few modules lacks them."""
NEEDED_PYSPARK = (4, 1)
NEEDED_BY_CONNECT = ("grpcio", "grpcio-status", "googleapis-common-protos", "pandas", "zstandard")
INSTALL_JAVA = "install a full JDK 17 (Debian: apt install openjdk-17-jdk-headless), or point JAVA_HOME at one"
_VERSION = re.compile(r'^JAVA_VERSION="(?:1\.)?(\d+)([^"]*)"', re.MULTILINE)
_MODULES = re.compile(r'^MODULES="([^"]*)"', re.MULTILINE)


def check(spark: Spark) -> None:
    """Raises the first thing that would keep a session of these settings from starting."""
    for _, look in checks(spark):
        look()


def checks(spark: Spark) -> Iterator[tuple[str, Callable[[], str]]]:
    """(what is looked at, the look)."""
    yield "pyspark", pyspark
    if spark.remote:
        yield "connect", connect
        return
    yield "java", java
    yield "python of executors", lambda: executors_python(spark)
    if packages(spark.settings):
        yield "jars", lambda: jars(spark.settings)


def pyspark() -> str:
    """The version of pyspark."""
    try:
        found = version("pyspark")
    except PackageNotFoundError:
        raise EngineError("pyspark is not installed", hint="pip install 'zipline-features[spark]'") from None
    if tuple(map(int, found.split(".")[:2])) != NEEDED_PYSPARK:
        wanted = ".".join(map(str, NEEDED_PYSPARK))
        hint = f"pip install 'pyspark=={wanted}.*', which is the version that the engine is tested with"
        raise EngineError(f"pyspark is {found}, not {wanted}", hint=hint)
    return found


def connect() -> str:
    """The packages that a client of Spark Connect needs."""
    found, missing = [], []
    for package in NEEDED_BY_CONNECT:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            missing.append(package)
    if missing:
        hint = f"pip install {' '.join(missing)}"
        raise EngineError(f"Spark Connect needs packages that are not installed: {', '.join(missing)}", hint=hint)
    return ", ".join(found)


def java() -> str:
    """The Java that Spark will take, as its own scripts do: that of JAVA_HOME, else the first on PATH."""
    binary = _java_binary()
    release = binary.resolve().parent.parent / "release"
    text = release.read_text("utf-8", "replace") if release.is_file() else _asked(binary)
    found = _VERSION.search(text)
    if found is None:
        return f"{binary}, of an unknown version"
    number, shown = int(found.group(1)), found.group(1) + found.group(2)
    if number not in JAVAS:
        raise EngineError(f"{binary} is Java {shown}: Spark needs 17 or 21", hint=INSTALL_JAVA)
    modules = _MODULES.search(text)
    lacking = sorted(NEEDED_MODULES - set(modules.group(1).split())) if modules else []
    if lacking:
        what = f"{binary} is a trimmed runtime of Java {shown}: it lacks {', '.join(lacking)}"
        raise EngineError(what, hint=INSTALL_JAVA)
    return f"{shown} at {binary}"


def _java_binary() -> Path:
    home = os.environ.get("JAVA_HOME")
    if home:
        binary = Path(home) / "bin" / "java"
        if not os.access(binary, os.X_OK):
            what = f"JAVA_HOME is {home}, where there is no bin/java"
            raise EngineError(what, hint="point JAVA_HOME at a JDK 17, or unset it to take the java on PATH")
        return binary
    found = shutil.which("java")
    if found is None:
        raise EngineError("there is no Java: JAVA_HOME is not set, and no java is on PATH", hint=INSTALL_JAVA)
    return Path(found)


def _asked(binary: Path) -> str:
    """What a Java without a file about itself says, written as that file is."""
    try:
        said = subprocess.run([binary, "-version"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.SubprocessError) as wrong:
        raise EngineError(f"{binary} cannot be run: {wrong}", hint=INSTALL_JAVA) from None
    found = re.search(r'version "([^"]+)"', said.stderr + said.stdout)
    return f'JAVA_VERSION="{found.group(1)}"' if found else ""


def executors_python(spark: Spark) -> str:
    """The Python that runs tasks: it must be of the minor version of this one."""
    own = ".".join(map(str, sys.version_info[:2]))
    named = spark.settings.get("spark.pyspark.python") or os.environ.get("PYSPARK_PYTHON")
    if not named or named == sys.executable:
        return f"{own}, this one"
    binary = shutil.which(named)
    remedy = f"export PYSPARK_PYTHON={sys.executable}, or the path of a Python {own} on the executors"
    if binary is None:
        if not spark.is_here:
            return f"{named}, which is on the executors"
        raise EngineError(f"PYSPARK_PYTHON is {named}, which is not there", hint=remedy)
    asked = "import sys; print('.'.join(map(str, sys.version_info[:2])))"
    try:
        said = subprocess.run([binary, "-c", asked], capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError) as wrong:
        why = (getattr(wrong, "stderr", None) or str(wrong)).strip().splitlines()[0]
        raise EngineError(f"PYSPARK_PYTHON is {named}, which cannot be run: {why}", hint=remedy) from None
    if said.strip() != own:
        what = f"PYSPARK_PYTHON is {named}, a Python {said.strip()}; this one is {own}, and both must be the same"
        raise EngineError(what, hint=remedy)
    return f"{own} at {named}"


def packages(settings: Mapping[str, str]) -> list[str]:
    """The Maven coordinates that a session asks for."""
    return [each.strip() for each in settings.get("spark.jars.packages", "").split(",") if each.strip()]


def jars(settings: Mapping[str, str]) -> str:
    """Whether the local Maven repository is in the way: of an artifact that it describes it must have the jar too."""
    wrong = next((each for each in packages(settings) if len(each.split(":")) != 3 or not all(each.split(":"))), None)
    if wrong is not None:
        hint = "such as io.delta:delta-spark_4.1_2.13:4.4.0"
        raise EngineError(f"spark.jars.packages: {wrong!r} is not group:artifact:version", hint=hint)
    repository = Path.home() / ".m2" / "repository"
    for coordinates in packages(settings):
        for folder in _described(repository, *coordinates.split(":")):
            if not any(folder.glob("*.jar")):
                what = f"{folder} has a pom and no jar: Spark takes it for complete, and cannot start"
                raise EngineError(what, hint=f"rm -r {folder}: then it is fetched whole")
    return ", ".join(packages(settings))


def _described(repository: Path, group: str, artifact: str, number: str) -> Iterator[Path]:
    """The folders of an artifact and of what it depends on, as far as they are here."""
    pending, seen = [(group, artifact, number)], set()
    while pending:
        current = pending.pop()
        folder = repository.joinpath(*current[0].split("."), *current[1:])
        pom = folder / f"{current[1]}-{current[2]}.pom"
        if current not in seen and pom.is_file():
            seen.add(current)
            yield folder
            pending += _dependencies(pom)


def _dependencies(pom: Path) -> Iterator[tuple[str, str, str]]:
    """Those that are needed to run, of versions that stand there."""
    try:
        root = ElementTree.parse(pom).getroot()
    except (OSError, ElementTree.ParseError):
        return
    for dependency in root.findall("{*}dependencies/{*}dependency"):
        group, artifact, number, scope, optional = (
            dependency.findtext(f"{{*}}{name}", "").strip()
            for name in ("groupId", "artifactId", "version", "scope", "optional")
        )
        if (
            group
            and artifact
            and number
            and "${" not in number
            and optional != "true"
            and scope in ("", "compile", "runtime")
        ):
            yield group, artifact, number
