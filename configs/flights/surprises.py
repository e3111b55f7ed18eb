"""Chaining: features over the output of a join.

An arrival is a surprise by how much later it is than the carrier's usual delay at that time. The parent join computes
that for every landing; the children aggregate it.
"""

from configs.flights.carriers import carrier_arrivals
from zipline import Aggregation, Derivation, EventSource, GroupBy, Join, JoinPart, JoinSource, Operation, Query

landings = Join(
    left=EventSource(
        "flights",
        query=Query(
            select=["flight_id", "carrier", "origin", "dest", "arr_delay"],
            where=["arr_time IS NOT NULL"],
            time="arr_time",
        ),
    ),
    row_id=["flight_id"],
    description="Every landing beside what was usual for its carrier.",
    parts=[JoinPart(carrier_arrivals, features=["arr_delay_average_7d"])],
    derivations=[Derivation("surprise", "arr_delay - carrier_arrivals_arr_delay_average_7d")],
)

origin_surprises = GroupBy(
    keys=["origin"],
    sources=[JoinSource(landings, Query(["origin", "surprise"]))],
    description="How much worse than usual the flights from this airport have just fared.",
    aggregations=[
        Aggregation("surprise", Operation.AVERAGE, windows=["3h", "1d"]),
        Aggregation("surprise", Operation.MAX, windows=["3h"]),
    ],
)
