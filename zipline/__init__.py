"""Features defined once in Python: point-in-time-correct training sets, and the same values online.

The names of the language are here at once; the functions are imported when first used, so that `import zipline` loads
no engine.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from zipline.api import *  # noqa: F403
from zipline.api import __all__ as _language
from zipline.errors import ZiplineError as ZiplineError

if TYPE_CHECKING:
    from zipline.client import Client as Client
    from zipline.engines.frames import aggregate as aggregate
    from zipline.engines.frames import backfill as backfill
    from zipline.engines.frames import explain_value as explain_value
    from zipline.engines.frames import training_set as training_set
    from zipline.fetch.fetcher import Fetcher as Fetcher
    from zipline.orchestration.local_platform import LocalPlatform as LocalPlatform
    from zipline.plan.definitions import load as load
    from zipline.plan.fingerprints import fingerprint as fingerprint

_FUNCTIONS = {
    "Client": "zipline.client",
    "Fetcher": "zipline.fetch.fetcher",
    "LocalPlatform": "zipline.orchestration.local_platform",
    "aggregate": "zipline.engines.frames",
    "backfill": "zipline.engines.frames",
    "explain_value": "zipline.engines.frames",
    "fingerprint": "zipline.plan.fingerprints",
    "load": "zipline.plan.definitions",
    "training_set": "zipline.engines.frames",
}

__all__ = list(_language)


def __getattr__(name: str) -> Any:
    if name not in _FUNCTIONS:
        raise AttributeError(f"module 'zipline' has no attribute {name!r}")
    return getattr(import_module(_FUNCTIONS[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "ZiplineError", *_FUNCTIONS])
