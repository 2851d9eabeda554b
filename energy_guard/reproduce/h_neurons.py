"""The experiments of 'H-Neurons' (Gao et al.): what is asked, and what was said, on disk.

Everything is answered greedily. Each answer is on disk before the next is asked, and does not
depend on those before it; verdicts are not stored, so that better rules need no model.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from energy_guard.backends import Backend
from energy_guard.config import Config
from energy_guard.errors import InputError
from energy_guard.files import JsonLines
from energy_guard.locate import Asked, Span, automatic
from energy_guard.neurons.contributions import AnswerToRead
from energy_guard.neurons.damping import damped
from energy_guard.neurons.probe import NeuronProbe
from energy_guard.questions.answered import go_on
from energy_guard.questions.consistent import whole_answer
from energy_guard.questions.rows import Question
from energy_guard.questions.wording import WORDINGS, kind_of, request_of, sharing
from energy_guard.reproduce.over_compliance import WORDING, Case, doubted
from energy_guard.request import Request
from energy_guard.trace import Trace

FACTORS: Final = (0.0, 0.5, 1.0, 2.0, 3.0)

USUAL: Final = 1.0
"""The factor that changes nothing."""


class SaidAnswer(Config):
    """One answer. factor: by which H-neurons were scaled. asked: a digest of the request.

    answer: token ids without end tokens. exact: the indices of the exact answer's tokens, none if
    it was not located.
    """

    id: str
    factor: float
    asked: str
    text: str
    answer: tuple[int, ...]
    exact: tuple[int, ...]


@dataclass
class SaidFile:
    """The answers of all experiments with one model and one probe, by id and factor."""

    path: Path
    made_with: Mapping[str, Any]
    _said: dict[tuple[str, float], SaidAnswer] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Begin the file, or read it.

        Raises:
            InputError: It is of another model or probe, or damaged.

        """
        self._file = JsonLines(self.path)
        for number, data in go_on(self._file, self.made_with, "another probe"):
            try:
                said = SaidAnswer(**data)
            except InputError as error:
                raise self._file.wrong(number, error.message) from error
            self._said[said.id, said.factor] = said

    def answers(
        self,
        backend: Backend,
        requests: Mapping[str, Request],
        *,
        beginning: tuple[Request, Request],
        factor: float = USUAL,
        probe: NeuronProbe | None = None,
        on_said: Callable[[], None] = lambda: None,
    ) -> dict[str, SaidAnswer]:
        """Return an answer to each request; what the file holds is not asked again.

        Args:
            backend: The model.
            requests: By their ids.
            beginning: Two requests that begin as all of these do.
            factor: What the probe's H-neurons are scaled by.
            probe: Whose.
            on_said: Called with each answer, of those that the file holds, too.

        Raises:
            InputError: The file has an answer to another request by one of the ids.
            EngineError: The model fails, or is stopped in the middle of an answer.

        """
        missing = {}
        for name, request in requests.items():
            said = self._said.get((name, factor))
            if said is None:
                missing[name] = request
            elif said.asked != _digest(request):
                raise InputError(
                    f"{self.path} has an answer to another question by the id {name!r}",
                    "Give the same files, or another --out.",
                )
            else:
                on_said()
        if missing:
            scaled = nullcontext() if probe is None else damped(backend, probe, factor)
            with scaled, backend.session() as session:
                shared = session.beginning(beginning)
                for name, request in missing.items():
                    session.rewind(shared)
                    said = _said(name, factor, request, whole_answer(session, request, name))
                    self._file.append(said.model_dump(mode="json"))
                    self._said[name, factor] = said
                    on_said()
        return {name: self._said[name, factor] for name in requests}


def made_with(backend: Backend, probe: NeuronProbe) -> dict[str, Any]:
    """What the answers depend on."""
    info = backend.info
    return {
        "model": {"name": info.name, "fingerprint": info.fingerprint, "backend": info.backend},
        "damped": probe.name,
        "labelling": probe.training.labelling,
        "wording": WORDING.system,
        "max_tokens": WORDING.max_tokens,
    }


@dataclass(frozen=True, eq=False)
class Sweep:
    """What was said with every factor.

    cases: those of over-compliance. facts: questions whose right answers show what scaling costs.
    said: by factor and id.
    """

    cases: Sequence[Case]
    facts: Sequence[Question]
    said: Mapping[float, Mapping[str, str]]


def sweep(
    file: SaidFile,
    backend: Backend,
    probe: NeuronProbe,
    *,
    cases: Sequence[Case],
    facts: Sequence[Question],
    doubts: int,
    factors: Sequence[float],
    on_said: Callable[[], None] = lambda: None,
) -> Sweep:
    """Ask everything with every factor, and doubt the first answers that are right.

    The answers that are doubted are those of the model as it is, so that every factor has the same
    cases.

    Args:
        file: Where answers are.
        backend: The model.
        probe: Whose H-neurons are scaled.
        cases: Of over-compliance.
        facts: Questions with right answers.
        doubts: How many right answers are doubted at most.
        factors: By what H-neurons are scaled.
        on_said: Called with each answer.

    """
    fact_requests = {_fact(row): request_of(row, WORDING) for row in facts}
    beginning = sharing(WORDING)
    usual = file.answers(backend, fact_requests, beginning=beginning, on_said=on_said)
    every = [*cases, *list(doubted(facts, {r.id: usual[_fact(r)].text for r in facts}))[:doubts]]
    requests = fact_requests | {case.id: case.request for case in every}
    said = {}
    for factor in sorted({*factors, USUAL}):
        found = file.answers(
            backend,
            requests,
            beginning=beginning,
            factor=factor,
            probe=None if factor == USUAL else probe,
            on_said=on_said,
        )
        said[factor] = {name: each.text for name, each in found.items()}
    return Sweep(every, facts, said)


def answers_to_read(
    file: SaidFile,
    backend: Backend,
    rows: Sequence[Question],
    *,
    on_said: Callable[[], None] = lambda: None,
) -> dict[str, tuple[AnswerToRead, str]]:
    """Ask as `neurons find` does, and return the answers that were located, with their texts."""
    [kind] = {kind_of(row) for row in rows}
    wording = WORDINGS[kind]
    requests = {row.id: request_of(row, wording) for row in rows}
    found = file.answers(backend, requests, beginning=sharing(wording), on_said=on_said)
    return {
        name: (AnswerToRead(requests[name], said.answer, said.exact), said.text)
        for name, said in found.items()
        if said.exact
    }


def fact_answers(swept: Sweep) -> Iterator[tuple[float, list[str]]]:
    """Yield each factor with the answers to the facts, in order."""
    for factor, said in swept.said.items():
        yield factor, [said[_fact(row)] for row in swept.facts]


def _fact(row: Question) -> str:
    return f"fact/{row.id}"


def _said(name: str, factor: float, request: Request, trace: Trace) -> SaidAnswer:
    located = automatic(trace, Asked(request.question, request.choices, passages=request.context))
    return SaidAnswer(
        id=name,
        factor=factor,
        asked=_digest(request),
        text=trace.text,
        answer=tuple(trace.ids[: trace.content_end].tolist()),
        exact=located.tokens if isinstance(located, Span) else (),
    )


def _digest(request: Request) -> str:
    turns = [[turn.role, turn.content] for turn in request.messages or ()]
    asked = json.dumps([turns, request.context, request.choices])
    return hashlib.sha256(asked.encode()).hexdigest()[:32]
