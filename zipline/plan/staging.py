"""Staging queries: what their SQL reads, and their text for a range of days.

The SQL is one query in DuckDB's dialect. It is checked once: a single SELECT, over named tables only (no files, which
nobody could track), and without functions whose answer changes by themselves, since a table must depend on its
definition and data alone. Table references are found by the parser and replaced at their place in the text by the
quoted name; the rest of the text runs as the author wrote it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from zipline.api import StagingQuery
from zipline.errors import Location
from zipline.plan.fingerprints import fingerprint
from zipline.plan.scope import quoted
from zipline.values import dataclass

if TYPE_CHECKING:
    from sqlglot.optimizer.scope import Scope

DIALECT = "duckdb"
START, END = "start_date", "end_date"
DAY_COLUMN = "ds"
TEMPLATES = ("{{ start_date }}", "{{ end_date }}", "{{ latest_date(table) }}", "{{ latest_date(table, column) }}")

_TEMPLATE = re.compile(r"(')?\{\{(.*?)\}\}(?(1)')", re.DOTALL)
_LATEST = re.compile(r"latest_date\(\s*([^(),]+?)\s*(?:,\s*([^(),]+?)\s*)?\)")
_UNSTABLE = frozenset(
    (
        "now",
        "current_timestamp",
        "get_current_timestamp",
        "transaction_timestamp",
        "current_date",
        "today",
        "current_time",
        "current_localtime",
        "current_localtimestamp",
        "random",
        "rand",
        "uuid",
        "gen_random_uuid",
        "nextval",
        "currval",
        "setseed",
    )
)
_OPENS_FILES = re.compile(r"(read_|parquet_|sniff_|.*_scan$|glob$|query$|query_table$)")

LatestDate = Callable[[str, str], str]
"""(table, column) -> the newest day of the column."""


@dataclass(frozen=True)
class StagingPlan:
    """A checked staging query. `tables` are the tables it reads, sorted; `is_daily` where it is run by days.

    `bounded` are the tables of which a day's run reads nothing but that day: every reference has a condition that its
    column `ds` is the day asked for.
    """

    name: str
    sql: str
    tables: tuple[str, ...]
    is_daily: bool
    fingerprint: str
    bounded: frozenset[str] = frozenset()
    start: str | None = None
    location: Location | None = None

    def text(self, start: str, end: str, latest_date: LatestDate) -> str:
        """The query for the days `start`..`end`, both inclusive; every table as one quoted name."""
        return _with_quoted_tables(_filled(self.sql, lambda template: _value(template, start, end, latest_date)))

    @cached_property
    def is_ordered(self) -> bool:
        """Whether the author orders the rows."""
        tree = sqlglot.parse_one(neutral_text(self.sql), dialect=DIALECT)
        return tree.args.get("order") is not None


def plan_staging(staging: StagingQuery) -> StagingPlan:
    """The checked query; DefinitionError says what cannot be run."""
    used = _templates(staging)
    tree = _parsed(staging)
    _refuse_unstable(staging, tree)
    tables = {name for name, _ in _references(tree)}
    tables |= {latest[0] for latest in map(_latest, used) if latest}
    _refuse_files(staging, tree)
    return StagingPlan(
        name=staging.title,
        sql=staging.sql,
        tables=tuple(sorted(tables)),
        is_daily=START in used or END in used,
        fingerprint=fingerprint(staging),
        bounded=frozenset(_bounded(tree) - {latest[0] for latest in map(_latest, used) if latest}),
        start=staging.start,
        location=staging.location,
    )


def tables_of(sql: str) -> tuple[str, ...]:
    """The tables that a query reads, sorted; those of WITH left out. () where the SQL does not parse."""
    try:
        tree = sqlglot.parse_one(neutral_text(sql), dialect=DIALECT)
    except SqlglotError:
        return ()
    named = {name for name, _ in _references(tree)}
    return tuple(sorted(named | {table for table, _ in latest_dates(sql)}))


def latest_dates(sql: str) -> tuple[tuple[str, str], ...]:
    """The (table, column) whose newest day a query asks for."""
    found = (_latest(match[2].strip()) for match in _TEMPLATE.finditer(sql))
    return tuple(each for each in found if each)


def _templates(staging: StagingQuery) -> tuple[str, ...]:
    used = tuple(match[2].strip() for match in _TEMPLATE.finditer(staging.sql))
    for template in used:
        if template not in (START, END) and _latest(template) is None:
            raise staging.wrong(f"{{{{ {template} }}}} stands for nothing", asked=template, valid=TEMPLATES)
    return used


def _latest(template: str) -> tuple[str, str] | None:
    """(table, column) of a latest_date."""
    match = _LATEST.fullmatch(template)
    return (_bare(match[1]), _bare(match[2] or "ds")) if match else None


def _bare(name: str) -> str:
    return name.strip().strip("'\"")


def _value(template: str, start: str, end: str, latest_date: LatestDate) -> str:
    found = _latest(template)
    if found is not None:
        return latest_date(*found)
    return start if template == START else end


def _filled(sql: str, value: Callable[[str], str]) -> str:
    """Templates as quoted text, whether or not the author put them in quotes."""
    return _TEMPLATE.sub(lambda match: "'" + value(match[2].strip()).replace("'", "''") + "'", sql)


def neutral_text(sql: str) -> str:
    """The SQL with every template as text: it parses, and reads the same tables."""
    return _filled(sql, lambda template: f"{{{{ {template} }}}}")


def _parsed(staging: StagingQuery) -> exp.Expr:
    try:
        statements = [each for each in sqlglot.parse(neutral_text(staging.sql), dialect=DIALECT) if each is not None]
    except SqlglotError as wrong:
        raise staging.wrong(f"the SQL does not parse: {_first_line(wrong)}") from None
    if len(statements) != 1 or not isinstance(statements[0], exp.Query):
        raise staging.wrong("a staging query is one SELECT", hint="put what several statements do into WITH")
    return statements[0]


def _first_line(wrong: Exception) -> str:
    plain = re.sub(r"\x1b\[[0-9;]*m", "", str(wrong)).strip().split("\n")[0]
    return re.sub(r" but got <Token.*?>\.?", ".", plain)


def _references(tree: exp.Expr) -> Iterator[tuple[str, exp.Table]]:
    """The tables read, each place once; what WITH defines is none."""
    seen: set[int] = set()
    for scope in _scopes(tree):
        for source in scope.sources.values():
            if isinstance(source, exp.Table) and _is_named(source) and id(source) not in seen:
                seen.add(id(source))
                yield ".".join(part.name for part in source.parts), source


def _scopes(tree: exp.Expr) -> list[Scope]:
    # The optimizer takes a while to import, and few projects' commands meet a staging query.
    from sqlglot.optimizer.scope import traverse_scope

    return traverse_scope(tree)


def _is_named(table: exp.Table) -> bool:
    return isinstance(table.this, exp.Identifier)


def _with_quoted_tables(sql: str) -> str:
    tree = sqlglot.parse_one(sql, dialect=DIALECT)
    spans = {_span(table): name for name, table in _references(tree)}
    for (start, end), name in sorted(spans.items(), reverse=True):
        sql = sql[:start] + quoted(name) + sql[end + 1 :]
    return sql


def _span(table: exp.Table) -> tuple[int, int]:
    """First and last character of a reference."""
    parts = [part.meta for part in table.parts]
    return parts[0]["start"], parts[-1]["end"]


def _refuse_unstable(staging: StagingQuery, tree: exp.Expr) -> None:
    for call in tree.find_all(exp.Func):
        name = _function(call)
        if name in _UNSTABLE:
            raise staging.wrong(
                f"{name}() gives another answer each time",
                hint="a table depends on its definition and data alone: use {{ end_date }} for the day asked for",
            )
    if any(tree.find_all(exp.TableSample)):
        raise staging.wrong("a sample is another one each time", hint="filter by a hash of the key instead")


def _function(call: exp.Func) -> str:
    return str(call.name if isinstance(call, exp.Anonymous) else call.sql_name()).lower()


def _refuse_files(staging: StagingQuery, tree: exp.Expr) -> None:
    neutral = neutral_text(staging.sql)
    for name, table in _references(tree):
        if neutral[_span(table)[0]] == "'":
            raise _opens_file(staging, name)
    for table in tree.find_all(exp.Table):
        if isinstance(table.this, exp.Func) and _OPENS_FILES.match(_function(table.this)):
            raise _opens_file(staging, _function(table.this))


def _opens_file(staging: StagingQuery, what: str) -> Exception:
    return staging.wrong(
        f"reads files by itself: {what}",
        hint="name the path in zipline.toml, [tables.NAME] path = ..., and read NAME: then changes of it are seen",
    )


def _bounded(tree: exp.Expr) -> set[str]:
    """The tables whose every reference stands in a SELECT with a condition on its `ds`."""
    found: dict[str, bool] = {}
    for scope in _scopes(tree):
        conditions = _conditions(scope.expression)
        alone = len(scope.sources) == 1
        for alias, source in scope.sources.items():
            if isinstance(source, exp.Table) and _is_named(source):
                name = ".".join(part.name for part in source.parts)
                is_bounded = _is_of_its_day(conditions, alias, alone)
                found[name] = found.get(name, True) and is_bounded
    return {name for name, is_bounded in found.items() if is_bounded}


def _conditions(select: exp.Expr) -> list[exp.Expr]:
    where = select.args.get("where")
    return list(where.this.flatten() if isinstance(where.this, exp.And) else [where.this]) if where else []


def _is_of_its_day(conditions: list[exp.Expr], alias: str, alone: bool) -> bool:
    bounds: set[str] = set()
    for condition in conditions:
        column = condition.this
        if not isinstance(column, exp.Column) or column.name.lower() != DAY_COLUMN:
            continue
        if column.table.lower() == alias.lower() or (alone and not column.table):
            bounds |= _sides(condition)
    return bounds >= {"low", "high"}


def _sides(condition: exp.Expr) -> set[str]:
    """Which sides of `ds` a condition bounds by the day asked for."""
    if isinstance(condition, exp.Between):
        is_day = _is_day(condition.args["low"]) and _is_day(condition.args["high"])
        return {"low", "high"} if is_day else set()
    if not isinstance(condition, exp.Binary) or not _is_day(condition.expression):
        return set()
    sides = {exp.EQ: {"low", "high"}, exp.GTE: {"low"}, exp.LTE: {"high"}}
    return sides.get(type(condition), set())


def _is_day(value: exp.Expr) -> bool:
    return isinstance(value, exp.Literal) and value.this.strip("{} ") in (START, END)
