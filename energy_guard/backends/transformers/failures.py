"""What PyTorch raises while a model runs → errors that say what to do next."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from energy_guard.errors import EngineError


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
