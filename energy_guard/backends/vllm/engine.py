"""One engine of vLLM with its tokenizer: what it takes to turn requests into its own."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from energy_guard.backends.constraint import Matcher, grammar_of
from energy_guard.backends.prompt import PromptEncoder
from energy_guard.backends.recorder import Recorder
from energy_guard.backends.transformers.codec import TokenizerCodec
from energy_guard.backends.transformers.constrain import Constraints
from energy_guard.backends.transformers.vocabulary import Vocabulary
from energy_guard.backends.vllm.params import (
    check_drawing,
    check_request,
    forced_to,
    read_at_once,
    written_by,
)
from energy_guard.errors import EngineBusyError, EngineError
from energy_guard.request import Request


@dataclass(frozen=True, slots=True)
class VllmJob:
    """given: an answer that exists and is only evaluated. asked: vLLM's `SamplingParams`.

    matcher: what the answer must follow, None where it is free.
    """

    request: Request
    prompt: list[int]
    given: list[int] | None
    asked: dict[str, Any]
    recorder: Recorder
    matcher: Matcher | None = None


@dataclass(frozen=True)
class VllmEngine:
    """llm: vLLM's `LLMEngine`. ends: tokens that end an answer. seeds: whether it can take them."""

    llm: Any
    tokenizer: Any
    codec: TokenizerCodec
    vocabulary: Vocabulary
    prompts: PromptEncoder
    ends: frozenset[int]
    seeds: bool

    @cached_property
    def constraints(self) -> Constraints:
        """Grammars and schemas, compiled for this vocabulary."""
        return Constraints(self.tokenizer, self.ends, self._size)

    @property
    def _size(self) -> int:
        return max(self.codec.vocabulary_size, len(self.tokenizer))

    def jobs(self, requests: Sequence[Request]) -> list[VllmJob]:
        """Return what is to be written."""
        most = max((request.alternatives for request in requests), default=0)
        return [self._writing(i, request, most) for i, request in enumerate(requests)]

    def readings(
        self, pairs: Sequence[tuple[Request, str | Sequence[int]]], fast: bool
    ) -> list[VllmJob]:
        """Return what is to be read."""
        most = max((request.alternatives for request, _ in pairs), default=0)
        return [self._reading(i, *pair, most, fast) for i, pair in enumerate(pairs)]

    def _writing(self, number: int, request: Request, alternatives: int) -> VllmJob:
        check_drawing(request.sampling, seeds=self.seeds)
        prompt = self._encoded(request)
        limit = min(request.max_tokens, self.codec.context - len(prompt))
        matcher, grammar = None, ""
        if request.constraint is not None:
            matcher = self.constraints.matcher(request.constraint)
            grammar = grammar_of(request.constraint)
        asked = written_by(
            request,
            limit,
            ends=sorted(self.ends),
            size=self._size,
            grammar=grammar,
            alternatives=alternatives,
        )
        recorder = self._recorder(number, request, prompt, request.stop, limit)
        return VllmJob(request, prompt, None, asked, recorder, matcher)

    def _reading(
        self, number: int, request: Request, answer: str | Sequence[int], most: int, fast: bool
    ) -> VllmJob:
        prompt = self._encoded(request)
        ids = self.prompts.encode_answer(answer, self.codec.context - len(prompt))
        asked = read_at_once(most) if fast else forced_to(ids, most)
        return VllmJob(
            request, prompt, ids, asked, self._recorder(number, request, prompt, (), len(ids))
        )

    def _encoded(self, request: Request) -> list[int]:
        check_request(request, self.codec.vocabulary_size)
        return self.prompts.encode(request)

    def _recorder(
        self, number: int, request: Request, prompt: list[int], stop: tuple[str, ...], limit: int
    ) -> Recorder:
        return Recorder(
            number,
            len(prompt),
            stop,
            limit,
            request.inverse_temperature,
            self.prompts.opens_reasoning(prompt),
        )

    def add(self, prompt: Sequence[int], asked: dict[str, Any]) -> str:
        """Give vLLM a request; return the name that its outputs will have."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        name = f"energy-guard-{secrets.token_hex(8)}"
        params = SamplingParams(output_kind=RequestOutputKind.DELTA, **asked)
        with engine_failures():
            self.llm.add_request(name, {"prompt_token_ids": list(prompt)}, params)
        return name

    def step(self) -> list[Any]:
        """Let vLLM go on with what is waited for; return what it has written meanwhile."""
        if not self.llm.has_unfinished_requests():  # nothing would ever come
            raise EngineError("somebody else has dropped a request in vLLM", "Ask again.")
        with engine_failures():
            outputs: list[Any] = self.llm.step()
        return outputs

    def drop(self, names: Sequence[str]) -> None:
        """Let vLLM forget requests, finished or not."""
        if names:
            with engine_failures():
                self.llm.abort_request(list(names))

    def forget(self) -> None:
        """Let vLLM forget all prompts that it has read."""
        with engine_failures():
            forgotten = self.llm.reset_prefix_cache()
        if not forgotten:
            raise EngineError(
                "vLLM keeps prompts that it was to forget", "Let its other requests finish."
            )

    def answer_of(
        self,
        prompt: Sequence[int],
        asked: dict[str, Any],
        interrupted: Callable[[], bool] = lambda: False,
    ) -> Any:
        """Return the one output of a request that is answered with one token.

        Args:
            prompt: token ids.
            asked: vLLM's `SamplingParams`.
            interrupted: looked at before each step, of which a long prompt takes several; True
                drops the request, and None is returned.
        """
        self.check_free()
        name = self.add(prompt, asked)
        try:
            while not interrupted():
                for output in self.step():
                    if output.request_id != name:
                        continue
                    if output.outputs[0].token_ids:
                        return output
                    if output.finished:
                        raise ended_early(output.outputs[0].finish_reason)
            return None
        finally:
            self.drop([name])

    def check_free(self) -> None:
        """Raise EngineBusyError while requests of somebody else are in the engine.

        Their outputs would come here, and nobody else would see them.
        """
        if self.llm.has_unfinished_requests():
            raise EngineBusyError(
                "the engine has requests that were not asked here",
                "Let them finish, or ask them here, too.",
            )

    @contextmanager
    def multiplied(self, inverse_temperature: float) -> Iterator[None]:
        """Have all rows multiplied until the block ends."""
        if inverse_temperature == 1.0:
            yield
            return
        self._multiply(inverse_temperature)
        try:
            yield
        finally:
            self._multiply(1.0)

    def _multiply(self, inverse_temperature: float) -> None:
        with engine_failures():
            self.llm.collective_rpc("energy_guard_multiply", args=(inverse_temperature,))


def ended_early(reason: str | None) -> EngineError:
    """Return the error for a request that vLLM itself has ended."""
    return EngineError(f"vLLM ended an answer early ({reason})", "Its own output says why.")


@contextmanager
def engine_failures() -> Iterator[None]:
    """Turn failures of vLLM into EngineError."""
    from vllm.v1.engine.exceptions import EngineDeadError

    try:
        yield
    except EngineDeadError as error:
        raise EngineError(
            "vLLM's engine has died; its own output says of what", "Load the model again."
        ) from error
    except (RuntimeError, ValueError) as error:
        text = str(error)
        raise EngineError(
            f"vLLM failed: {text.splitlines()[0] if text else error!r}",
            "If it is the memory: start it with a smaller max_model_len or max_num_seqs.",
        ) from error
