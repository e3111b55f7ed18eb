"""The result of a run over days: what lies in the output's folder, day by day."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from zipline.arrow import to_arrow
from zipline.engines.contract import Report, refuse_strange_days
from zipline.errors import EngineError
from zipline.plan.chaining import DAY_COLUMN
from zipline.tables.delta import DeltaOutput
from zipline.tables.storage import joined, scheme_of
from zipline.tables.written import WrittenDay, WrittenFile
from zipline.types import DataType


def visible(output: DeltaOutput, files: Mapping[str, Sequence[WrittenFile]]) -> Mapping[str, Sequence[WrittenFile]]:
    """The same files; EngineError where executors wrote them on a disk that this machine does not see."""
    if scheme_of(output.uri) is None:
        for file in (file for of_day in files.values() for file in of_day):
            if not os.path.exists(joined(output.uri, file.name)):
                raise EngineError(
                    f"executors wrote {file.name} of {output.uri}, which is not there on this machine",
                    hint="nothing is published; let [warehouse] url be a folder or a bucket that all machines share",
                )
    return files


@dataclass(frozen=True)
class WrittenResult:
    """Day -> its files, and the report. `columns` are those of the output, the day last."""

    output: DeltaOutput
    columns: Mapping[str, DataType]
    files: Mapping[str, Sequence[WrittenFile]]
    report: Report

    def by_day(self, days: Sequence[str]) -> Iterator[tuple[str, WrittenDay]]:
        """Each day's rows, days without rows too; DataError where a row is of no day asked for."""
        refuse_strange_days(self.files, days)
        fields = [pa.field(name, to_arrow(dtype)) for name, dtype in self.columns.items() if name != DAY_COLUMN]
        day_field = pa.field(DAY_COLUMN, pa.string())
        for day in days:
            files = sorted(self.files.get(day, ()), key=lambda file: file.name)
            yield (
                day,
                WrittenDay(self.output.uri, self.output.storage_options, day_field, day, files, pa.schema(fields)),
            )
