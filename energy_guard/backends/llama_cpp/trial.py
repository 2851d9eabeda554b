"""Opens a model file and exits: run in a child process, which llama.cpp may end with an assertion.

Run by its path, so it imports nothing of this package. The weights are not read: what ends the
process are headers, vocabularies and sizes that do not fit. Every byte is encoded, for a
vocabulary without tokens for bytes ends the process at the first text that needs one.

With an adapter, a token is evaluated besides: llama.cpp looks at the shapes of an adapter's
tensors only as it multiplies with them. That needs the weights, which are mapped and not copied.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from types import ModuleType
from typing import Any

_REFUSED = 3
"""Exit status if llama.cpp itself refuses the file: loading says why."""


def _bindings() -> Any:
    """llama.cpp's functions alone: importing all of the package takes three times as long."""
    found = find_spec("llama_cpp")
    if found is None or found.submodule_search_locations is None:
        raise ModuleNotFoundError("llama_cpp")
    package = sys.modules["llama_cpp"] = ModuleType("llama_cpp")
    package.__path__ = found.submodule_search_locations
    from llama_cpp import llama_cpp

    return llama_cpp


def _trial(path: str) -> int:
    llama_cpp = _bindings()
    params = llama_cpp.llama_model_default_params()
    params.n_gpu_layers = 0
    params.load_mode = 0  # LLAMA_LOAD_MODE_NONE, which older versions do not name
    params.no_alloc = True
    model = llama_cpp.llama_model_load_from_file(path.encode(), params)
    if not model:
        return _REFUSED
    vocabulary = llama_cpp.llama_model_get_vocab(model)
    print("vocabulary", flush=True)  # noqa: T201  how far it came
    room = (llama_cpp.llama_token * 16)()
    for byte in range(256):
        llama_cpp.llama_tokenize(vocabulary, bytes([byte]), 1, room, 16, False, False)
    return 0


def _trial_of_adapter(path: str, adapter: str) -> int:
    from llama_cpp import Llama

    try:
        llm = Llama(path, lora_path=adapter, n_ctx=16, n_batch=16, n_threads=1, verbose=True)
    except (ValueError, RuntimeError):
        return _REFUSED
    if not llm._lora_adapter:  # a null pointer, which Llama takes for success
        return _REFUSED
    llm.eval([0])
    return 0


if __name__ == "__main__":
    sys.exit(_trial_of_adapter(*sys.argv[1:]) if len(sys.argv) > 2 else _trial(sys.argv[1]))
