"""Ways to write answers with transformers, for `energy-guard bench`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from energy_guard.backends.speed import Comparison, Run
from energy_guard.backends.transformers.backend import Transformers
from energy_guard.backends.transformers.capture import capture_transformers
from energy_guard.backends.transformers.offload import device_of
from energy_guard.request import Finished, Request

_BARE: Final = "bare generate"

_HEROES: Final = (
    *("lighthouse keeper", "dog", "king who has lost his crown", "ship", "child", "storm"),
    *("map that nobody can read", "pirate"),
)
BATCH: Final = len(_HEROES)


def questions(number: int) -> list[str]:
    """What has long answers; of different lengths."""
    return [f"Write a long story about a {hero} and the sea." for hero in _HEROES[:number]]


def requests_of(number: int, tokens: int) -> list[Request]:
    """Chats about them."""
    return [Request.chat(question, max_tokens=tokens) for question in questions(number)]


def of_length(backend: Transformers, tokens: int, cut_off: bool = False) -> Transformers:
    """The same engine; all answers have as many tokens, and the last is an end token.

    cut_off: it is not. Then the row after it has still to be evaluated.
    """
    options: dict[str, Any] = {}
    if backend.ends:
        options = {"min_new_tokens": tokens if cut_off else tokens - 1}
        if not cut_off:
            options["forced_eos_token_id"] = min(backend.ends)
    return Transformers(backend.engine, backend.tokenizer, generation=options)


def bare(backend: Transformers, requests: list[Request], **options: Any) -> Run:
    """`generate` as users call it, with the same ids and settings, and further options of it."""
    import torch

    jobs = [backend._engine.job(i, request, None) for i, request in enumerate(requests)]
    width, limit = max(len(job.prompt) for job in jobs), max(job.limit for job in jobs)
    padding = [width - len(job.prompt) for job in jobs]
    ids = [[0] * pad + job.prompt for pad, job in zip(padding, jobs, strict=True)]
    mask = [[0] * pad + [1] * len(job.prompt) for pad, job in zip(padding, jobs, strict=True)]
    model: Any = backend.engine
    place = device_of(model)

    def run() -> int:
        out = model.generate(
            torch.tensor(ids, device=place),
            attention_mask=torch.tensor(mask, device=place),
            max_new_tokens=limit,
            do_sample=False,
            eos_token_id=sorted(backend.ends) or None,
            pad_token_id=0,
            **backend._engine.generation,
            **options,
        )
        return int(getattr(out, "sequences", out)[:, width:].numel())

    return run


def guarded(backend: Transformers, requests: list[Request], steps: bool = False) -> Run:
    """A session of the backend, its traces kept; steps: every token is handed over at once."""

    def run() -> int:
        with backend.session() as session:
            events = session.generate(requests, steps=steps)
            traces = [event.trace for event in events if isinstance(event, Finished)]
        return sum(map(len, traces))

    return run


def one_answer(backend: Transformers, asking: Callable[[Any], Any], tokens: int) -> Comparison:
    """With this package and without it; `asking` turns a backend into the guarded way to ask."""
    (request,) = requests_of(1, tokens)
    ended, cut = of_length(backend, tokens), of_length(backend, tokens, cut_off=True)
    ask, ask_cut = asking(ended), asking(cut)
    return Comparison(
        "one answer",
        {
            _BARE: (write := bare(ended, [request])),
            "inside capture": _captured(ended, write),
            "Guard.ask": lambda: len(ask(request).trace),
            "Guard.ask, cut off": lambda: len(ask_cut(request).trace),
            "streamed": guarded(ended, [request], steps=True),
        },
    )


def batch(backend: Transformers, tokens: int) -> Comparison:
    """The same for several answers at once."""
    backend, requests = of_length(backend, tokens), requests_of(BATCH, tokens)
    ways = {_BARE: (write := bare(backend, requests)), "inside capture": _captured(backend, write)}
    return Comparison(f"{BATCH} answers at once", ways | {"guarded": guarded(backend, requests)})


def keeping_rows(backend: Transformers, tokens: int) -> Comparison:
    """What `generate` itself has for whoever wants rows."""
    backend, requests = of_length(backend, tokens), requests_of(1, tokens)
    ways = {_BARE: bare(backend, requests)}
    for option in ("output_logits", "output_scores"):
        keep = {option: True, "return_dict_in_generate": True}
        ways[f"{option}=True"] = bare(backend, requests, **keep)
    return Comparison("keeping the rows", ways)


def _captured(backend: Transformers, write: Run) -> Run:
    def run() -> int:
        with capture_transformers(backend.engine, backend.tokenizer, None, True, 1.0):
            return write()

    return run


def device_peak(backend: Transformers, forget: bool = False) -> int:
    """Most bytes that PyTorch took on the model's CUDA device since that was forgotten last.

    0 on other devices: what they take is seen with the process.
    """
    import torch

    device = device_of(backend.engine)
    if device.type != "cuda":
        return 0
    if forget:
        torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.max_memory_allocated(device)
