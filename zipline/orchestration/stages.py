"""What a backfill will do, before it does it: days to do and why, in stages, and where they are written.

`zipline plan` shows a `BackfillPlan` and `zipline backfill` walks it. While every stored day is of the definition asked
for, days are replaced in place. Else the new generation is made in a successor beside the output, which keeps its old
days until the successor has them all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from zipline.clock import DAY, day_text, to_micros
from zipline.orchestration.extents import Extents
from zipline.orchestration.inputs import Inputs
from zipline.orchestration.presence import seen_until
from zipline.orchestration.records import GENERATION, Commit, Definition, Present, Record, defined, records_of
from zipline.orchestration.snapshots import Backwards, backwards
from zipline.orchestration.validity import DayWork, Reason, judge
from zipline.plan.identity import identity_of
from zipline.plan.steps import JoinPlan
from zipline.tables.catalog import Catalog
from zipline.tables.delta import DeltaOutput
from zipline.tables.succession import successor_of
from zipline.values import dataclass


@dataclass(frozen=True)
class Stage:
    """Unbroken days of which the same columns are computed (None: all, and the rows)."""

    days: tuple[str, ...]
    columns: tuple[str, ...] | None


@dataclass(frozen=True)
class BackfillPlan:
    """What will be done of the days asked for.

    `work` are the days to do; `skipped` are valid; `kept` are not, but were made from partitions that are gone, or
    hold files that no run wrote, so they stay as they are without force. `target` is the table written: the output, or
    its successor; then `stored` days of the old generation are there, and `pending` are those that must still be done
    in other runs before it is replaced.
    """

    plan: JoinPlan
    training: bool
    definition: Definition
    inputs: Inputs
    output: DeltaOutput
    target: DeltaOutput
    asked: tuple[str, ...]
    work: tuple[DayWork, ...]
    skipped: tuple[str, ...]
    kept: tuple[DayWork, ...]
    pending: tuple[str, ...]
    places: Mapping[str, DeltaOutput]
    """Where the stored day is that columns are carried over from."""
    blocked: tuple[str, ...] = ()
    """Of the pending days those that would be kept too, without force."""
    written: int | None = None
    """The version of the output in which the changed days are all as runs wrote them."""
    backwards: tuple[Backwards, ...] = ()
    """The snapshots that the days asked for see and that are older than the ones before them."""

    @property
    def is_succession(self) -> bool:
        return self.target is not self.output

    @property
    def is_done(self) -> bool:
        """Whether a run would write nothing."""
        return not self.work and not self.is_succession

    def stages(self, step_days: int) -> Iterator[Stage]:
        """The work in order, in stages of at most `step_days`."""
        alike: list[DayWork] = []
        for each in (*self.work, None):
            follows = each is not None and (not alike or _continues(alike[-1], each)) and len(alike) < step_days
            if each is None or not follows:
                if alike:
                    yield Stage(tuple(done.day for done in alike), alike[0].columns)
                alike = []
            if each is not None:
                alike.append(each)

    def reasons(self) -> list[tuple[Reason, tuple[str, ...]]]:
        """Each reason with the days it holds for, in order of first use."""
        found: dict[Reason, list[str]] = {}
        for each in self.work:
            for reason in each.reasons:
                found.setdefault(reason, []).append(each.day)
        return [(reason, tuple(days)) for reason, days in found.items()]

    @property
    def changed(self) -> tuple[str, ...]:
        """The days kept because somebody else changed or restored them."""
        return tuple(each.day for each in self.kept if each.is_changed)

    def vanished(self) -> dict[str, tuple[str, ...]]:
        """Table -> its days that are gone, of the days that are kept or made anew all the same."""
        found: dict[str, set[int]] = {}
        for each in (*self.kept, *self.work):
            for table, days in each.vanished.items():
                found.setdefault(table, set()).update(days)
        return {table: tuple(day_text(day * DAY) for day in sorted(days)) for table, days in sorted(found.items())}

    def carried(self, computed: tuple[str, ...] | None) -> tuple[str, ...]:
        """The columns that are not computed where these are (None: all)."""
        return () if computed is None else tuple(c for c in self.definition.columns if c not in computed)

    def record(self, day: str) -> Record:
        """What is remembered of a day that is made now."""
        now = self.inputs.of(day)
        present = {} if now.last is None else self._present(now.last)
        return Record(self.definition, now.left, now.mature, now.reaches, present)

    def _present(self, last: int) -> Present:
        """The days of each source up to what queries until `last` can see."""
        found: dict[str, dict[int, tuple[int, int]]] = {}
        for seen in seen_until(self.inputs, last):
            found.setdefault(seen.place, {}).update(seen.among(seen.labels))
        return found


def plan_backfill(
    plan: JoinPlan,
    catalog: Catalog,
    output: DeltaOutput,
    days: Sequence[str],
    *,
    training: bool = True,
    as_of: int | None = None,
    force: bool = False,
    known: Path | None = None,
) -> BackfillPlan:
    """The plan for `days` (sorted, each once); `known` is the folder in which the extents of units are kept.

    `force` does the days that are valid too, all of their columns, and those of which inputs are gone.
    """
    extents = Extents(catalog, known)
    inputs = Inputs(plan, extents, training=training, as_of=as_of)
    columns = plan.columns if training else plan.scoring_columns
    definition = defined(identity_of(plan, training=training), columns)
    versions = output.versions()
    stored = records_of(versions, output.days())
    target = output if _is_current(versions, stored, definition) else successor_of(output, definition.generation)
    newer = versions if target is output else target.versions()
    done = stored if target is output else records_of(newer, target.days())
    changed = target.changed(newer) | (output.changed(versions) - set(done))

    def work_of(day: str, *, forced: bool) -> DayWork | None:
        if day in changed and not forced:
            return DayWork(day, (Reason("changed"),))
        return _work(day, done, stored, definition, inputs, plan.left.table, forced=forced)

    work = [found for day in days if (found := work_of(day, forced=force)) is not None]
    kept = [each for each in work if each.needs_force and not force]
    doing = [each for each in work if not each.needs_force or force]
    ahead = {*stored, *days} - set(done) - {each.day for each in doing} if target is not output else set[str]()
    others = (work_of(day, forced=False) for day in ahead - set(days))
    lost = {each.day for each in (*kept, *others) if each is not None and each.needs_force}
    return BackfillPlan(
        plan=plan,
        training=training,
        definition=definition,
        inputs=inputs,
        output=output,
        target=target,
        asked=tuple(days),
        work=tuple(doing),
        skipped=tuple(sorted(set(days) - {each.day for each in work})),
        kept=tuple(kept),
        pending=tuple(sorted(ahead)),
        blocked=tuple(sorted(ahead & lost)),
        places=dict.fromkeys(stored, output) | dict.fromkeys(done, target),
        backwards=backwards(plan, extents, days, training=training),
        written=next((version.version for version in versions if changed.intersection(version.days)), None),
    )


def _is_current(versions: Sequence[Commit], stored: Mapping[str, Record | None], definition: Definition) -> bool:
    """Whether every stored day is of the definition; of a table without days, whether its columns are."""
    generations = {record and record.definition.generation for record in stored.values()}
    if not generations and versions:
        generations = {next((v.metadata[GENERATION] for v in versions if GENERATION in v.metadata), None)}
    return generations <= {definition.generation}


def _work(
    day: str,
    done: Mapping[str, Record | None],
    stored: Mapping[str, Record | None],
    definition: Definition,
    inputs: Inputs,
    left: str,
    *,
    forced: bool,
) -> DayWork | None:
    """A day of the old generation that is valid in all its columns is still to be carried over."""
    if day in done:
        return judge(day, done[day], definition, inputs, left, forced=forced)
    if day not in stored:
        return DayWork(day, (Reason("missing"),))
    return judge(day, stored[day], definition, inputs, left, forced=forced) or DayWork(day, (Reason("carried"),), ())


def _continues(before: DayWork, after: DayWork) -> bool:
    following = to_micros(before.day) + DAY == to_micros(after.day)
    return following and before.columns == after.columns
