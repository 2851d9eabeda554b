"""Evaluation, calibration and bulk scoring on Ray: many processes, the same files and numbers."""
