"""Three disjoint sets of questions, the same ones on every machine and on every day."""

from __future__ import annotations

import hashlib
import unicodedata
from typing import Final, Literal

Split = Literal["fit", "calibrate", "certify"]

SHARES: Final[tuple[tuple[Split, float], ...]] = (
    ("fit", 0.4),
    ("calibrate", 0.2),
    ("certify", 0.4),
)
"""Certificates need the most rows, a calibration of two numbers the fewest."""


def question_key(question: str, context: str | None = None) -> str:
    """Return what two rows share that ask the same, but for upper and lower case and blanks."""
    return "\0".join(_plain(part) for part in (question, context or ""))


def split_of(question: str, context: str | None = None) -> Split:
    """Return the set that a question belongs to, whatever other questions there are.

    Fit and choose the detector on the first, calibrate and fix thresholds on the second, certify
    once on the third. The set follows from a hash of the text alone: rows that are added move no
    others, and rows with the same question (several samples, another task) stay together.
    Upper and lower case and blanks make no difference. context: the passage that belongs to the
    question, for tasks that ask the same of every passage.

    >>> split_of("What is the capital of France?") == split_of("what is the  capital of France? ")
    True
    """
    text = question_key(question, context)
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    for name, share in SHARES[:-1]:
        if place < share:
            return name
        place -= share
    return SHARES[-1][0]


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
