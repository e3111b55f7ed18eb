"""The functions of `moments`, made callable from Numba kernels.

Importing this module registers them with Numba; from then on a kernel may call `moments.add` and the others by
ordinary import. They stay plain Python for everybody else. A kernel compiled with `cache=True` holds a compiled copy
of what it calls: after a change here its cached files must be deleted.
"""

from __future__ import annotations

from numba.extending import register_jitable

from zipline.algebra import moments

FUNCTIONS = (
    moments.shift_mean,
    moments.deviate,
    moments.precedes,
    moments.add_spread,
    moments.add,
    moments.merge_spread,
    moments.merge,
    moments.variance,
    moments.skew,
    moments.kurtosis,
)

for _function in FUNCTIONS:
    register_jitable(_function)
