"""Aircraft and who flies them: monthly snapshots, so a feature is as it stood at the end of the month before."""

from zipline import Aggregation, EntitySource, GroupBy, Operation, Query

planes = GroupBy(
    keys=["tailnum"],
    sources=[EntitySource("planes", Query(["tailnum", "built", "manufacturer", "model", "seats", "engines"]))],
    online=True,
    description="The aircraft register: one row for each aircraft, without windows.",
)

airlines = GroupBy(
    keys=["carrier"],
    sources=[EntitySource("airlines", Query(["carrier", "name"]))],
    online=True,
    description="The carrier's full name.",
)

operated = EntitySource(
    "fleet",
    description="Aircraft seen so far this year, with the carrier that flew them last.",
    query=Query(["tailnum", "operator", "departures", "seats"], time="last_departure"),
)

fleet = GroupBy(
    keys=["tailnum"],
    sources=[operated],
    online=True,
    description="Who flew the aircraft last, and how often it has left New York this year.",
)

operator_fleet = GroupBy(
    keys=["operator"],
    sources=[operated],
    online=True,
    description="Size of a carrier's fleet: an aggregation over the rows of a snapshot.",
    aggregations=[
        Aggregation("tailnum", Operation.COUNT, windows=["30d", None]),
        Aggregation("seats", Operation.AVERAGE),
        Aggregation("departures", Operation.SUM),
    ],
)
