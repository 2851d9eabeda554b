"""Energy Guard: reads a local model's raw logits while it writes, and says when to doubt it."""

from energy_guard.backends import capture, load
from energy_guard.trace import Trace

__all__ = ["Trace", "capture", "load"]
