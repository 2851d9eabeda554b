"""What `bench` measures on each engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Final, Protocol, TypeVar

from energy_guard.backends import Backend
from energy_guard.backends.llama_cpp import LlamaCpp
from energy_guard.backends.llama_cpp import speed as llama_cpp
from energy_guard.backends.speed import Comparison, Run, retry_ratios
from energy_guard.backends.transformers import Transformers
from energy_guard.backends.transformers import speed as transformers
from energy_guard.cli.bench_neurons import watching_neurons
from energy_guard.cli.options import EngineOptions
from energy_guard.guard import Guard


class Bench(Protocol):
    """An engine, and the ways to write answers of `tokens` tokens with it.

    rounds, tokens: unless the user says otherwise. memory_ways: the first is bare.
    """

    rounds: ClassVar[int]
    tokens: ClassVar[int]
    memory_ways: ClassVar[tuple[str, ...]]

    def __init__(self, options: EngineOptions, tokens: int) -> None: ...

    @property
    def name(self) -> str:
        """The model's."""
        ...

    def comparisons(self) -> Sequence[Comparison]:
        """What is timed."""
        ...

    def retries(self, rounds: int) -> Iterator[float]:
        """Times of answering a prompt again, over the decoding time of the tokens alone."""
        ...

    def memory_run(self, way: str) -> Run:
        """Tokens in one of the `memory_ways`."""
        ...

    def device_peak(self, forget: bool = False) -> int:
        """Most bytes taken on a device with memory of its own since that was forgotten last."""
        ...


class LlamaCppBench:
    """An engine with as much context as the answers need."""

    rounds: ClassVar[int] = 12
    tokens: ClassVar[int] = 128
    memory_ways: ClassVar[tuple[str, ...]] = ("bare", "guarded")

    def __init__(self, options: EngineOptions, tokens: int) -> None:
        self._options = replace(options, n_ctx=max(512, tokens + 256))
        self._tokens = tokens
        self._engine = _opened(LlamaCpp, self._options)
        self.name = self._engine.info.name

    def comparisons(self) -> Sequence[Comparison]:
        """One answer; with its neurons watched; and, in rounds of its own, the way there was.

        It sweeps the caches, and whoever came next would pay for that.
        """
        keeps_all = _opened(LlamaCpp, self._options, logits_all=True)
        guarding = llama_cpp.guarding(self._engine, Guard(self._engine).ask, self._tokens)
        request = llama_cpp.request_of(self._tokens)
        return (
            guarding,
            *watching_neurons(self._engine, request, guarding),
            llama_cpp.keeping_rows(self._engine, keeps_all, self._tokens),
        )

    def retries(self, rounds: int) -> Iterator[float]:
        """See `Bench`."""
        return retry_ratios(self._engine, llama_cpp.request_of(self._tokens), rounds)

    def memory_run(self, way: str) -> Run:
        """One long answer."""
        engine = self._engine
        request = llama_cpp.request_of(self._tokens, endless_on=engine)
        if way == "bare":
            return lambda: llama_cpp.bare(engine, request)
        return lambda: len(Guard(engine).ask(request).trace)

    def device_peak(self, forget: bool = False) -> int:
        """llama.cpp does not say."""
        return 0


class TransformersBench:
    """One answer, and several at once."""

    rounds: ClassVar[int] = 8
    tokens: ClassVar[int] = 48
    memory_ways: ClassVar[tuple[str, ...]] = ("bare", "guarded", "output_logits=True")

    def __init__(self, options: EngineOptions, tokens: int) -> None:
        self._tokens = tokens
        self._engine = _opened(Transformers, options)
        self.name = self._engine.info.name

    def comparisons(self) -> Sequence[Comparison]:
        """One answer, several, and what `generate` itself has for whoever wants rows."""
        engine, tokens = self._engine, self._tokens
        one = transformers.one_answer(engine, lambda backend: Guard(backend).ask, tokens)
        (request,) = transformers.requests_of(1, tokens)
        ended = transformers.of_length(engine, tokens)
        return (
            one,
            *watching_neurons(ended, request, one),
            transformers.batch(engine, tokens),
            transformers.keeping_rows(engine, tokens),
        )

    def retries(self, rounds: int) -> Iterator[float]:
        """See `Bench`."""
        (request,) = transformers.requests_of(1, self._tokens)
        return retry_ratios(transformers.of_length(self._engine, self._tokens), request, rounds)

    def memory_run(self, way: str) -> Run:
        """Several answers at once, with as many tokens together: one would take minutes."""
        each = self._tokens // transformers.BATCH
        engine = transformers.of_length(self._engine, each)
        requests = transformers.requests_of(transformers.BATCH, each)
        if way == "guarded":
            return transformers.guarded(engine, requests)
        keep = {"output_logits": True, "return_dict_in_generate": True}
        return transformers.bare(engine, requests, **({} if way == "bare" else keep))

    def device_peak(self, forget: bool = False) -> int:
        """See `Bench`."""
        return transformers.device_peak(self._engine, forget)


BENCHES: Final[dict[str, type[Bench]]] = {
    "llama-cpp": LlamaCppBench,
    "transformers": TransformersBench,
}

_Kind = TypeVar("_Kind", bound=Backend)


def _opened(kind: type[_Kind], options: EngineOptions, **more: Any) -> _Kind:
    backend = options.open(**more)
    if not isinstance(backend, kind):
        raise TypeError(f"{type(backend).__name__} is not the backend that was asked for")
    return backend
