"""A second context on the weights of a Llama, which shows the values of nodes of its graph.

llama.cpp calls back before and after each node of a decode, in the thread that decodes. Nothing is
patched, and the Llama's own context does not notice.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Collection, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from energy_guard.backends.llama_cpp.interrupts import held_back
from energy_guard.backends.llama_cpp.tap import check_open
from energy_guard.errors import EngineError
from energy_guard.neurons.contributions import Float32s

if TYPE_CHECKING:
    from llama_cpp import Llama

_BATCH: Final = 128
"""Tokens that are evaluated at once: bounds the rows of logits and the values of a node."""

_PAGE: Final = 256
"""llama.cpp makes contexts of whole multiples of this."""


class SecondContext:
    """Evaluates tokens and hands over the values of some nodes; a context manager.

    Args:
        llm: Whose model and settings are used; it must stay open.
        size: Tokens that it is to hold.
        names: The nodes to show, such as `ffn_out-0`.
        take: Called with a node's name and its values, shape (tokens, width): an array that stays
            valid. What it raises is lost, and the rest of the graph with it: it must not raise.

    """

    def __init__(
        self, llm: Llama, size: int, names: Collection[str], take: Callable[[str, Float32s], None]
    ) -> None:
        self._llm = llm
        self._size = -(-size // _PAGE) * _PAGE
        self._names = {name.encode(): name for name in names}
        self._take = take
        self._shown = False
        self._context: Any = None

    def __enter__(self) -> Self:
        from llama_cpp import llama_cpp as library

        check_open(self._llm)
        own = self._llm.context_params
        params = type(own).from_buffer_copy(own)
        params.n_ctx, params.n_batch, params.n_ubatch = self._size, _BATCH, _BATCH
        self._ggml = _ggml()
        # Kept as long as the context: llama.cpp holds a bare pointer to it.
        self._callback = library.ggml_backend_sched_eval_callback(self._seen)
        params.cb_eval = self._callback
        self._context = library.llama_init_from_model(self._llm._model.model, params)
        if not self._context:
            raise EngineError(
                f"llama.cpp cannot make a second context of {self._size} tokens",
                "Free some memory, or shorten the answers and their prompts.",
            )
        self._batch = library.llama_batch_init(_BATCH, 0, 1)
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        from llama_cpp import llama_cpp as library

        library.llama_batch_free(self._batch)
        if self._llm._model.model is not None:  # without its model it cannot be freed
            library.llama_free(self._context)
        self._context = None

    def clear(self) -> None:
        """Forget all tokens."""
        from llama_cpp import llama_cpp as library

        check_open(self._llm)
        library.llama_memory_clear(library.llama_get_memory(self._context), True)

    def read(self, tokens: Sequence[int], *, at: int, shown: bool) -> None:
        """Evaluate tokens at the positions from `at` on.

        Args:
            tokens: Their ids.
            at: The position of the first.
            shown: Whether nodes of these are handed over. The last layer computes nothing for
                tokens whose row of logits nobody wants, so rows are made for them, too.

        Raises:
            EngineError: llama.cpp fails.

        """
        for start in range(0, len(tokens), _BATCH):
            self._decode(tokens[start : start + _BATCH], at + start, shown)

    def _decode(self, tokens: Sequence[int], at: int, shown: bool) -> None:
        from llama_cpp import llama_cpp as library

        check_open(self._llm)
        batch = self._batch
        batch.n_tokens = len(tokens)
        for i, token in enumerate(tokens):
            batch.token[i], batch.pos[i] = token, at + i
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, 0
            batch.logits[i] = shown
        self._shown = shown
        with held_back():
            status = library.llama_decode(self._context, batch)
        if status != 0:
            raise EngineError(
                f"llama.cpp failed while it evaluated tokens (status {status})",
                "Run `energy-guard doctor` with this model.",
            )

    def _seen(self, tensor: int, asks: bool, _data: object) -> bool:
        """Before a node: whether it is to be shown. After one that is: whether to go on."""
        if not self._shown:
            return not asks
        name = self._names.get(self._ggml.ggml_get_name(tensor))
        if asks:
            return name is not None
        if name is not None:
            tokens = self._ggml.ggml_nrows(tensor)
            width = self._ggml.ggml_nelements(tensor) // tokens
            values = np.empty((tokens, width), np.float32)
            # Of another type or layout it would be garbage: then it is left out, and missed.
            if self._ggml.ggml_nbytes(tensor) == values.nbytes and self._whole(tensor):
                self._ggml.ggml_backend_tensor_get(tensor, values.ctypes.data, 0, values.nbytes)
                self._take(name, values)
        return True

    def _whole(self, tensor: int) -> bool:
        return bool(self._ggml.ggml_is_contiguous(tensor))


def _ggml() -> Any:
    """The functions of ggml that read a tensor, found through the library of llama.cpp."""
    from llama_cpp import llama_cpp as library

    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    kinds: dict[str, tuple[Any, list[Any]]] = {
        "ggml_get_name": (ctypes.c_char_p, [pointer]),
        "ggml_nelements": (ctypes.c_int64, [pointer]),
        "ggml_nrows": (ctypes.c_int64, [pointer]),
        "ggml_nbytes": (size, [pointer]),
        "ggml_is_contiguous": (ctypes.c_bool, [pointer]),
        "ggml_backend_tensor_get": (None, [pointer, pointer, size, size]),
    }
    found = ctypes.CDLL(library._lib._name)  # an object of our own: types set here stay here
    for name, (returns, takes) in kinds.items():
        try:
            function = getattr(found, name)
        except AttributeError as error:
            raise EngineError(
                f"this build of llama.cpp does not give access to {name}",
                "Install llama-cpp-python as it is published, or read neurons with transformers.",
            ) from error
        function.restype, function.argtypes = returns, takes
    return found
