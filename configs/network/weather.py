"""Weather at the three airports of New York, observed once an hour.

An observation is known one hour after the hour it is filed under: the files do not keep the minute (an assumption).
"""

from zipline import Accuracy, Aggregation, Check, Derivation, EventSource, GroupBy, Operation, Query, Topic

observations = EventSource(
    "weather",
    topic=Topic("weather"),
    description="Hourly observations: degrees Fahrenheit, miles per hour, inches of rain, miles of visibility.",
    query=Query(
        select=["airport", "temperature", "wind_speed", "wind_gust", "rain", "visibility", "pressure"],
        time="observed_at",
        known_at="published_at",
    ),
)

airport_weather = GroupBy(
    keys=["airport"],
    sources=[observations],
    online=True,
    description="The weather now, and how it has been in the last hours.",
    aggregations=[
        Aggregation("temperature", Operation.LAST, windows=["6h"]),
        Aggregation("wind_speed", Operation.LAST, windows=["6h"]),
        Aggregation("visibility", Operation.LAST, windows=["6h"]),
        Aggregation("visibility", Operation.MIN, windows=["6h"]),
        Aggregation("wind_gust", Operation.MAX, windows=["6h", "1d"]),
        Aggregation("rain", Operation.SUM, windows=["3h", "6h", "1d"]),
        Aggregation("pressure", Operation.FIRST, windows=["6h"]),
        Aggregation("pressure", Operation.LAST, windows=["6h"]),
    ],
    derivations=[Derivation("pressure_change", "pressure_last_6h - pressure_first_6h")],
    checks=[
        Check.between("temperature_last_6h", -40, 130),
        Check.between("rain_sum_1d", 0, 30),
        Check.freshness("6h", severity="warning"),
    ],
)

airport_climate = GroupBy(
    keys=["airport"],
    sources=[observations],
    online=True,
    description="What weather is usual, over whole days.",
    accuracy=Accuracy.SNAPSHOT,
    aggregations=[
        Aggregation("temperature", Operation.AVERAGE, windows=["7d", "30d"]),
        Aggregation("temperature", Operation.VARIANCE, windows=["30d"]),
        Aggregation("rain", Operation.KURTOSIS, windows=["30d"]),
    ],
)

current_weather = GroupBy(
    keys=["airport"],
    sources=[
        EventSource(
            "weather",
            description="The newest published observation.",
            query=Query(["airport", "visibility", "wind_speed"], time="observed_at", known_at="published_at"),
        )
    ],
    description="What the airport's weather service would have answered: a lookup, the latest row.",
)
