"""Which columns of which tables each column of a staging query is made with.

The SQL is read as DuckDB reads it; names are resolved through WITH, subqueries and unions down to tables. Conditions
(WHERE, HAVING, QUALIFY, ON) and groups decide which rows there are, so every column is made with those. Where a table's
columns are not known, a name that could belong to several tables belongs to none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.qualify_columns import qualify_columns
from sqlglot.optimizer.qualify_tables import qualify_tables
from sqlglot.optimizer.scope import Scope, traverse_scope
from sqlglot.schema import MappingSchema

from zipline.plan.projections import Schema
from zipline.plan.staging import DIALECT, latest_dates, neutral_text
from zipline.values import dataclass

_CONDITIONS = ("where", "having", "qualify")


@dataclass(frozen=True, slots=True)
class Read:
    """One use of a table's column."""

    table: str
    column: str
    role: str
    through: str


def columns_read(sql: str, schema: Schema) -> dict[str, tuple[Read, ...]]:
    """Column of the query -> what it is made with, in the order of the columns; {} where the SQL does not parse."""
    try:
        tree = sqlglot.parse_one(neutral_text(sql), dialect=DIALECT)
        scopes = traverse_scope(_qualified(tree, schema))
    except SqlglotError:
        return {}
    if not scopes:
        return {}
    newest = [Read(table, column, "filter", f"latest_date({table})") for table, column in latest_dates(sql)]
    resolver = _Resolver(scopes)
    rows = [*(read for scope in scopes for read in resolver.rows(scope)), *newest]
    return {name: tuple(dict.fromkeys((*reads, *rows))) for name, reads in resolver.outputs(scopes[-1]).items()}


def _qualified(tree: exp.Expr, schema: Schema) -> exp.Expr:
    known: dict[str, dict[str, str]] = {}
    for scope in traverse_scope(tree):
        for source in list(scope.sources.values()):
            if isinstance(source, exp.Table) and isinstance(source.this, exp.Identifier):
                name = _one_name(source)
                known[name] = dict.fromkeys(schema(name), "unknown")
    described = MappingSchema({name: columns for name, columns in known.items() if columns}, normalize=False)
    tree = qualify_tables(tree, dialect=DIALECT)
    return qualify_columns(tree, described, allow_partial_qualification=True, dialect=DIALECT)


def _one_name(table: exp.Table) -> str:
    """Makes a dotted reference one name, which columns go on to call by its last part."""
    name = ".".join(part.name for part in table.parts)
    if name != table.name:
        table.set("alias", table.args.get("alias") or exp.TableAlias(this=exp.to_identifier(table.name)))
        table.set("this", exp.to_identifier(name, quoted=True))
        table.set("db", None)
        table.set("catalog", None)
    return name


class _Resolver:
    """Names of a query down to tables; each part of the query is resolved once."""

    def __init__(self, scopes: Iterable[Scope]) -> None:
        self._scopes = {id(scope.expression): scope for scope in scopes}
        self._known: dict[int, dict[str, tuple[Read, ...]]] = {}

    def outputs(self, scope: Scope) -> Mapping[str, tuple[Read, ...]]:
        """Column -> what its expression reads; of a union, by position and named as in its first query."""
        key = id(scope.expression)
        if key not in self._known:
            scope = self._scopes.get(key, scope)  # a recursive query sees itself before it is whole
            self._known[key] = {}
            branches = scope.set_operation_scopes
            self._known[key] = self._union(branches) if branches else self._selected(scope)
        return self._known[key]

    def rows(self, scope: Scope) -> Iterator[Read]:
        """What decides which rows there are."""
        query = scope.expression
        for condition in _conditions(query):
            yield from self._reads(condition, scope, "filter")
        group = query.args.get("group")
        for key in group.expressions if group else ():
            yield from self._reads(key, scope, "key")

    def _union(self, branches: Sequence[Scope]) -> dict[str, tuple[Read, ...]]:
        first, *others = [self.outputs(branch) for branch in branches]
        reads = [list(each) for each in first.values()]
        for other in others:
            for place, more in zip(reads, other.values(), strict=False):
                place.extend(more)
        return {name: tuple(each) for name, each in zip(first, reads, strict=True)}

    def _selected(self, scope: Scope) -> dict[str, tuple[Read, ...]]:
        query = scope.expression
        selects = query.selects if isinstance(query, exp.Query) else []
        named = scope.outer_columns
        names = [*named, *(select.alias_or_name for select in selects[len(named) :])]
        return {n: tuple(self._reads(s, scope, "value")) for n, s in zip(names, selects, strict=False)}

    def _reads(self, expression: exp.Expr, scope: Scope, role: str) -> Iterator[Read]:
        through = _shown(expression.unalias(), scope)
        for column in _columns(expression):
            for table, name in self._resolved(column, scope):
                yield Read(table, name, role, through)
        inside = {id(node) for node in expression.walk()}
        for subquery in scope.subquery_scopes:
            for reads in self.outputs(subquery).values() if id(subquery.expression) in inside else ():
                yield from (replace(read, role=role) for read in reads)

    def _resolved(self, column: exp.Column, scope: Scope) -> Iterator[tuple[str, str]]:
        """The table columns that a name of a query stands for."""
        source = _source(column, scope)
        if isinstance(source, exp.Table):
            yield source.name, column.name
        elif isinstance(source, Scope):
            for read in self.outputs(source).get(column.name, ()):
                yield read.table, read.column


def _columns(expression: exp.Expr) -> Iterator[exp.Column]:
    """The columns of an expression, those inside its subqueries left out."""
    for node in expression.walk(prune=lambda node: isinstance(node, exp.Query)):
        if isinstance(node, exp.Column):
            yield node


def _source(column: exp.Column, scope: Scope) -> exp.Expr | Scope | None:
    around: Scope | None = scope
    while around is not None:
        if column.table in around.sources:
            return around.sources[column.table]
        if not column.table and len(around.sources) == 1:
            return next(iter(around.sources.values()))
        around = around.parent
    return None


def _shown(expression: exp.Expr, scope: Scope) -> str:
    """The expression without the table's name, where there is one table."""
    if isinstance(expression, exp.Column):
        return expression.name
    text = expression.sql(dialect=DIALECT)
    return text.replace(f"{next(iter(scope.sources))}.", "") if len(scope.sources) == 1 else text


def _conditions(query: exp.Expr) -> Iterator[exp.Expr]:
    yield from (query.args[name].this for name in _CONDITIONS if query.args.get(name))
    for join in query.args.get("joins") or ():
        if join.args.get("on"):
            yield join.args["on"]
