"""Engines: what computes a plan. All give the same answers; they differ in how much they can hold."""

ENGINES = ("local", "spark")
