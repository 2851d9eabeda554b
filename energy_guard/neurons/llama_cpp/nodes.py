"""What is done with nodes of llama.cpp's graphs while it evaluates them: shown, or scaled.

llama.cpp calls back before and after each node of a decode, in the thread that decodes. What stands
in a node after that is what the next nodes go on with: scaling it there is exact, whatever the
types of the weights.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType, SimpleNamespace
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
        """Take a node's values, shape (tokens, width), valid until the next decode.

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
        self._one_token = _OneToken()
        self._alike = False
        self._ggml = _ggml()
        self._name_of = self._ggml.ggml_get_name

    @contextmanager
    def decoding(self, tokens: int) -> Iterator[None]:
        """Go around each decode: what an interrupt raises in a callback would be lost.

        Args:
            tokens: How many are evaluated.

        Raises:
            EngineError: A layer that is to be scaled was not seen, so that it was not.

        """
        self._shown = {} if self.shows is None else self.shows.names
        self._layers = {f"{kind}-{at}".encode(): at for at in self.factors for kind in ENTERING}
        self._scaled.clear()
        self._alike = tokens == 1 and not self._layers  # a layer that was not scaled is an error
        if self._alike:
            self._one_token.begins(self._shown)
        with held_back():
            yield
        if self._alike:
            self._one_token.ended()
        missing = sorted(self.factors.keys() - self._scaled)
        if missing:
            raise EngineError(
                f"llama.cpp did not show the MLP of layer {missing[0]}, so it was not scaled",
                "This kind of model cannot be damped here; with transformers it may.",
            )

    def _seen(self, tensor: int, asks: bool, _data: object) -> bool:
        """Before a node: whether it is wanted. After one that is: whether to go on."""
        if self._alike and tensor in self._one_token.others:  # most nodes, 50,000 times a second
            return False
        if not self._shown and not self._layers:
            return not asks
        raw = self._name_of(tensor)
        shown, layer = self._shown.get(raw), self._layers.get(raw)
        if asks:
            wanted = shown is not None or layer is not None
            if self._alike:
                self._one_token.passed(tensor, wanted)
            return wanted
        values = self._values(tensor, raw)
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

    def _values(self, tensor: int, raw: bytes) -> Float32s | None:
        """What stands in a node, shape (tokens, width); None of another type or layout."""
        count = self._ggml.ggml_nelements(tensor)
        size = 4 * count
        if self._ggml.ggml_nbytes(tensor) != size or not self._ggml.ggml_is_contiguous(tensor):
            return None
        room = self._one_token.rooms.get(raw) if self._alike else None
        if room is None or room[2] != size:
            tokens = self._ggml.ggml_nrows(tensor)
            values = np.empty((tokens, count // tokens if tokens else 0), np.float32)
            room = values, values.__array_interface__["data"][0], size
            if self._alike:
                self._one_token.rooms[raw] = room
        self._ggml.ggml_backend_tensor_get(tensor, room[1], 0, size)
        return room[0]


class _OneToken:
    """What is known of graphs of one token, which look alike from token to token.

    others: addresses of nodes that nobody wants. Should they stand elsewhere once, a node that is
    wanted may be passed over: whoever it was to be shown to misses it, and the next graph is looked
    at by names again. rooms: arrays for values of nodes by their names, with place and size.
    """

    def __init__(self) -> None:
        self.others: frozenset[int] = frozenset()
        self.rooms: dict[bytes, tuple[Float32s, int, int]] = {}
        self._names: Mapping[bytes, str] = {}
        self._wanted = 0
        self._expected = 0
        self._passed: list[int] = []

    def begins(self, names: Mapping[bytes, str]) -> None:
        """A graph of one token is evaluated, and nodes of these names are wanted."""
        if names is not self._names:
            self._names, self.others = names, frozenset()
        self._wanted = 0
        self._passed.clear()

    def passed(self, tensor: int, wanted: bool) -> None:
        """A node was looked at by its name."""
        if wanted:
            self._wanted += 1
        else:
            self._passed.append(tensor)

    def ended(self) -> None:
        """It is evaluated."""
        if not self.others:
            self.others, self._expected = frozenset(self._passed), self._wanted
        elif self._passed or self._wanted != self._expected:
            self.others = frozenset()


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
    # Objects of our own: types set here stay here. What only looks something up keeps Python's
    # lock: to let go of it takes longer than the call. What copies may wait for a GPU.
    looking, copying = ctypes.PyDLL(library._lib._name), ctypes.CDLL(library._lib._name)
    functions = {}
    for name, (returns, takes) in kinds.items():
        try:
            function = getattr(copying if takes[1:] else looking, name)
        except AttributeError as error:
            raise EngineError(
                f"this build of llama.cpp does not give access to {name}",
                "Install llama-cpp-python as it is published, or use transformers.",
            ) from error
        function.restype, function.argtypes = returns, takes
        functions[name] = function
    return SimpleNamespace(**functions)
