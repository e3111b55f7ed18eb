"""The output as a whole: its labels, its types, the day of each row."""

from __future__ import annotations

import pyarrow as pa

from zipline.arrow import to_arrow
from zipline.errors import DataError
from zipline.plan.steps import JoinPlan, PartPlan


def finish(plan: JoinPlan, output: pa.Table, labels: list[tuple[PartPlan, pa.Table]]) -> pa.Table:
    """Labels last, every column in its type of the plan."""
    for part, features in labels:
        for (name, _), column in zip(part.columns, features.columns, strict=True):
            output = output.append_column(name, column)
    types = dict(plan.columns)
    fields = [
        pa.field(name, to_arrow(types[name])) if name in types else output.schema.field(name)
        for name in output.column_names
    ]
    return output.cast(pa.schema(fields))


def with_day(plan: JoinPlan, output: pa.Table, days: pa.ChunkedArray) -> pa.Table:
    """The output and `ds`, the day; a left that selects its partition column by that name has it already."""
    if "ds" in output.column_names:
        own = plan.left.columns.get("ds")
        if own is None or plan.left.partition is None or own.columns != {plan.left.partition}:
            raise DataError(
                "two columns would be named 'ds': the day of each row, and one of the output",
                subject=plan.name,
                hint="over a range of days the output has the day of each row as ds; give the other another name",
            )
        output = output.drop_columns(["ds"])
    return output.append_column("ds", days)
