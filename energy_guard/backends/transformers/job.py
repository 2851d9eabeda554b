"""One request as it goes into a batch, which of them go together, and what they may fail of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from energy_guard.backends.constraint import Matcher
from energy_guard.backends.recorder import Recorder
from energy_guard.errors import EngineError
from energy_guard.request import Request


@dataclass(frozen=True, slots=True)
class Job:
    """limit: most tokens of the answer. given: an answer that exists and is only evaluated.

    matcher: what the answer must follow, None if it is free.
    """

    request: Request
    prompt: list[int]
    limit: int
    given: list[int] | None
    recorder: Recorder
    matcher: Matcher | None = None


def batches(jobs: Sequence[Job], size: int, context: int) -> Iterator[list[Job]]:
    """Divide jobs, in order, into batches of at most `size`.

    Within a batch the sampling settings are equal but for the seeds, and no sequence can run
    past the model's positions while it waits for the others.
    """
    batch: list[Job] = []
    for job in jobs:
        together = [*batch, job]
        needed = max(len(j.prompt) for j in together) + max(j.limit for j in together)
        fits = len(together) <= size and needed <= context
        if batch and not (fits and _alike(batch[0].request, job.request)):
            yield batch
            batch = []
        batch.append(job)
    if batch:
        yield batch


def _alike(one: Request, other: Request) -> bool:
    return replace(one.sampling, seed=None) == replace(other.sampling, seed=None)


@contextmanager
def engine_failures() -> Iterator[None]:
    """Turn failures of the engine into EngineError; the engine stays usable."""
    try:
        yield
    except (RuntimeError, IndexError) as error:
        raise _named(error) from error


def _named(error: Exception) -> EngineError:
    import torch

    text = str(error)
    full = isinstance(error, torch.OutOfMemoryError) or any(
        sign in text for sign in ("out of memory", "can't allocate memory")
    )
    if not full:
        return EngineError(
            f"the model failed while it ran: {text.splitlines()[0] if text else error!r}",
            "Run `energy-guard doctor` with this model.",
        )
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return EngineError(
        "out of memory while the model ran",
        "Ask less at once (batch_size), shorten prompt or max_tokens, load the model in bfloat16 "
        "(dtype), or take a smaller one.",
    )
