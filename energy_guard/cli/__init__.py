"""The command line: the only place that prints."""

from energy_guard.cli.app import main

__all__ = ["main"]
