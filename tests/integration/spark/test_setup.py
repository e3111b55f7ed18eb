"""What Spark stands on: what is missing is told with its remedy, before a JVM is asked in vain."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from zipline.cli.main import execute
from zipline.engines.spark import setup
from zipline.errors import EngineError, ProjectError
from zipline.project import load_project
from zipline.spark_settings import Spark

DELTA = "io.delta:delta-spark_4.1_2.13:4.4.0"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without Java and without a Maven repository."""
    for name in ("JAVA_HOME", "PYSPARK_PYTHON", "SPARK_REMOTE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def java_home(folder: Path, release: str | None, says: str = "") -> Path:
    program(folder / "bin" / "java", says)
    if release is not None:
        (folder / "release").write_text(release)
    return folder


FULL = 'JAVA_VERSION="{}"\nMODULES="java.base java.management java.security.jgss java.sql jdk.incubator.vector"\n'


def test_without_java_the_error_says_how_to_get_it(home: Path) -> None:
    with pytest.raises(EngineError, match=r"there is no Java") as wrong:
        setup.java()
    assert "openjdk-17" in str(wrong.value.hint)


def test_a_java_home_that_points_nowhere_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(home / "nowhere"))
    with pytest.raises(EngineError, match=r"JAVA_HOME is .*nowhere, where there is no bin/java"):
        setup.java()


@pytest.mark.parametrize("number", ["11.0.2", "1.8.0_392", "25.0.3"])
def test_another_java_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch, number: str) -> None:
    monkeypatch.setenv("JAVA_HOME", str(java_home(home / "jdk", FULL.format(number))))
    with pytest.raises(EngineError, match=r"Spark needs 17 or 21"):
        setup.java()


def test_a_java_17_or_21_will_do(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(java_home(home / "jdk", FULL.format("21.0.1"))))
    assert setup.java() == f"21.0.1 at {home}/jdk/bin/java"


def test_a_trimmed_runtime_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    java_home(home / "jre", 'JAVA_VERSION="17.0.1"\nMODULES="java.base java.sql"\n')
    monkeypatch.setenv("JAVA_HOME", str(home / "jre"))
    with pytest.raises(EngineError, match=r"trimmed runtime .* lacks .*jdk.incubator.vector"):
        setup.java()


def test_a_java_that_has_no_file_about_itself_is_asked(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(home / "bin" / "java", """echo 'openjdk version "11.0.2" 2019' >&2""")
    with pytest.raises(EngineError, match=r"is Java 11\.0\.2"):
        setup.java()


def test_a_python_of_another_minor_version_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYSPARK_PYTHON", str(program(home / "other", "echo 3.9")))
    with pytest.raises(EngineError, match=r"a Python 3\.9; this one is 3\.\d+") as wrong:
        setup.executors_python(Spark())
    assert sys.executable in str(wrong.value.hint)


def test_a_python_that_is_not_there_is_refused_where_tasks_run_here(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYSPARK_PYTHON", "./environment/bin/python")
    with pytest.raises(EngineError, match=r"which is not there"):
        setup.executors_python(Spark())
    assert "on the executors" in setup.executors_python(Spark(master="spark://host:7077"))


def test_a_maven_repository_with_a_pom_and_no_jar_is_named(home: Path) -> None:
    settings = {"spark.jars.packages": DELTA}
    assert setup.jars(settings) == DELTA
    repository = home / ".m2" / "repository" / "io" / "delta"
    storage = repository / "delta-storage" / "4.4.0"
    for folder, jar, dependency in (
        (repository / "delta-spark_4.1_2.13" / "4.4.0", True, "delta-storage"),
        (storage, False, "other"),
    ):
        folder.mkdir(parents=True)
        stem = f"{folder.parent.name}-4.4.0"
        (folder / f"{stem}.pom").write_text(
            '<project xmlns="http://maven.apache.org/POM/4.0.0"><dependencies><dependency><groupId>io.delta</groupId>'
            f"<artifactId>{dependency}</artifactId><version>4.4.0</version></dependency></dependencies></project>"
        )
        if jar:
            (folder / f"{stem}.jar").write_bytes(b"jar")
    with pytest.raises(EngineError, match=r"has a pom and no jar") as wrong:
        setup.jars(settings)
    assert wrong.value.hint == f"rm -r {storage}: then it is fetched whole"


def test_coordinates_are_three() -> None:
    with pytest.raises(EngineError, match=r"not group:artifact:version"):
        setup.jars({"spark.jars.packages": "io.delta:delta-spark"})


def test_without_pyspark_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(package: str) -> str:
        raise setup.PackageNotFoundError(package)

    monkeypatch.setattr(setup, "version", absent)
    with pytest.raises(EngineError, match=r"pyspark is not installed") as wrong:
        setup.check(Spark())
    assert "zipline-features[spark]" in str(wrong.value.hint)
    monkeypatch.setattr(setup, "version", lambda package: "3.5.1")
    with pytest.raises(EngineError, match=r"pyspark is 3\.5\.1, not 4\.1"):
        setup.check(Spark())


Write = Callable[[str], Path]


@pytest.fixture
def project(tmp_path: Path) -> Write:
    def write(text: str) -> Path:
        (tmp_path / "zipline.toml").write_text(text)
        return tmp_path

    return write


def test_the_section_spark_is_read_and_overridden(project: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    root = project(
        '[spark]\nmaster = "local[2]"\nscratch = "scratch"\n'
        '[spark.settings]\nspark.driver.memory = "2g"\n"spark.ui.enabled" = false\n'
        '[environments.prod.spark]\nmaster = "yarn"\nscratch = "hdfs://nn/tmp"\n'
        "[environments.prod.spark.settings]\nspark.executor.cores = 4\n"
    )
    spark = load_project(root, "prod").spark
    assert (spark.master, spark.scratch) == ("yarn", "hdfs://nn/tmp")
    expected = {"spark.driver.memory": "2g", "spark.ui.enabled": "false", "spark.executor.cores": "4"}
    assert dict(spark.settings) == expected
    monkeypatch.setenv("ZIPLINE_SPARK_REMOTE", "sc://host:15002/;token=abc")
    overridden = load_project(root, "prod")
    assert overridden.spark.remote == "sc://host:15002/;token=abc"
    shown = {row.name: row.value for row in overridden.describe()}
    assert shown["spark.remote"] == "sc://host:15002/;token=********"
    assert shown["spark.settings.spark.executor.cores"] == "4"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[spark]\nmaster = "lokal[2]"', "no master of Spark"),
        ('[spark]\nremote = "http://host"', "no server of Spark Connect"),
        ('[spark]\nmastr = "yarn"', "no key 'mastr'"),
        ('[spark.settings]\n"executor.memory" = "4g"', "no setting of Spark"),
        ('[spark.settings]\nspark.master = "yarn"', r"write master = \.\.\. in \[spark\]"),
    ],
)
def test_what_is_wrong_in_the_section_is_told_with_its_line(project: Write, text: str, said: str) -> None:
    with pytest.raises(ProjectError, match=said) as wrong:
        load_project(project(text))
    assert wrong.value.where is not None
    assert wrong.value.where.line in (1, 2)


def test_doctor_looks_at_spark_and_does_not_start_it(
    project: Write, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project(""))
    findings = doctor(capsys, expected=0)
    assert findings["spark java"]["state"] == "look"
    project('[spark]\nmaster = "local[2]"')
    findings = doctor(capsys, expected=1)
    assert findings["spark java"]["state"] == "wrong"
    assert "openjdk-17" in findings["spark java"]["remedy"]


def doctor(capsys: pytest.CaptureFixture[str], expected: int) -> dict[str, dict[str, str]]:
    capsys.readouterr()
    assert execute(["doctor", "--json"]) == expected
    return {finding["what"]: finding for finding in json.loads(capsys.readouterr().out)["findings"]}


def started(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    text = f"from zipline.engines.spark.session import local_session\n{code}"
    given = {**os.environ, **environment}
    return subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=120, env=given)


def test_a_jar_that_cannot_be_had_is_named(tmp_path: Path) -> None:
    """The settings know no repository but an empty folder, as without a network."""
    resolvers = f'<filesystem name="none"><artifact pattern="{tmp_path}/[artifact].jar"/></filesystem>'
    offline = tmp_path / "ivy.xml"
    offline.write_text(
        f'<ivysettings><settings defaultResolver="none"/><resolvers>{resolvers}</resolvers></ivysettings>'
    )
    settings = {"spark.jars.packages": "org.nowhere:nothing_2.13:1.0", "spark.jars.ivySettings": str(offline)}
    code = f"""
from zipline.errors import EngineError
try:
    local_session(**{settings!r})
except EngineError as wrong:
    print(wrong)
"""
    done = started(code)
    assert "spark.jars.packages cannot be had: org.nowhere#nothing_2.13;1.0" in done.stdout, done.stderr
    assert done.stderr == ""


def test_a_session_of_our_own_says_nothing(tmp_path: Path) -> None:
    done = started("print(local_session(**{'spark.ui.enabled': 'false'}).range(3).count())")
    assert (done.stdout, done.stderr) == ("3\n", "")


def test_what_a_jvm_itself_prints_is_no_part_of_a_command_s_result() -> None:
    """A JVM prints its log and its warnings to stdout, where `--json` of a command is read."""
    settings = {"spark.ui.enabled": "false", "spark.driver.extraJavaOptions": "-Xlog:gc"}
    done = started(
        f"session = local_session(**{settings!r})\nsession._jvm.System.gc()\nprint(session.range(3).count())"
    )
    assert done.stdout == "3\n"
    assert "Pause Full (System.gc())" in done.stderr
