"""Baselines that ask the same model more: p(true), and agreement among samples.

p(true): how likely the model finds it that its own answer is right (Kadavath et al. 2022).
Agreement: the share of sampled answers that say the same as the one that was graded.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from energy_guard.backends import Session
from energy_guard.errors import EngineError
from energy_guard.files import JsonLines
from energy_guard.guard import Guard
from energy_guard.locate import Asked, Locator, Span
from energy_guard.questions.answered import Answered
from energy_guard.questions.normalise import words
from energy_guard.questions.rows import Question
from energy_guard.questions.wording import WORDINGS, Wordings, kind_of, request_of
from energy_guard.request import Finished, Message, Request, Sampling
from energy_guard.trace import INCOMPLETE, Trace

MEASURES: Final = ("p(true)", "agreement")
"""Both grow with the chance that the answer is right."""

SAMPLES: Final = 5


def measure(
    guard: Guard,
    pairs: Sequence[tuple[Question, Answered]],
    *,
    path: Path,
    wordings: Wordings = WORDINGS,
    on_measured: Callable[[Answered], None] = lambda _: None,
) -> dict[str, dict[str, float]]:
    """Measure both of every answer that is not in the file yet; return them by the row's id.

    Each is on disk before the next is begun, and depends on its own row alone. wordings: as in
    `collect`.
    """
    file = JsonLines(path)
    done = {}
    if path.exists():
        done = read_measured(path)
        file.drop_cut_end()
    with guard.backend.session() as session:
        for row, answered in pairs:
            if row.id not in done:
                session.rewind([])
                done[row.id] = {
                    "p(true)": p_true(session, row, answer=answered.trace.text),
                    "agreement": agreement(
                        session,
                        row,
                        answered=answered,
                        locate=guard.judge.locate,
                        wordings=wordings,
                    ),
                }
                file.append({"id": row.id, "measured": done[row.id]})
            on_measured(answered)
    return done


def read_measured(path: Path) -> dict[str, dict[str, float]]:
    """Read what `measure` wrote; a last line that was cut off is passed over."""
    file = JsonLines(path)
    found = {}
    for number, data in file.objects():
        try:
            found[str(data["id"])] = {name: float(data["measured"][name]) for name in MEASURES}
        except (KeyError, TypeError, ValueError) as error:
            raise file.wrong(number, "this is no measurement") from error
    return found


def p_true(session: Session, row: Question, *, answer: str) -> float:
    """Return P("True") / (P("True") + P("False")) after asking whether the answer is right."""
    asked = Message(
        "user",
        f"Question: {row.question}\nProposed answer: {answer}\n"
        "Is the proposed answer right? Answer True or False.",
    )
    request = Request.chat([asked], context=(row.context,) if row.context else (), max_tokens=8)
    true, false = (_log_likelihood(session, request, text) for text in ("True", "False"))
    return 1 / (1 + math.exp(min(false - true, 700.0)))


def agreement(
    session: Session,
    row: Question,
    *,
    answered: Answered,
    locate: Locator,
    wordings: Wordings = WORDINGS,
) -> float:
    """Return the share of samples at temperature 1 with the same exact answer, in any spelling.

    Where none is located the whole answer counts as it.
    """
    request = request_of(row, wordings[kind_of(row)])
    asked = Asked(request.question, request.choices)
    located = answered.located
    said = words(located.text if isinstance(located, Span) else answered.trace.text)
    same = 0
    for number in range(SAMPLES):
        sampling = Sampling(temperature=1.0, seed=_seed(row.id, number))
        trace = _finished(session, replace(request, sampling=sampling))
        found = locate(trace, asked)
        same += words(found.text if isinstance(found, Span) else trace.text) == said
    return same / SAMPLES


def with_measured(
    answers: Sequence[Answered], measured: Mapping[str, Mapping[str, float]]
) -> list[Answered]:
    """Put measurements to their answers."""
    return [replace(answered, measured=measured.get(answered.id, {})) for answered in answers]


def _log_likelihood(session: Session, request: Request, text: str) -> float:
    events = session.replay([(request, text)], steps=False)
    trace = next(event.trace for event in events if isinstance(event, Finished))
    return -float(trace.nll[: trace.content_end].sum())


def _finished(session: Session, request: Request) -> Trace:
    events = session.generate([request], steps=False)
    trace = next(event.trace for event in events if isinstance(event, Finished))
    if trace.finish_reason in INCOMPLETE:
        raise EngineError(f"a sample is not complete ({trace.finish_reason})", "Go on: --resume.")
    return trace


def _seed(name: str, number: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{number} {name}".encode()).digest()[:4], "big")
