"""A company whose tables grow by the day, for tests of what a warehouse must survive.

Payments come late and are booked later still, accounts change between their dumps, a staging query counts, a chained
join feeds features; logins are the rows of the join. Everything is drawn from one seed. `late`, `correct`, `vanish` and
`redefine` are what happens to a real warehouse between two runs.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from textwrap import dedent
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from zipline.clock import DAY, day_text, days, to_datetime, to_micros

JOIN = "bank.joins.logins"
FIRST, LAST = "2024-03-01", "2024-03-12"
HISTORY = "2024-02-20"
HOUR = DAY // 24
CUSTOMERS = ("ann", "bob", "cat", None)

_SETTINGS = 'name = "bank"\n' + "".join(
    f'[tables.{name}]\npath = "data/{name}"\n' for name in ("payments", "logins", "accounts", "account_changes")
)
_TEAM = 'from zipline import Team\n\nteam = Team(owner="bank")\n'
_FEATURES = """
from zipline import (Accuracy, Aggregation, Derivation, EntitySource, EventSource, GroupBy, Join, JoinPart, JoinSource,
                     Operation, Query, StagingQuery)

payments = EventSource("payments", Query(["customer", "amount", "shop"], time="paid_at", known_at="booked_at"))
spend = GroupBy(
    keys=["customer"],
    sources=[payments],
    aggregations=[
        Aggregation("amount", Operation.SUM, windows=["{window}", "1d"]),
        Aggregation("amount", Operation.LAST_K, k=3, windows=["7d"]),
        Aggregation("shop", Operation.UNIQUE_COUNT, windows=["7d"], buckets=["shop"]),
        {extra}
    ],
    derivations=[Derivation("recent", "amount_sum_1d / NULLIF(amount_sum_{window}, 0)")],
)
wallets = GroupBy(
    keys=["customer"],
    sources=[EntitySource("accounts", Query(["account", "customer", "balance"], time="opened_at",
                                            mutation_time="changed_at", is_before="is_before"),
                          mutations="account_changes")],
    aggregations=[Aggregation("balance", Operation.SUM), Aggregation("balance", Operation.MAX, windows=["30d"])],
)
totals = StagingQuery(
    "SELECT customer, sum(amount) AS amount, CAST(ds AS DATE) AS day, ds FROM payments "
    "WHERE ds BETWEEN {{{{ start_date }}}} AND {{{{ end_date }}}} GROUP BY customer, ds",
    start="2024-02-20",
)
habits = GroupBy(
    keys=["customer"],
    sources=[EventSource(totals, Query(time="day"))],
    aggregations=[Aggregation("amount", Operation.MAX, windows=["7d"])],
    accuracy=Accuracy.SNAPSHOT,
)
bookings = Join(
    left=EventSource("payments", Query(["customer", "amount"], time="booked_at")),
    parts=[JoinPart(spend, features=["amount_sum_1d"])],
    derivations=[Derivation("share", "amount / NULLIF(spend_amount_sum_1d, 0)")],
)
shares = GroupBy(
    keys=["customer"],
    sources=[JoinSource(bookings, Query(["customer", "share"]))],
    aggregations=[Aggregation("share", Operation.MAX, windows=["3d"])],
)
paid = GroupBy(
    keys=["customer"], sources=[payments], aggregations=[Aggregation("amount", Operation.SUM, windows=["1d"])]
)
"""
_JOINS = """
from configs.bank.features import habits, paid, shares, spend, wallets
from zipline import Derivation, EventSource, Join, JoinPart, LabelPart, Query

logins = Join(
    left=EventSource("logins", Query(["login", "customer"], time="at")),
    row_id=["login"],
    parts=[JoinPart(spend), JoinPart(wallets), JoinPart(habits), JoinPart(shares)],
    labels=LabelPart([JoinPart(paid)], offset="2d"),
    derivations=[Derivation("is_rich", "wallets_balance_sum > {rich}")],
)
"""


class Company:
    """The project in a folder, and its history so far."""

    def __init__(self, root: Path, seed: int) -> None:
        self.root, self._random, self._files = root, random.Random(seed), 0
        self._window, self._extra, self._rich = "7d", "", 100
        self._accounts: dict[str, dict[str, Any]] = {}
        root.mkdir(parents=True)
        (root / "zipline.toml").write_text(_SETTINGS)
        self._define()
        for day in days(HISTORY, day_text(to_micros(LAST) + 3 * DAY)):
            self._write("payments", day, [self._payment(day) for _ in range(12)])
            self._write("logins", day, [self._login(day, n) for n in range(5)])
            self._change_accounts(day)

    def clean_copy(self, root: Path) -> Path:
        """The same sources and definitions, and nothing computed."""
        for name in ("zipline.toml", "configs", "data"):
            source = self.root / name
            shutil.copytree(source, root / name) if source.is_dir() else _copy(source, root / name)
        return root

    def late(self) -> str:
        """Payments of earlier days come in a file of their own."""
        day = self._any_day()
        self._write("payments", day, [self._payment(day) for _ in range(2)])
        return f"late payments of {day}"

    def correct(self) -> str:
        """A day's file of one table is replaced."""
        day, table = self._any_day(), self._random.choice(["payments", "logins", "account_changes"])
        for path in sorted((self.root / "data" / table / f"ds={day}").glob("*.parquet"))[:1]:
            rows = pq.read_table(path)
            kept = rows.slice(0, max(rows.num_rows - 1, 1))
            path.unlink()
            self._files += 1
            pq.write_table(kept, path.with_name(f"part-{self._files}.parquet"))
        return f"{table} of {day} corrected"

    def redefine(self) -> str:
        """A window, a feature or a derivation changes."""
        change = self._random.choice(["window", "feature", "derivation"])
        if change == "window":
            self._window = self._random.choice([w for w in ("3d", "7d", "10d", "12h", "14d") if w != self._window])
        elif change == "feature":
            extra = 'Aggregation("amount", Operation.MIN, windows=["2d"]),'
            self._extra = "" if self._extra else extra
        else:
            self._rich += 10
        self._define()
        return f"{change} changed"

    def _define(self) -> None:
        folder = self.root / "configs" / "bank"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "team.py").write_text(_TEAM)
        (folder / "features.py").write_text(dedent(_FEATURES).format(window=self._window, extra=self._extra))
        (folder / "joins.py").write_text(dedent(_JOINS).format(rich=self._rich))

    def _any_day(self) -> str:
        return self._random.choice(days(HISTORY, LAST))

    def _write(self, table: str, day: str, rows: Sequence[dict[str, Any]], schema: pa.Schema | None = None) -> None:
        self._files += 1
        folder = self.root / "data" / table / f"ds={day}"
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(list(rows), schema), folder / f"part-{self._files}.parquet")

    def _instant(self, day: str) -> Any:
        """Often on a midnight or a full hour."""
        at = self._random.choice([0, self._random.randrange(24) * HOUR, self._random.randrange(DAY)])
        return to_datetime(to_micros(day) + at)

    def _payment(self, day: str) -> dict[str, Any]:
        paid_at = self._instant(day)
        late = self._random.choice([0, 0, self._random.randrange(3 * HOUR), self._random.randrange(2 * DAY)])
        return {
            "customer": self._random.choice(CUSTOMERS),
            "amount": self._random.choice([1.0, 0.1, 1e16, 1e-3, float(self._random.randrange(100)), None]),
            "shop": self._random.choice(["x", "y", "ä"]),
            "paid_at": paid_at,
            "booked_at": to_datetime(to_micros(paid_at) + late),
        }

    def _login(self, day: str, number: int) -> dict[str, Any]:
        return {"login": f"{day}/{number}", "customer": self._random.choice(CUSTOMERS), "at": self._instant(day)}

    def _change_accounts(self, day: str) -> None:
        """A day's changes, and most days the dump at its end."""
        changes: list[dict[str, Any]] = []
        for at in sorted(self._random.randrange(DAY) for _ in range(4)):
            moment = to_datetime(to_micros(day) + at)
            account = f"account {self._random.randrange(6)}"
            before = self._accounts.pop(account, None)
            if before is not None:
                changes.append({**before, "changed_at": moment, "is_before": True})
            if before is None or self._random.random() < 0.8:
                row = {
                    "account": account,
                    "customer": self._random.choice(CUSTOMERS[:3]),
                    "balance": self._random.randrange(200),
                    "opened_at": before["opened_at"] if before else moment,
                }
                self._accounts[account] = row
                changes.append({**row, "changed_at": moment, "is_before": False})
        self._write("account_changes", day, changes, _CHANGE)
        if self._random.random() < 0.8:
            self._write("accounts", day, list(self._accounts.values()), _ACCOUNT)


_INSTANT = pa.timestamp("us", tz="UTC")
_ACCOUNT = pa.schema(
    [("account", pa.string()), ("customer", pa.string()), ("balance", pa.int64()), ("opened_at", _INSTANT)]
)
_CHANGE = pa.schema([*_ACCOUNT, ("changed_at", _INSTANT), ("is_before", pa.bool_())])


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target)
