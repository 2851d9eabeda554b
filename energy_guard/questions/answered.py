"""Graded answers on disk, one JSON object a line: asked once, scored as often as wanted.

The first line says how they were asked; what was asked otherwise is not mixed in. Each answer is
written as it comes. A line that was not written to its end is dropped when the file is read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Self, get_args

from energy_guard.backends.base import HiddenStates
from energy_guard.claims import score_answer
from energy_guard.decide import Attempt
from energy_guard.errors import InputError
from energy_guard.files import JsonLines
from energy_guard.locate import Asked, Located, NothingToCheck, NotLocated, Span
from energy_guard.policy import differences
from energy_guard.questions.grade import Outcome
from energy_guard.score import Score, Scorer, Unscored
from energy_guard.trace import SCHEMA, Trace

_NOT_SCORED: Final = Unscored("stored without a score: it is made when the answers are read")


@dataclass(frozen=True, eq=False)
class Answered:
    """A labelled question with every attempt at it, and how what came out was graded.

    question, context: what it was, for splits and for locators. answers: the gold ones, for people
    who read it; files of older versions lack them. outcomes: how every attempt was
    graded, where there are several. measured: further numbers by their names, where they were
    asked for (p(true), agreement).
    stored_states: hidden states of one of its tokens, where they were asked for; stored apart.
    """

    id: str
    task: str
    question: str
    context: str | None
    choices: tuple[str, ...]
    answerable: bool
    outcome: Outcome
    attempts: tuple[Attempt, ...]
    outcomes: tuple[Outcome, ...] = ()
    measured: Mapping[str, float] = field(default_factory=dict)
    answers: tuple[str, ...] = ()
    stored_states: HiddenStates | None = None

    @property
    def wrong(self) -> bool:
        """Whether it would be wrong to show it: refusing a question that has an answer is not."""
        return self.outcome == "wrong"

    @property
    def graded(self) -> tuple[Outcome, tuple[Outcome, ...], tuple[str, ...]]:
        """How it came out, and by which gold answers."""
        return self.outcome, self.outcomes, self.answers

    @property
    def unsure(self) -> bool:
        """Whether a person should say how it came out: nothing is learnt from it till then."""
        return "unsure" in (self.outcome, *self.outcomes)

    @property
    def declined(self) -> bool:
        """Whether the model itself said that it does not know: nothing can be wrong about that."""
        return self.outcome == "refused" or (not self.answerable and self.outcome == "right")

    @property
    def trace(self) -> Trace:
        """The numbers of the last attempt."""
        return self.attempts[-1].trace

    @property
    def score(self) -> Score | Unscored:
        """The score of the last attempt; none before `scored_by`."""
        return self.attempts[-1].score

    @property
    def located(self) -> Located:
        """Where the answer is in it."""
        return self.attempts[-1].located

    def scored_by(self, scorer: Scorer) -> Self:
        """Return it with the score of every attempt: once made, it goes along with the answer."""
        attempts = tuple(
            replace(
                attempt,
                score=score_answer(scorer, attempt.trace, attempt.located, asked=self.asked),
            )
            for attempt in self.attempts
        )
        return replace(self, attempts=attempts)

    def alone(self, number: int) -> Self:
        """Return one attempt, as if it had been the only one."""
        outcome = self.outcomes[number] if self.outcomes else self.outcome
        return replace(self, outcome=outcome, attempts=(self.attempts[number],), outcomes=())

    @property
    def asked(self) -> Asked:
        """What was asked, in no engine's or wording's form."""
        passages = (self.context,) if self.context else ()
        return Asked(self.question, self.choices, passages=passages)

    @property
    def last_token(self) -> int | None:
        """The index of the exact answer's last token."""
        return self.located.tokens[-1] if isinstance(self.located, Span) else None

    @property
    def states(self) -> HiddenStates | None:
        """The hidden states, where they are those of the exact answer's last token."""
        stored = self.stored_states
        return stored if stored is not None and stored.token == self.last_token else None

    def to_dict(self) -> dict[str, Any]:
        """Return the object that is one line of the file."""
        return {
            "id": self.id,
            "task": self.task,
            "question": self.question,
            "context": self.context,
            "choices": list(self.choices),
            "answers": list(self.answers),
            "answerable": self.answerable,
            "outcome": self.outcome,
            "outcomes": list(self.outcomes),
            "measured": dict(self.measured),
            "attempts": [
                {
                    "trace": json.loads(attempt.trace.to_json()),
                    "located": _located_to_json(attempt.located),
                    "stopped": attempt.stopped,
                }
                for attempt in self.attempts
            ],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read what `to_dict` made; InputError if it is something else."""
        try:
            answered = cls(
                id=str(data["id"]),
                task=str(data["task"]),
                question=str(data["question"]),
                context=data["context"],
                choices=tuple(data["choices"]),
                answerable=bool(data["answerable"]),
                outcome=data["outcome"],
                measured={name: float(value) for name, value in data["measured"].items()},
                attempts=tuple(_attempt(attempt) for attempt in data["attempts"]),
                outcomes=tuple(data.get("outcomes", ())),
                answers=tuple(data.get("answers", ())),
            )
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
            raise InputError(f"this is no answer: {error!r}") from error
        texts = (answered.context or "", *answered.choices, *answered.answers)
        if not all(isinstance(text, str) for text in texts):
            raise InputError("this is no answer: its context, a choice or a gold one is no text")
        outcomes = (answered.outcome, *answered.outcomes)
        if not all(o in get_args(Outcome) for o in outcomes) or not answered.attempts:
            raise InputError("this is no answer: it has no outcome, or no attempt")
        if len(answered.outcomes) != (len(answered.attempts) if answered.outcomes else 0):
            raise InputError("this is no answer: it has not one outcome for every attempt")
        return answered


class AnswerFile:
    """Answers that are written as they come, and read again.

    Raises InputError for a file that was made in another way, LogError where it cannot be written.
    """

    def __init__(self, path: Path, made_with: Mapping[str, Any]) -> None:
        self.path = path
        head = {"schema": SCHEMA, "made_with": dict(made_with)}
        self._head = json.loads(json.dumps(head, sort_keys=True))  # as it is when it is read again
        self._lines = JsonLines(path, "Make room, or give another place; --resume goes on here.")

    def start(self) -> list[Answered]:
        """Begin a new file, or go on with one; return what it holds already."""
        if not begun(self.path):
            self._lines.rewrite([self._head])
            return []
        head, answers = _read(self.path)
        if head != self._head:
            raise InputError(
                f"{self.path} holds answers that were asked in another way: "
                f"{_difference(head, self._head)}",
                "Ask as then, or give another place.",
            )
        self._lines.drop_cut_end()
        return answers

    def append(self, *answers: Answered) -> None:
        """Add answers; they are on disk when this returns."""
        self._lines.append(*(answered.to_dict() for answered in answers))

    def rewrite(self, answers: Sequence[Answered]) -> None:
        """Put these in the place of those that are there, all or nothing."""
        self._lines.rewrite([self._head, *(answered.to_dict() for answered in answers)])


def begun(path: Path) -> bool:
    """Whether there is a file, with more than a part of the line that `AnswerFile` begins it with.

    Killed while it wrote that line, it left nothing to go on with.
    """
    if not path.exists():
        return False
    with path.open("rb") as file:
        first = file.readline()
    part = _BEGINNING.startswith(first) or first.startswith(_BEGINNING)
    return first.endswith(b"\n") or not part


def go_on(
    file: JsonLines, made_with: Mapping[str, Any], settings: str
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Begin a file, or yield what an earlier run with the same settings left in it.

    Args:
        file: Its first line says how it was made, the others are yielded with their numbers.
        made_with: What every line depends on.
        settings: What may be another one then, in words, for the error.

    Raises:
        InputError: The file was made otherwise, or is damaged.
        LogError: It cannot be written.

    """
    head = {"made_with": dict(made_with), "schema": SCHEMA}
    if not begun(file.path):
        file.rewrite([head])
        return
    objects = file.objects()
    _, found = next(objects, (1, {}))
    if found != head:
        raise InputError(
            f"{file.path} was made by another model or with {settings}", "Give another --out."
        )
    yield from objects
    file.drop_cut_end()


_BEGINNING: Final = b'{"made_with": {'


def read_answers(path: Path) -> tuple[dict[str, Any], list[Answered]]:
    """Read how answers were asked, and the answers; InputError names file and line."""
    head, answers = _read(path)
    return head["made_with"], answers


def _read(path: Path) -> tuple[dict[str, Any], list[Answered]]:
    """The head, and the answers."""
    file = JsonLines(path)
    objects = file.objects()
    head = _head(path, objects)
    if not _says_how(head["made_with"]):
        raise file.wrong(1, "this does not say which model answered, and how")
    answers: dict[str, Answered] = {}
    for number, data in objects:
        try:
            answered = Answered.from_dict(data)
        except InputError as error:
            raise file.wrong(number, error.message) from error
        if answered.id in answers:
            what = f"{answered.id!r} is answered a second time"
            raise file.wrong(number, what, "Delete one of the lines.")
        answers[answered.id] = answered
    return head, list(answers.values())


def _head(path: Path, objects: Iterator[tuple[int, dict[str, Any]]]) -> dict[str, Any]:
    """The first object of a file, which says how its answers were asked."""
    hint = "Give the answers.jsonl of an evaluation."
    try:
        _, head = next(objects, (1, {}))
    except InputError as error:
        raise InputError(f"{path} holds no answers: {error.message}", hint) from error
    if not isinstance(head.get("made_with"), dict):
        raise InputError(f"{path} holds no answers", hint)
    if head.get("schema") != SCHEMA:
        raise InputError(f"{path} has another schema", hint)
    return head


def _says_how(made_with: Mapping[str, Any]) -> bool:
    """Whether all that reports and profiles ask for is there."""
    model = made_with.get("model")
    return (
        isinstance(made_with.get("locator"), str)
        and isinstance(model, dict)
        and all(isinstance(model.get(name), str) for name in ("name", "fingerprint", "backend"))
    )


def _difference(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    before, after = then.get("made_with", {}), now["made_with"]
    keys = sorted(before.keys() | after.keys())
    each = ({key: settings.get(key) for key in keys} for settings in (before, after))
    return "; ".join(differences(*each))


def _attempt(data: Mapping[str, Any]) -> Attempt:
    trace = Trace.from_json(json.dumps(data["trace"]))
    located = _located(data["located"])
    if isinstance(located, Span):
        tokens = set(located.tokens)
        if not tokens or list(located.tokens) != [t for t in range(len(trace)) if t in tokens]:
            raise ValueError("the span's tokens are not tokens of the trace, in order")
    return Attempt(trace, located, _NOT_SCORED, stopped=data["stopped"])


def _located_to_json(located: Located) -> dict[str, Any]:
    if isinstance(located, Span):
        return {"tokens": list(located.tokens), "text": located.text}
    if isinstance(located, NotLocated):
        return {"not_located": located.reason}
    worded = {"worded": [list(part) for part in located.worded]} if located.worded else {}
    return {"nothing_to_check": located.reason} | worded


def _located(data: Mapping[str, Any]) -> Located:
    if "tokens" in data:
        return Span(tuple(int(t) for t in data["tokens"]), str(data["text"]))
    if "nothing_to_check" in data:
        worded = tuple((int(start), int(end)) for start, end in data.get("worded", ()))
        return NothingToCheck(str(data["nothing_to_check"]), worded)
    return NotLocated(str(data["not_located"]))


def by_task(answers: Sequence[Answered]) -> dict[str, list[Answered]]:
    """The answers of each task, tasks in the order in which they first appear."""
    tasks: dict[str, list[Answered]] = {}
    for answered in answers:
        tasks.setdefault(answered.task, []).append(answered)
    return tasks
