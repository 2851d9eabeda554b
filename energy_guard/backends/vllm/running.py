"""Requests in vLLM's own loop, from the first token to the traces: written, or read once more."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from energy_guard.backends.transformers.reduce import check_logit, checked
from energy_guard.backends.vllm.engine import VllmEngine, VllmJob, ended_early
from energy_guard.backends.vllm.traces import ChosenRow, choices_of
from energy_guard.energy import Row
from energy_guard.errors import EngineError
from energy_guard.request import Event
from energy_guard.trace import INCOMPLETE, Step


class _Sequence:
    """One answer, token by token."""

    def __init__(self, job: VllmJob, piece: Callable[[int], bytes], ends: frozenset[int]) -> None:
        self.job = job
        self.closed = False
        self._piece = piece
        self._ends = ends

    def take(self, choice: ChosenRow) -> Iterator[Event]:
        """Take the next token, or, behind the last one, its row alone.

        Whoever hears of a token may end the sequence before the next one.
        """
        recorder = self.job.recorder
        row = checked(choice.row)
        check_logit(choice.token_logit, choice.token)
        if self._ended():
            yield from self._close(row)
            return
        self._check(choice.token)
        piece = self._piece(choice.token)
        step = Step(choice.token, piece, choice.token_logit, row, self._likeliest(choice))
        yield from recorder.add(step, choice.token in self._ends)
        if not self._ended():
            yield from self.interrupted()
        elif not recorder.wants_last_row:
            yield from self._close(None)

    def _check(self, token: int) -> None:
        """Raise EngineError for a token that cannot have been chosen as it was asked for."""
        matcher, given = self.job.matcher, self.job.given
        if matcher is not None:
            matcher.take(token)
        if given is not None and token != given[len(self.job.recorder)]:
            raise EngineError(
                "vLLM wrote another token than the one that it was to write",
                "Start it with **energy_guard.backends.vllm.ENGINE_ARGUMENTS.",
            )

    def interrupted(self) -> Iterator[Event]:
        """Close the sequence where nobody wants it any more."""
        if self.job.recorder.interrupted(self.job.request):
            yield from self._close(None)

    def unwanted(self) -> bool:
        """Whether nobody wants the sequence any more."""
        return self.job.request.interrupted is not None

    def _ended(self) -> bool:
        recorder, given = self.job.recorder, self.job.given
        if recorder.reason is None or given is None or recorder.reason in INCOMPLETE:
            return recorder.reason is not None
        return len(recorder) >= len(given)

    def _close(self, row: Row | None) -> Iterator[Event]:
        self.closed = True
        yield from self.job.recorder.finish(row)

    def _likeliest(self, choice: ChosenRow) -> tuple[tuple[int, float], ...]:
        return choice.likeliest[: self.job.request.alternatives]


def written(engine: VllmEngine, jobs: Sequence[VllmJob]) -> Iterator[Event]:
    """Write answers, or force given ones; yield events as vLLM's batches bring them.

    Raises:
        EngineError: vLLM fails, or what comes from it are not our numbers.
        RowError: a row is none of raw logits.
    """
    engine.check_free()
    running: dict[str, _Sequence] = {}
    try:
        for job in jobs:
            sequence = _Sequence(job, engine.vocabulary.piece, engine.ends)
            yield from sequence.interrupted()
            if not sequence.closed:
                running[engine.add(job.prompt, job.asked)] = sequence
        while running:
            for name, sequence in list(running.items()):
                if sequence.job.recorder.reason is None:
                    yield from sequence.interrupted()
                if sequence.closed:
                    _drop(engine, running, name)
            for output in engine.step() if running else ():
                if (told := running.get(output.request_id)) is not None:
                    if output.outputs[0].token_ids:
                        yield from _heard(told, output.outputs[0])
                    if output.finished and not told.closed:
                        raise ended_early(output.outputs[0].finish_reason)
    finally:
        engine.drop(list(running))


def _heard(sequence: _Sequence, answer: object) -> Iterator[Event]:
    """Take what has come of one sequence; what lies behind its end is not looked at."""
    for choice in choices_of(answer.logprobs, answer.token_ids):  # type: ignore[attr-defined]
        if not sequence.closed:
            yield from sequence.take(choice)


def _drop(engine: VllmEngine, running: dict[str, _Sequence], name: str) -> None:
    engine.drop([name])
    del running[name]


def read(engine: VllmEngine, jobs: Sequence[VllmJob]) -> Iterator[Event]:
    """Read given answers at once, with their prompts, and yield the events of each.

    Raises:
        EngineError: see `written`.
        RowError: a row is none of raw logits.
    """
    for job in jobs:
        sequence = _Sequence(job, engine.vocabulary.piece, engine.ends)
        yield from sequence.interrupted()
        if sequence.closed:
            continue
        given = job.given or []
        output = engine.answer_of([*job.prompt, *given], job.asked, sequence.unwanted)
        if output is None:
            yield from sequence.interrupted()
            continue
        of_prompt = output.prompt_logprobs[len(job.prompt) :]
        for choice in choices_of(of_prompt, given):
            if not sequence.closed:
                yield from sequence.take(choice)
        if not sequence.closed:
            yield from _heard(sequence, output.outputs[0])
