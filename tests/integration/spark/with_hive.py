"""A session with a Hive metastore on embedded Derby, to be run as a program: one process can have one of them.

    python -m tests.integration.spark.with_hive FOLDER

The tables of a company are tables of its catalog: `payments` is Hive's own Parquet over the folders of the company,
`accounts` Spark's with dates as days, `logins` is ORC, `account_changes` Delta. Beside it stands a copy of the company
whose tables are paths, which the local engine computes. It prints what it saw as JSON.
"""

from __future__ import annotations

import contextlib
import filecmp
import io
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from tests.e2e.daily_company import FIRST, JOIN, LAST, Company
from zipline import Aggregation, EventSource, GroupBy, Join, JoinPart, Operation, Query, aggregate, backfill
from zipline.cli.main import execute
from zipline.engines.spark.catalog_tables import open_table
from zipline.engines.spark.session import DELTA, DELTA_SETTINGS, session_of
from zipline.errors import ZiplineError
from zipline.project import load_project
from zipline.tables.delta import DeltaOutput

JVM = "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m"
TABLES = ("payments", "logins", "accounts", "account_changes")


def settings(folder: Path) -> str:
    """The company's zipline.toml, but for its tables."""
    own = {
        "spark.ui.enabled": "false",
        "spark.sql.shuffle.partitions": "2",
        "spark.sql.catalogImplementation": "hive",
        "spark.hadoop.javax.jdo.option.ConnectionURL": f"jdbc:derby:;databaseName={folder}/metastore_db;create=true",
        "spark.sql.warehouse.dir": f"{folder}/hive",
        "spark.driver.extraJavaOptions": f"-Dderby.system.home={folder} {JVM}",
        "spark.jars.packages": DELTA,
        **DELTA_SETTINGS,
    }
    lines = [f'{name} = "{value}"' for name, value in own.items()]
    head = ['name = "bank"', "[spark]", 'master = "local[2]"', 'output_database = "features"', "[spark.settings]"]
    return "\n".join([*head, *lines, *(f'[tables.{name}]\ncatalog = "sales.{name}"' for name in TABLES)]) + "\n"


class Metastore:
    """The company's tables in the session's catalog."""

    def __init__(self, company: Company) -> None:
        (company.root / "zipline.toml").write_text(settings(company.root.parent))
        self.spark, self._data = session_of(load_project(company.root)), company.root / "data"
        for name in ("sales", "features"):
            self.spark.sql(f"CREATE DATABASE {name}")
        columns = {name: self._columns(name) for name in TABLES}
        self.spark.sql(
            f"CREATE EXTERNAL TABLE sales.payments ({columns['payments']}) PARTITIONED BY (ds STRING) "
            f"STORED AS PARQUET LOCATION '{self._data}/payments'"
        )
        self.spark.sql(
            f"CREATE TABLE sales.accounts ({columns['accounts']}, ds DATE) USING parquet PARTITIONED BY (ds) "
            f"LOCATION '{self._data}/accounts'"
        )
        self.spark.sql(f"CREATE TABLE sales.logins ({columns['logins']}) PARTITIONED BY (ds STRING) STORED AS ORC")
        self.spark.sql(f"CREATE TABLE sales.account_changes ({columns['account_changes']}, ds STRING) USING delta")
        for name in ("payments", "accounts"):
            self.spark.sql(f"MSCK REPAIR TABLE sales.{name}")
        self.spark.conf.set("hive.exec.dynamic.partition.mode", "nonstrict")
        for name in ("logins", "account_changes"):
            self._read(name).write.insertInto(f"sales.{name}")

    def _read(self, name: str) -> Any:
        return (
            self.spark.read.option("mergeSchema", "true")
            .parquet(f"{self._data}/{name}")
            .selectExpr("* EXCEPT (ds)", "CAST(ds AS STRING) AS ds")
        )

    def _columns(self, name: str) -> str:
        fields = [field for field in self._read(name).schema if field.name != "ds"]
        return ", ".join(f"`{field.name}` {field.dataType.simpleString()}" for field in fields)


def run(root: Path, engine: str, *more: str) -> dict[str, Any]:
    """What `zipline backfill` printed."""
    said, failed = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(failed):
        arguments = ["--start", FIRST, "--end", LAST, "--engine", engine, "--project", str(root), "--json", *more]
        code = execute(["backfill", JOIN, *arguments])
    text = said.getvalue() or failed.getvalue()
    return {"code": code, **(json.loads(text) if text.startswith("{") else {"said": text})}


def stored(root: Path) -> pa.Table:
    return in_order(DeltaOutput(load_project(root).table_uri(JOIN)).read())


def in_order(rows: pa.Table) -> pa.Table:
    return rows.sort_by([("ds", "ascending"), ("login", "ascending")])


def made(report: dict[str, Any]) -> list[str]:
    """The days that a run published, and what of them it computed."""
    return [f"{each['day']} {each['rows']} {each['computed']}" for each in report.get("published", [])]


def copy_what_differs(source: Path, target: Path) -> None:
    """As rsync does. A file that is written anew, with the old bytes and the old time too, is another one."""
    for path in (path for path in source.rglob("*") if path.is_file()):
        there = target / path.relative_to(source)
        if not (there.exists() and filecmp.cmp(path, there, shallow=False)):
            there.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, there)


def main(folder: str) -> None:
    company = Company(Path(folder) / "hive-company", 41)
    plain = company.clean_copy(Path(folder) / "plain-company")
    metastore = Metastore(company)
    spark = metastore.spark
    facts: dict[str, Any] = {}

    def both(step: str) -> None:
        copy_what_differs(company.root / "data", plain / "data")
        on_spark, locally = run(company.root, "spark"), run(plain, "local")
        if on_spark["code"]:
            sys.exit(f"{step}: {on_spark}")
        facts[step] = {
            "said": {"spark": on_spark.get("said"), "local": locally.get("said")},
            "code": on_spark["code"],
            "made": made(on_spark),
            "made locally": made(locally),
            "equal": stored(company.root).equals(stored(plain)),
            "rows": stored(plain).num_rows,
        }

    both("first")
    both("again")
    company._write("payments", "2024-03-04", [company._payment("2024-03-04") for _ in range(3)])
    both("late file of Parquet")
    late = company._login("2024-03-06", 99)
    company._write("logins", "2024-03-06", [late])
    spark.sql(
        "INSERT INTO sales.logins PARTITION (ds='2024-03-06') "
        f"VALUES ('{late['login']}', 'ann', TIMESTAMP '{late['at']}')"
    )
    both("late file of ORC")
    facts["output"] = output(spark, company.root)
    facts["opened"] = opened(spark, company)
    facts["frames"] = frames(spark, plain)
    print(json.dumps(facts))
    spark.stop()


def output(spark: Any, root: Path) -> dict[str, Any]:
    """The output by its name in the catalog, and what is said where that name is another's."""
    by_name = in_order(spark.table("features.bank_joins_logins").toArrow().select(stored(root).column_names))
    own = stored(root)
    spark.sql("CREATE TABLE features.bank_joins_logins_scoring (a INT) USING parquet")
    taken = run(root, "spark", "--scoring")
    scored = DeltaOutput(load_project(root).table_uri(f"{JOIN}.scoring")).exists()
    return {"equal": by_name.cast(own.schema).equals(own), "taken": taken, "scored": scored}


def opened(spark: Any, company: Company) -> dict[str, Any]:
    """How tables of the catalog are opened, and what is said of those that cannot be."""
    spark.sql("CREATE VIEW sales.large AS SELECT * FROM sales.payments WHERE amount > 10")
    stray = company.root / "data" / "payments" / "ds=2024-06-01"
    shutil.copytree(company.root / "data" / "payments" / "ds=2024-03-01", stray)
    tables = {name: open_table(spark, name, f"sales.{name}") for name in (*TABLES, "large")}
    found: dict[str, Any] = {name: type(table).__name__ for name, table in tables.items()}
    known = spark.table("sales.payments").count()
    found["rows without the stray folder"] = tables["payments"].statistics().rows == known
    shutil.rmtree(stray)
    spark.sql("CREATE TABLE sales.apart (a INT) PARTITIONED BY (ds STRING) STORED AS PARQUET")
    spark.sql(f"ALTER TABLE sales.apart ADD PARTITION (ds='2024-03-01') LOCATION '{company.root.parent}/apart'")
    spark.sql("INSERT INTO sales.apart PARTITION (ds='2024-03-01') VALUES (1), (2)")
    apart = open_table(spark, "apart", "sales.apart")
    found["apart"], found["rows apart"] = refusal(lambda: apart.units("ds")), apart.partitions("ds")[0].day
    found["view"] = refusal(lambda: tables["large"].units(None))
    found["none"] = refusal(lambda: open_table(spark, "x", "sales.x"))
    return found


def refusal(ask: Callable[[], object]) -> str:
    """What is said instead of an answer."""
    try:
        ask()
    except ZiplineError as error:
        return str(error)
    return ""


SPEND = GroupBy(
    name="spend",
    keys=["customer"],
    sources=[EventSource("payments", Query(["customer", "amount"], time="paid_at"))],
    aggregations=[Aggregation("amount", Operation.SUM, windows=["1d", "7d"]), Aggregation("amount", Operation.LAST)],
)
LOGINS = Join(
    name="logins",
    left=EventSource("logins", Query(["login", "customer"], time="at")),
    row_id=["login"],
    parts=[JoinPart(SPEND)],
)


def frames(spark: Any, plain: Path) -> dict[str, Any]:
    """DataFrames given as tables: a view over Parquet on the right, ORC on the left, and queries."""
    given = {"payments": spark.table("sales.large"), "logins": spark.table("sales.logins").orderBy("login")}
    here = {name: frame.toArrow() for name, frame in given.items()}
    on_spark, locally = backfill(LOGINS, given, engine="spark"), backfill(LOGINS, here)
    asked = spark.table("sales.logins").selectExpr("customer", "at AS ts").orderBy("ts", "customer")
    features = aggregate(SPEND, asked, {"payments": given["payments"]}, engine="spark")
    elsewhere = {**given, "payments": spark.newSession().table("sales.large")}
    return {
        "in order": on_spark.equals(locally),
        "rows": locally.num_rows,
        "aggregate": features.equals(aggregate(SPEND, asked.toArrow(), here)),
        "local": refusal(lambda: backfill(LOGINS, given)),
        "mixed": refusal(lambda: backfill(LOGINS, elsewhere, engine="spark")),
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
