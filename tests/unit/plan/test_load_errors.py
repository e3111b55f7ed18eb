"""What load() refuses, and that the error names the author's file and line."""

from pathlib import Path

import pytest

from tests.unit.plan.conftest import CARRIERS, COMPANY, SOURCES, TEAM, TRAINING, Write
from zipline import load
from zipline.errors import DefinitionError


def refused(configs: Path) -> DefinitionError:
    with pytest.raises(DefinitionError) as caught:
        load(configs)
    assert caught.value.exit_code == 2
    assert "Traceback" not in str(caught.value)
    return caught.value


def line(error: DefinitionError) -> str:
    assert error.where is not None
    return f"{Path(error.where.file).name}:{error.where.line}"


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    error = refused(tmp_path / "configs")
    assert "there is no folder" in error.what
    assert error.next_command == "zipline doctor"


def test_a_file_that_raises(write: Write) -> None:
    error = refused(write({"flights/bad.py": "import os\n\nrate = {}['missing']\n"}))
    assert line(error) == "bad.py:3"
    assert "KeyError: 'missing'" in error.what


def test_a_file_that_raises_in_a_function_of_another_file(write: Write) -> None:
    files = {"helper.py": "def broken():\n    return 1 / 0\n", "use.py": "from .helper import broken\nbroken()\n"}
    error = refused(write(files))
    assert line(error) == "helper.py:2"
    assert "ZeroDivisionError: division by zero" in error.what


def test_a_file_that_raises_within_a_library_is_blamed_at_the_authors_line(write: Write) -> None:
    error = refused(write({"bad.py": "import json\n\n\njson.loads('{')\n"}))
    assert line(error) == "bad.py:4"
    assert "JSONDecodeError" in error.what


def test_an_operation_that_there_is_not(write: Write) -> None:
    error = refused(write({"bad.py": "from zipline import Operation\n\nbest = Operation.MAXX\n"}))
    assert line(error) == "bad.py:3"
    assert "did you mean 'MAX'" in str(error)


def test_a_file_that_exits(write: Write) -> None:
    error = refused(write({"bad.py": "raise SystemExit('enough')\n"}))
    assert "SystemExit: enough" in error.what
    assert line(error) == "bad.py:1"


@pytest.mark.parametrize("text", ["a = 1\nb = (\n", "a = 1\nif True:\nb = 1\n", "x = 1\n  y = 2\n"])
def test_a_syntax_error(write: Write, text: str) -> None:
    error = refused(write({"bad.py": text}))
    assert "Error: " in error.what
    assert line(error) in ("bad.py:2", "bad.py:3")


@pytest.mark.parametrize("text", [b"a = 1\0\n", b"a = '\xff'\n"])
def test_a_file_that_is_no_text(write: Write, text: bytes) -> None:
    configs = write({"good.py": ""})
    (configs / "bad.py").write_bytes(text)
    assert line(refused(configs)) == "bad.py:1"


def test_a_definition_that_is_wrong_keeps_its_own_error(write: Write) -> None:
    error = refused(write({"bad.py": "from zipline import Window\n\nw = Window('7 days')\n"}))
    assert "is not a window" in error.what
    assert line(error) == "bad.py:3"


def test_a_module_that_is_not_there(company: Path) -> None:
    (company / "flights/bad.py").write_text("from configs.flights.source import flights\n")
    error = refused(company)
    assert error.suggestion == "configs.flights.sources"
    assert line(error) == "bad.py:1"


def test_a_file_imported_without_the_folders_name(company: Path) -> None:
    (company / "flights/bad.py").write_text("from flights.sources import flights\n")
    error = refused(company)
    assert error.hint == "files here import each other as configs.flights.sources, or relatively" or (
        error.hint == "files here import each other as configs.flights, or relatively"
    )


def test_a_library_that_is_not_installed(write: Write) -> None:
    error = refused(write({"bad.py": "import no_such_library.at_all\n"}))
    assert "ModuleNotFoundError" in error.what
    assert error.hint is not None
    assert "install 'no_such_library'" in error.hint


def test_files_that_import_each_other_in_a_circle(write: Write) -> None:
    first = "from configs.b import y\nx = 1\n"
    second = "from configs.c import z\ny = 1\n"
    third = "from configs.a import x\nz = 1\n"
    error = refused(write({"a.py": first, "b.py": second, "c.py": third}))
    assert error.what == "files import each other in a circle: a -> b -> c -> a"
    assert line(error) == "c.py:1"


def test_a_circle_through_an_attribute(write: Write) -> None:
    error = refused(write({"a.py": "from . import b\nx = b.y\n", "b.py": "from . import a\ny = a.x\n"}))
    assert error.what == "files import each other in a circle: a -> b -> a"


def test_a_variable_that_is_defined_twice(write: Write) -> None:
    twice = SOURCES + "flights = EventSource(table='other', query=Query(time='t'))\n"
    error = refused(write({"flights/team.py": TEAM, "flights/sources.py": twice}))
    assert "two objects of one name" in error.what
    assert error.subject == "flights.sources.flights"
    assert line(error) == "sources.py:8"


def test_two_objects_of_one_name_in_a_file_and_a_package(write: Write) -> None:
    kept = "from zipline import EventSource\na = {'b': EventSource(table='x')}\n"
    other = "from zipline import EventSource\nb = EventSource(table='y')\n"
    error = refused(write({"team.py": TEAM, "one/__init__.py": kept, "one/a.py": other}))
    assert "two objects of one name" in error.what
    assert error.subject == "one.a.b"


def test_two_keys_of_one_name(write: Write) -> None:
    keys = "from zipline import EventSource\na = {1: EventSource(table='x'),\n     '1': EventSource(table='y')}\n"
    error = refused(write({"team.py": TEAM, "one.py": keys}))
    assert "two objects of one name" in error.what
    assert error.subject == "one.a.1"


def test_a_file_and_a_folder_of_one_name(write: Write) -> None:
    error = refused(write({"flights.py": "", "flights/sources.py": SOURCES}))
    assert "have one name, 'flights'" in error.what


@pytest.mark.parametrize("name", ["late-flights.py", "2013.py", "my team/x.py"])
def test_a_file_whose_name_is_no_python_name(write: Write, name: str) -> None:
    assert "is no Python name" in refused(write({name: ""})).what


@pytest.mark.parametrize("key", ["'JFK-LAX'", "('a', 'b')", "1.5", "''", "None", "True"])
def test_a_key_that_cannot_be_part_of_a_name(write: Write, key: str) -> None:
    text = f"from zipline import EventSource\na = {{{key}: EventSource(table='x')}}\n"
    error = refused(write({"team.py": TEAM, "one.py": text}))
    assert "cannot be part of a name" in error.what
    assert error.subject == "one.a"
    assert line(error) == "one.py:2"


def test_an_explicit_name_that_differs_from_the_place(write: Write) -> None:
    named = SOURCES.replace('table="flights",', 'table="flights", name="all_flights",')
    error = refused(write({"flights/team.py": TEAM, "flights/sources.py": named}))
    assert "by its place the name is 'flights.sources.flights'" in error.what


def test_an_explicit_name_that_equals_the_place_is_kept(write: Write) -> None:
    named = SOURCES.replace('table="flights",', 'table="flights", name="flights.sources.flights",')
    assert list(load(write({"flights/team.py": TEAM, "flights/sources.py": named}))) == ["flights.sources.flights"]


def test_no_owner_at_all(write: Write) -> None:
    error = refused(write({"flights/sources.py": SOURCES}))
    assert error.subject == "flights.sources.flights"
    assert "has no owner" in error.what
    assert error.hint is not None
    assert "flights/team.py" in error.hint
    assert line(error) == "sources.py:4"


def test_another_teams_folder_gives_no_owner(write: Write) -> None:
    assert "has no owner" in refused(write({"flights/team.py": TEAM, "planes/sources.py": SOURCES})).what


@pytest.mark.parametrize("text", ["", TEAM + "other = Team(owner='x')\n"])
def test_a_team_file_holds_one_team(write: Write, text: str) -> None:
    error = refused(write({"flights/team.py": text, "flights/sources.py": SOURCES}))
    assert "a folder has one" in error.what


@pytest.mark.parametrize(
    "change",
    [
        ("carrier_arrivals = GroupBy", "_carrier_arrivals = GroupBy"),
        ("carrier_arrivals = GroupBy", "def make(): return GroupBy"),
    ],
)
def test_a_group_by_in_a_join_that_no_variable_holds(write: Write, change: tuple[str, str]) -> None:
    carriers = CARRIERS.replace(*change)
    name = "_carrier_arrivals" if "_carrier" in change[1] else "make"
    use = f"{name}()" if name == "make" else name
    training = TRAINING.replace("import carrier_arrivals", f"import {name}")
    training = training.replace("JoinPart(carrier_arrivals)", f"JoinPart({use})")
    error = refused(write({**COMPANY, "flights/carriers.py": carriers, "flights/training.py": training}))
    assert error.subject == "flights.training.departures"
    assert "uses a GroupBy" in error.what
    assert "has no name" in error.what
    assert line(error) == "training.py:5"


def test_a_staging_query_that_reads_its_own_join(write: Write) -> None:
    circle = """
        from zipline import EventSource, Join, Query, StagingQuery

        clean = StagingQuery(sql="SELECT * FROM ring.departures WHERE ds <= '{{ end_date }}'")
        departures = Join(left=EventSource(table="ring.clean", query=Query(time="t")), parts=[])
    """
    error = refused(write({"team.py": TEAM, "ring.py": circle}))
    assert error.what == "depends on itself: ring.clean -> ring.departures -> ring.clean"


def test_a_name_in_a_comment_or_text_of_sql_is_no_dependency(write: Write) -> None:
    text = """
        from zipline import EventSource, Join, Query, StagingQuery

        clean = StagingQuery(sql="SELECT 'ring.departures' /* ring.departures */ FROM raw -- ring.departures")
        departures = Join(left=EventSource(table="ring.clean", query=Query(time="t")), parts=[])
    """
    definitions = load(write({"team.py": TEAM, "ring.py": text}))
    assert definitions.needs("ring.clean") == ()
    assert definitions.needs("ring.departures") == ("ring.clean",)
