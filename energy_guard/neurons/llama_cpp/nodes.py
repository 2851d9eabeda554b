"""What is done with nodes of llama.cpp's graphs while it evaluates them: shown, or scaled.

llama.cpp calls back before and after each node of a decode, in the thread that decodes. What stands
in a node after that is what the next nodes go on with: scaling it there is exact, whatever the
types of the weights.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, Final, Protocol

import numpy as np

from energy_guard.backends.llama_cpp.interrupts import held_back
from energy_guard.errors import EngineError
from energy_guard.neurons.contributions import Float32s

ENTERING: Final = ("ffn_swiglu", "ffn_geglu", "ffn_reglu")
"""Names of what each layer's down projection takes: they tell the activation."""

LEAVING: Final = "ffn_out"
"""The name of what it returns."""


def names_of(names: Iterable[str]) -> dict[bytes, str]:
    """Return names of nodes as `Shows` has them."""
    return {name.encode(): name for name in names}


Factors = Mapping[int, Float32s]
"""By what neurons are multiplied: for some layers, shape (neurons,)."""

NO_FACTORS: Final[Factors] = MappingProxyType({})


class Shows(Protocol):
    """Whom nodes are shown to.

    names: those of the nodes, such as `ffn_out-0`, by the bytes that llama.cpp calls them.
    """

    @property
    def names(self) -> Mapping[bytes, str]:
        """The nodes to show."""
        ...

    def take(self, name: str, values: Float32s, /) -> None:
        """Take a node's values, shape (tokens, width): an array that stays valid.

        What this raises is lost, and the rest of the graph with it: it must not raise.
        """
        ...


class Nodes:
    """Shows some nodes and scales some layers; `callback` is what llama.cpp calls.

    Whoever makes a context with it keeps it as long as that: llama.cpp holds a bare pointer.

    shows: whom nodes are shown to, None for nobody. factors: by what layers are scaled. Both can be
    set between two decodes.
    """

    def __init__(self) -> None:
        from llama_cpp import llama_cpp as library

        self.shows: Shows | None = None
        self.factors = NO_FACTORS
        self.callback = library.ggml_backend_sched_eval_callback(self._seen)
        self._shown: Mapping[bytes, str] = {}
        self._layers: Mapping[bytes, int] = {}
        self._scaled: set[int] = set()
        self._ggml = _ggml()
        self._name_of = self._ggml.ggml_get_name

    @contextmanager
    def decoding(self) -> Iterator[None]:
        """Go around each decode: what an interrupt raises in a callback would be lost.

        Raises:
            EngineError: A layer that is to be scaled was not seen, so that it was not.

        """
        self._shown = {} if self.shows is None else self.shows.names
        self._layers = {f"{kind}-{at}".encode(): at for at in self.factors for kind in ENTERING}
        self._scaled.clear()
        with held_back():
            yield
        missing = sorted(self.factors.keys() - self._scaled)
        if missing:
            raise EngineError(
                f"llama.cpp did not show the MLP of layer {missing[0]}, so it was not scaled",
                "This kind of model cannot be damped here; with transformers it may.",
            )

    def _seen(self, tensor: int, asks: bool, _data: object) -> bool:
        """Before a node: whether it is wanted. After one that is: whether to go on."""
        if not self._shown and not self._layers:
            return not asks
        raw = self._name_of(tensor)
        shown, layer = self._shown.get(raw), self._layers.get(raw)
        if asks:
            return shown is not None or layer is not None
        values = self._values(tensor)
        if values is None:  # garbage otherwise: it is left out, and missed
            return True
        if layer is not None and (not len(values) or self._scale(tensor, values, layer)):
            self._scaled.add(layer)
        if self.shows is not None and shown is not None and len(values):
            self.shows.take(shown, values)
        return True

    def _scale(self, tensor: int, values: Float32s, layer: int) -> bool:
        factors = self.factors[layer]
        if values.shape[1] != len(factors):
            return False
        values *= factors
        self._ggml.ggml_backend_tensor_set(tensor, values.ctypes.data, 0, values.nbytes)
        return True

    def _values(self, tensor: int) -> Float32s | None:
        """What stands in a node, shape (tokens, width); None of another type or layout."""
        tokens = self._ggml.ggml_nrows(tensor)
        width = self._ggml.ggml_nelements(tensor) // tokens if tokens else 0
        values = np.empty((tokens, width), np.float32)
        if self._ggml.ggml_nbytes(tensor) != values.nbytes:
            return None
        if not self._ggml.ggml_is_contiguous(tensor):
            return None
        # Thousands of times a second: `ctypes.data` takes longer than the copy.
        place = values.__array_interface__["data"][0]
        self._ggml.ggml_backend_tensor_get(tensor, place, 0, values.nbytes)
        return values


def _ggml() -> Any:
    """Functions of ggml that read and write tensors, found through the library of llama.cpp."""
    from llama_cpp import llama_cpp as library

    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    kinds: dict[str, tuple[Any, list[Any]]] = {
        "ggml_get_name": (ctypes.c_char_p, [pointer]),
        "ggml_nelements": (ctypes.c_int64, [pointer]),
        "ggml_nrows": (ctypes.c_int64, [pointer]),
        "ggml_nbytes": (size, [pointer]),
        "ggml_is_contiguous": (ctypes.c_bool, [pointer]),
        "ggml_backend_tensor_get": (None, [pointer, pointer, size, size]),
        "ggml_backend_tensor_set": (None, [pointer, pointer, size, size]),
    }
    found = ctypes.CDLL(library._lib._name)  # an object of our own: types set here stay here
    for name, (returns, takes) in kinds.items():
        try:
            function = getattr(found, name)
        except AttributeError as error:
            raise EngineError(
                f"this build of llama.cpp does not give access to {name}",
                "Install llama-cpp-python as it is published, or use transformers.",
            ) from error
        function.restype, function.argtypes = returns, takes
    return found
