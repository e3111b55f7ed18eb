"""Airports: what is on the map, and a row for each hour at each airport of New York."""

from configs.flights.origins import origin_departures, origin_schedule
from configs.network.weather import airport_climate, airport_weather
from zipline import (
    Aggregation,
    BootstrapPart,
    Check,
    EntitySource,
    EventSource,
    GroupBy,
    Join,
    JoinPart,
    LabelPart,
    Operation,
    Query,
)

airports = GroupBy(
    keys=["airport"],
    sources=[EntitySource("airports", Query(["airport", "name", "latitude", "longitude", "altitude", "zone"]))],
    online=True,
    description="Name, place and zone, of the newest monthly snapshot. Some airports of the Caribbean are missing.",
)

actual_departures = GroupBy(
    keys=["origin"],
    sources=[
        EventSource(
            "flights",
            description="Flights that left, at the time when they left.",
            query=Query(["origin", "dep_delay"], where=["NOT cancelled"], time="dep_time"),
        )
    ],
    description="Delays of the flights that leave during a window, in minutes.",
    aggregations=[
        Aggregation("dep_delay", Operation.AVERAGE, windows=["3h"]),
        Aggregation("dep_delay", Operation.COUNT, windows=["3h"]),
    ],
)

airport_hours = Join(
    left=EventSource("weather", Query(["airport", "observed_at"], time="published_at")),
    row_id=["airport", "observed_at"],
    description="Each hour at each airport, and how late the flights of the next three hours were.",
    parts=[
        JoinPart(airport_weather),
        JoinPart(airport_climate),
        JoinPart(origin_schedule, key_map={"airport": "origin"}),
        JoinPart(origin_departures, key_map={"airport": "origin"}),
        JoinPart(airports),
    ],
    labels=LabelPart([JoinPart(actual_departures, key_map={"airport": "origin"})], offset="3h"),
    bootstrap=[BootstrapPart("weather_corrections", ["airport_weather_wind_speed_last_6h"])],
    checks=[Check.unique(["airport", "observed_at"]), Check.not_null("airport_weather_temperature_last_6h", 0.1)],
)
