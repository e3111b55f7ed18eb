"""Five sets of keys, a table for each, and twenty group-bys over each table: six features each."""

from zipline import Aggregation, EventSource, GroupBy, Join, JoinPart, Query

KEYS = ("user", "item", "shop", "device", "city")
VALUES = ("v0", "v1", "v2", "v3")
WINDOWS = (["1h", "1d", "7d"], ["2h", "2d", "14d"], ["3h", "3d", "21d"], ["6h", "5d", "28d"], ["12h", "10d", "30d"])


def totals(key: str, value: str, windows: list[str]) -> GroupBy:
    source = EventSource(f"{key}_events", Query([key, value], time="at"))
    return GroupBy([key], [source], [Aggregation(value, operation, windows=windows) for operation in ("SUM", "MAX")])


group_bys = {
    f"{key}_{value}_{windows[-1]}": totals(key, value, windows)
    for key in KEYS
    for value in VALUES
    for windows in WINDOWS
}
wide = Join(EventSource("orders", Query([*KEYS], time="at")), [JoinPart(each) for each in group_bys.values()])
