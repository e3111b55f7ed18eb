"""The training set of the first model: will this flight arrive more than 15 minutes late?

Each row asks at the scheduled departure, when nothing of the flight itself is known but its timetable.
"""

from configs.flights.aircraft import aircraft_rotation
from configs.flights.carriers import carrier_arrivals, carrier_reliability
from configs.flights.destinations import destination_arrivals, flight_history, route_outcomes
from configs.flights.origins import origin_carrier_departures, origin_departures, origin_schedule, system_state
from configs.flights.sources import landed
from configs.network.airports import airports
from configs.network.fleet import airlines, fleet, operator_fleet, planes
from configs.network.weather import airport_climate, airport_weather
from zipline import (
    Aggregation,
    Check,
    Derivation,
    EventSource,
    GroupBy,
    Join,
    JoinPart,
    LabelPart,
    Operation,
    Query,
)

flight_outcome = GroupBy(
    keys=["flight_id"],
    sources=[landed],
    description="Whether the flight landed more than 15 minutes late; null if it never landed where it should.",
    aggregations=[Aggregation("late", Operation.MAX, windows=["2d"])],
)

departures = Join(
    left=EventSource(
        "flights",
        query=Query(
            select=["flight_id", "carrier", "flight", "tailnum", "origin", "dest", "distance", "local_hour", "weekday"],
            time="sched_dep",
        ),
    ),
    row_id=["flight_id"],
    online=True,
    description="Every flight at its scheduled departure, with what was known by then, and how late it landed.",
    parts=[
        JoinPart(carrier_arrivals),
        JoinPart(carrier_reliability),
        JoinPart(origin_schedule),
        JoinPart(origin_departures),
        JoinPart(origin_carrier_departures),
        JoinPart(system_state),
        JoinPart(destination_arrivals),
        JoinPart(route_outcomes),
        JoinPart(flight_history),
        JoinPart(aircraft_rotation),
        JoinPart(airport_weather, key_map={"origin": "airport"}, prefix="origin"),
        JoinPart(airport_climate, key_map={"origin": "airport"}, prefix="origin"),
        JoinPart(airports, key_map={"dest": "airport"}, prefix="dest", features=["latitude", "longitude", "altitude"]),
        JoinPart(planes, features=["built", "seats", "manufacturer"]),
        JoinPart(fleet),
        JoinPart(airlines),
        JoinPart(operator_fleet, key_map={"carrier": "operator"}),
    ],
    labels=LabelPart([JoinPart(flight_outcome)], offset="2d"),
    derivations=[
        Derivation("is_long_haul", "distance > 2000"),
        Derivation("aircraft_age", "2013 - planes_built"),
        Derivation("overdue", "origin_schedule_flight_id_count_3h - origin_departures_dep_delay_count_3h"),
    ],
    checks=[
        Check.unique("flight_id"),
        Check.in_set("origin", ["EWR", "JFK", "LGA"]),
        Check.not_null("label_flight_outcome_late_max_2d", max_rate=0.25, severity="warning"),
    ],
)
