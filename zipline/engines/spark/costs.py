"""What an estimate is made of and gives: amounts of rows and bytes by day, and the cost of every step of a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from zipline.values import dataclass

if TYPE_CHECKING:
    from zipline.expressions import Expression
    from zipline.plan.steps import Projection

LZ4, LZ4_OF_BUNDLES = 0.3, 0.65
"""What Spark's own compression leaves of the bytes of rows, 0.16 to 0.33, and of bundles, which have no gaps, 0.5 to
0.72, measured on random keys, times and prices (`tests/integration/spark/test_estimate.py`). Values that repeat leave
less, long texts of their own more."""


class Amount(Protocol):
    """Rows and bytes of a reading by day."""

    @property
    def days(self) -> Sequence[str]: ...

    def within(self, first: str | None, last: str | None) -> tuple[float, float]:
        """(rows, bytes of files) of these days, both inclusive; None has no bound."""
        ...


Amounts = Callable[["Projection", "Sequence[Sequence[Expression]]"], "Amount | None"]
"""A projection, and the conditions of all that share its reading -> its amount; None where nothing is known."""


@dataclass(frozen=True, slots=True)
class StepEstimate:
    """`rows` come in, by `reading_tasks`; after the shuffle, if there is one, `tasks` compute.

    `bytes_shuffled` are those of rows as Spark lays them out, before it compresses them, `bytes_bundled` those of them
    that are of rows in bundles, `rows_sorted` those that
    kernels put in order, `bytes_read` those of the tables' files, `bytes_scratch` and `bytes_output` of values written
    before files encode and compress them.
    """

    title: str
    rows: int = 0
    reading_tasks: int = 0
    tasks: int = 0
    shuffles: int = 0
    rows_shuffled: int = 0
    bytes_shuffled: int = 0
    bytes_bundled: int = 0
    rows_sorted: int = 0
    bytes_read: int = 0
    bytes_scratch: int = 0
    bytes_output: int = 0


MEASURES = tuple(name for name in StepEstimate.__annotations__ if name != "title")


@dataclass(frozen=True, slots=True)
class Estimate:
    """The steps of one run, in order; `unknown` are the tables of which no size is known, which are not counted."""

    steps: tuple[StepEstimate, ...]
    rows_per_task: int
    cores: int
    unknown: tuple[str, ...]

    @property
    def total(self) -> StepEstimate:
        sums = {name: sum(getattr(step, name) for step in self.steps) for name in MEASURES}
        return StepEstimate("all", **sums)

    @property
    def bytes_compressed(self) -> int:
        """About what goes over the network and onto local disks."""
        total = self.total
        return round((total.bytes_shuffled - total.bytes_bundled) * LZ4 + total.bytes_bundled * LZ4_OF_BUNDLES)
