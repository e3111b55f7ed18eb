"""The departure board: an entity with mutations, so a feature sees the board as it stands at that minute.

A flight that leaves is taken down, one that is cancelled changes its status. The daily dump is the board at midnight.
"""

from zipline import Aggregation, EntitySource, GroupBy, Operation, Query

board = EntitySource(
    snapshots="departure_board",
    mutations="departure_board_changes",
    description="Flights that have not left: on the board from three hours before their scheduled departure.",
    query=Query(
        select=["flight_id", "origin", "carrier", "status", "sched_dep"],
        time="sched_dep",
        mutation_time="changed_at",
        is_before="is_before",
    ),
)

origin_board = GroupBy(
    keys=["origin"],
    sources=[board],
    description="Flights that are overdue: scheduled before now and still on the board.",
    aggregations=[
        Aggregation("flight_id", Operation.COUNT, windows=["1h", "3h", None]),
        Aggregation("flight_id", Operation.COUNT, buckets=["status"]),
        Aggregation("sched_dep", Operation.MIN),
    ],
)

carrier_board = GroupBy(
    keys=["origin", "carrier"],
    sources=[board],
    description="The carrier's own overdue flights, and which has waited longest.",
    aggregations=[
        Aggregation("flight_id", Operation.COUNT),
        Aggregation("flight_id", Operation.FIRST),
    ],
)
