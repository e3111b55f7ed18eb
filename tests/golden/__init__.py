"""Whole training sets whose every value was worked out by hand."""
