"""Names to tables: memory, the project's sections, its warehouse, paths, in that order."""

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from zipline.errors import TableError
from zipline.project import load_project
from zipline.tables.catalog import open_catalog
from zipline.tables.delta import write_source


@pytest.fixture
def project(tmp_path):
    (tmp_path / "zipline.toml").write_text(
        """
        [warehouse]
        url = "lake"
        [tables.planes]
        path = "data/planes.csv"
        null_values = ["NA"]
        [environments.dev]
        [environments.prod]
        table_prefix = ""
        """
    )
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "planes.csv").write_text("n\n5\nNA\n")
    (tmp_path / "lake").mkdir()
    pq.write_table(pa.table({"n": [1]}), tmp_path / "lake" / "airports.parquet")
    return load_project(tmp_path, "dev")


def values(table):
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return [n for (n,) in connection.sql(f"SELECT n FROM {table.relation(connection)}").fetchall()]


def test_a_table_in_memory_wins_over_the_warehouse(project):
    assert values(open_catalog(project=project).table("airports")) == [1]
    assert values(open_catalog({"airports": [{"n": 2}]}, project).table("airports")) == [2]


def test_a_section_of_the_project_names_a_path_and_its_null_values(project):
    assert values(open_catalog(project=project).table("planes")) == [5, None]


def test_an_environment_sees_its_own_table_before_the_shared_one(project, tmp_path):
    write_source("airports", pa.table({"n": [7]}), project=project)
    assert (tmp_path / "lake" / "dev_airports").is_dir()
    assert values(open_catalog(project=project).table("airports")) == [7]
    assert values(open_catalog(project=load_project(tmp_path, "prod")).table("airports")) == [1]


def test_relative_paths_are_below_the_project_or_the_current_folder(project, tmp_path, monkeypatch):
    assert values(open_catalog(project=project).table("lake/airports.parquet")) == [1]
    monkeypatch.chdir(tmp_path / "lake")
    assert values(open_catalog().table("airports.parquet")) == [1]
    assert values(open_catalog({"a": "airports.parquet"}).table("a")) == [1]


def test_an_unknown_name_lists_what_there_is(project):
    with pytest.raises(TableError) as missing:
        open_catalog({"flights": []}, project).table("airport")
    assert missing.value.suggestion == "airports"
    assert missing.value.valid == ("flights", "planes", "airports")
    assert missing.value.next_command == "zipline doctor"
    assert str(project.warehouse) in str(missing.value)


def test_without_tables_or_project_the_error_says_what_to_pass():
    with pytest.raises(TableError, match="there is no table 'flights'") as missing:
        open_catalog().table("flights")
    assert "tables={...}" in str(missing.value)


def test_a_table_is_opened_once(project):
    catalog = open_catalog(project=project)
    assert catalog.table("airports") is catalog.table("airports")


def test_more_tables_win_and_what_is_open_stays_open(project):
    catalog = open_catalog({"a": [{"n": 1}], "b": [{"n": 1}]}, project)
    kept = catalog.table("b")
    more = catalog.with_tables({"a": [{"n": 2}]})
    assert values(more.table("a")) == [2]
    assert values(catalog.table("a")) == [1]
    assert more.table("b") is kept
