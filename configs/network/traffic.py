"""A staging query: SQL that makes a table of its own, day by day, and features over it."""

from zipline import Accuracy, Aggregation, EventSource, GroupBy, Operation, Query, StagingQuery

daily_traffic = StagingQuery(
    description="Flights of a day by airport of departure: how many, to how many places, how many cancelled.",
    sql="""
        SELECT origin, count(*) AS flights, count(DISTINCT dest) AS destinations,
            count(*) FILTER (WHERE cancelled) AS cancellations,
            CAST(ds AS DATE) AS day, ds
        FROM flights
        WHERE ds BETWEEN {{ start_date }} AND {{ end_date }}
        GROUP BY origin, ds
    """,
    start="2013-01-01",
)

airport_traffic = GroupBy(
    keys=["origin"],
    sources=[
        EventSource(daily_traffic, query=Query(["origin", "flights", "destinations", "cancellations"], time="day"))
    ],
    description="How busy the last days were; whole days only.",
    accuracy=Accuracy.SNAPSHOT,
    aggregations=[
        Aggregation("flights", Operation.AVERAGE, windows=["7d", "28d"]),
        Aggregation("cancellations", Operation.SUM, windows=["1d", "7d"]),
        Aggregation("destinations", Operation.MAX, windows=["28d"]),
    ],
)
