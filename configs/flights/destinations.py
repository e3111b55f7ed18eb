"""How flights fare that go the same way."""

from configs.flights.sources import landed, outcomes
from zipline import Aggregation, GroupBy, Operation

destination_arrivals = GroupBy(
    keys=["dest"],
    sources=[landed],
    online=True,
    description="Landings at the destination.",
    aggregations=[
        Aggregation("arr_delay", Operation.AVERAGE, windows=["3h", "12h", "7d"]),
        Aggregation("arr_delay", Operation.TOP_K, k=3, windows=["1d"]),
        Aggregation("arr_delay", Operation.MIN, windows=["1d"]),
        Aggregation("late", Operation.SUM, windows=["1d", "7d"], buckets=["carrier"]),
        Aggregation("carrier", Operation.BOUNDED_UNIQUE_COUNT, windows=["7d"]),
        Aggregation("late", Operation.COUNT, windows=["12h"]),
    ],
)

route_outcomes = GroupBy(
    keys=["origin", "dest"],
    sources=[outcomes],
    online=True,
    description="Flights of the route by their scheduled departure, as far as it is known how they ended.",
    aggregations=[
        Aggregation("arr_delay", Operation.AVERAGE, windows=["1d", "7d", "30d"]),
        Aggregation("arr_delay", Operation.LAST_K, k=5, windows=["7d"]),
        Aggregation("air_time", Operation.MIN, windows=["30d"]),
        Aggregation("disrupted", Operation.AVERAGE, windows=["7d", "30d"]),
        Aggregation("carrier", Operation.UNIQUE_COUNT, windows=["30d"]),
    ],
)

flight_history = GroupBy(
    keys=["carrier", "flight", "origin", "dest"],
    sources=[outcomes],
    online=True,
    description="The same flight number on the days before.",
    aggregations=[
        Aggregation("arr_delay", Operation.AVERAGE, windows=["7d", "30d"]),
        Aggregation("arr_delay", Operation.LAST, windows=["7d"]),
        Aggregation("arr_delay", Operation.VARIANCE, windows=["30d"]),
        Aggregation("disrupted", Operation.AVERAGE, windows=["30d"]),
        Aggregation("disrupted", Operation.COUNT, windows=[None]),
    ],
)
