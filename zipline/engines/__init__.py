"""Engines execute typed plans: local (Arrow and Numba, no JVM), later Spark and Flink, all by the same steps."""
