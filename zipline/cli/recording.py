"""A command's work on an output table, as a run of the registry, under the table's lock."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from zipline.cli.cost import expected_cost

if TYPE_CHECKING:
    from zipline.cli.outputs import Work
    from zipline.orchestration.runs import Recording


@contextmanager
def recorded_work(work: Work, what: str, arguments: Mapping[str, object]) -> Iterator[Recording]:
    """Whatever depends on the table's state belongs into the block: nobody else changes it meanwhile."""
    from zipline.clock import days
    from zipline.orchestration.runs import recorded_run
    from zipline.registry import open_registry

    asked = {"start": work.start, "end": work.end, "training": work.training, **arguments}
    with (
        open_registry(work.project) as registry,
        recorded_run(
            registry,
            what,
            asked,
            subject=work.plan.name,
            output=work.output.uri,
            fingerprint=work.plan.fingerprint,
            days=days(work.start, work.end),
        ) as run,
    ):
        yield run


def expect(run: Recording, work: Work, days: Sequence[str], step_days: int, as_of: int | None) -> None:
    """Keeps with the run what doing these days is expected to cost."""
    if days:
        cost = expected_cost(work, days, step_days, as_of)
        run.expect(cost.measures)
        run.count(bytes_read=cost.bytes_read)
