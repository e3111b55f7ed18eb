"""The real flights, made once for all tests of this folder."""

from __future__ import annotations

import pyarrow as pa
import pytest

from training.source_tables import source_tables


@pytest.fixture(scope="session")
def sources() -> dict[str, pa.Table]:
    return source_tables()
