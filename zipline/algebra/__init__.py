"""How values combine: one implementation of each operation, the windows, the tiles and the codec of results.

An aggregation is four functions over an intermediate result (IR): prepare one value, update with one more, merge two,
finalize into a feature. Everything the platform does is a schedule of those calls. `windows` decides which events a
query sees; `operations` builds aggregators; `tiles` keys partials by hop and day of availability; `codec` writes IRs;
`columnar` does the same over sorted columns. Names are imported when first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zipline.algebra.codec import CodecError as CodecError
    from zipline.algebra.codec import decode as decode
    from zipline.algebra.codec import encode as encode
    from zipline.algebra.codec import pack as pack
    from zipline.algebra.codec import unpack as unpack
    from zipline.algebra.contract import Aggregator as Aggregator
    from zipline.algebra.operations import aggregator as aggregator
    from zipline.algebra.operations import empty_value as empty_value
    from zipline.algebra.operations import result_type as result_type
    from zipline.algebra.totals import SumOverflow as SumOverflow

_HOMES = {
    "Aggregator": "contract",
    "CodecError": "codec",
    "SumOverflow": "totals",
    "aggregator": "operations",
    "decode": "codec",
    "empty_value": "operations",
    "encode": "codec",
    "pack": "codec",
    "result_type": "operations",
    "unpack": "codec",
}

__all__ = [
    "Aggregator",
    "CodecError",
    "SumOverflow",
    "aggregator",
    "decode",
    "empty_value",
    "encode",
    "pack",
    "result_type",
    "unpack",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'zipline.algebra' has no attribute {name!r}")
    return getattr(import_module(f"zipline.algebra.{_HOMES[name]}"), name)
