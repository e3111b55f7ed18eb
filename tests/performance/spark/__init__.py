"""How fast the Spark engine is: each figure a ratio against a named alternative, measured in the same run.

`make bench-spark` (`python -m tests.performance.spark`) makes the data, starts a new process and session for each side,
runs it several times in it (the first is "fresh", the median of the others "warm"), compares the values and prints a
table. Ours is the command, `zipline backfill --engine spark`, from Parquet files to the published days of a Delta
table; Spark SQL is from the same files to a folder of Parquet files.
"""
