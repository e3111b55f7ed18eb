"""One table of flights, read by four clocks: what can be known of a flight depends on where it is.

| source | happened at | known at |
|---|---|---|
| `scheduled` | scheduled departure | the same: timetables are published long before |
| `departed` | scheduled departure | actual departure |
| `outcomes` | scheduled departure | landing; a cancellation three hours later (an assumption) |
| `landed` | landing | the same |
"""

from zipline import EventSource, Query, Topic

scheduled = EventSource(
    "flights",
    topic=Topic("flights"),
    description="Every flight in the timetable, cancelled ones too.",
    query=Query(select=["flight_id", "carrier", "origin", "dest"], time="sched_dep"),
)

departed = EventSource(
    "flights",
    topic=Topic("flights"),
    description="Flights that left. How late is known when they leave, not when they should have.",
    query=Query(
        select={
            "carrier": "carrier",
            "origin": "origin",
            "dep_delay": "dep_delay",
            "delay_class": """CASE WHEN dep_delay <= 0 THEN 'none' WHEN dep_delay <= 15 THEN 'short'
                                   WHEN dep_delay <= 60 THEN 'long' ELSE 'severe' END""",
        },
        where=["NOT cancelled"],
        time="sched_dep",
        known_at="dep_time",
    ),
)

outcomes = EventSource(
    "flights",
    topic=Topic("flights"),
    description="How flights ended, by their scheduled departure: landed or cancelled. Diverted ones are left out.",
    query=Query(
        select={
            "carrier": "carrier",
            "flight": "flight",
            "origin": "origin",
            "dest": "dest",
            "arr_delay": "arr_delay",
            "air_time": "air_time",
            "cancelled": "CAST(cancelled AS INT)",
            "disrupted": "CASE WHEN cancelled OR arr_delay > 15 THEN 1 ELSE 0 END",
        },
        where=["NOT diverted"],
        time="sched_dep",
        known_at="COALESCE(arr_time, cancellation_known_at)",
    ),
)

landed = EventSource(
    "flights",
    topic=Topic("flights"),
    description="Landings: the delay of an arrival exists from here on.",
    query=Query(
        select={
            "flight_id": "flight_id",
            "carrier": "carrier",
            "tailnum": "tailnum",
            "origin": "origin",
            "dest": "dest",
            "arr_delay": "arr_delay",
            "air_time": "air_time",
            "made_up": "dep_delay - arr_delay",
            "late": "CAST(arr_delay > 15 AS INT)",
        },
        where=["arr_time IS NOT NULL"],
        time="arr_time",
    ),
)
