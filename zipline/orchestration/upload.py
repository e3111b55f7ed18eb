"""Uploading a group-by: its features as of the end of a day, from the warehouse into the online store.

What a day's upload holds depends on the day, the definition and the tables alone, so uploading a day again changes
nothing. A day is refused of which a source has no data yet: an upload that looks complete and is not would serve wrong
values until somebody noticed. So is a day before the one that is served: its values would take the place of newer ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from zipline.clock import DAY, day_text, monotonic, to_micros
from zipline.engines.local.left import newest_event
from zipline.engines.local.session import connect
from zipline.engines.local.upload import uploaded
from zipline.errors import TableError, UsageError
from zipline.plan.online import Kept
from zipline.plan.steps import Projection
from zipline.stores.contract import DamagedError, Generation, Store
from zipline.tables.catalog import Catalog
from zipline.values import dataclass


@dataclass(frozen=True)
class UploadReport:
    """What was uploaded; `missing` says of which sources nothing of the day was there, which was allowed."""

    group_by: str
    day: str
    generation: Generation
    seconds: float
    missing: tuple[str, ...] = ()


def upload_day(
    kept: Kept,
    catalog: Catalog,
    store: Store,
    space: str,
    day: str,
    *,
    allow_missing: bool = False,
    allow_older: bool = False,
) -> UploadReport:
    """Uploads the group-by as of the end of `day`; TableError names the sources that have nothing of it, UsageError the
    later day that is served."""
    began, plan = monotonic(), kept.group_by
    end = to_micros(day) + DAY
    current = _served(store, space)
    if current is not None and current.end > end and not allow_older:
        raise UsageError(
            f"{plan.name} is served as of the end of {day_text(current.end - DAY)}: an upload of {day} would take its "
            "place, and be stale",
            hint="a training set of earlier days needs no upload; to go back all the same:",
            next_command=f"zipline upload {plan.name} --ds {day} --allow-older",
        )
    missing = missing_sources(kept, catalog, day)
    if missing and not allow_missing:
        raise TableError(
            f"{plan.name} cannot be uploaded as of {day}: {'; '.join(missing)}",
            hint="wait for the data, or upload what there is",
            next_command=f"zipline upload {plan.name} --ds {day} --allow-missing",
        )
    generation = publish_upload(kept, catalog, store, space, end)
    return UploadReport(plan.name, day, generation, monotonic() - began, tuple(missing))


def _served(store: Store, space: str) -> Generation | None:
    """What is served of a space; of a listing that is damaged nothing is, until it is uploaded again."""
    try:
        return store.current(space)
    except DamagedError:
        return None


def publish_upload(kept: Kept, catalog: Catalog, store: Store, space: str, end: int) -> Generation:
    """Uploads the group-by as of the midnight `end`, whatever its sources have."""
    with store.upload(space, end=end, fingerprint=kept.fingerprint) as writing:
        writing.put(uploaded(kept, catalog, end))
        return writing.publish()


def missing_sources(kept: Kept, catalog: Catalog, day: str) -> list[str]:
    """What the sources lack of a day, in words: a partition, or rows as late as that."""
    found = (_missing(source, catalog, day) for source in dict.fromkeys(_read_of(kept.group_by.sources)))
    return [each for each in found if each is not None]


def _read_of(sources: Iterable[Projection]) -> Iterator[Projection]:
    """What is read of tables, for a join's output what the join reads."""
    for source in sources:
        if source.parent is None:
            yield source
        else:
            yield from _read_of(source.parent.projections(training=False))


def _missing(source: Projection, catalog: Catalog, day: str) -> str | None:
    if source.end is not None and source.end < day:
        return None
    table = catalog.table(source.table)
    if not table.schema:
        return f"the table {source.table!r} is empty"
    if source.partition is not None and source.partition in table.schema:
        days = [partition.day for partition in table.partitions(source.partition)]
        if day in days:
            return None
        newest = max(days, default=None)
        return f"the table {source.table!r} has no partition {day}" + (f", the newest is {newest}" if newest else "")
    connection = connect()
    try:
        newest_row = newest_event(connection, table, source)
    finally:
        connection.close()
    if newest_row is not None and newest_row >= to_micros(day):
        return None
    said = "no rows with a time" if newest_row is None else f"no rows after {day_text(newest_row)}"
    return f"the table {source.table!r} has {said}"


__all__ = ["UploadReport", "missing_sources", "publish_upload", "upload_day"]
