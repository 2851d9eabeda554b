"""Questions that a model answers alike, right or wrong, in several samples. Can be interrupted.

What a model gets right by luck says nothing of what it knows, so questions with both kinds of
answers are left out (Gao et al.), or those with too few of one kind. A question's sampling ends
with the first sample that decides, and when its task has enough questions that are answered as it
seems to be.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import count, islice
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from energy_guard.backends import Backend, Session
from energy_guard.claims import score_answer
from energy_guard.config import Config
from energy_guard.errors import EngineError, InputError
from energy_guard.files import JsonLines
from energy_guard.locate import Asked, Located, Span, automatic
from energy_guard.neurons.contributions import AnswerToRead
from energy_guard.profile.other_models import other_models
from energy_guard.questions.answered import go_on
from energy_guard.questions.grade import Outcome, grade_row
from energy_guard.questions.rows import Question
from energy_guard.questions.wording import WORDINGS, kind_of, request_of, sharing
from energy_guard.request import MAX_SEED, Finished, Request, Sampling
from energy_guard.score import Detector, Score, Scorer
from energy_guard.trace import INCOMPLETE, Trace

SAMPLES: Final = 10
SAMPLING: Final = Sampling(temperature=1.0, top_k=50, top_p=0.9, min_p=0.0)

LEAD: Final = 5
"""By how many questions a task may have more of one kind than of the other: further ones would find
no partner, see `balanced`."""

Kind = Literal["right", "wrong"]
KINDS: Final[tuple[Kind, Kind]] = ("right", "wrong")

Consistency = Literal["right", "wrong", "mixed", "refused", "unsure", "not located", "not needed"]
"""What enough samples of a question were, or why it is left out. Not needed: it seemed to become
right, or wrong, and its task had enough questions of that kind already."""


class SampledQuestion(Config):
    """One question with one sample, and what all samples came to.

    row: the digest of the row that was sampled, see `Question.digest`. samples: how many were drawn
    until that was clear. number: which of them is kept, from 0: the first that is as the outcome
    says, or the very first. text, answer: of that one; its token ids are without end tokens. exact:
    the indices of its exact answer's tokens. nll_max, one_pass: its scores by `nll:max` and by the
    detector from other models; None if it has none.
    """

    id: str
    task: str
    question: str
    context: str | None
    row: str
    outcome: Consistency
    samples: int
    number: int
    text: str
    answer: tuple[int, ...]
    exact: tuple[int, ...]
    nll_max: float | None
    one_pass: float | None

    @property
    def consistent(self) -> bool:
        """Whether enough samples were right, or wrong."""
        return self.outcome in KINDS

    def to_read(self, row: Question) -> AnswerToRead:
        """Return the kept sample for a model to read, put as it was when it was drawn.

        Raises:
            InputError: The row is not as it was then.

        """
        self.check_row(row)
        return AnswerToRead(_request(row, self.number), self.answer, self.exact)

    def check_row(self, row: Question) -> None:
        """Raise InputError if the row is not as it was when it was sampled."""
        if self.row != row.digest:
            raise InputError(
                f"the question {row.id} was edited since it was sampled",
                "Give the same files, or another --out; an edited question needs another id.",
            )


def sample_questions(
    backend: Backend,
    rows: Sequence[Question],
    *,
    path: Path,
    of_each: int,
    samples: int = SAMPLES,
    alike: int | None = None,
    on_sampled: Callable[[SampledQuestion], None] = lambda _: None,
) -> list[SampledQuestion]:
    """Sample questions until enough are consistently right and wrong, or all were sampled.

    Each is on disk before the next is sampled, and its samples do not depend on those before it:
    what was killed goes on to the same ones. The order is random and always the same, so that every
    beginning is a fair part of all tasks.

    Args:
        backend: The model.
        rows: What to ask.
        path: A file of JSON lines, new or of an earlier run with these settings.
        of_each: How many right and how many wrong ones are enough, see `balanced`.
        samples: How many of one question at most.
        alike: How many of these have to be right, or wrong; all unless given. The others may be
            anything.
        on_sampled: Called with each question, those that the file holds first.

    Raises:
        InputError: The file was made by another model or with other settings, one of its questions
            was edited since, or `alike` is no majority of the samples.
        EngineError: The model fails, or is stopped in the middle of an answer.

    """
    alike = samples if alike is None else alike
    if not samples / 2 < alike <= samples:
        raise InputError(
            f"{alike} of {samples} samples cannot decide", "Draw at least one, and ask for most."
        )
    file = JsonLines(path)
    done = _begun(file, _made_with(backend, samples, alike))
    for each in rows:
        if each.id in done:
            done[each.id].check_row(each)
    for sampled in done.values():
        on_sampled(sampled)
    order = sorted(rows, key=lambda row: hashlib.sha256(row.id.encode()).digest())
    with backend.session() as session:
        while len(balanced(list(done.values()), of_each)) < 2 * of_each:
            row = _next(order, done)
            if row is None:
                break
            sampled = _sampled(session, row, samples, alike, _surplus(done.values(), row.task))
            file.append(sampled.model_dump(mode="json"))
            done[row.id] = sampled
            on_sampled(sampled)
    return list(done.values())


def read_samples(path: Path) -> list[SampledQuestion]:
    """Read what `sample_questions` wrote, without the model.

    Raises:
        InputError: The file is missing, or damaged.

    """
    file = JsonLines(path)
    return [_one(file, number, data) for number, data in islice(file.objects(), 1, None)]


def balanced(sampled: Sequence[SampledQuestion], of_each: int) -> list[SampledQuestion]:
    """Return as many consistently right questions as wrong ones of each task, the right ones first.

    If the tasks had other shares of them, their questions alone would tell right from wrong. Of
    more than are enough, each task in turn gives a pair, so that none is left out for its place.
    """
    pairs: list[tuple[int, SampledQuestion, SampledQuestion]] = []
    for task in dict.fromkeys(each.task for each in sampled):
        right, wrong = (
            [each for each in sampled if (each.task, each.outcome) == (task, kind)]
            for kind in KINDS
        )
        pairs += zip(count(), right, wrong, strict=False)
    firsts = sorted(range(len(pairs)), key=lambda at: pairs[at][0])[:of_each]
    chosen = [pairs[at] for at in sorted(firsts)]  # task after task, as without a cut
    return [*(right for _, right, _ in chosen), *(wrong for _, _, wrong in chosen)]


def _surplus(sampled: Iterable[SampledQuestion], task: str) -> set[Kind]:
    """Of which kind a task has so many more than of the other that no further one is needed."""
    counts = Counter(each.outcome for each in sampled if each.task == task)
    ahead = counts["right"] - counts["wrong"]
    return {"right"} if ahead >= LEAD else {"wrong"} if ahead <= -LEAD else set()


def _next(order: Sequence[Question], done: Mapping[str, SampledQuestion]) -> Question | None:
    """The first question that was not sampled, or else that was not needed and now is."""
    waiting = []
    for row in order:
        if row.id not in done:
            return row
        if done[row.id].outcome == "not needed":
            waiting.append(row)
    return next((row for row in waiting if not _surplus(done.values(), row.task)), None)


def _sampled(
    session: Session, row: Question, samples: int, alike: int, surplus: Collection[Kind]
) -> SampledQuestion:
    """Draw until it is clear what the question is.

    surplus: what no further question is needed for that is answered so.
    """
    beginning = session.beginning(sharing(WORDINGS[kind_of(row)]))
    asked = Asked(row.question, row.offered, passages=(row.context,) if row.context else ())
    outcomes: list[Outcome] = []
    firsts: dict[Outcome, _Kept] = {}
    found: Consistency | None = None
    session.rewind(beginning)  # or numbers would depend on what was asked before
    while found is None:  # further samples take over the same prompt, which changes no number
        number = len(outcomes)
        trace = whole_answer(session, _request(row, number), row.id)
        outcomes.append(grade_row(row, trace.text, trace.reasoning_open))
        firsts.setdefault(outcomes[-1], _Kept(number, trace, automatic(trace, asked)))
        lost = {kind for kind, kept in firsts.items() if not isinstance(kept.located, Span)}
        found = _consistency(outcomes, samples, alike, lost, surplus)
    kept = firsts[found if found in KINDS else outcomes[0]]
    return SampledQuestion(
        id=row.id,
        task=row.task,
        question=row.question,
        context=row.context,
        row=row.digest,
        outcome=found,
        samples=len(outcomes),
        number=kept.number,
        text=kept.trace.text,
        answer=tuple(kept.trace.ids[: kept.trace.content_end].tolist()),
        exact=kept.located.tokens if isinstance(kept.located, Span) else (),
        nll_max=_value(Detector.parse("nll:max"), kept.trace, kept.located, asked),
        one_pass=_value(other_models().fitted, kept.trace, kept.located, asked),
    )


class _Kept(NamedTuple):
    """The first sample of a kind."""

    number: int
    trace: Trace
    located: Located


def _consistency(
    outcomes: Sequence[Outcome],
    samples: int,
    alike: int,
    lost: Collection[Outcome],
    surplus: Collection[Kind],
) -> Consistency | None:
    """What the samples so far say of the question; None if further ones are needed.

    lost: kinds whose first sample has no exact answer.
    """
    left = samples - len(outcomes)
    possible = [kind for kind in KINDS if outcomes.count(kind) + left >= alike]
    if not possible:
        last = outcomes[-1]
        return last if last in ("refused", "unsure") else "mixed"
    if all(kind in lost for kind in possible):
        return "not located"
    decided = [kind for kind in possible if outcomes.count(kind) >= alike]
    if decided:
        return decided[0]
    return "not needed" if all(kind in surplus for kind in possible) else None


def whole_answer(session: Session, request: Request, name: str) -> Trace:
    """Ask, and return the answer; name: of the question.

    Raises:
        EngineError: it was not written to its end.
    """
    events = session.generate([request], steps=False)
    trace = next(event.trace for event in events if isinstance(event, Finished))
    if trace.finish_reason in INCOMPLETE:
        raise EngineError(
            f"the answer to {name} is not complete ({trace.finish_reason})",
            "Go on with --resume; nothing that was answered is lost.",
        )
    return trace


def _request(row: Question, number: int) -> Request:
    """The request of one sample: what is drawn follows from the question and the number alone."""
    request = request_of(row)
    seed = ((request.sampling.seed or 0) + number) % (MAX_SEED + 1)
    return replace(request, sampling=replace(SAMPLING, seed=seed))


def _value(scorer: Scorer, trace: Trace, located: Located, asked: Asked) -> float | None:
    score = score_answer(scorer, trace, located, asked=asked)
    return score.value if isinstance(score, Score) else None


def _made_with(backend: Backend, samples: int, alike: int) -> dict[str, Any]:
    """What the samples depend on: with other settings they would be others."""
    info = backend.info
    return {
        "model": {"name": info.name, "fingerprint": info.fingerprint, "backend": info.backend},
        "samples": samples,
        "alike": alike,
        "temperature": SAMPLING.temperature,
        "top_k": SAMPLING.top_k,
        "top_p": SAMPLING.top_p,
        "locator": "automatic",
    }


def _begun(file: JsonLines, made_with: Mapping[str, Any]) -> dict[str, SampledQuestion]:
    """Begin a file, or read what an earlier run with the same settings left in it."""
    return {
        each.id: each
        for number, data in go_on(file, made_with, "other settings")
        for each in [_one(file, number, data)]
    }


def _one(file: JsonLines, number: int, data: Mapping[str, Any]) -> SampledQuestion:
    """The question of one line."""
    try:
        return SampledQuestion(**data)
    except InputError as error:
        raise file.wrong(number, error.message) from error
