"""Questions that a model answers all right or all wrong in several samples. Can be interrupted.

What a model gets right by luck says nothing of what it knows, so questions with both kinds of
answers are left out (Gao et al.). A question's sampling ends with the first sample that decides,
and when enough questions are answered as it seems to be.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Literal

from energy_guard.backends import Backend, Session
from energy_guard.claims import score_answer
from energy_guard.config import Config
from energy_guard.errors import EngineError, InputError
from energy_guard.files import JsonLines
from energy_guard.locate import Asked, Located, NotLocated, Span, automatic
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

Consistency = Literal["right", "wrong", "mixed", "refused", "unsure", "not located", "not needed"]
"""What all samples of a question were, or why it is left out. Not needed: the first one was right,
or wrong, and there were enough questions of that kind already."""


class SampledQuestion(Config):
    """One question with its first sample, and what all samples came to.

    row: the digest of the row that was sampled, see `Question.digest`. samples: how many were drawn
    until that was clear. answer: token ids of the first, without end tokens. exact: the indices of
    its exact answer's tokens. nll_max, one_pass: scores of the first sample by `nll:max` and by the
    detector from other models; None if it has none.
    """

    id: str
    task: str
    question: str
    context: str | None
    row: str
    outcome: Consistency
    samples: int
    text: str
    answer: tuple[int, ...]
    exact: tuple[int, ...]
    nll_max: float | None
    one_pass: float | None

    @property
    def consistent(self) -> bool:
        """Whether all samples were right, or all wrong."""
        return self.outcome in ("right", "wrong")

    def to_read(self, row: Question) -> AnswerToRead:
        """Return the first sample for a model to read, put as it was when it was drawn.

        Raises:
            InputError: The row is not as it was then.

        """
        self.check_row(row)
        return AnswerToRead(_request(row, 0), self.answer, self.exact)

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
    on_sampled: Callable[[SampledQuestion], None] = lambda _: None,
) -> list[SampledQuestion]:
    """Sample questions until enough are consistently right and wrong, or all were sampled.

    Each is on disk before the next is sampled, and does not depend on those before it: what was
    killed goes on to the same samples. The order is random and always the same, so that every
    beginning is a fair part of all tasks.

    Args:
        backend: The model.
        rows: What to ask.
        path: A file of JSON lines, new or of an earlier run with these settings.
        of_each: How many right and how many wrong ones are enough.
        samples: How many of one question at most.
        on_sampled: Called with each question, those that the file holds first.

    Raises:
        InputError: The file was made by another model or with other settings, or one of its
            questions was edited since.
        EngineError: The model fails, or is stopped in the middle of an answer.

    """
    file = JsonLines(path)
    done = _begun(file, _made_with(backend, samples))
    for row in rows:
        if row.id in done:
            done[row.id].check_row(row)
    for sampled in done.values():
        on_sampled(sampled)
    with backend.session() as session:
        for row in sorted(rows, key=lambda row: hashlib.sha256(row.id.encode()).digest()):
            counts = Counter(sampled.outcome for sampled in done.values())
            enough = {outcome for outcome in ("right", "wrong") if counts[outcome] >= of_each}
            if len(enough) == 2:
                break
            if row.id not in done or (done[row.id].outcome == "not needed" and not enough):
                sampled = _sampled(session, row, samples, enough)
                file.append(sampled.model_dump(mode="json"))
                done[row.id] = sampled
                on_sampled(sampled)
    return list(done.values())


def balanced(sampled: Sequence[SampledQuestion], of_each: int) -> list[SampledQuestion]:
    """Return as many consistently right questions as wrong ones, in the order of sampling."""
    right = [each for each in sampled if each.outcome == "right"]
    wrong = [each for each in sampled if each.outcome == "wrong"]
    count = min(len(right), len(wrong), of_each)
    return [*right[:count], *wrong[:count]]


def _sampled(
    session: Session, row: Question, samples: int, enough: Collection[str]
) -> SampledQuestion:
    """Draw until two samples differ, one decides for all, or there are enough.

    enough: what no further question is needed for that is answered so.
    """
    beginning = session.beginning(sharing(WORDINGS[kind_of(row)]))
    asked = Asked(row.question, row.offered, passages=(row.context,) if row.context else ())
    first: Trace | None = None
    located: Located = NotLocated("nothing was drawn")
    outcomes: list[Outcome] = []
    so_far: Consistency = "not located"
    for number in range(samples):
        session.rewind(beginning)  # or numbers would depend on what was asked before
        trace = _drawn(session, row, number)
        outcomes.append(grade_row(row, trace.text, trace.reasoning_open))
        if first is None:
            first, located = trace, automatic(trace, asked)
        so_far = _consistency(outcomes, located)
        if so_far in enough and len(outcomes) < samples:
            so_far = "not needed"
        if so_far not in ("right", "wrong"):
            break
    if first is None:
        raise InputError("no samples were wanted", "Draw at least one.")
    return SampledQuestion(
        id=row.id,
        task=row.task,
        question=row.question,
        context=row.context,
        row=row.digest,
        outcome=so_far,
        samples=len(outcomes),
        text=first.text,
        answer=tuple(first.ids[: first.content_end].tolist()),
        exact=located.tokens if isinstance(located, Span) else (),
        nll_max=_value(Detector.parse("nll:max"), first, located, asked),
        one_pass=_value(other_models().fitted, first, located, asked),
    )


def _consistency(outcomes: Sequence[Outcome], located: Located) -> Consistency:
    """What the samples so far say; anything but right or wrong is for good."""
    last = outcomes[-1]
    if last in ("refused", "unsure"):
        return last
    if last != outcomes[0]:
        return "mixed"
    return last if isinstance(located, Span) else "not located"


def _drawn(session: Session, row: Question, number: int) -> Trace:
    events = session.generate([_request(row, number)], steps=False)
    trace = next(event.trace for event in events if isinstance(event, Finished))
    if trace.finish_reason in INCOMPLETE:
        raise EngineError(
            f"a sample of {row.id} is not complete ({trace.finish_reason})",
            "Go on with --resume; nothing that was sampled is lost.",
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


def _made_with(backend: Backend, samples: int) -> dict[str, Any]:
    """What the samples depend on: with other settings they would be others."""
    info = backend.info
    return {
        "model": {"name": info.name, "fingerprint": info.fingerprint, "backend": info.backend},
        "samples": samples,
        "temperature": SAMPLING.temperature,
        "top_k": SAMPLING.top_k,
        "top_p": SAMPLING.top_p,
        "locator": "automatic",
    }


def _begun(file: JsonLines, made_with: Mapping[str, Any]) -> dict[str, SampledQuestion]:
    """Begin a file, or read what an earlier run with the same settings left in it."""
    done = {}
    for number, data in go_on(file, made_with, "other settings"):
        try:
            done[str(data.get("id"))] = SampledQuestion(**data)
        except InputError as error:
            raise file.wrong(number, error.message) from error
    return done
