"""Lists and maps: declarations. Places are from 1; what is not there is null."""

from __future__ import annotations

from zipline.expressions import values
from zipline.expressions.declarations import Function, Variable, function, overload
from zipline.types import BIGINT, BOOLEAN, INT, array, map_of

T = Variable("T", accepts="comparable")
ANY = Variable("T")
KEY = Variable("K", accepts="comparable")
VALUE = Variable("V")


def _size(name: str) -> Function:
    return function(
        name,
        overload(
            array(ANY),
            to=INT,
            duckdb="CAST(len({0}) AS INTEGER)",
            spark="size({0})",
            flink="CARDINALITY({0})",
            python="len({0})",
        ),
        overload(
            map_of(KEY, VALUE),
            to=INT,
            duckdb="CAST(cardinality({0}) AS INTEGER)",
            spark="size({0})",
            flink="CARDINALITY({0})",
            python="len({0})",
        ),
    )


ELEMENT = function(
    "element_at",
    overload(
        array(ANY),
        BIGINT,
        to=ANY,
        duckdb="(CASE WHEN {1} >= 1 THEN {0}[{1}] END)",
        spark="(CASE WHEN {1} BETWEEN 1 AND size({0}) THEN element_at({0}, CAST({1} AS INT)) END)",
        flink="(CASE WHEN {1} BETWEEN 1 AND CARDINALITY({0}) THEN {0}[CAST({1} AS INT)] END)",
        python=values.element,
        gives_nan=True,
    ),
    overload(
        map_of(KEY, VALUE),
        KEY,
        to=VALUE,
        duckdb="{0}[{1}]",
        spark="try_element_at({0}, {1})",
        flink="(CASE WHEN ARRAY_CONTAINS(MAP_KEYS({0}), {1}) THEN {0}[{1}] END)",
        python=values.entry,
        gives_nan=True,
    ),
)

NESTED = (
    _size("size"),
    _size("cardinality"),
    ELEMENT,
    function(
        "array_contains",
        overload(
            array(T),
            T,
            to=BOOLEAN,
            duckdb="list_contains({0}, {1})",
            spark="(CASE WHEN {0} IS NOT NULL AND {1} IS NOT NULL THEN coalesce(array_contains({0}, {1}), FALSE) END)",
            flink="(CASE WHEN {0} IS NOT NULL AND {1} IS NOT NULL THEN ARRAY_CONTAINS({0}, {1}) END)",
            python=values.contains,
        ),
    ),
)
