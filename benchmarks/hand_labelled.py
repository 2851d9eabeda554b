"""Answers labelled by hand, and how far two passes over them agree.

Each line of `grading.jsonl` has `row` (the id of its question), `model`, `answer`, `kind`
("free", "passage", "choices", "number" or, if the question is not English, the code of its
language) and three labels: `first`, `second` and `label`, the final one. The questions are those
of `hand_questions.jsonl` and of data that are not stored here.

The labels are by one annotator (language model); no person has labelled. It read each question,
its passage (an excerpt of a long one), the gold answers and the answer, and not the grade. The
second pass was in another order, without the first labels beside the answers; if the two differ,
a third look gave the final label. The rules:

1. The label is what a person would say who knows the gold answer.
2. Gold answers may lack aliases: what is known of the world counts too.
3. A right answer with a wrong claim beside it is wrong if the claim is about the point asked.
4. To decline a question that has an answer is refused, and right if nobody can know the answer.
5. Unsure is for answers that a careful person could not tell from what is there.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError
from sklearn.metrics import cohen_kappa_score

from energy_guard.errors import InputError
from energy_guard.questions.grade import Outcome, grade_row
from energy_guard.questions.rows import Question

LABELLED = Path(__file__).with_name("grading.jsonl")
QUESTIONS = Path(__file__).with_name("hand_questions.jsonl")

_ENGLISH = ("free", "passage", "choices", "number")


class Labelled(BaseModel):
    """One answer with its labels: `label` is final; `first` and `second` are of the two passes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    row: str
    model: str
    answer: str
    kind: str
    first: Outcome
    second: Outcome
    label: Outcome

    @property
    def group(self) -> str:
        """The kind, with all languages but English in one."""
        return self.kind if self.kind in _ENGLISH else "other languages"


@dataclass(frozen=True)
class Graded:
    """A labelled answer and what the grader says of it."""

    item: Labelled
    outcome: Outcome

    @property
    def decided(self) -> bool:
        """Whether neither the grader nor the annotator left it open."""
        return "unsure" not in (self.outcome, self.item.label)

    @property
    def differs(self) -> bool:
        """Whether the grader decided otherwise than the annotator."""
        return self.decided and self.outcome != self.item.label


@dataclass(frozen=True)
class Agreement:
    """How far two passes agree: `same` of `n` answers have one label; kappa is Cohen's."""

    n: int
    same: int
    kappa: float


def read_labelled(path: Path = LABELLED) -> list[Labelled]:
    """Read the labelled answers in order.

    Args:
        path: The file, one object a line.

    Returns:
        The answers.

    Raises:
        InputError: A line is no such object, or a final label is of neither pass though both
            passes agree.

    """
    items = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        try:
            item = Labelled.model_validate(json.loads(line))
        except (json.JSONDecodeError, ValidationError) as error:
            raise InputError(f"{path.name}, line {number}: {error}") from error
        if item.first == item.second != item.label:
            raise InputError(f"{path.name}, line {number}: both passes say {item.first}")
        items.append(item)
    return items


def graded(items: Sequence[Labelled], rows: Sequence[Question]) -> list[Graded]:
    """Grade labelled answers.

    Args:
        items: The answers.
        rows: Their questions, among others.

    Returns:
        Each answer with its grade, in order.

    Raises:
        InputError: The questions of some answers are not among the rows.

    """
    by_id = {row.id: row for row in rows}
    missing = [item.row for item in items if item.row not in by_id]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(items)} labelled answers are to questions that are not in the "
            f"data, the first to {missing[0]!r}",
            "Give every file of the data.",
        )
    return [Graded(item, grade_row(by_id[item.row], item.answer)) for item in items]


def agreement(items: Sequence[Labelled]) -> Agreement:
    """Return how far the first and the second pass agree, over all four labels."""
    first, second = [item.first for item in items], [item.second for item in items]
    same = sum(a == b for a, b in zip(first, second, strict=True))
    return Agreement(len(items), same, float(cohen_kappa_score(first, second)))
