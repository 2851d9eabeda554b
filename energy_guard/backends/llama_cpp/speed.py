"""Ways to write an answer with llama.cpp, for `energy-guard bench`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import islice, takewhile
from typing import Any

from energy_guard.backends.llama_cpp.backend import LlamaCpp
from energy_guard.backends.llama_cpp.capture import capture_llama
from energy_guard.backends.llama_cpp.sampling import generate_options
from energy_guard.backends.speed import Comparison, Run
from energy_guard.request import Request, Sampling

PROMPT = "Write a long story about a lighthouse keeper and the sea."

_BARE = "bare Llama.generate"


def request_of(tokens: int, endless_on: LlamaCpp | None = None) -> Request:
    """A chat with a long answer; `endless_on` an engine, its end token is never chosen.

    That takes a logits processor, which is slow: for memory, not for times.
    """
    if endless_on is None:
        return Request.chat(PROMPT, max_tokens=tokens)
    sampling = Sampling(logit_bias={endless_on.engine.token_eos(): -1e9})
    return Request.chat(PROMPT, max_tokens=tokens, sampling=sampling)


def guarding(backend: LlamaCpp, ask: Callable[[Request], Any], tokens: int) -> Comparison:
    """With this package and without it; `ask` is the guarded way.

    An answer that ends by itself has an end token, chosen from the row after its last token: it
    takes as many decodes as a bare one of as many tokens. One that is cut off takes one more.
    """
    request, llm = request_of(tokens), backend.engine

    def captured(request: Request) -> int:
        with capture_llama(llm, None, True, 1.0):
            return bare(backend, request)

    def guarded(request: Request) -> int:
        return len(ask(request).trace)

    short, ended = request_of(1), request_of(tokens - 1)
    return Comparison(
        "one answer",
        {
            _BARE: partial(bare, backend, request),
            "inside capture": partial(captured, request),
            "Guard.ask": lambda: guarded(ended) + 1,
            "Guard.ask, cut off": partial(guarded, request),
        },
        {
            _BARE: partial(bare, backend, short),
            "inside capture": partial(captured, short),
            "Guard.ask": partial(guarded, short),
            "Guard.ask, cut off": partial(guarded, short),
        },
    )


def keeping_rows(backend: LlamaCpp, keeps_all: LlamaCpp, tokens: int) -> Comparison:
    """The way there was: `logprobs` of an engine that keeps all rows (logits_all=True)."""
    llm, prompt = keeps_all.engine, keeps_all._prompts.encode(request_of(tokens))

    def with_logprobs() -> int:
        out: Any = llm.create_completion(prompt, max_tokens=tokens, temperature=0.0, logprobs=1)
        return len(out["choices"][0]["logprobs"]["tokens"])

    request = request_of(tokens)
    ways: dict[str, Run] = {_BARE: lambda: bare(backend, request)}
    return Comparison("keeping the rows", ways | {"logits_all, logprobs=1": with_logprobs})


def bare(backend: LlamaCpp, request: Request) -> int:
    """Generate without any of this package's code in the loop."""
    llm = backend.engine
    prompt = backend._prompts.encode(request)
    tokens = llm.generate(prompt, **generate_options(request))
    going_on = takewhile(lambda token: token != llm.token_eos(), tokens)
    return sum(1 for _ in islice(going_on, request.max_tokens))
