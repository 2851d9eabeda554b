"""One question of the quiz, as its sources say it and as its row is written."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Final

from energy_guard.calibrate.split import question_key

POLAR: Final = ("yes_or_no", "claims")
"""Kinds whose answers are yes or no, each as often."""


@dataclass(frozen=True, slots=True)
class Item:
    """A question with its right answers, and with wrong ones that tempt.

    kind: what is reported apart. level: the difficulty of a fact, the steps of a sum; None
    elsewhere. topic: a field of knowledge, or the genre of a passage. answers: empty if the right
    thing is to decline. sum: what a word problem comes to, as an expression.
    """

    kind: str
    question: str
    answers: tuple[str, ...]
    wrong: tuple[str, ...] = ()
    topic: str | None = None
    level: str | None = None
    context: str | None = None
    choices: tuple[str, ...] = ()
    sum: str | None = None

    @property
    def id(self) -> str:
        """Kind, level and a digest of what is asked: another question never gets the same."""
        key = question_key(self.question, self.context)
        digest = hashlib.sha256(key.encode("utf-8")).hexdigest()[:8]
        level = (self.level.replace(" ", "-"),) if self.level else ()
        return "-".join((self.kind, *level, digest))

    @property
    def stratum(self) -> tuple[str, str, str]:
        """Items of one stratum are spread evenly over the file."""
        polar = self.answers[0] if self.kind in POLAR else ""
        return self.kind, self.level or "", polar

    def row(self) -> dict[str, Any]:
        """Return the row of labelled data, with what only tests and readers need after it."""
        return {
            "id": self.id,
            "task": self.kind,
            "question": self.question,
            "context": self.context,
            "answers": list(self.answers) or ["unanswerable"],
            "choices": list(self.choices) or None,
            "answerable": bool(self.answers),
            "topic": self.topic,
            "level": self.level,
            "wrong": list(self.wrong),
            "sum": self.sum,
        }
