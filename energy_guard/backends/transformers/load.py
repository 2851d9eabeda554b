"""Loading a model and its tokenizer: from a directory, the hub, or a GGUF file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from energy_guard.backends.attributes import replaced
from energy_guard.backends.gguf_file import check_file, pre_tokenizer
from energy_guard.errors import ConfigError, MissingExtraError, ModelFileError

DTYPES: Final = ("auto", "float32", "bfloat16", "float16")

_FOR_BOTH: Final = ("revision", "token", "cache_dir", "trust_remote_code", "local_files_only")
"""Options that the tokenizer is loaded with, too."""

_SINGLE_DIGITS: Final = frozenset(
    {"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"}
)
"""llama.cpp's names of tokenizers that take every digit by itself before they do anything else."""

_WHAT_TO_GIVE: Final = (
    "Give a directory with config.json, weights and tokenizer, a hub id (owner/name) that can be "
    "reached, or a GGUF file."
)
_READ_THE_CODE: Final = (
    "Read that code; where you trust it, load the model yourself and give (model, tokenizer)."
)


def load_pair(source: str | Path, **options: Any) -> tuple[Any, Any]:
    """Return model and tokenizer; options are those of `from_pretrained`, and `device`.

    source: a directory, a hub id, or a GGUF file (its weights are unpacked to float32). device:
    cuda or mps where there is one, else cpu. dtype: as the weights are stored, unless given.
    n_threads: of PyTorch, for this whole process. Code that comes with a model is not run
    unless `trust_remote_code` says so.

    Raises MissingExtraError, ConfigError, or ModelFileError with the library's own reason.
    """
    torch, transformers = _import()
    threads, device = options.pop("n_threads", None), options.pop("device", None)
    gguf = _gguf_file(source)
    options.setdefault("dtype", "float32" if gguf else "auto")
    options.setdefault("trust_remote_code", False)  # unset means: ask whoever sits there
    if isinstance(options["dtype"], str) and options["dtype"] not in DTYPES:
        raise ConfigError(
            f"there is no dtype {options['dtype']!r}", f"One of: {', '.join(DTYPES)}."
        )
    if gguf is not None:
        source, options["gguf_file"] = gguf.parent, gguf.name
    both = {name: options[name] for name in (*_FOR_BOTH, "gguf_file") if name in options}
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        with _quiet():
            tokenizer = transformers.AutoTokenizer.from_pretrained(source, **both)
            if gguf is not None and pre_tokenizer(gguf) in _SINGLE_DIGITS:
                _split_digits(tokenizer)
            model = transformers.AutoModelForCausalLM.from_pretrained(source, **options)
        if "device_map" not in options:
            model.to(device or _best_device(torch))
    except TypeError as error:  # an option that the model's class does not know
        raise ConfigError(
            f"transformers cannot load {source} with these options: {error}",
            "Look for a typing error.",
        ) from error
    except (OSError, ValueError, RuntimeError, ImportError, KeyError) as error:
        raise ModelFileError(
            f"transformers cannot load {source}: {_first_line(error)}",
            _READ_THE_CODE if "trust_remote_code" in str(error) else _WHAT_TO_GIVE,
        ) from error
    return model.eval(), tokenizer


def _gguf_file(source: str | Path) -> Path | None:
    """The file, where the source is a single one; ModelFileError where it is no GGUF file."""
    path = Path(source).expanduser()
    if path.is_dir() or (not path.exists() and path.suffix != ".gguf"):
        return None
    check_file(path)
    return path


def _split_digits(tokenizer: Any) -> None:
    """Take digits one by one, as the model was trained: converting the file loses that step."""
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence

    tokenizer.backend_tokenizer.pre_tokenizer = Sequence(
        [Digits(individual_digits=True), ByteLevel(add_prefix_space=False, use_regex=True)]
    )


def _best_device(torch: Any) -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars: a command's own output is all that is to be seen."""
    from transformers import modeling_gguf_pytorch_utils as gguf
    from transformers.utils import logging as library

    logging: Any = library

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        with replaced(gguf, "tqdm", _without_bar):  # it has a bar of its own
            yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _without_bar(iterable: Iterable[Any], **_options: Any) -> Iterable[Any]:
    return iterable


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), repr(error))


def _import() -> tuple[Any, Any]:
    try:
        import torch
        import transformers
    except (ImportError, OSError, RuntimeError) as error:  # a library that does not load, too
        raise MissingExtraError(
            f"torch and transformers cannot be imported ({error})",
            "Install them: pip install 'energy-guard[transformers]'",
        ) from error
    return torch, transformers
