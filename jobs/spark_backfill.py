"""A backfill as an application of Spark; the arguments are those of `zipline backfill`.

    spark-submit --master yarn --py-files zipline.zip jobs/spark_backfill.py JOIN --start DAY --end DAY --project FOLDER

The session is that of the submission. docs/spark.md says what the executors need.
"""

from __future__ import annotations

import sys

from zipline.cli.main import execute

if __name__ == "__main__":
    sys.exit(execute(["backfill", *sys.argv[1:], "--engine", "spark"]))
