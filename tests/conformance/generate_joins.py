"""Seeded joins: several group-bys of different keys, accuracies and clocks beside one left, with labels.

The cases of one join share `as_of`, so they can run as one job.
"""

from __future__ import annotations

from dataclasses import dataclass

from zipline import Derivation, EventSource, GroupBy, Join, JoinPart, LabelPart, Query

from .generate import MODES, SEED, Scenario
from .instants import instant
from .streams import Draw
from .tables import BackfillCase, Functions, Row, Table

BASE = "2024-03-01"
AS_OF = "2024-03-04T06:00:00"
"""Some labels of queries around the base are mature by then, some are not."""
LEFT = {"id": "BIGINT", "user": "STRING", "other": "STRING", "a": "STRING", "b": "STRING", "asked": "TIMESTAMP"}
EXPRESSION = "id * 2"
FUNCTIONS: Functions = {EXPRESSION: lambda row: row["id"] * 2}


@dataclass(frozen=True)
class JoinScenario:
    """One join; `label` is the theme of its label."""

    first: Scenario
    second: Scenario
    label: Scenario

    @property
    def name(self) -> str:
        return f"{self.first.name} + {self.second.name} -> {self.label.theme}"

    def join(self, *, with_labels: bool = True) -> Join:
        first, second = self.first.group_by(), self.second.group_by()
        label = self.label.group_by(
            ["1m", "5h", "12h", "1d", "2d"] if "temporal" in self.label.mode.name else ["1d", "2d"]
        )
        parts = [
            JoinPart(first, prefix="own"),
            JoinPart(second),
            JoinPart(first, key_map={"other": "user"}, prefix="other", features=self._some(first.features)),
        ]
        columns = [name for name in LEFT if name != "asked"]
        return Join(
            left=EventSource("left", query=Query(select={name: name for name in columns}, time="asked")),
            parts=parts,
            labels=LabelPart([JoinPart(label)], offset="2d") if with_labels else None,
            derivations=[Derivation("twice", EXPRESSION)],
            name="random.join",
        )

    def _some(self, features: tuple[str, ...] | None) -> tuple[str, ...]:
        return (features or ())[1::3]

    def cases(self, count: int, *, training: bool) -> list[BackfillCase]:
        join = self.join()
        return [self._case(join, number, training) for number in range(count)]

    def _case(self, join: Join, number: int, training: bool) -> BackfillCase:
        draw = Draw(f"{SEED} {self.name} {number}")
        times = [draw.query_time(BASE) for _ in range(draw.number(1, 5))]
        tables = {"left": self._left(draw, times)}
        for scenario, part in ((self.first, join.parts[0]), (self.second, join.parts[1])):
            assert isinstance(part.source, GroupBy)
            tables |= scenario.tables(draw, part.source, times, BASE, number * 1000)
        assert join.labels is not None
        after = [time + join.labels.offset_micros for time in times]
        label = join.labels.parts[0].source
        assert isinstance(label, GroupBy)
        tables |= self.label.tables(draw, label, after, BASE, number * 1000)
        return BackfillCase(join, tables, training, AS_OF, FUNCTIONS)

    def _left(self, draw: Draw, times: list[int]) -> Table:
        rows: list[Row] = []
        for number in range(draw.number(0, 8)):
            other = self.first.draw_key(draw)["user"]
            keys = self.first.draw_key(draw) | self.second.draw_key(draw)
            time = None if draw.chance(0.05) else instant(draw.one(times))
            rows.append({"id": number, "other": other, **keys, "asked": time})
        if rows and draw.chance(0.3):
            rows.append(dict(draw.one(rows)))
        return Table(LEFT, tuple(rows))


def join_scenarios() -> list[JoinScenario]:
    temporal, known, snapshot, snapshot_known, union, event_id = MODES
    drawn = [
        ("totals", known, "order", snapshot, "totals", known),
        ("moments", temporal, "ranks", union, "order", snapshot),
        ("distinct", union, "ends", snapshot_known, "distinct", temporal),
        ("lists", event_id, "shapes", known, "lists", temporal),
        ("buckets", snapshot_known, "totals", event_id, "buckets", temporal),
    ]
    return [
        JoinScenario(
            Scenario(first, first_mode, "text", "first"),
            Scenario(second, second_mode, "pair", "second"),
            Scenario(label, label_mode, "text", "outcome"),
        )
        for first, first_mode, second, second_mode, label, label_mode in drawn
    ]
