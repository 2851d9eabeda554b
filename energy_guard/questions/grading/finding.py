"""What one comparison of an answer with a gold answer came to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Finding:
    """Whether the answer says the gold answer, and by what or why not.

    holds: "denied" is a no that no looser comparison may overrule.
    """

    holds: Literal["yes", "doubt", "no", "denied"]
    reason: str
