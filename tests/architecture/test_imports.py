"""What a user imports, how light it is, and that imports go one way."""

import json
import subprocess
import sys

import zipline

LANGUAGE = [
    "Accuracy",
    "Aggregation",
    "BootstrapPart",
    "Check",
    "Contextual",
    "Derivation",
    "EntitySource",
    "EventSource",
    "ExternalSource",
    "GroupBy",
    "Join",
    "JoinPart",
    "JoinSource",
    "LabelPart",
    "Model",
    "Operation",
    "Query",
    "Resources",
    "StagingQuery",
    "Team",
    "Topic",
    "Window",
]
FUNCTIONS = ["aggregate", "backfill", "explain_value", "fingerprint", "load", "training_set"]
LIBRARIES = "pyarrow numpy pandas polars duckdb numba sqlglot deltalake datasketches click sqlalchemy psycopg fsspec"
HEAVY = set(LIBRARIES.split())


def test_star_import_gives_exactly_the_language() -> None:
    assert sorted(zipline.__all__) == LANGUAGE


def test_every_language_name_is_a_class_with_a_docstring() -> None:
    for name in LANGUAGE:
        assert (getattr(zipline, name).__doc__ or "").strip(), name


def test_the_functions_are_importable_and_documented() -> None:
    for name in FUNCTIONS:
        assert callable(getattr(zipline, name))
        assert (getattr(zipline, name).__doc__ or "").strip(), name
    assert set(FUNCTIONS) <= set(dir(zipline))


def loaded_by(statement: str) -> set[str]:
    code = f"{statement}\nimport sys, json\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in json.loads(done.stdout)}


def test_importing_the_language_loads_nothing_heavy() -> None:
    assert loaded_by("from zipline import *") & HEAVY == set()


def test_importing_the_command_line_loads_no_engine() -> None:
    assert loaded_by("import zipline.cli.main") & (HEAVY - {"click"}) == set()
