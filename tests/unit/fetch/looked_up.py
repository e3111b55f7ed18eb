"""What the join `j` of a platform says of somebody."""

from typing import Any

from zipline import LocalPlatform


def values(platform: LocalPlatform, who: Any = "ann", *, is_equal: bool = True) -> list[Any]:
    """The features of somebody now. They are a backfill's, but where it is said that they need not be."""
    if is_equal:
        assert platform.assert_online_equals_offline("j") > 0
    return list(platform.fetch("j", [{"who": who}]).rows()[0].values())


def status(platform: LocalPlatform, who: Any = "ann") -> set[str]:
    found = platform.fetch("j", [{"who": who}])
    return {found.status(0, name) for name in found.features}
