"""Partials as the job makes them: what of a group-by it is told, and how its tiles are read.

The job keeps of a *place* (a key, a day of availability, the start of a tile) what the online store keeps, in words and
IRs of the same form (`zipline.algebra.layout`, `zipline.algebra.codec`). What is kept of a group-by is a JSON text,
which the Java classes of `zipline.flink.algebra` read. It belongs to the type of a tile: in SQL `tile_type` is what a
column of tiles is declared as, and its NULL the first argument of `zipline_tile`.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from zipline.algebra.codec import CodecError, Reader
from zipline.algebra.columnar.blocks import Irs
from zipline.algebra.layout import WORD
from zipline.plan.online import Kept
from zipline.types import DataType

TILE = "zipline.flink.algebra.Tile"
"""The class of a tile."""
_SNAPSHOT = "zipline.flink.algebra.TileSerializer$Snapshot"
_VERSION = 1
LATEST = "LATEST"
"""The operation of a lookup."""


def columns(kept: Kept) -> dict[str, DataType]:
    """The columns that a tile takes, in the order in which `zipline_tile` has them behind its first four arguments."""
    found: dict[str, DataType] = {}
    for feature in kept.features:
        if feature.bucket is not None and feature.bucket_type is not None:
            found.setdefault(feature.bucket, feature.bucket_type)
        found.setdefault(feature.input, feature.input_type)
    return found


def described(kept: Kept) -> str:
    """What the job keeps of the group-by."""
    types = columns(kept)
    place = {name: number for number, name in enumerate(types)}
    bucketed = {kept.reduction(feature): feature.bucket is not None for feature in kept.others}
    irs = [
        {
            "operation": LATEST if kept.group_by.lookup else each.operation,
            "columns": [place[name] for name in each.columns],
            "k": each.k,
            "percentiles": each.percentiles,
            "bucket": bucketed[each],
        }
        for each in kept.reductions
    ]
    told = {
        "signed": kept.is_signed,
        "width": kept.tile,
        "columns": [str(dtype) for dtype in types.values()],
        "states": [{"kind": state.kind, "column": place[state.input]} for state in kept.layout.states],
        "irs": irs,
    }
    return json.dumps(told, separators=(",", ":"))


def tile_type(spec: str) -> str:
    """The SQL type of the tiles of what `described` gave."""
    name, text = _SNAPSHOT.encode(), spec.encode()
    snapshot = struct.pack(">H", len(name)) + name + struct.pack(">ii", _VERSION, len(text)) + text
    return f"RAW('{TILE}', '{base64.b64encode(snapshot).decode()}')"


def opened(kept: Kept, blobs: Sequence[bytes]) -> tuple[NDArray[np.int64], Irs]:
    """(the words of tiles, a row each, their IRs); CodecError where one is damaged."""
    size = kept.layout.words * WORD
    has_irs = bool(kept.reductions)
    if any(len(blob) < size or (len(blob) > size and not has_irs) for blob in blobs):
        raise CodecError("a tile has not the length that its group-by gives it")
    words = np.frombuffer(b"".join([blob[:size] for blob in blobs]), "<i8").reshape(-1, kept.layout.words)
    return words.astype(np.int64, copy=False), [_irs(kept, blob, size) for blob in blobs] if has_irs else []


def _irs(kept: Kept, blob: bytes, size: int) -> list[object]:
    reader = Reader(blob, size)
    try:
        return list(reader.finish([reader.read() for _ in kept.reductions]))
    except (ArithmeticError, RuntimeError, TypeError, ValueError) as error:  # of text, days, keys and sketches
        raise CodecError(f"the results of a tile are damaged: {error}") from error
