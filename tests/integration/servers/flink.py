"""Flink without a cluster: the jars that `apache-flink-libraries` brings, and ours, built by Maven into `build/`.

What Maven fetches stays in `build/maven`, and a jar is built once for what its sources say.
"""

import fcntl
import hashlib
import importlib.util
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
BUILD = ROOT / "build"
MODULE = ROOT / "zipline" / "engines" / "flink" / "java"
MISSING = "{} is needed for this test: {}"


def flink_jar() -> Path:
    """The jar of `zipline/engines/flink/java`, as its sources are now."""
    sources = [MODULE / "pom.xml", *sorted(path for path in (MODULE / "src").rglob("*") if path.is_file())]
    content = b"".join(str(path.relative_to(MODULE)).encode() + b"\0" + path.read_bytes() for path in sources)
    jar = BUILD / f"zipline-flink-{hashlib.sha256(content).hexdigest()[:16]}.jar"
    BUILD.mkdir(exist_ok=True)
    with (BUILD / "flink.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not jar.exists():
            _build(jar)
    return jar


def flink_command(*arguments: str) -> list[str]:
    """A command of Java with Flink's jars and ours."""
    return [program("java", "openjdk-17-jdk-headless"), "-cp", f"{flink_library()}/*:{flink_jar()}", *arguments]


def flink_library() -> Path:
    """The folder of the jars that a cluster has."""
    found = importlib.util.find_spec("pyflink")
    places = [] if found is None else [Path(place) / "lib" for place in found.submodule_search_locations or ()]
    for place in places:
        if place.is_dir():
            return place
    pytest.fail(MISSING.format("Flink", "pip install apache-flink-libraries"), pytrace=False)


def program(name: str, package: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.fail(MISSING.format(name, f"apt-get install -y {package}"), pytrace=False)
    return found


def _build(jar: Path) -> None:
    maven = program("mvn", "maven")
    work = Path(tempfile.mkdtemp(prefix="flink-", dir=BUILD))
    try:
        shutil.copy(MODULE / "pom.xml", work)
        shutil.copytree(MODULE / "src", work / "src")
        built = subprocess.run(
            [maven, "-q", "-B", f"-Dmaven.repo.local={BUILD / 'maven'}", "package"],
            cwd=work,
            capture_output=True,
            text=True,
            check=False,
        )
        if built.returncode != 0:
            pytest.fail(f"the jar for Flink could not be built:\n{built.stdout[-4000:]}", pytrace=False)
        made = next((work / "target").glob("zipline-flink-*.jar"))
        made.rename(jar)
    finally:
        shutil.rmtree(work, ignore_errors=True)
