"""`load` and `capture`: from whatever the user has to the backend that serves it."""

from __future__ import annotations

import inspect
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final

from energy_guard.backends.base import Backend
from energy_guard.backends.llama_cpp import LlamaCpp
from energy_guard.backends.llama_cpp.capture import capture_llama
from energy_guard.backends.llama_cpp.load import demo_path, download, load_llama
from energy_guard.backends.locks import DEFAULT_WAIT_S
from energy_guard.errors import ConfigError, InputError, ModelFileError
from energy_guard.trace import StepHook, Trace

BACKENDS: Final = ("llama-cpp",)
"""Kinds of backend that `load` knows."""


def load(model: object, backend: str | None = None, **engine_options: Any) -> Backend:
    """Return a backend for `model`.

    model: the path of a GGUF file, a hub id (`owner/repo:FILE-PATTERN`), `"demo"` for the
    embedded model, your own `llama_cpp.Llama`, or a backend (returned as it is).
    engine_options: those of `llama_cpp.Llama` (n_ctx, n_threads, n_gpu_layers, flash_attn,
    lora_path, …) and of `LlamaCpp` (chat_template, last_row, wait_s).

    Raises ModelFileError, MissingExtraError, or ConfigError for options that do not fit.

    >>> load("demo").info.backend
    'llama-cpp'
    """
    if backend is not None and backend not in BACKENDS:
        raise ConfigError(f"there is no backend {backend!r}", f"One of: {', '.join(BACKENDS)}.")
    own = {
        name: engine_options.pop(name)
        for name in ("chat_template", "last_row", "wait_s")
        if name in engine_options
    }
    if isinstance(model, Backend) or _is_llama(model):
        if engine_options:
            raise ConfigError(f"{', '.join(engine_options)}: this engine is loaded already")
        return LlamaCpp(model, **own) if _is_llama(model) else model  # type: ignore[arg-type,return-value]
    if not isinstance(model, str | Path):
        raise InputError(
            f"a {type(model).__name__} is not a model that can be guarded",
            "Give a path, a hub id, `demo`, or a llama_cpp.Llama.",
        )
    return LlamaCpp(_load_llama(model, engine_options), **own)


def capture(
    engine: object,
    on_step: StepHook | None = None,
    *,
    last_row: bool = True,
    wait_s: float = DEFAULT_WAIT_S,
) -> AbstractContextManager[list[Trace]]:
    """Record a `Trace` of every sequence that your own code generates on `engine` inside `with`.

    engine: your `llama_cpp.Llama`; any of its calls (completion, chat, streaming, tools,
    grammar) is seen, and the object is left as it was found. on_step sees each step as its
    token is chosen; when it returns True, the generation ends there. Raises EngineBusyError
    where the engine stays in use for `wait_s` seconds, InputError for any other object.

    >>> llm = load("demo").engine
    >>> with capture(llm) as traces:
    ...     _ = llm("The capital of France is", max_tokens=3)
    >>> traces[0].text.strip()
    'Paris.'
    """
    if not _is_llama(engine):
        raise InputError(
            f"cannot capture from a {type(engine).__name__}", "Give a llama_cpp.Llama."
        )
    return capture_llama(engine, on_step, last_row, wait_s)  # type: ignore[arg-type]


def _is_llama(engine: object) -> bool:
    """Tell a llama_cpp.Llama (or a subclass) without importing llama_cpp."""
    return any(
        kind.__module__ == "llama_cpp.llama" and kind.__name__ == "Llama"
        for kind in inspect.getmro(type(engine))
    )


def _load_llama(model: str | Path, options: dict[str, Any]) -> Any:
    if model == "demo":
        return load_llama(demo_path(), **options)
    path = Path(model).expanduser()
    if path.is_dir():
        files = ", ".join(sorted(file.name for file in path.glob("*.gguf"))) or "none"
        raise ModelFileError(
            f"{path} is a directory, not a GGUF file", f"GGUF files in it: {files}."
        )
    repo, colon, pattern = str(model).partition(":")
    if colon and repo.count("/") == 1 and not path.exists():
        path = download(repo, pattern)
    return load_llama(path, **options)
