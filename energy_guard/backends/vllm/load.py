"""Starting vLLM with a model from a directory or the hub."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

from energy_guard.backends.installed import missing
from energy_guard.backends.vllm.columns import ENGINE_ARGUMENTS
from energy_guard.backends.vllm.handshake import check_version
from energy_guard.errors import ConfigError, ModelFileError

_ENVIRONMENT: Final = {
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",
    "VLLM_USE_V2_MODEL_RUNNER": "0",
}
"""No report of use, nothing on the standard output, the runner all of whose code was run; for
vLLM's own processes, too, so it stays set. What is set already is left."""


def load_llm(source: str | Path, **options: Any) -> Any:
    """Return a started `vllm.LLM`; options are those of `LLM`, and n_ctx for `max_model_len`.

    On a CPU prompts are read whole unless told otherwise: seeds need that.

    Raises MissingExtraError, ConfigError for options that are ours or unknown, or ModelFileError
    with vLLM's own reason.
    """
    if Path(source).expanduser().is_file():
        raise ModelFileError(
            f"vLLM loads directories and hub ids, and {source} is a file",
            "Load it with --backend llama-cpp or transformers.",
        )
    if options.pop("n_threads", None) is not None:
        raise ConfigError(
            "vLLM takes its threads from the environment", "Set OMP_NUM_THREADS instead."
        )
    fixed = sorted(ENGINE_ARGUMENTS.keys() & options.keys())
    if fixed:
        raise ConfigError(f"{', '.join(fixed)} cannot be set here", "The numbers travel in these.")
    if (n_ctx := options.pop("n_ctx", None)) is not None:
        options["max_model_len"] = n_ctx
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    vllm = _import()
    check_version(vllm.__version__)
    from vllm.platforms import current_platform

    if current_platform.is_cpu():
        options.setdefault("enable_chunked_prefill", False)
    try:
        return vllm.LLM(str(source), **options, **ENGINE_ARGUMENTS)
    except TypeError as error:
        raise ConfigError(str(error), "Look for a typing error in the options.") from error
    except (OSError, ValueError, RuntimeError) as error:
        # The first line says of pydantic's errors only how many they are.
        said = " ".join(line.strip() for line in str(error).splitlines()[:2]) or repr(error)
        raise ModelFileError(
            f"vLLM cannot load {source}: {said}", "Its own output above says more."
        ) from error


def _import() -> Any:
    try:
        import vllm
    except (ImportError, OSError, RuntimeError) as error:  # a library that does not load, too
        raise missing("vllm", f"vllm cannot be imported ({error})") from error
    return vllm
