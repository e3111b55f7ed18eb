"""Writing Parquet files of outputs."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from zipline.tables.storage import Storage


def write_parquet(storage: Storage, path: str, rows: pa.Table) -> int:
    """Writes a file, and gives its size in bytes."""
    if storage.scheme is None:
        storage.files.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
    repeated = [leaf for field in rows.schema for leaf in _repeated(field.name, field.type)]
    with storage.files.open(path, "wb") as opened:
        pq.write_table(rows, opened, use_dictionary=repeated)
    return int(storage.files.size(path))


def _repeated(path: str, dtype: pa.DataType) -> Iterator[str]:
    """The leaves of a column, as Parquet calls them, of which a dictionary is worth trying: all that is no float."""
    if pa.types.is_map(dtype):
        yield from _repeated(f"{path}.key_value.key", dtype.key_type)
        yield from _repeated(f"{path}.key_value.value", dtype.item_type)
    elif pa.types.is_list(dtype):
        yield from _repeated(f"{path}.list.element", dtype.value_type)
    elif pa.types.is_struct(dtype):
        for field in dtype:
            yield from _repeated(f"{path}.{field.name}", field.type)
    elif not pa.types.is_floating(dtype):
        yield path
