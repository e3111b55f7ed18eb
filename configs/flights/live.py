"""The board's view: what a traveller at the gate could be told, minute by minute.

Beside the features of the first model it uses everything else that the language has: an entity with mutations, a
chained join, a staging query, columns that come with the request, and a service asked at request time.
"""

from configs.flights.aircraft import aircraft_rotation
from configs.flights.board import carrier_board, origin_board
from configs.flights.departures import flight_outcome
from configs.flights.surprises import origin_surprises
from configs.network.traffic import airport_traffic
from configs.network.weather import current_weather
from zipline import (
    Check,
    Contextual,
    Derivation,
    EventSource,
    ExternalSource,
    Join,
    JoinPart,
    LabelPart,
    Query,
)

weather_service = ExternalSource(
    keys={"airport": "VARCHAR"},
    values={"visibility": "DOUBLE", "wind_speed": "DOUBLE"},
    handler="http://127.0.0.1:8600/weather",
    offline=current_weather,
    timeout="50ms",
    description="The airport's own weather service; in training the newest published observation stands for it.",
)

live_departures = Join(
    left=EventSource(
        "flights",
        query=Query(
            select=["flight_id", "carrier", "tailnum", "origin", "dest", "local_hour", "weekday"], time="sched_dep"
        ),
    ),
    row_id=["flight_id"],
    description="Every flight at its scheduled departure, with the board, the queue and the weather at that minute.",
    parts=[
        JoinPart(origin_board),
        JoinPart(carrier_board),
        JoinPart(origin_surprises),
        JoinPart(airport_traffic),
        JoinPart(aircraft_rotation, features=["arr_delay_last_1d", "is_resting"]),
        JoinPart(weather_service, key_map={"origin": "airport"}),
    ],
    contextual=Contextual({"local_hour": "INT", "weekday": "INT"}),
    labels=LabelPart([JoinPart(flight_outcome)], offset="2d"),
    derivations=[
        Derivation("is_weekend", "weekday >= 6"),
        Derivation("own_share", "carrier_board_flight_id_count / NULLIF(origin_board_flight_id_count, 0)"),
    ],
    checks=[Check.unique("flight_id"), Check.between("own_share", 0, 1)],
)
