"""The local engine: DuckDB reads and projects, rows are ordered once per key set, Numba computes every window.

Contract: executes the steps of a plan, holds no state between runs, and gives the same bytes however the input is
ordered, split or accompanied. Each module is one step (`read`, `keys`, `stream`, `group_by`, `derive`); `run` walks
them.
"""
