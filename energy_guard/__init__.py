"""Energy Guard: reads a local model's raw logits while it writes, and says when to doubt it."""

from energy_guard.backends import capture, load
from energy_guard.guard import Guard
from energy_guard.locate import locate_text
from energy_guard.policy import Policy
from energy_guard.profile import Profile
from energy_guard.questions.grade import grade
from energy_guard.request import Message, Request, Sampling
from energy_guard.result import Result
from energy_guard.trace import Trace

__all__ = [
    "Guard",
    "Message",
    "Policy",
    "Profile",
    "Request",
    "Result",
    "Sampling",
    "Trace",
    "capture",
    "grade",
    "load",
    "locate_text",
]

__version__ = "0.1.0"
"""The only place where it stands: packages are built with what is read here."""
