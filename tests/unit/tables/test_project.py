"""The project's settings: found, resolved, checked, described without secrets."""

import subprocess
import sys

import pytest

from zipline.errors import ProjectError
from zipline.project import Setting, TableSettings, load_project

TOML = """\
name = "flights"
environment = "dev"

[warehouse]
url = "lake"

[online]
store = "redis"
url = "redis://user:hunter2@localhost:6379"

[brokers]
servers = ["a:9092", "b:9092"]

[tables.flights]
path = "data/flights.csv"
null_values = ["", "NA"]

[environments.dev]

[environments.prod]
table_prefix = ""
key_prefix = "p:"

[environments.prod.warehouse]
url = "s3://lake/flights/"
"""


@pytest.fixture(autouse=True)
def variables(monkeypatch):
    import os

    for name in list(os.environ):
        if name.startswith("ZIPLINE_"):
            monkeypatch.delenv(name)
    return monkeypatch


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "zipline.toml").write_text(TOML)
    return tmp_path


def value(project, name):
    return next((row.value, row.source) for row in project.describe() if row.name == name)


def test_without_a_file_everything_lies_in_the_folder_below_the_current_one(tmp_path, variables):
    variables.chdir(tmp_path)
    project = load_project()
    assert (project.root, project.warehouse, project.environment) == (
        tmp_path,
        str(tmp_path / ".zipline" / "warehouse"),
        "default",
    )
    assert (project.table_prefix, project.key_prefix, project.configs) == ("", "", "configs")
    assert (project.online.store, project.online.url) == ("lmdb", str(tmp_path / ".zipline" / "online"))
    assert project.registry == f"sqlite:///{tmp_path}/.zipline/registry.db"
    assert project.table_uri("a.b") == str(tmp_path / ".zipline" / "warehouse" / "a.b")
    assert not (tmp_path / ".zipline").exists()


def test_the_file_is_found_in_a_parent(folder):
    below = folder / "configs" / "team"
    below.mkdir(parents=True)
    assert load_project(below).root == load_project(folder / "zipline.toml").root == folder


def test_each_environment_has_its_own_prefixes_and_overrides(folder):
    dev, prod = load_project(folder), load_project(folder, "prod")
    assert (dev.environment, dev.warehouse, dev.table_prefix, dev.key_prefix) == (
        "dev",
        str(folder / "lake"),
        "dev_",
        "dev:",
    )
    assert (prod.environment, prod.warehouse, prod.table_prefix, prod.key_prefix) == (
        "prod",
        "s3://lake/flights",
        "",
        "p:",
    )
    assert dev.table_uri("out") == str(folder / "lake" / "dev_out")
    assert prod.table_uri("out") == "s3://lake/flights/out"
    assert dev.brokers.servers == "a:9092,b:9092"
    assert dict(dev.tables) == {"flights": TableSettings("data/flights.csv", ("", "NA"), None)}


def test_the_argument_wins_over_the_variable_and_that_over_the_file(folder, variables):
    variables.setenv("ZIPLINE_ENVIRONMENT", "prod")
    assert load_project(folder).environment == "prod"
    assert load_project(folder, "dev").environment == "dev"


def test_variables_override_every_section(folder, variables):
    variables.setenv("ZIPLINE_WAREHOUSE_URL", "s3://other")
    variables.setenv("ZIPLINE_STORAGE_SECRET_ACCESS_KEY", "hunter2")
    variables.setenv("ZIPLINE_ONLINE_PASSWORD", "hunter2")
    project = load_project(folder, "prod")
    assert project.warehouse == "s3://other"
    assert dict(project.storage_options) == {"secret_access_key": "hunter2"}
    assert project.online.password == "hunter2"


def test_the_description_says_where_settings_come_from_and_masks_secrets(folder, variables):
    variables.setenv("ZIPLINE_STORAGE_SECRET_ACCESS_KEY", "hunter2")
    variables.setenv("ZIPLINE_BROKERS_PASSWORD", "hunter2")
    project = load_project(folder, "prod")
    assert value(project, "storage.secret_access_key") == ("********", "ZIPLINE_STORAGE_SECRET_ACCESS_KEY")
    assert value(project, "warehouse.url") == ("s3://lake/flights/", "[environments.prod.warehouse]")
    assert value(project, "online.url") == ("redis://user:********@localhost:6379", "zipline.toml")
    assert value(project, "environment") == ("prod", "the argument")
    assert value(project, "storage.region") == ("", "default")
    assert all(isinstance(row, Setting) for row in project.describe())
    assert "hunter2" not in repr(project)
    assert "hunter2" not in str(project.describe())


@pytest.mark.parametrize(
    ("text", "line", "said", "suggestion"),
    [
        ("nam = 'x'", 1, "no key 'nam'", "name"),
        ("name = 'x'\n[warehous]\nurl = 'x'", 2, "no key 'warehous'", "warehouse"),
        ("[warehouse]\n\nulr = 'x'", 3, r"\[warehouse\] has no key 'ulr'", "url"),
        ("[tables.flights]\npath = 'x'\nnul_values = []", 3, "no key 'nul_values'", "null_values"),
        ("[tables.flights]\nnull_values = []", 1, "needs a path", None),
        ("[environments.dev]\ntable_prefx = ''", 2, "no key 'table_prefx'", "table_prefix"),
        ("[environments.dev.online]\nstor = 'redis'", 2, "no key 'stor'", "store"),
        ("[online]\nstore = 'reddis'", 2, "no online store 'reddis'", "redis"),
        ("[warehouse]\nurl = 3", 2, "warehouse.url is text, not 3", None),
        ("[tables.a]\npath = 'x'\nnull_values = 'NA'", 3, "list of texts", None),
        (
            "[flink]\nparallelism = 2\n[flink.settings]\nexecution.checkpointing.unaligned.enabled = true",
            3,
            "only where execution.checkpointing.unaligned.enabled is false, not 'true'",
            None,
        ),
        ("[flink.settings]\nexecution.checkpointing.mode = 'AT_LEAST_ONCE'", 1, "is EXACTLY_ONCE", None),
        ("[brokers]\nsecurity_protocol = 'SASL_SLS'", 2, "no security protocol 'SASL_SLS'", "SASL_SSL"),
        ("name = 'x'\nwarehouse = 'lake'", 2, "'warehouse' is a section", None),
        ("name = 'x'\n[warehouse\n", 2, "not TOML", None),
    ],
)
def test_what_is_wrong_in_the_file_is_an_error_with_its_line(tmp_path, text, line, said, suggestion):
    (tmp_path / "zipline.toml").write_text(text)
    with pytest.raises(ProjectError, match=said) as wrong:
        load_project(tmp_path)
    assert (wrong.value.where.file, wrong.value.where.line) == (str(tmp_path / "zipline.toml"), line)
    assert wrong.value.suggestion == suggestion
    assert wrong.value.exit_code == 2


def test_an_unknown_environment_and_variable_list_what_there_is(folder, variables):
    with pytest.raises(ProjectError) as wrong:
        load_project(folder, "prd")
    assert (wrong.value.suggestion, wrong.value.valid) == ("prod", ("dev", "prod"))
    variables.setenv("ZIPLINE_WAREHOUSE_ULR", "x")
    with pytest.raises(ProjectError, match="ZIPLINE_WAREHOUSE_ULR") as wrong:
        load_project(folder)
    assert wrong.value.suggestion == "ZIPLINE_WAREHOUSE_URL"


def test_two_environments_cannot_write_the_same_tables(tmp_path):
    (tmp_path / "zipline.toml").write_text("[environments.a]\ntable_prefix = ''\n[environments.b]\ntable_prefix = ''\n")
    with pytest.raises(ProjectError, match="'a' and 'b' would write the same tables"):
        load_project(tmp_path)


def test_options_of_other_schemes_are_kept_as_they_are(tmp_path):
    (tmp_path / "zipline.toml").write_text(
        "[storage.options]\naccount_name = 'x'\n[environments.dev.storage.options]\naccount_name = 'y'\n"
    )
    assert dict(load_project(tmp_path).storage_options) == {"account_name": "y"}


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(ProjectError, match="there is no folder"):
        load_project(tmp_path / "absent")


def test_the_module_needs_the_standard_library_only():
    code = "import sys, zipline.project; print({'pyarrow', 'duckdb', 'fsspec', 'msgspec', 'numba'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
