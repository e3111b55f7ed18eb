"""The sections `[tables.NAME]` of `zipline.toml`: sources outside the warehouse, and what is wrong in one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from zipline.values import dataclass

KEYS = ("path", "null_values", "delimiter", "catalog")
_OF_FILES = ("path", "null_values", "delimiter")
_NAMED = re.compile(r"[^.`\s]+(\.[^.`\s]+){0,2}")


@dataclass(frozen=True, slots=True)
class TableSettings:
    """Where a source is, and how its CSV is to be read; or its name in the catalog of a Spark session."""

    path: str = ""
    null_values: tuple[str, ...] = ("",)
    delimiter: str | None = None
    catalog: str = ""

    @property
    def place(self) -> str:
        """Where it is, for people."""
        return self.path or f"{self.catalog} of Spark's catalog"


def settings_of(given: Mapping[str, Any]) -> TableSettings:
    """Those of a section in which nothing is wrong."""
    nulls = tuple(given.get("null_values", [""]))
    return TableSettings(given.get("path", ""), nulls, given.get("delimiter"), given.get("catalog", ""))


def first_wrong(given: Mapping[str, Any], section: str) -> tuple[str, str, tuple[str, ...]] | None:
    """(what is wrong, the key, what is valid) in a section of known keys; None where nothing is."""
    if "path" not in given and "catalog" not in given:
        return f"[{section}] needs a path, or the name of a table of Spark's catalog", "", KEYS
    nulls = given.get("null_values", [""])
    if not isinstance(nulls, list) or not all(isinstance(each, str) for each in nulls):
        return f"null_values is a list of texts, not {nulls!r}", "null_values", ()
    for key in ("path", "delimiter", "catalog"):
        if key in given and not isinstance(given[key], str):
            return f"{key} is text, not {given[key]!r}", key, ()
    if len(given.get("delimiter", ",")) != 1:
        return f"delimiter is one character, not {given['delimiter']!r}", "delimiter", ()
    if "catalog" not in given:
        return None
    beside = next((key for key in _OF_FILES if key in given), None)
    if beside is not None:
        return f"[{section}] is a table of Spark's catalog, which knows where its files are: no {beside}", beside, ()
    if not _NAMED.fullmatch(given["catalog"]):
        names = ("orders", "sales.orders", "spark_catalog.sales.orders")
        return f"{given['catalog']!r} is no name of a table of Spark's catalog", "catalog", names
    return None
