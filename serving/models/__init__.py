"""Predictions by key: features from one fetch, then a stored model over them."""
