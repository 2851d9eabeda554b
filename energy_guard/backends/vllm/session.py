"""vLLM's engine held for several answers."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import numpy.typing as npt

from energy_guard.backends.base import Pair, heard
from energy_guard.backends.vllm import running
from energy_guard.backends.vllm.engine import VllmEngine, VllmJob
from energy_guard.backends.vllm.params import whole_row
from energy_guard.request import Event, Request


@dataclass(frozen=True, slots=True)
class VllmSession:
    """The engine, held: what `Backend.session` gives."""

    engine: VllmEngine

    def generate(
        self, requests: Sequence[Request], *, private: bool = False, steps: bool = True
    ) -> Generator[Event, None, None]:
        """Write answers, all of them in vLLM's batches; see `Session.generate`."""
        with closing(self._run(self.engine.jobs(requests), fast=False)) as events:
            yield from heard(events, steps)

    def replay(
        self, pairs: Sequence[Pair], *, fast: bool = False, steps: bool = True
    ) -> Generator[Event, None, None]:
        """Evaluate answers that exist; see `Session.replay`."""
        with closing(self._run(self.engine.readings(pairs, fast), fast)) as events:
            yield from heard(events, steps)

    def _run(self, jobs: Sequence[VllmJob], fast: bool) -> Generator[Event, None, None]:
        """The events of jobs; those with equal inverse temperatures go together."""
        run = running.read if fast else running.written
        for beta, alike in groupby(jobs, key=lambda job: job.request.inverse_temperature):
            with self.engine.multiplied(beta):
                yield from run(self.engine, list(alike))

    def beginning(self, requests: Sequence[Request]) -> list[int]:
        """Return the tokens that all begin with; see `Session.beginning`."""
        return self.engine.prompts.beginning(requests)

    def rewind(self, beginning: Sequence[int]) -> None:
        """Keep just these tokens in the prefix cache; see `Session.rewind`.

        vLLM keeps whole blocks of them: what lies behind the last whole one is read again.
        """
        self.engine.forget()
        if beginning:
            self.engine.answer_of(beginning, {"max_tokens": 1, "detokenize": False})

    @contextmanager
    def as_found(self) -> Iterator[None]:
        """Do nothing: vLLM keeps many prompts beside each other; see `Session.as_found`."""
        yield

    def next_row(self, request: Request) -> npt.NDArray[np.float32]:
        """Return the raw row after a prompt; see `Session.next_row`."""
        prompt = self.engine.prompts.encode(request)
        return row_after(self.engine, prompt)

    def tokens_of(self, text: str) -> list[int]:
        """Return the token ids of a text; see `Session.tokens_of`."""
        return self.engine.prompts.encode_answer(text, self.engine.codec.context)

    def piece_of(self, token: int) -> bytes:
        """Return the bytes of a token; see `Session.piece_of`."""
        return self.engine.vocabulary.piece(token)


def row_after(engine: VllmEngine, prompt: Sequence[int]) -> npt.NDArray[np.float32]:
    """Return the whole raw row after some tokens, shape (vocabulary,)."""
    flat = engine.answer_of(prompt, whole_row()).outputs[0].logprobs
    row = np.empty(max(flat.token_ids) + 1, dtype=np.float32)
    row[flat.token_ids] = flat.logprobs
    return row
