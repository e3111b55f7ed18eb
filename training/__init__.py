"""Datasets and models on top of the data platform; nothing in `zipline` imports it."""
