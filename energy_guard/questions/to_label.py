"""Stored answers as a person reads them, in an order in which the first ones are worth most."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from energy_guard.errors import InputError
from energy_guard.files import JsonLines
from energy_guard.log import read_log
from energy_guard.questions.answered import Answered, read_answers
from energy_guard.questions.grade import Outcome
from energy_guard.questions.labels import digest_of


@dataclass(frozen=True)
class Readable:
    """One answer to one question.

    answers: the gold ones; empty if they are not stored. grade: what the grader says; None if
    nobody graded it.
    """

    id: str
    task: str
    question: str
    answer: str
    context: str | None = None
    choices: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    answerable: bool = True
    grade: Outcome | None = None

    @cached_property
    def digest(self) -> str:
        """What its label is found by."""
        return digest_of(self.question, self.context, self.choices, self.answer)


def read_readable(path: Path) -> tuple[Path, list[Readable]]:
    """Read what a person can label, each answer once.

    Args:
        path: A file of graded answers, its folder, or a trace log with texts.

    Returns:
        The file that holds the answers, and these.

    Raises:
        InputError: It holds nothing of the kind.

    """
    file = file_of(path)
    found = _of_answers(read_answers(file)[1]) if is_answers(file) else _of_log(file)
    once = list({readable.digest: readable for readable in found}.values())
    if not once:
        raise InputError(f"{file} holds no answers with texts", "Log without --log-private.")
    return file, once


def readable_of(answers: Iterable[Answered]) -> list[Readable]:
    """Return what a person can label of graded answers, each once."""
    return list({readable.digest: readable for readable in _of_answers(answers)}.values())


def file_of(path: Path) -> Path:
    """Return the file that a path is about: of an evaluation's folder, that of its answers."""
    return path / "answers.jsonl" if path.is_dir() else path


def is_answers(file: Path) -> bool:
    """Whether a file begins as files of graded answers do; InputError if it cannot be read."""
    first = next(JsonLines(file).lines(), None)
    return first is not None and first.data is not None and "made_with" in first.data


def _of_answers(answers: Iterable[Answered]) -> Iterator[Readable]:
    for answered in answers:
        grades = answered.outcomes or (answered.outcome,)
        for attempt, grade in zip(answered.attempts, grades, strict=True):
            yield Readable(
                id=answered.id,
                task=answered.task,
                question=answered.question,
                answer=attempt.trace.text,
                context=answered.context,
                choices=answered.choices,
                answers=answered.answers,
                answerable=answered.answerable,
                grade=grade,
            )


def _of_log(file: Path) -> Iterator[Readable]:
    for number, entry in enumerate(read_log(file), 1):
        if entry.texts and entry.question is not None:
            yield Readable(
                id=f"entry {number}",
                task="log",
                question=entry.question,
                answer=entry.trace.text,
                choices=entry.choices,
            )


def in_order(readables: Sequence[Readable]) -> list[Readable]:
    """Sort answers for the first pass, the same way on every machine.

    What the grader is unsure about comes first. Then come blocks of twenty, ten that it calls
    right and ten that it does not, for as long as there are both: so few labels say most about its
    error on either side. Within a block the order is by a digest and tells nothing.
    """
    mixed = shuffled(readables)
    unsure = [each for each in mixed if each.grade == "unsure"]
    right = [each for each in mixed if each.grade == "right"]
    others = [each for each in mixed if each.grade not in ("right", "unsure")]
    ordered = unsure
    while right and others:
        ordered += shuffled([*right[:_HALF], *others[:_HALF]])
        right, others = right[_HALF:], others[_HALF:]
    return [*ordered, *right, *others]


_HALF: Final = 10
"""Answers of either kind in a block."""


def shuffled(readables: Iterable[Readable], seed: str = "first") -> list[Readable]:
    """Return answers in an order that only their digests and the seed decide."""
    return sorted(
        readables, key=lambda each: hashlib.sha256(f"{seed} {each.digest}".encode()).digest()
    )
