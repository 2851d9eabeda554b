"""A second grader: what the rules do not call right is put to a local model, which may be unsure.

What the rules call right or refused stays; so do questions with choices and without an answer,
which the rules decide by themselves. What the model was asked lies in a file for people to read,
and is not asked twice.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from energy_guard.backends import Backend
from energy_guard.files import JsonLines
from energy_guard.questions.grade import Grade, Outcome, grade
from energy_guard.questions.rows import Question
from energy_guard.questions.same_answer import PROMPT, AnswerPair, NotCompared, SameAnswer
from energy_guard.reasoning import without_reasoning


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How the log odds of one model are read: recalibrated, and counted outside of two limits.

    P(same) = 1 / (1 + exp(−(slope · log odds + intercept))), with an intercept for what the rules
    call wrong and one for what they are unsure about, as the latter is right far more often.
    low, high: an answer is wrong if P(same) is at most low, right if it is at least high, and in
    between nobody knows.

    >>> reading = Reading(slope=0.5, if_wrong=-1.0, if_unsure=1.0, low=0.2, high=0.8)
    >>> reading.p_same(2.0, rules="wrong"), round(reading.p_same(2.0, rules="unsure"), 2)
    (0.5, 0.88)
    """

    slope: float
    if_wrong: float
    if_unsure: float
    low: float
    high: float

    def p_same(self, log_odds: float, *, rules: Outcome) -> float:
        """Return the probability that two answers say the same; rules: what those say of it."""
        intercept = self.if_unsure if rules == "unsure" else self.if_wrong
        return 1 / (1 + math.exp(min(-self.slope * log_odds - intercept, 700.0)))

    def outcome(self, log_odds: float, *, rules: Outcome) -> Outcome:
        """Return right, wrong or, between the limits, unsure."""
        p = self.p_same(log_odds, rules=rules)
        return "right" if p >= self.high else "wrong" if p <= self.low else "unsure"


UNMEASURED: Final = Reading(slope=1.0, if_wrong=0.0, if_unsure=0.0, low=0.01, high=0.99)
"""For a model whose grades nobody has held against people: only what it is nearly sure of."""

READINGS: Final[Mapping[tuple[str, str], Reading]] = MappingProxyType(
    {
        # Qwen2.5-Coder-1.5B-Instruct Q4_K_M: `python -m benchmarks.grading_model report`
        ("llama-cpp", "c4903bfbbe6596d40ae97109014b0948"): Reading(
            slope=0.703, if_wrong=-1.784, if_unsure=0.858, low=0.3, high=0.7
        ),
    }
)
"""By backend and fingerprint: what was fitted on answers that people judged."""


class ModelGrader:
    """Grades by the rules first, and asks a model about what they leave; see `grading_with`."""

    def __init__(self, backend: Backend, same: SameAnswer, path: Path | None = None) -> None:
        info = backend.info
        key = (info.backend, info.fingerprint)
        self.measured = key in READINGS
        self.reading = READINGS.get(key, UNMEASURED)
        self.made_with: Mapping[str, Any] = {
            "model": {
                "name": info.name,
                "fingerprint": info.fingerprint,
                "backend": info.backend,
            },
            "reading": asdict(self.reading),
            "prompt": PROMPT,
        }
        self._same = same
        self._known = _Known(path, f"{info.backend} {info.fingerprint} {PROMPT}")

    def grade(self, row: Question, answer: str, *, reasoning_open: bool = False) -> Grade:
        """Grade one answer to a labelled row.

        Args:
            row: The question with its gold answers.
            answer: What was answered; reasoning in it does not count.
            reasoning_open: Whether the prompt ended inside <think>.

        Returns:
            What the rules say, or what the model says with P(same) in its reason.

        Raises:
            EngineError: The model fails.
            LogError: What it was asked cannot be written down.

        """
        said = without_reasoning(answer, is_open=reasoning_open)
        rules = grade(
            row.question, row.answers, said, choices=row.offered, answerable=row.answerable
        )
        decided = rules.outcome in ("right", "refused")
        if decided or not row.answerable or row.offered or not said:
            return rules
        pair = AnswerPair(row.question, row.answers, said)
        log_odds = self._known.get(pair)
        if log_odds is None:
            found = self._same.log_odds(pair)
            if isinstance(found, NotCompared):
                return Grade("unsure", found.reason)
            self._known.add(pair, found)
            log_odds = found
        return self._read(log_odds, rules.outcome)

    def _read(self, log_odds: float, rules: Outcome) -> Grade:
        reading = self.reading
        p = reading.p_same(log_odds, rules=rules)
        limits = f"right from {reading.high:g}, wrong up to {reading.low:g}"
        reason = f"P(same) = {p:.3f} by the grading model ({limits})"
        return Grade(reading.outcome(log_odds, rules=rules), reason)


@contextmanager
def grading_with(backend: Backend, path: Path | None = None) -> Iterator[ModelGrader]:
    """Hold a model and grade with it.

    Args:
        backend: The grading model; another object than the one whose answers are graded.
        path: JSONL file for what the model is asked; gone on with if it is there.

    Yields:
        The grader.

    Raises:
        ConfigError: The model has no token of its own for yes or for no.
        EngineBusyError: The model is in use.
        InputError: The file holds something else.

    """
    with backend.session() as session:
        yield ModelGrader(backend, SameAnswer(backend, session), path)


class _Known:
    """Pairs of answers that were compared, in a file too if there is a path."""

    def __init__(self, path: Path | None, by: str) -> None:
        self._file = None if path is None else JsonLines(path, "Make room, or give another place.")
        self._by = by
        self._made: dict[AnswerPair, float] = {}
        if self._file is not None and self._file.path.exists():
            self._read(self._file)
            self._file.drop_cut_end()

    def get(self, pair: AnswerPair) -> float | None:
        """The log odds; None if this was not asked yet."""
        return self._made.get(pair)

    def add(self, pair: AnswerPair, log_odds: float) -> None:
        """Take what was asked; it is in the file when this returns."""
        self._made[pair] = log_odds
        if self._file is not None:
            self._file.append({"by": self._by, **asdict(pair), "log_odds": log_odds})

    def _read(self, file: JsonLines) -> None:
        """Take what the same model was asked with the same prompt."""
        for number, data in file.objects():
            try:
                pair = AnswerPair(data["question"], tuple(data["answers"]), data["given"])
                if data["by"] == self._by:
                    self._made[pair] = float(data["log_odds"])
            except (KeyError, TypeError, ValueError) as error:
                raise file.wrong(
                    number,
                    "this is no pair of answers",
                    "Remove the file: the grading model is asked again.",
                ) from error
