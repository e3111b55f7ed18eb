"""Offline storage: where source rows are read from and outputs are written to.

Every source is a `Table` (contract.py), whatever holds it: Arrow in memory, Parquet, CSV or JSON lines at a path or
URL, a Delta table. A table has a schema of platform types, says which days it holds and gives the SQL by which DuckDB
reads it. Outputs are Delta tables, one day's partition replaced at a time (delta.py). Names become tables in
catalog.py.
"""
