"""Random histories of a warehouse: whatever happens between runs, in the end the table is that of a clean backfill.

Late and corrected files, days of the output that are deleted, changed windows, new and dropped features, runs of any
step size over any days that are stopped between two commits.
"""

from __future__ import annotations

import random
from contextlib import suppress
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from tests.unit.orchestration.warehouse import WEEK, Warehouse
from zipline import Aggregation, Derivation, EventSource, GroupBy, Join, JoinPart, LabelPart, Operation, Query
from zipline.clock import DAY, day_text, days, to_micros

PAID = days("2024-04-24", "2024-05-09")
HOUR = DAY // 24


class Stopped(Exception):
    pass


class History:
    """A warehouse, a definition, and everything that may happen to them."""

    def __init__(self, root: Path, seed: int) -> None:
        self.chance = random.Random(seed)
        self.warehouse = Warehouse(root)
        self.windows = ["1d", "3d"]
        self.operations = [Operation.SUM]
        self.factor = 1
        self.where: list[str] = []
        self.happened: list[str] = []
        for day in PAID:
            self._pay(day, 3)
        for day in WEEK:
            self._log_in(day, 3)
        self.warehouse.run(self.join())

    def join(self) -> Join:
        source = Query(["customer", "amount"], time="paid_at", known_at="booked_at", where=self.where)
        aggregations = [Aggregation("amount", each, windows=self.windows) for each in self.operations]
        spend = GroupBy(
            keys=["customer"], sources=[EventSource("payments", source)], aggregations=aggregations, name="spend"
        )
        paid = GroupBy(
            keys=["customer"],
            sources=[EventSource("payments", Query(["customer", "amount"], time="paid_at"))],
            aggregations=[Aggregation("amount", Operation.MAX, windows=["1d"])],
            name="paid",
        )
        first = f"spend_amount_{self.operations[0].name.lower()}_{self.windows[0]}"
        return Join(
            left=EventSource("logins", Query(["login", "customer"], time="at")),
            parts=[JoinPart(spend)],
            labels=LabelPart([JoinPart(paid)], offset="2d"),
            derivations=[Derivation("scaled", f"{first} * {self.factor}")],
            name="departures",
        )

    def event(self) -> None:
        """Data change more often than definitions, and most runs are over before something else happens."""
        self.chance.choice(
            [self.late, self.late, self.late, self.correct, self.correct, self.log_in, self.delete]
            + [self.window, self.feature, self.condition, self.derivation]
            + [self.run] * 6
        )()

    def late(self) -> None:
        self._pay(self._any(PAID), 2)

    def correct(self) -> None:
        table = self.chance.choice(["payments", "logins"])
        path = self.chance.choice(sorted((self.warehouse.root / table).rglob("*.parquet")))
        rows = pq.read_table(path, partitioning=None)
        kept = rows.slice(self.chance.randrange(2) if rows.num_rows > 1 else 0)
        pq.write_table(kept, path.with_name(f"again-{self.chance.random()}.parquet"))
        path.unlink()
        self.happened.append(f"correct {table} {path.parent.name}")

    def log_in(self) -> None:
        self._log_in(self._any(WEEK), 1)

    def delete(self) -> None:
        """A day of the output is deleted by other means."""
        output = self.warehouse.output()
        if output.days():
            day = self._any(sorted(output.days()))
            DeltaTable(output.uri).delete(f"ds = '{day}'")
            self.happened.append(f"delete {day}")

    def window(self) -> None:
        self.windows = sorted(self.chance.sample(["6h", "1d", "2d", "3d", "5d"], 2))
        self.happened.append(f"windows {self.windows}")

    def feature(self) -> None:
        several = [Operation.SUM, Operation.AVERAGE, Operation.LAST, Operation.UNIQUE_COUNT]
        self.operations = self.chance.sample(several, self.chance.randint(1, 3))
        self.happened.append(f"features {[each.name for each in self.operations]}")

    def condition(self) -> None:
        self.where = [] if self.where else ["amount > 5"]
        self.happened.append(f"where {self.where}")

    def derivation(self) -> None:
        self.factor += 1
        self.happened.append(f"factor {self.factor}")

    def run(self) -> None:
        """A run over some of the days that may be stopped before any of its commits."""
        low = self.chance.randrange(len(WEEK))
        asked = WEEK[low : self.chance.randrange(low, len(WEEK)) + 1]
        if self.chance.random() < 0.4:
            asked = WEEK
        commits = self.chance.choice([0, 1, 2, 99, 99])
        step = self.chance.randint(1, 7)
        self.happened.append(f"run {asked[0]}..{asked[-1]} step {step} stops at {commits}")

        def stop() -> None:
            nonlocal commits
            commits -= 1
            if commits < 0:
                raise Stopped

        with suppress(Stopped):
            self.warehouse.run(self.join(), asked, step_days=step, before_commit=stop)

    def _pay(self, day: str, count: int) -> None:
        rows = []
        for _ in range(count):
            at = to_micros(day) + self.chance.randrange(24) * HOUR
            booked = at + self.chance.choice([0, 0, 5 * HOUR, 2 * DAY])
            amount = self.chance.choice([0.1, 1e16, 3.0, 1e-3, float(self.chance.randrange(50))])
            rows.append({"customer": self._customer(), "amount": amount, "paid_at": at, "booked_at": booked})
        arrival = day_text(max(row["booked_at"] for row in rows)) if self.chance.random() < 0.5 else day
        self.warehouse.write("payments", arrival, rows)
        self.happened.append(f"pay {day} in {arrival}")

    def _log_in(self, day: str, count: int) -> None:
        rows = [
            {"login": self.chance.randrange(10**6), "customer": self._customer(), "at": to_micros(day) + hour * HOUR}
            for hour in self.chance.sample(range(24), count)
        ]
        self.warehouse.write("logins", day, rows)
        self.happened.append(f"log in {day}")

    def _customer(self) -> str:
        return self.chance.choice(["ann", "bob", "cat"])

    def _any(self, listed: list[str]) -> str:
        return self.chance.choice(listed)


@pytest.mark.parametrize("seed", range(12))
def test_the_final_table_is_that_of_a_clean_backfill(tmp_path: Path, seed: int) -> None:
    history = History(tmp_path, seed)
    warehouse = history.warehouse
    for _ in range(15):
        history.event()
    history.late()
    if warehouse.run(history.join(), step_days=history.chance.randint(1, 7)).kept:
        warehouse.run(history.join(), force=True)
    clean = warehouse.output("clean")
    warehouse.run(history.join(), WEEK, output=clean, known=None)
    found, expected = warehouse.output().read(), clean.read()
    assert found.column_names == expected.column_names, history.happened
    for name in expected.column_names:
        assert found.column(name).equals(expected.column(name)), (name, history.happened)
    assert warehouse.run(history.join()).published == ()
