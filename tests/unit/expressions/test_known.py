"""Trees kept in a file are those that would be made, and are made anew whenever anything that matters is another."""

from __future__ import annotations

import marshal
import os
import pickle
from pathlib import Path

import pytest

from zipline.errors import ExpressionError
from zipline.expressions import DIALECTS, known, parse, parse_time
from zipline.types import BIGINT, DOUBLE, STRING, TIMESTAMP, StructType, array, map_of

COLUMNS = {
    "a": BIGINT,
    "x": DOUBLE,
    "s": STRING,
    "t": TIMESTAMP,
    "many": array(BIGINT),
    "sizes": map_of(STRING, DOUBLE),
    "place": StructType(fields=(("f", STRING), ("odd name", BIGINT))),
}
ROW = {
    "a": 7,
    "x": 2.5,
    "s": "Ab1",
    "t": 1_714_550_400_000_000,
    "many": [1, 2],
    "sizes": {"k": 1.5},
    "place": {"f": "v"},
}
TEXTS = (
    "a + 1",
    "x * a - 0.5",
    "s LIKE 'A%' AND a IS NOT NULL",
    "CASE WHEN a > 3 THEN 'many' ELSE s END",
    "COALESCE(s, 'none')",
    "CAST(s = 'x' AS INT)",
    "TRY_CAST(s AS BIGINT)",
    "regexp_extract(s, '([a-z]+)(\\d)', 2)",
    "t + INTERVAL '5' MINUTE",
    "t AT TIME ZONE 'America/New_York'",
    "json_get('{\"k\": {\"l\": 3}}', '$.k.l')",
    "sizes['k'] + many[1]",
    "place.f || '!'",
    "round(x, 1) IN (2.5, 3.0)",
    "date_trunc('hour', t)",
    "-9223372036854775808 < a",
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "expressions"


@pytest.fixture(autouse=True)
def nothing_known():
    forget()
    yield
    forget()


def forget() -> None:
    """As in another process."""
    known._typed.cache_clear()
    known._found.clear()
    known._asked.clear()


@pytest.fixture
def no_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("it was parsed again")

    monkeypatch.setattr(known, "_made", refuse)


def remember(file: Path, *texts: str) -> None:
    with known.kept_in(file):
        for text in texts:
            parse(text, COLUMNS)
    forget()


@pytest.mark.parametrize("text", TEXTS)
def test_a_kept_tree_is_the_one_that_would_be_made(text, file, monkeypatch):
    made = parse(text, COLUMNS)
    forget()
    remember(file, text)
    monkeypatch.setattr(known, "_made", lambda *_: pytest.fail("it was parsed again"))
    with known.kept_in(file):
        found = parse(text, COLUMNS)
    assert (found, found.node, found.columns) == (made, made.node, made.columns)
    assert [found.sql(dialect) for dialect in DIALECTS] == [made.sql(dialect) for dialect in DIALECTS]
    assert found.python()(ROW) == made.python()(ROW)


def test_a_clock_is_kept_too(file, no_parser, monkeypatch):
    monkeypatch.undo()
    with known.kept_in(file):
        made = parse_time("t", COLUMNS)
    forget()
    monkeypatch.setattr(known, "_made", lambda *_: pytest.fail("it was parsed again"))
    with known.kept_in(file):
        assert parse_time("t", COLUMNS) == made


def test_another_type_of_a_column_is_another_tree(file):
    remember(file, "a + 1")
    with known.kept_in(file):
        assert parse("a", {"a": STRING}).type == STRING
        assert parse("a + x", {"a": DOUBLE, "x": DOUBLE}).type == DOUBLE
        with pytest.raises(ExpressionError, match="no column"):
            parse("a + 1", {"b": BIGINT})


def test_columns_that_the_text_does_not_mention_change_nothing(file, no_parser, monkeypatch):
    monkeypatch.undo()
    remember(file, "a + 1")
    monkeypatch.setattr(known, "_made", lambda *_: pytest.fail("it was parsed again"))
    with known.kept_in(file):
        assert parse("a + 1", {"a": BIGINT, "zz": STRING}).type == BIGINT


@pytest.mark.parametrize("changed", ["ours", "sqlglot"])
def test_after_a_change_of_the_software_nothing_is_taken_from_the_file(changed, file, monkeypatch):
    remember(file, "a + 1")
    monkeypatch.setattr(known, "_software", lambda: f"another state of {changed}")
    assert known._read(file) == {}


def test_the_state_of_the_software_is_another_when_a_file_of_it_is(tmp_path, monkeypatch):
    package = tmp_path / "zipline"
    folder = package / "expressions"
    folder.mkdir(parents=True)
    (folder / "functions.py").write_text("one")
    monkeypatch.setattr(known, "__file__", str(folder / "known.py"))
    states = []
    for change in (lambda: None, lambda: (folder / "functions.py").write_text("three"), touch(folder), types(package)):
        change()
        known._software.cache_clear()
        states.append(known._software())
    known._software.cache_clear()
    assert len(set(states)) == 4


def touch(folder: Path):
    return lambda: os.utime(folder / "functions.py", ns=(1, 1))


def types(package: Path):
    return lambda: (package / "types.py").write_text("new")


@pytest.mark.parametrize("written", [b"", b"\x00garbage", marshal.dumps(5), marshal.dumps(("x", 3)), b"\xe9" * 40])
def test_a_damaged_file_is_as_none(written, file):
    file.parent.mkdir()
    file.write_bytes(written)
    with known.kept_in(file):
        assert parse("a + 1", COLUMNS).type == BIGINT
    forget()
    assert known._read(file)


@pytest.mark.parametrize("tree", [b"", b"junk", pickle.dumps("text"), pickle.dumps(os.getcwd)])
def test_a_damaged_tree_is_made_again_and_nothing_foreign_is_loaded(tree, file):
    remember(file, "a + 1")
    software, trees = marshal.loads(file.read_bytes())
    file.write_bytes(marshal.dumps((software, dict.fromkeys(trees, tree))))
    with known.kept_in(file):
        assert parse("a + 1", COLUMNS).type == BIGINT
    assert known._tree(tree) is None


def test_a_wrong_expression_is_wrong_every_time_with_its_place(file):
    for _ in range(2):
        with known.kept_in(file), pytest.raises(ExpressionError, match="no column 'b'") as caught:
            parse("b + 1", COLUMNS, subject="shop.visits")
        assert caught.value.subject == "shop.visits"
        forget()


def test_a_folder_that_cannot_be_written_is_no_failure(tmp_path):
    (tmp_path / "cache").write_text("a file")
    with known.kept_in(tmp_path / "cache" / "expressions"):
        assert parse("a + 1", COLUMNS).type == BIGINT


def test_a_tree_that_has_no_place_in_a_file_is_made_each_time(file):
    text = "to_timestamp(s, '%Y-%m-%d %H:%M')"
    for _ in range(2):
        with known.kept_in(file):
            assert parse(text, COLUMNS).python()({"s": "1970-01-01 00:01"}) == 60_000_000
        forget()


def test_what_was_kept_before_stays(file):
    remember(file, "a + 1")
    remember(file, "a + 2")
    assert len(known._read(file)) == 2
