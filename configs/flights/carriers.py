"""How punctual each carrier is."""

from configs.flights.sources import landed, outcomes
from zipline import Accuracy, Aggregation, Check, Derivation, GroupBy, Operation

carrier_arrivals = GroupBy(
    keys=["carrier"],
    sources=[landed],
    online=True,
    description="Arrival delays of the carrier's landings so far, in minutes.",
    aggregations=[
        Aggregation("arr_delay", Operation.AVERAGE, windows=["6h", "1d", "7d"]),
        Aggregation("arr_delay", Operation.VARIANCE, windows=["7d"]),
        Aggregation("arr_delay", Operation.APPROX_PERCENTILE, percentiles=[0.5, 0.95], windows=["30d"]),
        Aggregation("late", Operation.SUM, windows=["1d"], buckets=["origin"]),
        Aggregation("late", Operation.AVERAGE, windows=["6h", "1d", "30d"]),
    ],
    derivations=[Derivation("delay_trend", "arr_delay_average_1d - arr_delay_average_7d")],
    checks=[
        Check.between("late_average_30d", 0, 1),
        Check.not_null("arr_delay_average_7d", max_rate=0.05, severity="warning"),
    ],
)

carrier_reliability = GroupBy(
    keys=["carrier"],
    sources=[outcomes],
    online=True,
    description="Cancelled and disrupted flights over whole days, for reports that must not change during a day.",
    accuracy=Accuracy.SNAPSHOT,
    aggregations=[
        Aggregation("cancelled", Operation.SUM, windows=["1d", "7d"]),
        Aggregation("disrupted", Operation.AVERAGE, windows=["7d", "30d"]),
        Aggregation("arr_delay", Operation.TOP_K, k=3, windows=["7d"]),
    ],
)
