"""Whether a context fits the machine's memory, worked out before anything is loaded.

An operating system that promises more memory than it has ends the process, or another one, when
llama.cpp writes to the keys and values of a context that is too long.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from energy_guard.backends.gguf_file import GgufFacts
from energy_guard.errors import ConfigError

_HALF: Final = 2.0
"""Bytes of a number of the cache unless another type is asked for."""

_BYTES: Final[Mapping[Any, float]] = MappingProxyType(
    # f32, f16, bf16, and blocks of 32: q8_0, q4_0, q4_1, q5_0, q5_1, iq4_nl
    {None: _HALF, 0: 4.0, 1: _HALF, 30: _HALF}
    | {8: 34 / 32, 2: 18 / 32, 3: 20 / 32, 6: 22 / 32, 7: 24 / 32, 20: 18 / 32}
)
"""Bytes of a number by ggml's number of its type."""


def check_fits(facts: GgufFacts, options: Mapping[str, Any], *, gpu: bool) -> None:
    """Raise ConfigError for a context whose keys and values the machine's memory cannot hold.

    Nothing is said against what is not known: a model whose layers keep something else, or a
    system that does not tell its memory. On a GPU, too long a context is refused by its driver.

    Args:
        facts: of the model file.
        options: those of `llama_cpp.Llama`, with n_ctx.
        gpu: whether this build of llama.cpp can put layers on a GPU.

    """
    n_ctx, memory = options["n_ctx"] or facts.trained_context, machine_memory()
    if not isinstance(n_ctx, int) or facts.cached is None or facts.layers is None or not memory:
        return
    if options.get("swa_full") is False:  # some layers keep a window of the context alone
        return
    kinds = (_BYTES.get(options.get(name), 0.0) for name in ("type_k", "type_v"))
    of_token = sum(count * size for count, size in zip(facts.cached, kinds, strict=True))
    needed = n_ctx * of_token * _share_in_memory(facts.layers, options, gpu=gpu)
    if needed > memory:
        raise ConfigError(
            f"n_ctx {n_ctx} needs {needed / 1e9:,.1f} GB of memory for keys and values alone, and "
            f"this machine has {memory / 1e9:,.1f} GB",
            f"Ask for a shorter context (n_ctx, --n-ctx): {int(n_ctx * memory / needed)} tokens "
            "would leave no room for anything else.",
        )


def machine_memory() -> int | None:
    """Return the bytes of memory that the machine has; None if its system does not say.

    The systems that do not (Windows) promise no more than they have: llama.cpp is refused there.
    """
    if not hasattr(os, "sysconf"):
        return None
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return pages * size if pages > 0 and size > 0 else None


def _share_in_memory(layers: int, options: Mapping[str, Any], *, gpu: bool) -> float:
    """The share of layers whose keys and values are not on a GPU."""
    offloaded = options.get("n_gpu_layers", 0)
    if not gpu or not options.get("offload_kqv", True) or not isinstance(offloaded, int):
        return 1.0
    return 0.0 if offloaded < 0 else max(0, layers - offloaded) / layers
