"""A run that stands still for longer than its lease commits nothing over the run that took its place."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from tests.unit.orchestration.warehouse import FIRST, WEEK, Warehouse, logins, spending, week_of
from tests.unit.registry.clocks import Clock
from zipline import Join
from zipline.errors import LockLostError
from zipline.orchestration.backfill import run_backfill
from zipline.registry import Lock, Registry, open_registry
from zipline.tables.delta import DeltaOutput
from zipline.tables.succession import successors_of

JOIN = logins(spending())
LEASE = 60.0


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def registry(tmp_path: Path, clock: Clock):
    with open_registry(f"sqlite:///{tmp_path}/registry.db", clock=clock) as opened:
        yield opened


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    return week_of(tmp_path)


class StandsStill:
    """Looks at the lock, finds it held, and then stands still for a lease; `meanwhile` is what the newer run does."""

    def __init__(self, lock: Lock, clock: Clock, meanwhile: Callable[[], object], *, on_look: int = 1) -> None:
        self._lock, self._clock, self._meanwhile, self._on_look = lock, clock, meanwhile, on_look
        self.looks = 0

    def __call__(self) -> None:
        self.looks += 1
        self._lock.check()
        if self.looks == self._on_look:
            self._clock.forward(LEASE + 1)
            self._meanwhile()


def newer(registry: Registry, warehouse: Warehouse, join: Join, asked: list[str]) -> Callable[[], None]:
    def run() -> None:
        with registry.locks.acquire("table", "the newer run", lease=LEASE) as lock:
            warehouse.run(join, asked, before_commit=lock.check, force=True)

    return run


def old_run(
    registry: Registry, clock: Clock, warehouse: Warehouse, meanwhile: Callable[[], None], **given
) -> StandsStill:
    """The old run, which must end with a lost lock."""
    still = given.pop("on_look", 1)
    todo, catalog = warehouse.plan(given.pop("join", JOIN), given.pop("asked", WEEK), **given)
    with registry.locks.acquire("table", "the old run", lease=LEASE) as lock:
        stands = StandsStill(lock, clock, meanwhile, on_look=still)
        with pytest.raises(LockLostError):
            run_backfill(todo, catalog, step_days=3, before_commit=stands)
    return stands


@pytest.mark.parametrize("theirs", [WEEK, WEEK[:1], WEEK[3:4]], ids=["all days", "a day of its", "another day"])
def test_standing_still_between_the_look_and_the_commit(
    registry: Registry, clock: Clock, warehouse: Warehouse, theirs: list[str]
) -> None:
    warehouse.run(JOIN)
    paid = [{"customer": "ann", "amount": 5, "paid_at": f"{FIRST}T07:00:00Z"}]

    def corrected() -> None:
        warehouse.write("payments", FIRST, paid)
        newer(registry, warehouse, JOIN, theirs)()

    stands = old_run(registry, clock, warehouse, corrected, force=True)
    assert stands.looks == 2, "the commit was refused, and the second look found the lock taken"
    clean = warehouse.output("clean")
    warehouse.run(JOIN, theirs, output=clean, known=None)
    assert warehouse.output().read(theirs).equals(clean.read())
    assert len(list(Path(warehouse.output().uri).glob("ds=*/*.parquet"))) == 6 + len(theirs), "nothing is left behind"


def test_standing_still_before_the_table_is_there(registry: Registry, clock: Clock, warehouse: Warehouse) -> None:
    old_run(registry, clock, warehouse, newer(registry, warehouse, JOIN, WEEK[4:]))
    assert warehouse.output().days() == set(WEEK[4:])


def test_standing_still_before_a_new_generation_takes_its_place(
    registry: Registry, clock: Clock, warehouse: Warehouse
) -> None:
    warehouse.run(JOIN)
    join = logins(spending(["2d"]))
    warehouse.run(join, WEEK[:5])

    def other_definition() -> None:
        with registry.locks.acquire("table", "the newer run", lease=LEASE) as lock:
            warehouse.run(JOIN, WEEK[:1], force=True, before_commit=lock.check)

    before = warehouse.output().read()
    todo, catalog = warehouse.plan(join)
    with registry.locks.acquire("table", "the old run", lease=LEASE) as lock:
        stands = StandsStill(lock, clock, other_definition, on_look=2)
        with pytest.raises(LockLostError):
            run_backfill(todo, catalog, before_commit=stands)
    assert warehouse.output().read().equals(before)
    assert successors_of(warehouse.output()) == []


def test_two_handles_of_one_table_and_real_commits(tmp_path: Path) -> None:
    """What all of this stands on: a table that was opened before another's commit takes none of its own."""
    output = DeltaOutput(str(tmp_path / "table"))
    rows = {day: pa.table({"value": [1]}) for day in WEEK[:2]}
    output.replace_days(rows)
    versions: list[int] = []

    def other_commits_once() -> None:
        versions.append(output.versions()[0].version)
        if len(versions) == 1:
            DeltaOutput(output.uri).replace_days({WEEK[5]: pa.table({"value": [6]})})

    output.replace_days({WEEK[0]: pa.table({"value": [3]})}, fence=other_commits_once)
    assert versions == [0, 1], "opened anew and asked again"
    assert output.read().column("value").to_pylist() == [3, 1, 6]


def test_a_fence_that_refuses_leaves_no_file(tmp_path: Path) -> None:
    output = DeltaOutput(str(tmp_path / "table"))
    output.replace_days({WEEK[0]: pa.table({"value": [1]})})

    def lost() -> None:
        raise LockLostError("gone")

    with pytest.raises(LockLostError):
        output.replace_days({WEEK[0]: pa.table({"value": [2]})}, fence=lost)
    assert output.read().column("value").to_pylist() == [1]
    assert len(list(Path(output.uri).glob("ds=*/*.parquet"))) == 1
