"""Three hundred features from one loop: every way to group landings, every window, one pass over the table."""

from configs.flights.sources import landed
from zipline import Aggregation, EventSource, GroupBy, Join, JoinPart, Operation, Query

WINDOWS = ["1h", "3h", "6h", "12h", "1d", "2d", "3d", "7d", "14d", "30d"]
KEYS = {
    "carrier": ["carrier"],
    "origin": ["origin"],
    "dest": ["dest"],
    "route": ["origin", "dest"],
    "carrier_route": ["carrier", "origin", "dest"],
    "aircraft": ["tailnum"],
}

landings = {
    name: GroupBy(
        keys=keys,
        sources=[landed],
        description=f"Landings of one {name.replace('_', ' ')}, over ten windows.",
        aggregations=[
            Aggregation("arr_delay", Operation.AVERAGE, windows=WINDOWS),
            Aggregation("arr_delay", Operation.VARIANCE, windows=WINDOWS),
            Aggregation("arr_delay", Operation.MAX, windows=WINDOWS),
            Aggregation("made_up", Operation.AVERAGE, windows=WINDOWS),
            Aggregation("late", Operation.SUM, windows=WINDOWS),
        ],
    )
    for name, keys in KEYS.items()
}

route_history = Join(
    left=EventSource("flights", Query(["flight_id", "carrier", "tailnum", "origin", "dest"], time="sched_dep")),
    row_id=["flight_id"],
    description="Every departure with 300 features of earlier landings.",
    parts=[JoinPart(group_by) for group_by in landings.values()],
)
