"""The days of an ordinary column of Parquet files, where the statistics in their footers tell them without a query.

They do where no group of rows holds two days, as in files that are written a day at a time: least and greatest value
of each group are then the same, and bounds that are equal are exact.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow.parquet as pq


def rows_by_day(footers: Iterable[pq.FileMetaData], column: str) -> dict[str, int] | None:
    """Value of the column as text -> its rows, sorted, nulls apart; None where the footers do not tell."""
    counted: Counter[str] = Counter()
    for footer in footers:
        place = next((n for n in range(footer.num_columns) if footer.schema.column(n).path == column), None)
        for number in range(footer.num_row_groups) if place is not None else ():
            found = _day_of_group(footer.row_group(number), place)
            if found is None:
                return None
            counted.update(found)
        if place is None:
            return None
    return {day: counted[day] for day in sorted(counted)}


def _day_of_group(group: pq.RowGroupMetaData, place: int | None) -> dict[str, int] | None:
    found = group.column(place).statistics
    if found is None or not found.has_null_count:
        return None
    if found.null_count == group.num_rows:
        return {}
    if not found.has_min_max or found.min != found.max or not isinstance(found.min, (str, dt.date)):
        return None
    if isinstance(found.min, dt.datetime):
        return None
    return {str(found.min): group.num_rows - found.null_count}
