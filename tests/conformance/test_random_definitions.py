"""Random differential tests of whole definitions, chained up to three deep, and the mistakes that they must tell."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from . import features, oracle, sources
from .adapters import Adapter
from .batches import are_batchable
from .comparison import assert_all_agree, differences
from .oracle import Part
from .tables import BackfillCase, Table
from .tallies import TALLIES
from .tallies_of_definitions import (
    CELL_KINDS,
    CHANGE_KINDS,
    DEFINITION_KINDS,
    EVENT_KINDS,
    kinds_of,
    tally_cells,
    tally_events,
)
from .worlds import Definition, definitions

CASES, ALONE = 6, 2
DEFINITIONS = definitions(48)


@cache
def cases_of(definition: Definition) -> list[BackfillCase]:
    """The cases of a definition, few where they cannot share a job."""
    cases = definition.cases(CASES)
    return cases if are_batchable(cases) else cases[:ALONE]


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda definition: definition.name)
def test_engines_agree_with_the_oracle(engine: Adapter, definition: Definition) -> None:
    cases = cases_of(definition)
    assert_all_agree(cases, engine.run_batch(cases))


@pytest.mark.parametrize("definition", DEFINITIONS[1:24:5], ids=lambda definition: definition.name)
def test_cases_run_as_one_job_give_what_they_give_alone(adapter: Adapter, definition: Definition) -> None:
    cases = cases_of(definition)[:2]
    assert_all_agree(cases, [adapter.run(case) for case in cases])
    assert_all_agree(cases, adapter.run_batch(cases))


def test_every_awkward_kind_of_event_is_at_least_one_in_a_hundred() -> None:
    counts = tally_events(case for definition in DEFINITIONS for case in cases_of(definition))
    shown = ("cases", "left rows", "events", *EVENT_KINDS, "changes", *CHANGE_KINDS)
    TALLIES["events of random definitions"] = {kind: counts[kind] for kind in shown}
    rare = [kind for kind in EVENT_KINDS if counts[kind] * 100 < counts["events"]]
    assert rare + [kind for kind in CHANGE_KINDS if counts[kind] * 100 < counts["changes"]] == []


def test_every_kind_of_definition_is_drawn() -> None:
    counts = Counter(kind for definition in DEFINITIONS for kind in kinds_of(definition.drawn.definition))
    TALLIES["random definitions"] = {"definitions": len(DEFINITIONS)} | {
        kind: counts[kind] for kind in DEFINITION_KINDS
    }
    assert [kind for kind in DEFINITION_KINDS if not counts[kind]] == []


def test_cells_that_were_computed_before_are_at_least_one_in_a_hundred() -> None:
    """And a good part of all cells is not null: a generator of nothing would agree with anything."""
    counts: Counter[str] = Counter()
    for definition in DEFINITIONS:
        for case in cases_of(definition)[:3]:
            counts += tally_cells(case, oracle.run(case))
    TALLIES["cells of random definitions"] = {kind: counts[kind] for kind in ("cells", "not null", *CELL_KINDS)}
    assert counts["not null"] * 3 > counts["cells"]
    assert counts["covered"] * 100 > counts["cells"]


# Mistakes

RIGHT_PART, RIGHT_ROWS, RIGHT_LABEL = Part.of_row, oracle._rows_of, features.seen_by_label
RIGHT_BOOTSTRAPS, RIGHT_COVERED, RIGHT_SCORED = oracle._bootstraps, oracle._covered, oracle._scored


def chains_at(moved: int) -> Any:
    """What a chained part sees, as if its query came later."""

    def wrong(part: Part, row: Any, time: Any, *others: Any, **more: Any) -> Any:
        chained = any(hasattr(source, "join") for source in getattr(part.part.source, "sources", ()))
        return RIGHT_PART(part, row, time + moved if chained and time is not None else time, *others, **more)

    return wrong


def for_training(source: Any, tables: Any, functions: Any) -> Any:
    """A chain over the rows and columns that its parent has for training."""
    query, _ = RIGHT_ROWS(source, tables, functions)
    if not hasattr(source, "join"):
        return RIGHT_ROWS(source, tables, functions)
    output = oracle.backfill(source.join, tables, training=True, functions=functions)
    return query, Table(dict.fromkeys(output.columns, ""), output.rows)


def once_each(source: Any, tables: Any, functions: Any) -> Any:
    """Of several rows of a parent at one time only the first."""
    query, table = RIGHT_ROWS(source, tables, functions)
    first = {str(row["ts"]): row for row in table.rows[::-1]} if hasattr(source, "join") else {}
    return query, table.with_rows(list(first.values())) if first else table


def last_part_first(join: Any, *others: Any) -> Any:
    return RIGHT_BOOTSTRAPS(join, *others)[::-1]


def without_nulls(join: Any, bootstraps: Any, left: Any) -> Any:
    return {name: value for name, value in RIGHT_COVERED(join, bootstraps, left).items() if value is not None}


def by_whole_rows(join: Any, bootstraps: Any, left: Any) -> Any:
    key = features.key_of([left[name] for name in join.row_id]) if bootstraps else None
    return RIGHT_COVERED(join, [one for one in bootstraps if key in one.rows][:1], left)


def without(which: str) -> Any:
    """Bootstraps that leave out derivations, or contextual columns."""

    def wrong(join: Any, bootstraps: Any, left: Any) -> Any:
        derived = [derivation.name for derivation in join.derivations]
        names = derived if which == "derivations" else oracle._contextual(join)
        return {name: value for name, value in RIGHT_COVERED(join, bootstraps, left).items() if name not in names}

    return wrong


def covered_at_the_end(join: Any, parts: Any, left: Any, time: Any, covered: Any, functions: Any) -> Any:
    row, why = RIGHT_SCORED(join, parts, left, time, {}, functions)
    return {name: covered.get(name, value) for name, value in row.items()}, why


def with_all_left_columns(part: Part, row: Any, *others: Any, **more: Any) -> Any:
    """A part that looks keys up under their own names."""
    own = dataclasses.replace(part.part, key_map={}) if set(part.part.source.keys) <= set(row) else part.part
    return RIGHT_PART(dataclasses.replace(part, part=own), row, *others, **more)


def starts_of_days(query: Any, row: Any, functions: Any, entity: bool) -> Any:
    return sources.partition(query, row) if entity else sources.clock(query.time, row, functions)


def endless_states(query: int, offset: int) -> Any:
    rule = RIGHT_LABEL(query, offset)
    return lambda event, window: window is None or rule(event, window)


CHAINED, BOOTSTRAPPED = "of depth 1", "with bootstrap"
MISTAKES: dict[str, tuple[str, tuple[Any, str, Any]]] = {
    "a chain sees its parent's row at exactly q": (CHAINED, (Part, "of_row", chains_at(1))),
    "a chain misses its parent's row a microsecond before q": (CHAINED, (Part, "of_row", chains_at(-1))),
    "a chain waits for its parent's labels": (CHAINED, (oracle, "_rows_of", for_training)),
    "a chain sees one row of a parent for each time": (CHAINED, (oracle, "_rows_of", once_each)),
    "bounds of a chain are ignored": (CHAINED, (oracle, "_is_bounded", lambda query, day: True)),
    "the last bootstrap part comes first": ("with two bootstrap parts", (oracle, "_bootstraps", last_part_first)),
    "a null covers nothing": (BOOTSTRAPPED, (oracle, "_covered", without_nulls)),
    "the first part that has a row has all of it": ("with two bootstrap parts", (oracle, "_covered", by_whole_rows)),
    "bootstrapped derivations are computed": (BOOTSTRAPPED, (oracle, "_covered", without("derivations"))),
    "contextual columns are not bootstrapped": (BOOTSTRAPPED, (oracle, "_covered", without("contextual"))),
    "derivations do not see what is bootstrapped": (BOOTSTRAPPED, (oracle, "_scored", covered_at_the_end)),
    "external values keep the twin's type": (
        "with an external source", (oracle, "_as_declared", lambda value, kind: value)
    ),
    "key maps are ignored": ("with a key map", (Part, "of_row", with_all_left_columns)),
    "states as left are asked about when their day starts": ("left of states", (oracle, "_query_time", starts_of_days)),
    "a label of states sees rows of a later time": (
        "with a label of states", (features, "seen_by_label", endless_states)
    ),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_random_definitions_tell(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, (owner, name, wrong) = MISTAKES[mistake]
    concerned = (one for one in DEFINITIONS if kind in kinds_of(one.drawn.definition))
    cases = (case for definition in concerned for case in cases_of(definition))
    assert any(_told(cases, owner, name, wrong, monkeypatch))


def _told(cases: Any, owner: Any, name: str, wrong: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[bool]:
    for case in cases:
        with monkeypatch.context() as patched:
            patched.setattr(owner, name, wrong)
            mistaken = oracle.run(case)
        yield bool(differences(oracle.run(case), mistaken))
