"""What `Guard.stream` and `Guard.astream` yield. Public, as every name in `__all__`."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field

from energy_guard.decide import Again
from energy_guard.result import Result

__all__ = ["AttemptStarted", "Done", "GuardEvent", "Retracted", "Text"]


@dataclass(frozen=True, slots=True)
class AttemptStarted:
    """The model begins to answer; what follows replaces what came before."""

    attempt: int


@dataclass(frozen=True, slots=True)
class Text:
    """The text of one token, provisional until the verdict.

    It comes one token late, with the row after it; the first one of an attempt at once if it is
    plain text and the detector does not go by that row. risk: the detector's signal turned so that
    it grows with risk; None if that row is missing. Of several tokens that share a glyph the
    riskiest counts.
    """

    attempt: int
    text: str
    nll: float
    risk: float | None


@dataclass(frozen=True, slots=True)
class Retracted:
    """The text of this attempt is not the answer, and why.

    reason: may quote the answer; unquoted: says the same without its words. again: how the next
    attempt differs; None if the answer ends here. judged: what the result would have been without
    another attempt; None as well then, for `Done` follows.
    """

    attempt: int
    reason: str
    _: KW_ONLY
    unquoted: str = field(compare=False)
    again: Again | None = None
    judged: Result | None = field(default=None, compare=False)  # its arrays have no one truth


@dataclass(frozen=True, slots=True)
class Done:
    """The verdict, with everything behind it."""

    result: Result


GuardEvent = AttemptStarted | Text | Retracted | Done
"""Whatever a stream of a guard yields."""
