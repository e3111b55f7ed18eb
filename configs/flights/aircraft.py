"""Where an aircraft has been, and whether it came in late."""

from configs.flights.sources import landed
from zipline import Aggregation, Derivation, GroupBy, Operation

aircraft_rotation = GroupBy(
    keys=["tailnum"],
    sources=[landed],
    online=True,
    description="The aircraft's earlier flights out of New York; its flights back are not in the data.",
    aggregations=[
        Aggregation("arr_delay", Operation.LAST, windows=["1d", "7d"]),
        Aggregation("arr_delay", Operation.LAST_K, k=3, windows=["7d"]),
        Aggregation("made_up", Operation.AVERAGE, windows=["30d"]),
        Aggregation("dest", Operation.LAST, windows=["1d"]),
        Aggregation("dest", Operation.UNIQUE_COUNT, windows=["30d"]),
        Aggregation("air_time", Operation.SUM, windows=["1d", "7d"]),
    ],
    derivations=[Derivation("is_resting", "COALESCE(air_time_sum_1d, 0) = 0")],
)
