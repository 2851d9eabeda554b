"""Labelled questions → graded answers → fitted detectors: how the guard's thresholds are made."""
