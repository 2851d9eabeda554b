"""llama.cpp in process, around the user's own `llama_cpp.Llama`."""

from __future__ import annotations

import secrets
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from energy_guard.backends.base import ModelInfo
from energy_guard.backends.llama_cpp.capture import StopToken
from energy_guard.backends.llama_cpp.gguf_file import fingerprint
from energy_guard.backends.llama_cpp.prompt import PromptEncoder
from energy_guard.backends.llama_cpp.tap import (
    RowTap,
    context_size,
    current_row,
    is_end,
    piece,
)
from energy_guard.backends.locks import DEFAULT_WAIT_S, lock_of
from energy_guard.backends.recorder import Recorder
from energy_guard.energy import RowReducer
from energy_guard.errors import EngineError, InputError
from energy_guard.request import Event, Grammar, JsonSchema, Request, Sampling
from energy_guard.trace import SIGNALS, Step

if TYPE_CHECKING:
    from llama_cpp import Llama


class LlamaCpp:
    """A backend over one `llama_cpp.Llama`, which stays the user's and is left as found.

    chat_template: Jinja text, where the file has none or another is wanted. last_row: evaluate
    the row after the last token where the generation did not (one extra decode), so that the
    last token has energies too. wait_s: how long to wait for an engine in use.
    """

    def __init__(
        self,
        llm: Llama,
        *,
        chat_template: str | None = None,
        last_row: bool = True,
        wait_s: float = DEFAULT_WAIT_S,
    ) -> None:
        self.engine = llm
        self._prompts = PromptEncoder(llm, chat_template)
        self._last_row = last_row
        self._wait_s = wait_s
        self._lock = lock_of(llm)

    @cached_property
    def info(self) -> ModelInfo:
        """Name and fingerprint of the model file with its adapter."""
        llm = self.engine
        path = Path(llm.model_path)
        adapters = {Path(llm.lora_path): llm.lora_scale} if llm.lora_path else {}
        name = llm.metadata.get("general.name") or path.stem
        return ModelInfo(name, fingerprint(path, adapters), "llama-cpp")

    @property
    def exact_signals(self) -> frozenset[str]:
        """All of them."""
        return frozenset(SIGNALS)

    def generate(self, requests: Sequence[Request]) -> Generator[Event, None, None]:
        """Answer the requests one after the other; see `Backend.generate`."""
        with self._lock.hold(self._wait_s):
            jobs = [(self._prompts.encode(r), self._options(r)) for r in requests]
            for number, (request, (prompt, options)) in enumerate(zip(requests, jobs, strict=True)):
                yield from self._run(number, request, prompt, options)

    def replay(self, request: Request, answer: str | Sequence[int]) -> Generator[Event, None, None]:
        """Evaluate an answer that exists already; see `Backend.replay`.

        The prompt is evaluated afresh and the answer token by token, as when it was written,
        so the numbers are those of live decoding. A text is tokenised once; ids are taken as
        they are. The row after the answer is evaluated too, so its last token has energies.
        """
        llm = self.engine
        with self._lock.hold(self._wait_s):
            prompt = self._prompts.encode(request)
            ids = self._prompts.encode_answer(answer, room=context_size(llm) - len(prompt))
            recorder = Recorder(
                0, len(prompt), max_tokens=len(ids), inverse_temperature=request.inverse_temperature
            )
            reducer = RowReducer(llm.n_vocab(), inverse_temperature=request.inverse_temperature)
            llm.reset()
            _evaluate(llm, prompt)
            for token in ids:
                if recorder.interrupted(request):
                    break
                row = current_row(llm)
                logit = reducer.token_logit(row, token)
                step = Step(token, piece(llm, token), logit, reducer.reduce(row))
                yield from recorder.add(step, ends=is_end(llm, token))
                _evaluate(llm, [token])
            after = reducer.reduce(current_row(llm)) if recorder.wants_last_row else None
            yield from recorder.finish(after)

    def _run(
        self, number: int, request: Request, prompt: list[int], options: dict[str, Any]
    ) -> Generator[Event, None, None]:
        llm = self.engine
        limit = min(request.max_tokens, context_size(llm) - len(prompt))
        recorder = Recorder(number, len(prompt), request.stop, limit, request.inverse_temperature)
        tap = RowTap(llm, request.inverse_temperature)
        with tap.installed(), self._seed(request.sampling.seed):
            tokens = llm.generate(prompt, **options)
            try:
                while recorder.reason is None and not recorder.interrupted(request):
                    token = _next(tokens)
                    if isinstance(token, StopToken):  # a capture around us wants no more
                        recorder.reason = "cancelled"
                    else:
                        yield from recorder.add(tap.take(token), ends=is_end(llm, token))
            finally:
                tokens.close()
            last_row = self._last_row and recorder.wants_last_row
            row = tap.next_row(recorder.last_id) if last_row else None
        yield from recorder.finish(row)

    @contextmanager
    def _seed(self, seed: int | None) -> Iterator[None]:
        before = self.engine._seed
        self.engine.set_seed(secrets.randbits(32) if seed is None else seed)
        try:
            yield
        finally:
            self.engine.set_seed(before)

    def _options(self, request: Request) -> dict[str, Any]:
        sampling = request.sampling
        return {
            "temp": sampling.temperature,
            "top_k": sampling.top_k,
            "top_p": sampling.top_p,
            "min_p": sampling.min_p,
            "typical_p": sampling.typical_p,
            "repeat_penalty": sampling.repeat_penalty,
            "frequency_penalty": sampling.frequency_penalty,
            "presence_penalty": sampling.presence_penalty,
            "mirostat_mode": sampling.mirostat_mode,
            "mirostat_tau": sampling.mirostat_tau,
            "mirostat_eta": sampling.mirostat_eta,
            "logits_processor": _bias(sampling),
            "grammar": self._grammar(request.constraint),
        }

    def _grammar(self, constraint: Grammar | JsonSchema | None) -> Any:
        if constraint is None:
            return None
        from llama_cpp import llama_sampler_free, llama_sampler_init_grammar
        from llama_cpp.llama_grammar import LlamaGrammar

        try:
            if isinstance(constraint, JsonSchema):
                grammar = LlamaGrammar.from_json_schema(constraint.schema, verbose=False)
            else:
                grammar = LlamaGrammar.from_string(constraint.gbnf, verbose=False)
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"the JSON schema cannot be used: {error}") from error
        # A grammar that does not parse would crash the process inside the sampler chain.
        parsed = llama_sampler_init_grammar(
            self.engine._model.vocab, grammar._grammar.encode(), grammar._root.encode()
        )
        if not parsed:
            raise InputError(
                "the grammar does not parse", "It is GBNF with a rule named root; look for typos."
            )
        llama_sampler_free(parsed)
        return grammar


def _next(tokens: Iterator[int]) -> int:
    with _engine_failures():
        try:
            return next(tokens)
        except StopIteration:
            raise EngineError("llama.cpp ended the generation by itself") from None


def _evaluate(llm: Llama, ids: list[int]) -> None:
    with _engine_failures():
        llm.eval(ids)


@contextmanager
def _engine_failures() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise EngineError(
            f"llama.cpp failed while it evaluated tokens: {error}",
            "Run `energy-guard doctor` with this model; a smaller n_ctx or n_batch may help.",
        ) from error


def _bias(sampling: Sampling) -> Any:
    """A bias on chosen logits; it acts on the sampler's copy, the raw row stays as it is."""
    if not sampling.logit_bias:
        return None
    from llama_cpp import LogitsProcessorList

    def add_bias(_ids: Any, row: Any) -> Any:
        for token, value in sampling.logit_bias.items():
            row[token] += value
        return row

    return LogitsProcessorList([add_bias])
