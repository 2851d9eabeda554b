"""Measurements behind docs/results.md, each run by the command that stands beside its table."""
