"""How fast the local engine is: each figure a ratio against a named alternative, measured in the same run.

`python -m tests.performance` makes the data, runs every case and prints a table; `--out` receives the figures as JSON.
A measurement is a process of its own, from the same Parquet files to a written Parquet file on both sides; the
alternative and ours take turns, the median counts, and the values of both are compared before any ratio is reported.
"""
