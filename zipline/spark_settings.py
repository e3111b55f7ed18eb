"""The section `[spark]` of `zipline.toml`: where the Spark engine runs, and what is wrong in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field
from typing import Any

from zipline.values import dataclass

DEFAULTS = {"master": "local[*]", "remote": "", "scratch": "", "output_database": ""}
MASTERS = ("local[*]", "local[4]", "local-cluster[2,1,2048]", "spark://host:7077", "yarn", "k8s://https://host:443")
_MASTER = re.compile(r"local(\[[^\]]+\])?|local-cluster\[\d+,\d+,\d+\]|yarn|(spark|k8s)://.+")
_SECRET = re.compile(r"secret|password|token|credential|access.?key", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Spark:
    """With a `remote` (Spark Connect, sc://...) the `master` is the server's affair.

    `scratch` is a folder that driver and executors share, `settings` are those of the session. In `output_database` of
    the session's catalog outputs are tables; where it is empty they are none.
    """

    master: str = DEFAULTS["master"]
    remote: str = field(default="", repr=False)
    scratch: str = ""
    output_database: str = ""
    settings: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def is_here(self) -> bool:
        """Whether all of it runs on this machine."""
        return not self.remote and self.master.startswith("local")


def flat(given: Mapping[str, Any], above: str = "") -> dict[str, str]:
    """Dotted names: TOML reads `a.b = 1` as a section `a`."""
    found: dict[str, str] = {}
    for key, value in given.items():
        if isinstance(value, dict):
            found |= flat(value, f"{above}{key}.")
        else:
            found[above + key] = str(value).lower() if isinstance(value, bool) else str(value)
    return found


def is_secret(setting: str) -> bool:
    """Whether the value is nothing to be shown."""
    return _SECRET.search(setting) is not None


def first_wrong(spark: Spark) -> tuple[str, str, tuple[str, ...]] | None:
    """(what is wrong, the key, what is valid); None where nothing is."""
    if not _MASTER.fullmatch(spark.master):
        return f"{spark.master!r} is no master of Spark", "master", MASTERS
    if spark.remote and not spark.remote.startswith("sc://"):
        return f"{spark.remote!r} is no server of Spark Connect", "remote", ("sc://host:15002",)
    if spark.output_database and not re.fullmatch(r"[A-Za-z0-9_]+", spark.output_database):
        return f"{spark.output_database!r} is no name of a database", "output_database", ("features",)
    for key in ("master", "remote"):
        if f"spark.{key}" in spark.settings:
            return f"write {key} = ... in [spark]: spark.{key} is none of its settings", "settings", ()
    strange = next((name for name in spark.settings if not name.startswith("spark.")), None)
    if strange is not None:
        return f"{strange!r} is no setting of Spark: their names begin with spark.", "settings", ()
    return None
