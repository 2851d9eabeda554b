"""`load` and `capture`: from whatever the user has to the backend that serves it."""

from __future__ import annotations

import inspect
import re
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final

from energy_guard.arguments import NotNegative, checked
from energy_guard.backends.base import Backend
from energy_guard.backends.demo_model import demo_path
from energy_guard.backends.installed import PACKAGES, require
from energy_guard.backends.llama_cpp import LlamaCpp
from energy_guard.backends.llama_cpp.capture import capture_llama
from energy_guard.backends.llama_cpp.load import download, load_llama
from energy_guard.backends.locks import DEFAULT_WAIT_S
from energy_guard.backends.remote import RemoteServer
from energy_guard.backends.transformers import Transformers
from energy_guard.backends.transformers.capture import capture_transformers
from energy_guard.backends.transformers.check import (
    is_model,
    is_pipeline,
    is_tokenizer,
    without_compile,
)
from energy_guard.backends.transformers.load import load_pair
from energy_guard.backends.vllm import Vllm
from energy_guard.backends.vllm.load import load_llm
from energy_guard.errors import ConfigError, InputError, ModelFileError
from energy_guard.trace import StepHook, Trace

BACKENDS: Final = (*PACKAGES, "remote")
"""Kinds of backend that `load` knows."""

_HUB_ID: Final = re.compile(r"[\w.-]+/[\w.-]+")


@checked
def load(model: object, backend: str | None = None, **engine_options: Any) -> Backend:
    """Return a backend for a model.

    Args:
        model: The path of a GGUF file, `owner/repo:FILE-PATTERN` for one on the hub, or `"demo"`
            for the embedded model; a directory or hub id (`owner/name`) for transformers or vLLM;
            your own `llama_cpp.Llama`, `(model, tokenizer)`, text-generation pipeline, or
            `vllm.LLM` that was started with `energy_guard.backends.vllm.ENGINE_ARGUMENTS`; the
            address of a server with OpenAI's interface (http://localhost:11434/v1); or a backend,
            which is returned as it is.
        backend: `llama-cpp`, `transformers` or `vllm`; GGUF files load with the first two.
            `remote` is for addresses alone.
        engine_options: Those of `llama_cpp.Llama` (n_ctx, n_threads, n_gpu_layers, …) and of
            `LlamaCpp`; those of `from_pretrained` (dtype, device_map, …), device, n_threads and
            those of `Transformers` (n_ctx, batch_size, generation, …); those of `vllm.LLM` (dtype,
            tensor_parallel_size, …) and of `Vllm`; or those of `RemoteServer` (served_model,
            api_key, …).

    Returns:
        What a `Guard` asks.

    Raises:
        ModelFileError: If the file is missing, damaged or of a kind that cannot be loaded.
        MissingExtraError: If the engine is not installed; it names the line that installs it.
        InputError: If an object is none of these.
        ConfigError: If an option does not fit.

    >>> load("demo").info.backend
    'llama-cpp'
    """
    if isinstance(model, str | Path):
        name = backend_for(model, backend)
        if name == "remote":
            return _remote(str(model), engine_options)
        require(name)
        if name == "transformers":
            kind: type[Backend] = Transformers
            own = _own(Transformers, engine_options)
            engine: tuple[Any, ...] = load_pair(_source(model), **engine_options)
        elif name == "vllm":
            kind, own = Vllm, _own(Vllm, engine_options)
            engine = (load_llm(_source(model), **engine_options),)
        else:
            kind, own = LlamaCpp, _own(LlamaCpp, engine_options)
            engine = (_load_llama(model, engine_options),)
        return kind(*engine, **own)
    _check_name(backend)
    return _wrap(model, engine_options)


@checked
def backend_for(model: str | Path, backend: str | None = None) -> str:
    """Which of `BACKENDS` loads this model; ConfigError if `backend` is none of them.

    >>> backend_for("demo"), backend_for("owner/name"), backend_for("demo", "transformers")
    ('llama-cpp', 'transformers', 'transformers')
    """
    _check_name(backend)
    remote = _is_address(model)
    if backend is not None and remote != (backend == "remote"):
        raise ConfigError(
            f"{model} cannot be loaded by {backend}",
            "The backend remote is for addresses of servers (http://…), and for these alone.",
        )
    return backend or ("remote" if remote else _kind(model))


@checked
def capture(
    engine: object,
    on_step: StepHook | None = None,
    *,
    last_row: bool = True,
    wait_s: NotNegative = DEFAULT_WAIT_S,
) -> AbstractContextManager[list[Trace]]:
    """Record a `Trace` of every sequence that your own code generates on `engine` inside `with`.

    The object is left as it was found. Sequences of beam search and assisted decoding are replayed
    when they are complete. Calls of several threads on one transformers model are followed each by
    itself; their traces are in the order in which they end. A Llama serves one call at a time: one
    that another call cuts in on raises EngineError at its next token.

    Args:
        engine: Your `llama_cpp.Llama` (completion, chat, streaming, tools, grammar), or your
            transformers model, of which any call of `generate` is seen. If the traces are to have
            text, give it as `(model, tokenizer)` or as a pipeline.
        on_step: Sees each step as its token is chosen; if it returns True, the sequence ends there.
        last_row: Whether the row after the last token is evaluated if your code does not.
        wait_s: How long to wait for an engine that is in use, in seconds.

    Returns:
        A context manager that gives the list of traces, which fills as sequences end.

    Raises:
        EngineBusyError: If the engine stays in use for longer.
        InputError: If the object is no such engine.

    >>> llm = load("demo").engine
    >>> with capture(llm) as traces:
    ...     _ = llm("The capital of France is", max_tokens=3)
    >>> traces[0].text.strip()
    'Paris.'
    """
    engine = without_compile(engine)
    if _kind_of(engine) is LlamaCpp:
        return capture_llama(engine, on_step, last_row, wait_s)  # type: ignore[arg-type]
    pair: tuple[Any, Any] | None = (engine, None) if is_model(engine) else _pair(engine)
    if pair is None:
        raise InputError(
            f"cannot capture from a {_named(engine)}",
            "Give a llama_cpp.Llama, or a transformers model or (model, tokenizer).",
        )
    model, tokenizer = pair
    return capture_transformers(model, tokenizer, on_step, last_row, wait_s)


def _check_name(backend: str | None) -> None:
    if backend is not None and backend not in BACKENDS:
        raise ConfigError(f"there is no backend {backend!r}", f"One of: {', '.join(BACKENDS)}.")


def _is_address(model: str | Path) -> bool:
    return str(model).startswith(("http://", "https://"))


def _remote(url: str, options: dict[str, Any]) -> RemoteServer:
    """The server at an address; ConfigError for options of engines that run here."""
    own = _own(RemoteServer, options)
    if options:
        raise ConfigError(
            f"{', '.join(sorted(options))}: a server has no such option",
            "Start the server itself with it.",
        )
    return RemoteServer(url, **own)


def _wrap(engine: object, options: dict[str, Any]) -> Backend:
    """Put a backend around an engine that is loaded already."""
    pair = _pair(engine)
    kind = _kind_of(engine)
    if pair is None and not isinstance(engine, Backend) and kind is None:
        hint = (
            "Give a path, a hub id, `demo`, a llama_cpp.Llama, (model, tokenizer), or a vllm.LLM."
        )
        if is_model(engine):
            hint = "Give it with its tokenizer: load((model, tokenizer))."
        raise InputError(f"a {_named(engine)} is not a model that can be guarded", hint)
    own = {}
    if not isinstance(engine, Backend):
        own = _own(kind or Transformers, options)
    if options:
        raise ConfigError(f"{', '.join(options)}: this engine is loaded already")
    if isinstance(engine, Backend):
        return engine
    return Transformers(*pair, **own) if kind is None else kind(engine, **own)  # type: ignore


def _named(engine: object) -> str:
    """What somebody gave, by its class; of a pair both, for one of them is what does not fit."""
    if isinstance(engine, tuple):
        return f"tuple ({', '.join(type(part).__name__ for part in engine)})"
    return type(engine).__name__


def _own(kind: type[Backend], options: dict[str, Any]) -> dict[str, Any]:
    """Take the options out that are the backend's own, and not the engine's."""
    names = inspect.signature(kind.__init__).parameters
    own = {name for name, p in names.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}
    return {name: options.pop(name) for name in own & options.keys()}


def _kind(model: str | Path) -> str:
    """Which backend a path or an id is for: GGUF files are llama.cpp's unless told otherwise."""
    path = Path(model).expanduser()
    if path.is_dir():
        return "transformers" if (path / "config.json").exists() else "llama-cpp"
    hub_id = _HUB_ID.fullmatch(str(model)) and path.suffix != ".gguf" and not path.exists()
    return "transformers" if hub_id else "llama-cpp"


def _source(model: str | Path) -> str | Path:
    """What transformers loads: a path if there is one, else an id as it is."""
    if model == "demo":
        return demo_path()
    path = Path(model).expanduser()
    return path if path.exists() or not _HUB_ID.fullmatch(str(model)) else model


def _pair(engine: object) -> tuple[Any, Any] | None:
    """Model and tokenizer of transformers; None for anything else."""
    if is_pipeline(engine):
        return engine.model, engine.tokenizer  # type: ignore[attr-defined]
    if isinstance(engine, tuple) and len(engine) == 2:
        model, tokenizer = without_compile(engine[0]), engine[1]
        if is_model(model) and is_tokenizer(tokenizer):
            return model, tokenizer
    return None


def _kind_of(engine: object) -> type[LlamaCpp] | type[Vllm] | None:
    """The backend for an engine of one object, which is told without importing any library."""
    kinds = {f"{kind.__module__}.{kind.__name__}" for kind in inspect.getmro(type(engine))}
    if "llama_cpp.llama.Llama" in kinds:
        return LlamaCpp
    if kinds & {"vllm.entrypoints.llm.LLM", "vllm.v1.engine.llm_engine.LLMEngine"}:
        return Vllm
    return None


def _load_llama(model: str | Path, options: dict[str, Any]) -> Any:
    if model == "demo":
        return load_llama(demo_path(), **options)
    path = Path(model).expanduser()
    if (path / "config.json").exists():
        raise ModelFileError(
            f"{path} is a directory with a model for transformers",
            "Load it with --backend transformers, or name a GGUF file.",
        )
    if path.is_dir():
        files = ", ".join(sorted(file.name for file in path.glob("*.gguf"))) or "none"
        raise ModelFileError(
            f"{path} is a directory without a config.json, so not a model for transformers",
            f"GGUF files in it: {files}.",
        )
    repo, colon, pattern = str(model).partition(":")
    if colon and repo.count("/") == 1 and not path.exists():
        path = download(repo, pattern)
    return load_llama(path, **options)
