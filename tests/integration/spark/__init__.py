"""Spark for real: the engine over files, tables and a cluster."""
