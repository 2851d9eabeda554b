"""What is measured by `energy-guard bench`: the same answer, written in several ways."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import islice, pairwise, takewhile
from statistics import median
from typing import Any

from energy_guard.backends.llama_cpp.backend import LlamaCpp
from energy_guard.backends.llama_cpp.capture import capture_llama
from energy_guard.backends.llama_cpp.sampling import generate_options
from energy_guard.request import Request, Sampling, Token

PROMPT = "Write a long story about a lighthouse keeper and the sea."

BARE = "bare Llama.generate"

Run = Callable[[], int]
"""Writes an answer once, and returns how many tokens it has."""


def request_of(tokens: int, endless_on: LlamaCpp | None = None) -> Request:
    """A chat with a long answer; `endless_on` an engine, its end token is never chosen.

    That takes a logits processor, which is slow: for memory, not for times.
    """
    if endless_on is None:
        return Request.chat(PROMPT, max_tokens=tokens)
    sampling = Sampling(logit_bias={endless_on.engine.token_eos(): -1e9})
    return Request.chat(PROMPT, max_tokens=tokens, sampling=sampling)


def ways(backend: LlamaCpp, ask: Callable[[Request], Any], tokens: int) -> Mapping[str, Run]:
    """Return the ways to write the answer on one engine; `ask` is the guarded one."""
    request, llm = request_of(tokens), backend.engine

    def captured() -> int:
        with capture_llama(llm, None, True, 1.0):
            return bare(backend, request)

    def guarded() -> int:
        return len(ask(request).trace)

    return {
        BARE: lambda: bare(backend, request),
        "inside capture": captured,
        "Guard.ask": guarded,
    }


def bare(backend: LlamaCpp, request: Request) -> int:
    """Generate without any of this package's code in the loop."""
    llm = backend.engine
    prompt = backend._prompts.encode(request)
    tokens = llm.generate(prompt, **generate_options(llm, request))
    going_on = takewhile(lambda token: token != llm.token_eos(), tokens)
    return sum(1 for _ in islice(going_on, request.max_tokens))


def with_logprobs(backend: LlamaCpp, tokens: int) -> Run:
    """The way there was: `logprobs` of an engine that keeps all rows (logits_all=True)."""
    llm, prompt = backend.engine, backend._prompts.encode(request_of(tokens))

    def run() -> int:
        out: Any = llm.create_completion(prompt, max_tokens=tokens, temperature=0.0, logprobs=1)
        return len(out["choices"][0]["logprobs"]["tokens"])

    return run


def interleaved(runs: Mapping[str, Run], rounds: int) -> Iterator[dict[str, float]]:
    """Yield, for each round, the seconds a token of every way, in an order drawn anew.

    What runs before leaves its traces in the caches; a fixed order would favour somebody.
    """
    for run in runs.values():
        run()  # warm up, and read the prompt
    order = random.Random(0)  # noqa: S311
    for _ in range(rounds):
        seconds = {}
        for name in order.sample(sorted(runs), len(runs)):
            started = time.perf_counter()
            count = runs[name]()
            seconds[name] = (time.perf_counter() - started) / count
        yield seconds


def retry_ratio(backend: LlamaCpp, tokens: int) -> float:
    """Time of answering the same prompt again, over the decoding time of its tokens alone."""
    request = request_of(tokens)
    with backend.session() as session:
        for _ in session.generate([request]):
            pass
        begun = time.perf_counter()
        at = [time.perf_counter() for e in session.generate([request]) if isinstance(e, Token)]
        whole = time.perf_counter() - begun
    return whole / (median(later - sooner for sooner, later in pairwise(at)) * len(at))
