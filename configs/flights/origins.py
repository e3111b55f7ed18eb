"""What is going on at the airport of departure, and in the whole system."""

from configs.flights.sources import departed, outcomes, scheduled
from zipline import Aggregation, Check, GroupBy, Operation

origin_schedule = GroupBy(
    keys=["origin"],
    sources=[scheduled],
    online=True,
    description="How busy the timetable is.",
    aggregations=[
        Aggregation("flight_id", Operation.COUNT, windows=["1h", "3h", "1d"]),
        Aggregation("flight_id", Operation.COUNT, windows=["3h"], buckets=["carrier"]),
        Aggregation("dest", Operation.UNIQUE_COUNT, windows=["6h"]),
    ],
)

origin_departures = GroupBy(
    keys=["origin"],
    sources=[departed],
    online=True,
    description="Departure delays in minutes, of flights that have really left by now.",
    aggregations=[
        Aggregation("dep_delay", Operation.AVERAGE, windows=["1h", "3h", "6h", "1d"]),
        Aggregation("dep_delay", Operation.MAX, windows=["3h"]),
        Aggregation("dep_delay", Operation.COUNT, windows=["1h", "3h"]),
        Aggregation("delay_class", Operation.HISTOGRAM, windows=["6h", "7d"]),
    ],
    checks=[Check.between("dep_delay_average_1d", -60, 1440)],
)

origin_carrier_departures = GroupBy(
    keys=["origin", "carrier"],
    sources=[departed],
    online=True,
    description="The same for one carrier at one airport.",
    aggregations=[
        Aggregation("dep_delay", Operation.AVERAGE, windows=["2h", "6h", "7d"]),
        Aggregation("dep_delay", Operation.LAST, windows=["1d"]),
        Aggregation("dep_delay", Operation.SKEW, windows=["30d"]),
    ],
)

system_state = GroupBy(
    keys=[],
    sources=[outcomes],
    online=True,
    description="All flights together: no key.",
    aggregations=[
        Aggregation("disrupted", Operation.AVERAGE, windows=["12h", "2d"]),
        Aggregation("cancelled", Operation.SUM, windows=["12h", "2d"]),
        Aggregation("flight", Operation.COUNT, windows=["12h"]),
    ],
)
