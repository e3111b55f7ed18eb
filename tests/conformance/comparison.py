"""Whether an engine's answer is one that the contract permits, and a readable account where it is not.

Everything is exact but what section 2 gives a tolerance: totals and averages of floats, moments, and the APPROX_
operations. The tolerance of a feature follows from the values it was made of, which the oracle keeps as evidence.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from .features import Evidence
from .instants import instant
from .operations import Seen, central_moment, exact_total, has_infinity, operation_of
from .oracle import Result, run
from .tables import AggregateCase, Case

RANK_TOLERANCE = 0.02
DISTINCT_TOLERANCE = 0.05
FLOAT_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Difference:
    """One cell that is not permitted, or what is wrong with the table as a whole."""

    row: int | None
    column: str | None
    expected: Any
    actual: Any


def same(expected: Any, actual: Any) -> bool:
    """Equal in type and value; NaN is NaN, and the two zeros are one."""
    if isinstance(expected, float) and isinstance(actual, float):
        return expected == actual or (math.isnan(expected) and math.isnan(actual))
    if isinstance(expected, dict) and isinstance(actual, dict):
        return expected.keys() == actual.keys() and all(same(expected[key], actual[key]) for key in expected)
    if isinstance(expected, list) and isinstance(actual, list):
        return len(expected) == len(actual) and all(map(same, expected, actual))
    return type(expected) is type(actual) and bool(expected == actual)


def near(expected: Any, actual: Any, tolerance: float) -> bool:
    """Equal, or both finite numbers within an absolute tolerance."""
    if not isinstance(expected, float) or not isinstance(actual, float) or math.isinf(expected) or math.isinf(actual):
        return same(expected, actual)
    return abs(expected - actual) <= tolerance


def permitted(evidence: Evidence | None, expected: Any, actual: Any) -> bool:
    """Whether section 2 allows `actual` where the oracle says `expected`."""
    if evidence is None:
        return near_derived(expected, actual)
    if not evidence.seen:
        return same(expected, actual)
    if evidence.bucket is None:
        return _permitted(evidence.aggregation, evidence.seen[None], expected, actual)
    if not isinstance(actual, dict) or expected.keys() != actual.keys():
        return False
    return all(
        _permitted(evidence.aggregation, seen, expected[bucket], actual[bucket])
        for bucket, seen in evidence.seen.items()
    )


def near_derived(expected: Any, actual: Any) -> bool:
    """A number that was computed from features with a tolerance, or came from a parent: alone, or in a map or list."""
    if isinstance(expected, dict) and isinstance(actual, dict):
        return expected.keys() == actual.keys() and all(near_derived(expected[key], actual[key]) for key in expected)
    if isinstance(expected, list) and isinstance(actual, list):
        return len(expected) == len(actual) and all(map(near_derived, expected, actual))
    if (
        isinstance(expected, float)
        and isinstance(actual, float)
        and math.isclose(expected, actual, rel_tol=FLOAT_TOLERANCE)
    ):
        return True
    return same(expected, actual)


def _permitted(aggregation: Any, seen: list[Seen], expected: Any, actual: Any) -> bool:
    check = _CHECKS.get(operation_of(aggregation))
    return check([one.value for one in seen], expected, actual, aggregation) if check else same(expected, actual)


Check = Callable[[list[Any], Any, Any, Any], bool]


def _total(values: list[Any], expected: Any, actual: Any, _: Any) -> bool:
    if has_infinity(values) or isinstance(expected, int):
        return same(expected, actual)
    return near(expected, actual, FLOAT_TOLERANCE * _scale_of_total(values))


def _average(values: list[Any], expected: Any, actual: Any, _: Any) -> bool:
    if has_infinity(values):
        return same(expected, actual)
    return near(expected, actual, FLOAT_TOLERANCE * _scale_of_total(values) / len(values))


def _scale_of_total(values: list[Any]) -> float:
    """What 1e-9 is measured by: the result where magnitudes span at most 1e12, else the sum of magnitudes."""
    magnitudes = [abs(Fraction(value)) for value in values if value]
    if not magnitudes or float(max(magnitudes) / min(magnitudes)) <= 1e12:
        return float(abs(exact_total(values)))
    return float(sum(magnitudes))


def _is_conditioned(values: list[Any]) -> bool:
    """|mean| / deviation <= 1e6, where moments have a tolerance; constants must come out as such."""
    variance = central_moment(values, 2)
    return variance == 0 or (exact_total(values) / len(values)) ** 2 <= variance * 10**12


def _variance(values: list[Any], expected: Any, actual: Any, _: Any) -> bool:
    if has_infinity(values):
        return same(expected, actual)
    return near(expected, actual, FLOAT_TOLERANCE * expected) or not _is_conditioned(values)


def _shape(values: list[Any], expected: Any, actual: Any, _: Any) -> bool:
    if expected is None:
        return actual is None
    return near(expected, actual, 1e-6 * max(1.0, abs(expected))) or not _is_conditioned(values)


def _distinct(_values: list[Any], expected: int, actual: Any, _: Any) -> bool:
    return type(actual) is int and abs(actual - expected) <= DISTINCT_TOLERANCE * expected


def _percentiles(values: list[Any], _: Any, actual: Any, aggregation: Any) -> bool:
    if not isinstance(actual, list) or len(actual) != len(aggregation.percentiles):
        return False
    return all(_has_rank(values, rank, value) for rank, value in zip(aggregation.percentiles, actual, strict=True))


def _has_rank(given: list[Any], rank: float, value: Any) -> bool:
    values = [float(one) for one in given]
    if not isinstance(value, float) or not min(values) <= value <= max(values):
        return False
    below = sum(one < value for one in values) / len(values)
    upto = sum(one <= value for one in values) / len(values)
    return below - RANK_TOLERANCE <= rank <= upto + RANK_TOLERANCE


def _heavy(values: list[Any], expected: dict[Any, int], actual: Any, aggregation: Any) -> bool:
    """Exact up to k values; beyond them at most k of the values that occurred, with counts that can be."""
    if len(expected) <= aggregation.k:
        return same(expected, actual)
    possible = isinstance(actual, dict) and 0 < len(actual) <= aggregation.k and actual.keys() <= expected.keys()
    return possible and all(0 < count <= len(values) for count in actual.values())


_CHECKS: dict[str, Check] = {
    "SUM": _total,
    "AVERAGE": _average,
    "VARIANCE": _variance,
    "SKEW": _shape,
    "KURTOSIS": _shape,
    "APPROX_UNIQUE_COUNT": _distinct,
    "APPROX_PERCENTILE": _percentiles,
    "APPROX_HISTOGRAM_K": _heavy,
}


def differences(expected: Result, actual: Result) -> list[Difference]:
    """Every cell of `actual` that the contract does not permit; shape first."""
    if expected.columns != actual.columns:
        return [Difference(None, "the columns", expected.columns, actual.columns)]
    if len(expected.rows) != len(actual.rows):
        return [Difference(None, "the number of rows", len(expected.rows), len(actual.rows))]
    return [
        Difference(number, column, wanted[column], got[column])
        for number, (wanted, got) in enumerate(zip(expected.rows, actual.rows, strict=True))
        for column in expected.columns
        if not permitted(expected.evidence.get((number, column)), wanted[column], got[column])
    ]


def assert_agrees(case: Case, actual: Result) -> None:
    """Fail with the first difference, told so that it can be checked by hand."""
    expected = run(case)
    if wrong := differences(expected, actual):
        raise AssertionError(account(case, expected, wrong))


def assert_all_agree(cases: Sequence[Case], actual: Sequence[Result]) -> None:
    """Fail with the wrong case of the fewest events."""
    assert len(cases) == len(actual)
    judged = [
        (case, expected := run(case), differences(expected, got)) for case, got in zip(cases, actual, strict=True)
    ]
    wrong = sorted((one for one in judged if one[2]), key=lambda one: _least_evidence(one[1], one[2]))
    if wrong:
        raise AssertionError(f"{len(wrong)} of {len(cases)} cases differ; the smallest:\n{account(*wrong[0])}")


def _least_evidence(expected: Result, wrong: list[Difference]) -> int:
    return min(_size(expected, one) for one in wrong)


def _size(expected: Result, one: Difference) -> int:
    evidence = expected.evidence.get((one.row or 0, one.column or ""))
    return len(evidence.events) if evidence else 0


def account(case: Case, expected: Result, wrong: list[Difference]) -> str:
    """Definition, key, query, visible events, expected and actual of the difference with the fewest events."""
    one = min(wrong, key=lambda difference: _size(expected, difference))
    lines = [f"{len(wrong)} cells differ: {sorted({str(difference.column) for difference in wrong})}"]
    evidence = expected.evidence.get((one.row or 0, one.column or ""))
    if evidence:
        lines += [
            f"definition: {evidence.aggregation}",
            *(f"in:         {line}" for line in _definition(case)),
            f"key:        {evidence.key!r}",
            f"query:      {instant(evidence.query) if evidence.query is not None else None}",
            *(f"seen:       {_told(evidence, event)}" for event in evidence.events),
        ]
    lines += [
        f"column:     {one.column} (row {one.row})",
        f"expected:   {one.expected!r}",
        f"actual:     {one.actual!r}",
    ]
    return "\n".join(lines)


def _definition(case: Case) -> list[str]:
    """What of the definition bears on one feature: keys, accuracy and clocks."""
    if not isinstance(case, AggregateCase):
        return [f"join {case.join.name}, training {case.training}, as_of {case.as_of}"]
    group_by = case.group_by
    sources = [f"{source.table}: {_clocks(source.query)}" for source in group_by.sources]
    return [f"keys {group_by.keys}, {group_by.accuracy}", *sources]


def _clocks(query: Any) -> str:
    shown = {"time": query.time, "known_at": query.known_at, "event_id": query.event_id, "where": query.where}
    return ", ".join(f"{name} {value}" for name, value in shown.items() if value)


def _told(evidence: Evidence, event: Any) -> str:
    columns = [evidence.aggregation.input, *([evidence.bucket] if evidence.bucket else [])]
    known = "" if event.known is None else f" known {instant(event.known)}"
    return f"{instant(event.time)}{known} " + " ".join(f"{name}={event.row[name]!r}" for name in columns)
