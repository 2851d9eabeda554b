"""Loading a model and its tokenizer: from a directory, the hub, or a GGUF file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from energy_guard.backends.attributes import replaced
from energy_guard.backends.gguf_file import check_file, read_facts
from energy_guard.backends.installed import missing
from energy_guard.backends.transformers.check import check_config
from energy_guard.errors import ConfigError, ModelFileError

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
_SMALLER: Final = (
    "Load it in bfloat16 (dtype), on the processor (device='cpu'), or take a smaller model."
)
_READ_THE_CODE: Final = (
    "Read that code; where you trust it, load the model yourself and give (model, tokenizer)."
)


def load_pair(source: str | Path, **options: Any) -> tuple[Any, Any]:
    """Return model and tokenizer; options are those of `from_pretrained`, and `device`.

    source: a directory, a hub id, or a GGUF file (its weights are unpacked to float32). device:
    cuda or mps if there is one, else cpu. dtype: as the weights are stored, unless given.
    n_threads: of PyTorch, for this whole process. Code that comes with a model is not run
    unless `trust_remote_code` says so.

    Raises MissingExtraError, ConfigError, InputError for an encoder-decoder model, or
    ModelFileError with the library's own reason, or where weights are missing: transformers
    itself would fill them in at random.
    """
    torch, transformers = _import()
    threads, device = options.pop("n_threads", None), options.pop("device", None)
    gguf = _gguf_file(source)
    options.setdefault("dtype", "float32" if gguf else "auto")
    options.setdefault("trust_remote_code", False)  # unset means: ask whoever sits there
    _check(torch, options["dtype"], device)
    if gguf is not None:
        source, options["gguf_file"] = gguf.parent, gguf.name
    if threads is not None:
        torch.set_num_threads(threads)
    both = {name: options[name] for name in (*_FOR_BOTH, "gguf_file") if name in options}
    if gguf is None:
        with _Naming("configuration", source):
            config = transformers.AutoConfig.from_pretrained(source, **both)
        check_config(config, type(config).__name__.removesuffix("Config"))
    with _parsed_once(gguf):
        with _Naming("tokenizer", source), _quiet():
            tokenizer = transformers.AutoTokenizer.from_pretrained(source, **both)
            if gguf is not None and read_facts(gguf).pre_tokenizer in _SINGLE_DIGITS:
                _split_digits(tokenizer)
        with _Naming("model", source), _quiet():
            model, found = transformers.AutoModelForCausalLM.from_pretrained(
                source, output_loading_info=True, **options
            )
            if "device_map" not in options:
                model.to(device or _best_device(torch))
    if found["missing_keys"]:
        raise ModelFileError(
            f"{source} lacks weights of the model: {', '.join(sorted(found['missing_keys'])[:3])}",
            "Was it saved without its generation head? Load it as AutoModelForCausalLM where it "
            "was trained, and save that.",
        )
    if gguf is not None:
        model.name_or_path = str(gguf.with_suffix(""))  # not the directory's name
    return model.eval(), tokenizer


def devices() -> list[str]:
    """What PyTorch can compute on here, the best first; MissingExtraError without it."""
    torch, _ = _import()
    cuda = [f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(torch.cuda.device_count())]
    mps = ["mps"] if torch.backends.mps.is_available() else []
    return [*cuda, *mps, f"cpu ({torch.get_num_threads()} threads)"]


class _Naming:
    """Turn what the libraries raise while they load into errors that say what to do."""

    def __init__(self, part: str, source: str | Path) -> None:
        self._part = part
        self._source = source

    def __enter__(self) -> None:
        return

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        from safetensors import SafetensorError

        if error is None:
            return
        text = _reason(error)
        if isinstance(error, TypeError) and self._part == "model":  # its class knows no such option
            raise ConfigError(text, "Look for a typing error in the options.") from error
        expected = (OSError, ValueError, RuntimeError, ImportError, LookupError, SafetensorError)
        if isinstance(error, expected) or type(error) is Exception:  # the latter by tokenizers
            hint = _WHAT_TO_GIVE
            if "trust_remote_code" in str(error):
                hint = _READ_THE_CODE
            elif "out of memory" in str(error):
                hint = _SMALLER
            what = f"transformers cannot load the {self._part} of {self._source}: {text}"
            raise ModelFileError(what, hint) from error


def _check(torch: Any, dtype: Any, device: str | None) -> None:
    """Raise ConfigError for a precision or a device that there is not."""
    if isinstance(dtype, str) and dtype not in DTYPES:
        raise ConfigError(f"there is no dtype {dtype!r}", f"One of: {', '.join(DTYPES)}.")
    try:
        torch.empty(0, device=device or "cpu")
    except (RuntimeError, AssertionError) as error:  # PyTorch's word for "not in this build"
        raise ConfigError(
            f"there is no device {device!r} here: {_reason(error)}",
            f"There is: {', '.join(devices())}.",
        ) from error


def _gguf_file(source: str | Path) -> Path | None:
    """The file, where the source is a single one; ModelFileError if it is no GGUF file."""
    path = Path(source).expanduser()
    if isinstance(source, Path) and len(path.parts) > 1 and not path.exists():
        raise ModelFileError(f"there is no {path}", _WHAT_TO_GIVE)
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
def _parsed_once(gguf_file: Path | None) -> Iterator[None]:
    """What takes most of the time of loading a GGUF file is done once, and not again and again.

    transformers parses the file for the tokenizer, for the configuration and for the weights, and
    maps the names of tensors anew for each part of the model.
    """
    if gguf_file is None:
        yield
        return
    try:
        import gguf
    except ImportError as error:
        raise missing("transformers", f"gguf cannot be imported ({error})") from error
    with (
        replaced(gguf, "GGUFReader", cache(gguf.GGUFReader)),
        replaced(gguf, "get_tensor_name_map", cache(gguf.get_tensor_name_map)),
    ):
        yield


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars and no remarks: a command's own output is all that is to be seen."""
    from transformers import modeling_gguf_pytorch_utils as gguf
    from transformers.utils import logging as library

    logging: Any = library
    shown, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        with replaced(gguf, "tqdm", logging.tqdm):  # its own bar cannot be disabled
            yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()


def _reason(error: BaseException) -> str:
    """The first line of an error; more of it where that line announces more."""
    text = repr(error) if isinstance(error, LookupError) else str(error)
    lines = text.splitlines() or [repr(error)]
    return " ".join(lines) if lines[0].rstrip().endswith(":") else lines[0]


def _import() -> tuple[Any, Any]:
    try:
        import torch
        import transformers
    except (ImportError, OSError, RuntimeError) as error:  # a library that does not load, too
        what = f"torch and transformers cannot be imported ({error})"
        raise missing("transformers", what) from error
    return torch, transformers
