"""What people say about answers: a file of labels beside the answers, used in place of grades.

A label belongs to one question with one answer, by a digest: asked anew, a model may have answered
otherwise, and no label is carried over to what nobody has read. Each label is on disk at once, and
one that is taken back stays in the file, withdrawn.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

from pydantic import Field

from energy_guard.config import Config
from energy_guard.errors import InputError
from energy_guard.files import JsonLines
from energy_guard.questions.answered import Answered
from energy_guard.questions.grade import Outcome

Pass = Literal[1, 2]
"""Which time a person goes through the answers; the second shows how far people can be trusted."""

_SCHEMA: Final = 1


def labels_beside(answers: Path) -> Path:
    """Return the file of labels that belongs to a file of answers.

    >>> labels_beside(Path("evaluation/answers.jsonl")).name
    'answers.labels.jsonl'
    """
    return answers.with_name(f"{answers.stem}.labels.jsonl")


def digest_of(question: str, context: str | None, choices: Sequence[str], answer: str) -> str:
    """Return what a label is found by: the same for the same answer to the same question alone."""
    data = json.dumps([question, context, list(choices), answer])
    return hashlib.sha256(data.encode("utf-8", "surrogatepass")).hexdigest()


class Label(Config):
    """One line of a file: what somebody says about an answer, or that it is taken back."""

    schema_: Literal[1] = Field(_SCHEMA, alias="schema")
    id: str
    digest: str
    label: Outcome | None
    labeller: str
    time: str
    number: Pass = Field(alias="pass")


@dataclass(frozen=True)
class LabelFile:
    """The labels of one file of answers.

    >>> LabelFile(Path("none.labels.jsonl")).given(1)
    {}
    """

    path: Path

    def given(self, number: Pass) -> dict[str, Label]:
        """Return the labels of one pass, by the digests of what they are of.

        The last one counts, and nothing of what was taken back. A line that was not written to its
        end holds no label.

        Raises:
            InputError: The file cannot be read, or a line holds something else; names file and
                line.

        """
        found: dict[str, Label] = {}
        if not self.path.exists():
            return found
        file = JsonLines(self.path)
        for line in file.lines():
            if line.data is None:
                continue
            try:
                label = Label(**line.data)
            except InputError as error:
                raise file.wrong(line.number, error.message, error.hint) from error
            if label.number == number:
                found.pop(label.digest, None)
                if label.label is not None:
                    found[label.digest] = label
        return found

    def add(
        self, label: Outcome | None, *, name: str, digest: str, labeller: str, number: Pass
    ) -> None:
        """Write one label, or None to take back the last; it is on disk when this returns.

        Args:
            label: What the answer is.
            name: The id of its question.
            digest: What it is found by; see `digest_of`.
            labeller: Who says so.
            number: The pass.

        Raises:
            LogError: It cannot be written.

        """
        line = Label(
            schema=_SCHEMA,
            id=name,
            digest=digest,
            label=label,
            labeller=labeller,
            time=datetime.now(UTC).isoformat(timespec="seconds"),
            **{"pass": number},
        )
        JsonLines(self.path).append(line.model_dump(by_alias=True))


def with_labels(answers: Sequence[Answered], labels: Mapping[str, Label]) -> list[Answered]:
    """Return answers with what people say in place of grades, if they say anything.

    Args:
        answers: Graded answers.
        labels: By digests; see `LabelFile.given`.

    Returns:
        The answers in their order. Of several attempts each has its own label. Which of them was
        kept is not stored: if labels leave that open, the outcome of the whole is unsure.

    """
    return [_labelled(answered, labels) for answered in answers]


def _labelled(answered: Answered, labels: Mapping[str, Label]) -> Answered:
    before = answered.outcomes or (answered.outcome,)
    after = tuple(
        _said(labels.get(digest), then)
        for digest, then in zip(digests_of(answered), before, strict=True)
    )
    if after == before:
        return answered
    kept = {now for then, now in zip(before, after, strict=True) if then == answered.outcome}
    return replace(
        answered,
        outcome=kept.pop() if len(kept) == 1 else "unsure",
        outcomes=after if answered.outcomes else (),
    )


def digests_of(answered: Answered) -> list[str]:
    """Return the digest of every attempt, in order."""
    asked = answered.question, answered.context, answered.choices
    return [digest_of(*asked, attempt.trace.text) for attempt in answered.attempts]


def _said(label: Label | None, grade: Outcome) -> Outcome:
    return grade if label is None or label.label is None else label.label
