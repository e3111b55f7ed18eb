"""The table of functions and operators: all of the subset that is not syntax of its own."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from zipline.expressions.declarations import Function
from zipline.expressions.logic import LOGIC
from zipline.expressions.nested import NESTED
from zipline.expressions.numbers import NUMBERS
from zipline.expressions.strings import STRINGS
from zipline.expressions.times import TIMES

FUNCTIONS: Mapping[str, Function] = MappingProxyType(
    {function.name: function for function in (*NUMBERS, *LOGIC, *STRINGS, *TIMES, *NESTED)}
)
"""Name -> declaration; operators are named by their sign, called functions in lower case."""

SPECIAL = {
    "case": "CASE WHEN condition THEN value ... [ELSE value] END, CASE x WHEN y THEN value ... END",
    "cast": "CAST(x AS type), TRY_CAST(x AS type)",
    "coalesce": "coalesce(T, ...) -> T",
    "extract": "EXTRACT(unit FROM TIMESTAMP) -> INT",
    "if": "if(BOOLEAN, T, T) -> T",
    "nullif": "nullif(T, T) -> T",
    "to_timestamp": "to_timestamp(STRING[, format]) -> TIMESTAMP",
}
"""What is written like a function but is syntax of its own."""

ALIASES = {
    "ceiling": "ceil",
    "pow": "power",
    "substr": "substring",
    "array_length": "size",
    "ifnull": "coalesce",
    "nvl": "coalesce",
}

CALLABLE: tuple[str, ...] = tuple(
    sorted(
        {name for name in FUNCTIONS if name.isidentifier() and name.islower() and name != "negate"}
        | set(SPECIAL) - {"case"}
    )
)
"""Names an author can call."""

AGGREGATES = frozenset(
    [
        "any_value",
        "approx_count_distinct",
        "array_agg",
        "avg",
        "bool_and",
        "bool_or",
        "collect_list",
        "collect_set",
        "corr",
        "count",
        "count_if",
        "first",
        "first_value",
        "last",
        "last_value",
        "listagg",
        "max",
        "max_by",
        "mean",
        "median",
        "min",
        "min_by",
        "mode",
        "percentile",
        "quantile",
        "string_agg",
        "sum",
        "stddev",
        "stddev_pop",
        "stddev_samp",
        "var_pop",
        "var_samp",
        "variance",
    ]
)
RANKINGS = frozenset(
    ["row_number", "rank", "dense_rank", "lag", "lead", "ntile", "percent_rank", "cume_dist", "nth_value"]
)
CLOCKS = frozenset(
    [
        "now",
        "current_date",
        "current_time",
        "current_timestamp",
        "localtime",
        "localtimestamp",
        "getdate",
        "today",
        "random",
        "rand",
        "uuid",
    ]
)
"""Functions whose value is not determined by the row."""
