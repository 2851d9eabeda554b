"""Finding and loading a GGUF file: by path, from the hub, or the embedded model."""

from __future__ import annotations

import threading
from inspect import signature
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from energy_guard.backends.attributes import replaced
from energy_guard.backends.gguf_file import check_file, is_first_shard
from energy_guard.backends.installed import missing
from energy_guard.backends.llama_cpp.interrupts import held_back
from energy_guard.backends.llama_cpp.logs import ERROR_LEVEL, listening
from energy_guard.backends.llama_cpp.memory import check_fits
from energy_guard.backends.llama_cpp.tried import check_loads
from energy_guard.errors import ConfigError, MissingExtraError, ModelFileError

if TYPE_CHECKING:
    from llama_cpp import Llama

DEFAULT_N_CTX: Final = 4096
"""Tokens of context where the caller does not say; llama-cpp-python's own default is 512."""

_NOT_FOR_WRITING: Final = {
    "vocab_only": "loads no weights",
    "embedding": "computes embeddings, and no logits",
}
"""Options of `Llama` for other purposes, with what each does."""


def load_llama(path: Path, **options: Any) -> Llama:
    """Load a GGUF file; options are those of `llama_cpp.Llama`, quiet unless told otherwise.

    Raises MissingExtraError, ConfigError for an option that Llama does not have (it would be
    ignored) or a context that the memory cannot hold, or ModelFileError with llama.cpp's own
    reason.
    """
    facts = check_file(path)
    if options.get("lora_path"):
        check_file(Path(options["lora_path"]))
    kind = _import_llama_cpp().Llama
    unknown = options.keys() - signature(kind.__init__).parameters.keys()
    if unknown:
        raise ConfigError(
            f"llama_cpp.Llama has no option {', '.join(sorted(unknown))}",
            "Look for a typing error.",
        )
    if options.keys() & {"chat_format", "chat_handler"}:
        raise ConfigError(
            "chat_format and chat_handler cannot be set here",
            "Give a chat_template (Jinja), or load the Llama yourself and hand it over.",
        )
    for name, why in _NOT_FOR_WRITING.items():
        if options.get(name):
            raise ConfigError(f"{name}=True {why}", "Leave it out: here the model has to write.")
    if options.get("n_threads") is not None:  # of the prompt, too: idle threads would spin
        options.setdefault("n_threads_batch", options["n_threads"])
    check_loads(path)
    if options.get("lora_path"):
        check_loads(path, Path(options["lora_path"]))
    n_ctx = min(DEFAULT_N_CTX, facts.trained_context or DEFAULT_N_CTX)
    options = {"n_ctx": n_ctx, "verbose": False} | options
    check_fits(facts, options, gpu=supports_gpu_offload())
    said: list[str] = []
    quiet = not options["verbose"]

    def hear(level: int, text: str) -> bool:
        if level == ERROR_LEVEL:  # the wrapper itself only says that loading failed
            said.append(text)
        return quiet  # the wrapper's own listener lets warnings through

    with held_back(), listening(hear):
        try:
            llm = _made(kind, str(path), options)
        except (ValueError, RuntimeError, OSError) as error:
            raise ModelFileError(
                f"llama.cpp cannot load {path}: {next(iter(said), error)}",
                "Check the file (cut off? too new for this llama-cpp-python?), the options and "
                "free memory.",
            ) from error
    if llm.lora_path and not llm._lora_adapter:  # a null pointer, which Llama takes for success
        raise ModelFileError(
            f"llama.cpp cannot apply the adapter {llm.lora_path}: {next(iter(said), 'no reason')}",
            "It must be a LoRA in GGUF, made for this very model.",
        )
    return llm


def _made(kind: type[Llama], path: str, options: dict[str, Any]) -> Llama:
    """The engine; its own formatter compiles the file's chat template when it is first used.

    A template's constants are worked out as it compiles, and Llama sets no limit to them: a text
    of gigabytes is one line. What is asked through a guard is rendered within limits.
    """
    from llama_cpp import llama_chat_format

    class Later(llama_chat_format.Jinja2ChatFormatter):
        template_is_all = True  # see ChatFormat.compiled

        def __init__(self, template: str, **options: Any) -> None:
            super().__init__("", **options)
            self.template = template
            self._waits = True

        def __call__(self, **given: Any) -> Any:
            if self._waits:
                self._environment = self._environment.environment.from_string(self.template)
                self._waits = False
            return super().__call__(**given)

    with _one_at_a_time, replaced(llama_chat_format, "Jinja2ChatFormatter", Later):
        return kind(path, **options)


_one_at_a_time: Final = threading.Lock()


def download(repo: str, pattern: str) -> Path:
    """Find a GGUF file of a hub repository, in the cache or on the hub, and return its path.

    All files that match are fetched (a model split over several is several files); the first is
    returned. Raises MissingExtraError, ModelFileError.
    """
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError
    except ImportError as error:
        raise MissingExtraError(
            "a hub id needs huggingface-hub, which is not installed",
            "Install it: pip install 'energy-guard[llama-cpp]'",
        ) from error
    expected: tuple[type[Exception], ...] = (ValueError, *_client_errors(HfHubHTTPError))
    try:
        folder = snapshot_download(repo, allow_patterns=[pattern])
    except expected as error:
        raise ModelFileError(
            f"cannot get {pattern} of {repo} from the hub: {error}",
            "Check the id (owner/repo:FILE-PATTERN) and the network, or give a local path.",
        ) from error
    files = sorted(Path(folder).rglob("*.gguf"))
    matching = [file for file in files if file.relative_to(folder).match(pattern)]
    if not matching:
        raise ModelFileError(
            f"no GGUF file of {repo} matches {pattern!r}", "Look up the file names on its page."
        )
    models = [file for file in matching if is_first_shard(file)]
    if len(models) > 1:
        names = ", ".join(file.name for file in models)
        raise ModelFileError(f"several files match {pattern!r}: {names}", "Name one of them.")
    return models[0]


def _client_errors(kind: type[Exception]) -> tuple[type[Exception], ...]:
    """The hub client's error with its parents, those of whichever HTTP library it uses."""
    return tuple(
        parent
        for parent in kind.__mro__
        if issubclass(parent, Exception) and parent is not Exception
    )


def supports_gpu_offload() -> bool:
    """Whether this build of llama.cpp can put layers on a GPU; MissingExtraError without one."""
    return bool(_import_llama_cpp().llama_supports_gpu_offload())


def _import_llama_cpp() -> ModuleType:
    try:
        import llama_cpp
    except (ImportError, OSError, RuntimeError) as error:  # a library that does not load, too
        raise missing("llama-cpp", f"llama-cpp-python cannot be imported ({error})") from error
    return llama_cpp
