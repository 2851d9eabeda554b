"""llama.cpp in process, around the user's own `llama_cpp.Llama`."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from energy_guard.backends.base import ModelInfo, Observer, Pair, heard, told, watching
from energy_guard.backends.constraint import Matcher
from energy_guard.backends.gguf_file import check_file, fingerprint
from energy_guard.backends.in_process import InProcess
from energy_guard.backends.llama_cpp.capture import StopToken
from energy_guard.backends.llama_cpp.codec import LlamaCodec
from energy_guard.backends.llama_cpp.constrain import matcher_for
from energy_guard.backends.llama_cpp.evaluate import (
    abortable,
    decode_tokens,
    failed,
    rows_after,
)
from energy_guard.backends.llama_cpp.kept_state import as_found
from energy_guard.backends.llama_cpp.options import engine_options
from energy_guard.backends.llama_cpp.prompt_cache import ReadPrompt, cut_back, read_beginning
from energy_guard.backends.llama_cpp.sampling import generate_options
from energy_guard.backends.llama_cpp.tap import (
    RowTap,
    Written,
    check_open,
    context_size,
    current_row,
    overtaken,
)
from energy_guard.backends.llama_cpp.tried import check_loads
from energy_guard.backends.llama_cpp.vocabulary import vocabulary_of
from energy_guard.backends.locks import DEFAULT_WAIT_S
from energy_guard.backends.recorder import Recorder
from energy_guard.energy import RowReducer
from energy_guard.errors import EngineError
from energy_guard.likeliest import likeliest
from energy_guard.request import Event, Request
from energy_guard.trace import FinishReason, Step

if TYPE_CHECKING:
    from llama_cpp import Llama


_FAST_BATCH: Final = 32
"""Tokens that fast replay evaluates at once: bounds the memory for their rows."""


class LlamaCpp(InProcess):
    """A backend over one `llama_cpp.Llama`, which stays the user's and is left as found.

    chat_template: Jinja text, for a file that has none or when another is wanted; without it the
    Llama's own chat format or handler is used. template_variables: what the template may ask for
    besides, such as `enable_thinking`. last_row: evaluate the row after the last token where the
    generation did not (one extra decode), so that the last token has energies too. wait_s: how
    long to wait for an engine in use.

    Raises ModelFileError if the Llama's file is gone, or is one with which a text would end the
    process.
    """

    def __init__(
        self,
        llm: Llama,
        *,
        chat_template: str | None = None,
        template_variables: Mapping[str, Any] = MappingProxyType({}),
        last_row: bool = True,
        wait_s: float = DEFAULT_WAIT_S,
    ) -> None:
        check_open(llm)
        # Whoever made the Llama loaded the file untried: a text may yet end the process.
        check_file(Path(llm.model_path))
        check_loads(Path(llm.model_path))
        self.engine = llm
        codec = LlamaCodec(llm, chat_template)
        super().__init__(llm, codec, template_variables, wait_s)
        self._chat_format = codec.chat_format
        self._last_row = last_row

    @cached_property
    def info(self) -> ModelInfo:
        """Name and fingerprint of the model file with its adapter, and options of the engine.

        Chats that are laid out in another way than the file says have a fingerprint of their own.
        """
        llm = self.engine
        check_open(llm)
        path = Path(llm.model_path)
        adapters = {Path(llm.lora_path): llm.lora_scale} if llm.lora_path else {}
        name = llm.metadata.get("general.name") or path.stem
        digest = fingerprint(path, adapters)
        layout = self._chat_format.name
        if layout is not None:
            both = f"{digest} {layout}"
            digest = hashlib.sha256(both.encode()).hexdigest()[: len(digest)]
        engine = engine_options(llm) | {"template_variables": self._prompts.option}
        return ModelInfo(name, digest, backend="llama-cpp", engine=engine)

    def _held(self) -> _Session:
        check_open(self.engine)
        return _Session(self)

    def _encode(self, request: Request) -> list[int]:
        check_open(self.engine)
        if request.mode == "chat":
            self._chat_format.check()
        return super()._encode(request)

    def _replay(
        self, number: int, request: Request, prompt: list[int], ids: list[int], batch: int
    ) -> Generator[Event, None, None]:
        """Evaluate the prompt, in the batches of live decoding, and then the answer.

        The row after the answer is evaluated too, so its last token has energies.
        """
        llm, beta = self.engine, request.inverse_temperature
        check_open(llm)
        vocabulary = vocabulary_of(llm)
        recorder = Recorder(
            number,
            len(prompt),
            max_tokens=len(ids),
            inverse_temperature=beta,
            reasoning_open=self._prompts.opens_reasoning(prompt),
        )
        reducer = RowReducer(llm.n_vocab(), inverse_temperature=beta)
        with abortable(llm, lambda: recorder.interrupted(request)):
            cut_back(llm, prompt)
            decode_tokens(llm, prompt[llm.n_tokens :])
        after = None
        if not recorder.interrupted(request):
            row = current_row(llm)
            after = reducer.reduce(row)
            rows = rows_after(llm, ids, batch)
            for token in ids:
                logit = reducer.token_logit(row, token)
                likely = likeliest(row, request.alternatives, beta)
                step = Step(token, vocabulary.piece(token), logit, after, likely)
                yield from recorder.add(step, ends=vocabulary.is_end(token))
                if recorder.interrupted(request):
                    break
                row = next(rows)
                after = reducer.reduce(row)
        if llm.input_ids[: llm.n_tokens].tolist() != [*prompt, *ids][: llm.n_tokens]:
            raise overtaken()
        yield from recorder.finish(after if recorder.wants_last_row else None)

    def _run(
        self,
        number: int,
        request: Request,
        prompt: list[int],
        matcher: Matcher | None,
        private: bool,
        behind: bool,
    ) -> Generator[Event, None, None]:
        llm = self.engine
        check_open(llm)
        left = min(request.max_tokens, context_size(llm) - len(prompt))
        recorder = Recorder(
            number,
            len(prompt),
            request.stop,
            left,
            request.inverse_temperature,
            self._prompts.opens_reasoning(prompt),
        )
        beta, alternatives = request.inverse_temperature, request.alternatives
        tap = RowTap(llm, beta, alternatives=alternatives, behind=behind)
        written = Written(prompt)
        # One token late is too late for a capture around us, which would have that token, too.
        heard = not private and "generate" in vars(llm)
        generate = type(llm).generate.__get__(llm) if private else llm.generate
        with tap.installed(), tap.writing(), self._seed(request.sampling.seed):
            tokens = generate(prompt, **generate_options(request, matcher))
            try:
                token, ends = None, False
                with abortable(llm, lambda: recorder.interrupted(request)):
                    read = cut_back(llm, prompt)
                    if not recorder.interrupted(request):
                        token = _next(llm, tokens)  # reads the prompt, too
                        (read or ReadPrompt.now(llm, prompt)).keep(llm)
                # A stop string that is found behind ends the answer when the next token is there.
                while token is not None and recorder.reason is None:
                    over: FinishReason | None = None
                    if isinstance(token, StopToken):  # a capture around us wants no more
                        over = "cancelled"
                    else:
                        events = tap.record(token, written, recorder)
                        left -= 1
                        ends = tap.vocabulary.is_end(token)
                        if matcher is not None and not ends:
                            matcher.take(token)
                        yield from events
                        over = request.interrupted
                    if ends or not left or over is not None or (heard and request.stop):
                        tap.settle(written)
                    recorder.reason = recorder.reason or over
                    token = None if recorder.reason else _next(llm, tokens)
            finally:
                tokens.close()
            tap.settle(written)
            row = None
            if self._last_row and recorder.wants_last_row:
                row = tap.take_row(written) or tap.next_row(recorder.last.id, written)
        yield from recorder.finish(row)

    def _matcher(self, request: Request) -> Matcher | None:
        constraint = request.constraint
        return None if constraint is None else matcher_for(self.engine, constraint)

    @contextmanager
    def _seed(self, seed: int | None) -> Iterator[None]:
        before = self.engine._seed
        self.engine.set_seed(secrets.randbits(32) if seed is None else seed)
        try:
            yield
        finally:
            self.engine.set_seed(before)


@dataclass(frozen=True, slots=True)
class _Session:
    backend: LlamaCpp
    observer: Observer | None = None

    def generate(
        self, requests: Sequence[Request], *, private: bool = False, steps: bool = True
    ) -> Generator[Event, None, None]:
        backend = self.backend
        jobs = [(backend._encode(request), backend._matcher(request)) for request in requests]
        for number, (request, (prompt, matcher)) in enumerate(zip(requests, jobs, strict=True)):
            events = backend._run(number, request, prompt, matcher, private, behind=not steps)
            yield from self._observed(events, number, prompt, steps, private=private)

    def replay(
        self, pairs: Sequence[Pair], *, fast: bool = False, steps: bool = True
    ) -> Generator[Event, None, None]:
        backend = self.backend
        batch = min(_FAST_BATCH, backend.engine.n_batch) if fast else 1
        encoded = [backend.encode(*pair) for pair in pairs]
        for number, ((request, _), (prompt, ids)) in enumerate(zip(pairs, encoded, strict=True)):
            events = backend._replay(number, request, prompt, ids, batch)
            yield from self._observed(events, number, prompt, steps)

    def _observed(
        self,
        events: Generator[Event, None, None],
        number: int,
        prompt: list[int],
        steps: bool,
        *,
        private: bool = False,
    ) -> Generator[Event, None, None]:
        observer = None if private else self.observer
        with watching(observer, [number], len(prompt)), closing(events):
            yield from heard(told(events, observer), steps)

    def beginning(self, requests: Sequence[Request]) -> list[int]:
        return self.backend._prompts.beginning(requests)

    def rewind(self, beginning: Sequence[int]) -> None:
        with abortable(self.backend.engine, _never):
            read_beginning(self.backend.engine, beginning)

    def as_found(self) -> AbstractContextManager[None]:
        return as_found(self.backend.engine)

    def next_row(self, request: Request) -> npt.NDArray[np.float32]:
        llm, prompt = self.backend.engine, self.backend._prompts.encode(request)
        with abortable(llm, lambda: request.interrupted is not None):
            if cut_back(llm, prompt) is None:
                decode_tokens(llm, prompt[llm.n_tokens :])
                ReadPrompt.now(llm, prompt).keep(llm)
        if request.interrupted is not None:  # the row may be one of before
            raise EngineError(f"the prompt was not read to its end ({request.interrupted})")
        return current_row(llm).copy()

    def tokens_of(self, text: str) -> list[int]:
        return self.backend._prompts.encode_answer(text, context_size(self.backend.engine))

    def piece_of(self, token: int) -> bytes:
        return vocabulary_of(self.backend.engine).piece(token)


def _never() -> bool:
    """Nobody but Ctrl-C ends this."""
    return False


def _next(llm: Llama, tokens: Iterator[int]) -> int:
    check_open(llm)  # whoever reads a stream may close the engine between two tokens
    try:
        return next(tokens)
    except StopIteration:
        raise EngineError("llama.cpp ended the generation by itself") from None
    except RuntimeError as error:
        raise failed(error) from error
