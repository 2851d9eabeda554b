"""llama.cpp in process, around the user's own `llama_cpp.Llama`."""

from __future__ import annotations

import secrets
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from energy_guard.backends.base import ModelInfo
from energy_guard.backends.llama_cpp.capture import is_end
from energy_guard.backends.llama_cpp.gguf_file import fingerprint
from energy_guard.backends.llama_cpp.prompt import PromptEncoder
from energy_guard.backends.llama_cpp.tap import RowTap
from energy_guard.backends.locks import DEFAULT_WAIT_S, lock_of
from energy_guard.backends.recorder import Recorder
from energy_guard.errors import EngineError, InputError, PromptError
from energy_guard.request import Event, Grammar, JsonSchema, Request, Sampling
from energy_guard.trace import SIGNALS

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
            prompts = [self._prompts.encode(request) for request in requests]
            for number, (request, prompt) in enumerate(zip(requests, prompts, strict=True)):
                yield from self._run(number, request, prompt)

    def replay(self, request: Request, answer: str | Sequence[int]) -> Generator[Event, None, None]:
        """Choose the tokens of `answer` instead of sampling; see `Backend.replay`.

        The prompt is evaluated afresh and the answer token by token, as when it was written,
        so the numbers are those of live decoding. A text is tokenised once; ids are taken as
        they are. What comes after the answer is evaluated too, so its last token has energies.
        """
        with self._lock.hold(self._wait_s):
            prompt = self._prompts.encode(request)
            if isinstance(answer, str):
                ids = self.engine.tokenize(answer.encode(), add_bos=False, special=False)
            else:
                ids = list(answer)
            room = min(self.engine.n_ctx(), len(self.engine.input_ids))
            if not ids:
                raise PromptError("the answer to replay is empty")
            if len(prompt) + len(ids) > room:
                raise PromptError(
                    f"prompt and answer have {len(prompt) + len(ids)} tokens, the context {room}",
                    "Load the model with a larger context (n_ctx).",
                )
            self.engine.reset()
            yield from self._run(0, request, prompt, ids)

    def _run(
        self, number: int, request: Request, prompt: list[int], forced: list[int] | None = None
    ) -> Generator[Event, None, None]:
        llm = self.engine
        room = min(llm.n_ctx(), len(llm.input_ids)) - len(prompt)
        limit = min(request.max_tokens, room) if forced is None else len(forced)
        stop = request.stop if forced is None else ()
        recorder = Recorder(number, len(prompt), stop, limit, request.inverse_temperature)
        tap = RowTap(llm, request.inverse_temperature)
        with (
            tap.installed(iter(forced) if forced is not None else None),
            self._seed(request.sampling.seed),
        ):
            tokens = llm.generate(prompt, **self._options(request))
            try:
                while recorder.reason is None and not recorder.interrupted(request):
                    token = _next(tokens)
                    yield from recorder.add(tap.take(token), ends=is_end(llm, token))
            finally:
                tokens.close()
            row = None
            if self._last_row and recorder.wants_last_row:
                row = tap.next_row(recorder.last_id, len(prompt) + len(recorder) - 1)
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
    try:
        return next(tokens)
    except StopIteration:
        raise EngineError("llama.cpp ended the generation by itself") from None
    except RuntimeError as error:
        raise EngineError(
            f"llama.cpp failed while it generated: {error}",
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
