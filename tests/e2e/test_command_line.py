"""The command line as a new author meets it: a shop of four tables in three formats, from files to features.

The project of this file is small enough to work out every value by hand, and is what `test_bad_input` spoils.
"""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.unit.cli.conftest import Ran
from zipline.cli.main import execute
from zipline.tables.delta import DeltaOutput

ZIPLINE = str(Path(sys.executable).with_name("zipline"))
JOIN = "store.training.visits"
FILES = {
    "zipline.toml": """
        name = "store"
        [tables.orders]
        path = "data/orders.csv"
        [tables.clicks]
        path = "data/clicks"
        [tables.profiles]
        path = "data/profiles"
        [tables.visits]
        path = "data/visits.jsonl"
        [environments.dev]
        [environments.prod]
        [environments.prod.warehouse]
        url = "lake"
    """,
    "configs/store/team.py": """
        from zipline import Team

        team = Team(owner="store")
    """,
    "configs/store/sources.py": """
        from zipline import EntitySource, EventSource, Query

        orders = EventSource(
            "orders",
            Query(
                select={"customer": "customer", "amount": "amount", "large": "CAST(amount > 6 AS INT)"},
                time="ordered_at",
                known_at="booked_at",
            ),
        )
        clicks = EventSource("clicks", Query(select=["customer", "page"], time="at"))
        profiles = EntitySource("profiles", Query(select=["customer", "tier"]))
    """,
    "configs/store/features.py": """
        from configs.store.sources import clicks, orders, profiles
        from zipline import Aggregation, Derivation, GroupBy, Operation

        spend = GroupBy(
            keys=["customer"],
            sources=[orders],
            aggregations=[
                Aggregation("amount", Operation.SUM, windows=["1d"]),
                Aggregation("large", Operation.SUM, windows=["1d"]),
            ],
            derivations=[Derivation("per_large", "amount_sum_1d / large_sum_1d")],
        )
        browsing = GroupBy(
            keys=["customer"], sources=[clicks], aggregations=[Aggregation("page", Operation.COUNT, windows=["1d"])]
        )
        profile = GroupBy(keys=["customer"], sources=[profiles])
        reorder = GroupBy(
            keys=["customer"], sources=[orders], aggregations=[Aggregation("amount", Operation.COUNT, windows=["1d"])]
        )
    """,
    "configs/store/training.py": """
        from configs.store.features import browsing, profile, reorder, spend
        from zipline import Check, EventSource, Join, JoinPart, LabelPart, Query

        visits = Join(
            left=EventSource("visits", Query(select=["visit", "customer"], time="at")),
            row_id=["visit"],
            parts=[JoinPart(spend), JoinPart(browsing), JoinPart(profile)],
            labels=LabelPart([JoinPart(reorder)], offset="1d"),
            checks=[Check.unique("visit")],
        )
    """,
    "data/orders.csv": """
        order,customer,amount,ordered_at,booked_at
        1,ann,20,2024-05-01T09:00:00Z,2024-05-01T10:00:00Z
        2,ann,5,2024-05-02T08:00:00Z,2024-05-03T08:00:00Z
        3,bob,7,2024-05-02T10:00:00Z,2024-05-02T10:05:00Z
        4,bob,3,2024-05-02T20:00:00Z,2024-05-02T20:00:00Z
        5,cat,1,2024-05-05T00:00:00Z,2024-05-05T00:00:00Z
    """,
    "data/visits.jsonl": """
        {"visit": 1, "customer": "ann", "at": "2024-05-02T08:30:00Z"}
        {"visit": 2, "customer": "bob", "at": "2024-05-02T12:00:00Z"}
        {"visit": 3, "customer": "ann", "at": "2024-05-03T09:00:00Z"}
        {"visit": 4, "customer": "bob", "at": "2024-05-04T10:00:00Z"}
    """,
}
CLICKS = {
    "2024-05-01": [("bob", "cart", "2024-05-01T12:00:00Z"), ("ann", "home", "2024-05-01T23:50:00Z")],
    "2024-05-02": [("ann", "cart", "2024-05-02T08:00:00Z")],
}
PROFILES = {
    "2024-05-01": [("ann", "gold"), ("bob", "basic")],
    "2024-05-02": [("ann", "basic"), ("bob", "basic")],
}
RANGE = ("--start", "2024-05-02", "--end", "2024-05-04")
VISITS = {
    "visit": [1, 2, 3],
    "customer": ["ann", "bob", "ann"],
    "spend_amount_sum_1d": [20, 7, None],  # order 2 was booked after visit 1, and lies before the window of visit 3
    "spend_large_sum_1d": [1, 1, None],
    "spend_per_large": [20.0, 7.0, None],
    "browsing_page_count_1d": [2, 1, 0],
    "profile_tier": ["gold", "basic", "basic"],  # of the day before
    "label_reorder_amount_count_1d": [0, 1, 0],  # orders end on May 5, so visit 4 is not mature
    "ds": ["2024-05-02", "2024-05-02", "2024-05-03"],
}

Zipline = Callable[..., Ran]


def write_project(root: Path) -> Path:
    for name, text in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text).lstrip())
    for day, clicks in CLICKS.items():
        write_day(root, "clicks", day, [{"customer": c, "page": p, "at": at} for c, p, at in clicks])
    for day, profiles in PROFILES.items():
        write_day(root, "profiles", day, [{"customer": c, "tier": tier} for c, tier in profiles])
    return root


def write_day(root: Path, table: str, day: str, rows: list[dict[str, Any]]) -> Path:
    path = root / "data" / table / f"ds={day}" / "rows.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def output(root: Path, table: str = f"dev_{JOIN}", warehouse: str = ".zipline/warehouse") -> DeltaOutput:
    return DeltaOutput(str(root / warehouse / table))


def command(*arguments: str, project: Path, **how: Any) -> Ran:
    """The command as it is installed, in a process of its own."""
    done = subprocess.run([ZIPLINE, *arguments], cwd=project, capture_output=True, text=True, **how)
    return Ran(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    return write_project(tmp_path)


@pytest.fixture
def zipline(shop: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Zipline:
    """Runs `zipline ARGUMENTS` in the project's folder, in this process."""
    monkeypatch.chdir(shop)

    def run(*arguments: str) -> Ran:
        capsys.readouterr()
        code = execute(arguments)
        shown = capsys.readouterr()
        return Ran(code, shown.out, shown.err)

    return run


def test_from_files_to_features_by_the_installed_command(shop: Path) -> None:
    assert command("doctor", project=shop).code == 0
    compiled = command("compile", project=shop)
    assert (compiled.code, compiled.err) == (0, "")
    assert "created 8" in compiled.out
    planned = command("plan", JOIN, *RANGE, project=shop)
    assert (planned.code, planned.err) == (0, "")
    assert planned.out.splitlines()[-1] == f"next: zipline backfill {JOIN} {shlex.join(RANGE)}"
    published = command("backfill", JOIN, *RANGE, project=shop)
    assert published.code == 0, published.err
    rows = output(shop).read()
    assert {name: rows.column(name).to_pylist() for name in VISITS} == VISITS


def test_what_is_done_is_not_done_again(zipline: Zipline, shop: Path) -> None:
    zipline("backfill", JOIN, *RANGE)
    again = zipline("backfill", JOIN, *RANGE, "--json").facts
    assert again["skipped"] == ["2024-05-02", "2024-05-03", "2024-05-04"]
    assert again["published"] == [], "a label that is not complete waits for data"


def test_every_step_size_gives_the_same_rows(zipline: Zipline, shop: Path) -> None:
    zipline("backfill", JOIN, *RANGE, "--step-days", "1")
    by_days = output(shop).read()
    zipline("backfill", JOIN, *RANGE, "--force")
    assert output(shop).read().equals(by_days)


@pytest.mark.parametrize(
    "options", [(), ("--scoring",), ("--environment", "prod"), ("--as-of", "2024-05-03T00:00:00Z")]
)
def test_the_command_that_plan_suggests_does_what_was_planned(
    zipline: Zipline, shop: Path, options: tuple[str, ...]
) -> None:
    facts = zipline("plan", JOIN, *RANGE, *options, "--json").facts
    done = zipline(*shlex.split(facts["next"])[1:], "--json")
    assert done.code == 0, done.err
    assert done.facts["uri"] == facts["output"]["uri"]
    after = zipline("plan", JOIN, *RANGE, *options, "--json").facts["output"]
    assert (after["finished"] or after["outdated"])[0][0] == "2024-05-02"
    assert after["missing"] == []


def test_a_variable_overrides_the_file(zipline: Zipline, shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZIPLINE_WAREHOUSE_URL", "elsewhere")
    assert zipline("backfill", JOIN, *RANGE).code == 0
    assert output(shop, warehouse="elsewhere").read().num_rows == 3
    assert not (shop / ".zipline" / "warehouse").exists()
    settings = {each["name"]: each for each in zipline("doctor", "--json").facts["settings"]}
    assert settings["warehouse.url"] == {
        "name": "warehouse.url",
        "value": "elsewhere",
        "source": "ZIPLINE_WAREHOUSE_URL",
    }


def test_an_environment_has_tables_of_its_own(zipline: Zipline, shop: Path) -> None:
    assert zipline("backfill", JOIN, *RANGE, "--environment", "prod").code == 0
    assert output(shop, f"prod_{JOIN}", "lake").read().num_rows == 3
    assert not output(shop).exists()


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl", "arrow"])
def test_features_for_any_rows(zipline: Zipline, shop: Path, suffix: str) -> None:
    (shop / "rows.csv").write_text("customer,ts,note\nann,2024-05-02T08:30:00Z,a\nbob,2024-05-02T12:00:00Z,b\n")
    named = "store.features.spend.amount_sum_1d,store.features.profile.tier"
    facts = zipline("train-set", "--rows", "rows.csv", "--features", named, "--out", f"out.{suffix}", "--json").facts
    assert facts["columns"] == ["customer", "ts", "note", "spend_amount_sum_1d", "profile_tier"]
    assert [path.name for path in shop.glob("*out*")] == [f"out.{suffix}"]
    if suffix == "parquet":
        rows = pq.read_table(shop / "out.parquet")
        assert rows.column("spend_amount_sum_1d").to_pylist() == [20, 7]
        assert rows.column("profile_tier").to_pylist() == ["gold", "basic"]


def test_an_explanation_names_the_events_and_why_others_are_left_out(zipline: Zipline) -> None:
    row = json.dumps({"customer": "ann", "ts": "2024-05-02T08:30:00Z"})
    facts = zipline("explain", JOIN, "spend_amount_sum_1d", "--row", row, "--json").facts
    assert facts["value"] == 20
    assert facts["counts"] == {"seen": 1, "not yet known": 1}
    assert [event["time"] for event in facts["events"] if event["verdict"] == "seen"] == ["2024-05-01T09:00:00Z"]
    shown = zipline("explain", JOIN, "spend_per_large", "--row", row).out
    assert "spend_per_large = 20.0" in shown
    assert "= amount_sum_1d / large_sum_1d" in shown


def test_a_row_with_a_null_key_is_explained_too(zipline: Zipline) -> None:
    row = json.dumps({"customer": None, "ts": "2024-05-02T08:30:00Z"})
    ran = zipline("explain", JOIN, "browsing_page_count_1d", "--row", row)
    assert ran.code == 0
    assert "browsing_page_count_1d = 0" in ran.out
    assert "for customer=None at 2024-05-02T08:30:00Z" in ran.out
    assert "sees 2024-05-01T08:00:00Z <= time < 2024-05-02T08:30:00Z" in ran.out
    assert "the key customer is null, which is no key: no event is of it" in ran.out
    assert "nothing is in the window: COUNT is then 0" in ran.out


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_folders_of_days_may_hold_text_as_well_as_parquet(zipline: Zipline, shop: Path, form: str) -> None:
    for path in [*(shop / "data").rglob("ds=*/rows.parquet")]:
        rows = pq.read_table(path).to_pylist()
        text = [",".join(rows[0]), *(",".join(row.values()) for row in rows)]
        path.with_suffix(f".{form}").write_text("\n".join(text if form == "csv" else map(json.dumps, rows)) + "\n")
        path.unlink()
    reads = zipline("plan", JOIN, *RANGE, "--json").facts["reads"]
    assert {read["table"]: read["present"] for read in reads if read["partition"]} == {"clicks": 2, "profiles": 2}
    assert zipline("backfill", JOIN, *RANGE).code == 0
    rows = output(shop).read()
    assert {name: rows.column(name).to_pylist() for name in VISITS} == VISITS
    assert zipline("backfill", JOIN, *RANGE, "--json").facts["skipped"] == ["2024-05-02", "2024-05-03", "2024-05-04"]


def test_json_is_all_that_a_command_prints(shop: Path) -> None:
    for arguments in (
        ("compile",),
        ("plan", JOIN, *RANGE),
        ("backfill", JOIN, *RANGE),
        ("doctor",),
        ("plan", "nothing"),
    ):
        ran = command(*arguments, "--json", project=shop)
        assert isinstance(json.loads(ran.out), dict), arguments


def test_a_project_is_found_from_a_folder_within_it(shop: Path) -> None:
    ran = command("compile", "--json", project=shop / "configs" / "store")
    assert ran.facts["folder"] == os.path.join(shop, ".zipline", "compiled")
