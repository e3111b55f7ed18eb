"""The referee refereed: the comparison accepts what section 2 permits and no more, and random cases tell mistakes.

The literal tests of this folder run on the oracle as on every engine, so its rules are checked by hand there. Here
plausible mistakes are put into a copy of it, and the random cases must notice each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from zipline import Aggregation, Operation

from . import features, instants, operations, oracle, sources
from .comparison import account, differences, permitted, same
from .features import Evidence, Rule
from .generate import MODES, Scenario
from .generate_joins import join_scenarios
from .instants import DAY, MINUTE, day_of, floored_start, micros
from .operations import Seen
from .questions import NOON, group_by_of, operation, queries, values
from .sources import Event
from .tables import AggregateCase, Case

# Instants


def test_floored_starts_and_days_go_downwards_on_both_sides_of_1970() -> None:
    assert instants.hop_of(12 * DAY) == DAY
    assert instants.hop_of(12 * DAY - 1) == instants.hop_of(DAY // 2) == DAY // 24
    assert instants.hop_of(DAY // 2 - 1) == instants.hop_of(DAY // 24) == 5 * MINUTE
    assert instants.hop_of(DAY // 24 - 1) == MINUTE
    assert floored_start(micros("1970-01-01 00:00:30"), MINUTE) == -MINUTE
    assert day_of(-1) == -DAY


def test_spans_are_written_in_their_largest_whole_unit() -> None:
    assert [instants.span_text(instants.span(text)) for text in ("24h", "90m", "60m", "48h", "1440m")] == [
        "1d",
        "90m",
        "1h",
        "2d",
        "1d",
    ]


def test_naive_times_are_utc_and_zoned_ones_are_converted() -> None:
    assert micros("2024-03-05 12:00") == micros("2024-03-05T14:00:00+02:00") == 1709640000_000000


# The comparison


def judged(name: str, given: list[Any], expected: Any, actual: Any, **arguments: Any) -> bool:
    aggregation = Aggregation("value", Operation[name], **arguments)
    seen = {None: [Seen(0, 0, value) for value in given]} if given else {}
    return permitted(Evidence(aggregation, None, ("ann",), 0, seen, ()), expected, actual)


def test_exact_operations_are_compared_by_type_and_value() -> None:
    assert judged("MAX", [1.0], 1.0, 1.0)
    assert not judged("MAX", [1.0], 1.0, 1)
    assert not judged("MAX", [1.0], 1.0, 1.0 + 1e-15)
    assert not judged("COUNT", [True], 1, True)
    assert not judged("SUM", [1, 2], 3, 3.0)
    assert not judged("MAX", [1.0], 1.0, None)
    assert judged("MAX", [0.0], 0.0, -0.0)
    assert not judged("LAST_K", ["a", "b"], ["b", "a"], ["a", "b"], k=2)
    assert not judged("HISTOGRAM", ["a"], {"a": 1}, {"a": 1, "b": 0})


def test_totals_have_a_billionth_of_the_result_or_of_the_magnitudes() -> None:
    assert judged("SUM", [1.0, 2.0], 3.0, 3.0 + 2e-9)
    assert not judged("SUM", [1.0, 2.0], 3.0, 3.0 + 4e-9)
    assert not judged("SUM", [1e6, 1e-6, -1e6], 1e-6, 1.1e-6)
    assert judged("SUM", [1e16, 1e-3, -1e16], 1e-3, 1e7)
    assert not judged("SUM", [1e16, 1e-3, -1e16], 1e-3, 3e7)
    assert not judged("AVERAGE", [1.0, 2.0], 1.5, 1.5 + 2e-9)
    assert not judged("SUM", [math.inf], math.inf, 1.0)
    assert not judged("SUM", [math.inf, -math.inf], None, math.nan)


def test_moments_have_their_tolerance_where_they_are_conditioned() -> None:
    assert judged("VARIANCE", [1.0, 3.0], 1.0, 1.0 + 5e-10)
    assert not judged("VARIANCE", [1.0, 3.0], 1.0, 1.0 + 2e-9)
    assert judged("VARIANCE", [1e9, 1e9 + 1], 0.25, 0.3)
    assert not judged("VARIANCE", [0.1, 0.1], 0.0, 1e-20)
    assert judged("SKEW", [0.0, 0.0, 3.0], 0.70710678, 0.7071069)
    assert not judged("SKEW", [0.0, 0.0, 3.0], 0.70710678, 0.70711)
    assert not judged("SKEW", [0.1, 0.1, 0.1], None, 0.0)


def test_approximations_have_their_stated_errors() -> None:
    assert judged("APPROX_UNIQUE_COUNT", list(range(100)), 100, 105)
    assert not judged("APPROX_UNIQUE_COUNT", list(range(100)), 100, 106)
    assert not judged("APPROX_UNIQUE_COUNT", [1, 2], 2, 3)
    hundred = [float(value) for value in range(100)]
    assert judged("APPROX_PERCENTILE", hundred, [49.0], [51.0], percentiles=[0.5])
    assert not judged("APPROX_PERCENTILE", hundred, [49.0], [53.0], percentiles=[0.5])
    assert not judged("APPROX_PERCENTILE", hundred, [49.0], [50], percentiles=[0.5])
    assert not judged("APPROX_HISTOGRAM_K", ["a", "b"], {"a": 1, "b": 1}, {"a": 1}, k=2)
    assert judged("APPROX_HISTOGRAM_K", ["a", "a", "b"], {"a": 2, "b": 1}, {"a": 3}, k=1)
    assert not judged("APPROX_HISTOGRAM_K", ["a", "a", "b"], {"a": 2, "b": 1}, {"c": 1}, k=1)


def test_empty_windows_are_exact_for_approximations_too() -> None:
    assert judged("APPROX_UNIQUE_COUNT", [], 0, 0)
    assert not judged("APPROX_UNIQUE_COUNT", [], 0, None)


def test_nan_left_values_are_equal_to_themselves() -> None:
    assert same([math.nan], [math.nan])
    assert not same(math.nan, None)


def test_a_failure_shows_definition_key_query_events_expected_and_actual() -> None:
    rows = values("BIGINT", 5, 7)
    case = AggregateCase(group_by_of(rows, operation("SUM", "1h")), queries(NOON), {"events": rows})
    expected = oracle.run(case)
    wrong = oracle.Result(expected.columns, ({**expected.rows[0], "value_sum_1h": 99},))
    text = account(case, expected, differences(expected, wrong))
    for part in ("SUM", "'ann'", "2024-03-05 12:00", "value=5", "value=7", "value_sum_1h", "12", "99"):
        assert part in text


# Mistakes

TEMPORAL, KNOWN, SNAPSHOT, SNAPSHOT_KNOWN, UNION, EVENT_ID = MODES
PAIR = Scenario("totals", TEMPORAL, "pair")
Patch = tuple[Any, str, Any]


def edges(*, start: int = 0, end: int = 0, known: int = 0, hop: Callable[[int, int], int] = floored_start) -> Patch:
    """The table of section 2 with its edges moved by microseconds, or its starts floored otherwise."""

    def wrong(accuracy: str, query: int) -> Rule:
        edge = query if accuracy == "TEMPORAL" else day_of(query)

        def rule(event: Event, window: int | None) -> bool:
            if event.known is not None and event.known >= edge + known:
                return False
            low = None if window is None else hop(query, window) if accuracy == "TEMPORAL" else edge - window
            return (low is None or event.time >= low + start) and event.time < edge + end

        return rule

    return features, "seen_by", wrong


def truncated(query: int, window: int) -> int:
    hop = instants.hop_of(window)
    return math.trunc((query - window) / hop) * hop


def changed(module: Any, name: str, wrong: Callable[..., Any]) -> Patch:
    """`wrong(right, ...)` in the place of a function of the oracle."""
    right = getattr(module, name)
    return module, name, lambda *arguments: wrong(right, *arguments)


def every_row(_query: Any, events: Any, _functions: Any) -> list[Event]:
    """Every row an event of its own."""
    return [event for _, event in events]


def of_the_sample(right: Any, given: list[Any], power: int) -> Any:
    return right(given, power) * len(given) / max(1, len(given) - 1)


def concatenated(_right: Any, given: Any) -> Any:
    return None if any(part is None for part in given) else "".join(map(str, given))


MISTAKES: dict[str, tuple[str, Any, Patch]] = {
    "an event at the query is seen": ("totals", TEMPORAL, edges(end=1)),
    "the last microsecond is not seen": ("totals", TEMPORAL, edges(end=-1)),
    "the floored start is exclusive": ("totals", TEMPORAL, edges(start=1)),
    "the microsecond before the start is seen": ("totals", TEMPORAL, edges(start=-1)),
    "starts are not floored": ("totals", TEMPORAL, edges(hop=lambda query, window: query - window)),
    "starts before 1970 are floored upwards": ("totals", TEMPORAL, edges(hop=truncated)),
    "every hop is a minute": ("totals", TEMPORAL, edges(hop=lambda q, w: (q - w) // MINUTE * MINUTE)),
    "a day ends a microsecond late": ("totals", SNAPSHOT, edges(end=1)),
    "a day begins a microsecond late": ("totals", SNAPSHOT, edges(start=1)),
    "known_at is ignored": ("totals", KNOWN, edges(known=10**18)),
    "known exactly at the query is enough": ("totals", KNOWN, edges(known=1)),
    "known exactly at midnight is enough": ("totals", SNAPSHOT_KNOWN, edges(known=1)),
    "known during the day is enough": ("totals", SNAPSHOT_KNOWN, edges(known=DAY)),
    "composite keys are concatenated": ("totals", PAIR, changed(features, "key_of", concatenated)),
    "a null key is a key": ("totals", TEMPORAL, (features, "key_of", lambda given: tuple(map(repr, given)))),
    "NaN is a value of its own": ("ends", TEMPORAL, (features, "is_missing", lambda value: value is None)),
    "ties are left to the order of rows": ("order", KNOWN, (Seen, "order", property(lambda one: (one.time,)))),
    "ties ignore known_at": ("order", KNOWN, (Seen, "order", property(lambda one: (one.time, one.value)))),
    "ties ignore time": ("order", KNOWN, (Seen, "order", property(lambda one: (one.known, one.value)))),
    "event_id is ignored": ("totals", EVENT_ID, (sources, "_once", every_row)),
    "infinities cancel to zero": ("totals", TEMPORAL, (operations, "infinite_total", lambda _: 0.0)),
    "variance is of the sample": ("moments", TEMPORAL, changed(operations, "central_moment", of_the_sample)),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_random_cases_tell(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    theme, mode, (owner, name, wrong) = MISTAKES[mistake]
    scenario = mode if isinstance(mode, Scenario) else Scenario(theme, mode, "text")
    assert any(_told(scenario.cases(20), owner, name, wrong, monkeypatch))


def _told(cases: Any, owner: Any, name: str, wrong: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[bool]:
    for case in cases:
        right = oracle.run(case)
        with monkeypatch.context() as patched:
            patched.setattr(owner, name, wrong)
            try:
                mistaken = oracle.run(case)
            except TypeError:
                yield True
                continue
        yield bool(differences(right, mistaken))


LABEL_MISTAKES: dict[str, Callable[..., Any]] = {
    "labels start a microsecond late": lambda q, o: lambda event, w: q + o - w < event.time < q + o,
    "labels end a microsecond late": lambda q, o: lambda event, w: q + o - w <= event.time <= q + o,
    "labels have hops": lambda q, o: lambda event, w: floored_start(q + o, w) <= event.time < q + o,
    "labels need to be known": lambda q, o: (
        lambda event, w: q + o - w <= event.time < q + o and (event.known is None or event.known < q + o)
    ),
    "labels look back": lambda q, o: lambda event, w: q - w <= event.time < q,
}


@pytest.mark.parametrize("mistake", LABEL_MISTAKES)
def test_random_joins_tell(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cases: list[Case] = [case for scenario in join_scenarios() for case in scenario.cases(25, training=True)]
    assert any(_told(cases, features, "seen_by_label", LABEL_MISTAKES[mistake], monkeypatch))
