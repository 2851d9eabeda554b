"""What is done with nodes of llama.cpp's graphs while it evaluates them: shown, or scaled.

llama.cpp calls back before and after each node of a decode, in the thread that decodes. What stands
in a node after that is what the next nodes go on with: scaling it there is exact, whatever the
types of the weights.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import repeat
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
        self._raw = b""
        self._plan: Iterator[int] = repeat(0)
        self._order: _Order | None = None
        self._one_token = _Order()
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
        self._order, self._plan = None, repeat(1 if self._shown or self._layers else 0)
        if tokens == 1 and self._shown and not self._layers:  # what is not scaled is an error
            self._order = self._one_token
            self._plan = self._order.begins(self._shown)
        with held_back():
            yield
        if self._order is not None:
            self._order.ended()
        missing = sorted(self.factors.keys() - self._scaled)
        if missing:
            raise EngineError(
                f"llama.cpp did not show the MLP of layer {missing[0]}, so it was not scaled",
                "This kind of model cannot be damped here; with transformers it may.",
            )

    def _seen(self, tensor: int, asks: bool, _data: object) -> bool:
        """Before a node: whether it is wanted. After one that is: whether to go on."""
        if asks:  # 50,000 times a second, with cold caches: the fewer things are touched the better
            return next(self._plan, 1) == 1 and self._wants(tensor)
        self._take(tensor)
        return True

    def _wants(self, tensor: int) -> bool:
        self._raw = raw = self._name_of(tensor)
        wanted = raw in self._shown or raw in self._layers
        if self._order is not None and not self._order.asked(wanted):
            self._order, self._plan = None, repeat(1)
        return wanted

    def _take(self, tensor: int) -> None:
        """Scale and show the node that was asked for last."""
        raw = self._raw
        shown, layer = self._shown.get(raw), self._layers.get(raw)
        values = self._values(tensor, raw)
        if values is None:  # garbage otherwise: it is left out, and missed
            return
        if layer is not None and (not len(values) or self._scale(tensor, values, layer)):
            self._scaled.add(layer)
        if self.shows is not None and shown is not None and len(values):
            self.shows.take(shown, values)

    def _scale(self, tensor: int, values: Float32s, layer: int) -> bool:
        factors = self.factors[layer]
        if values.shape[1] != len(factors):
            return False
        values *= factors
        self._ggml.ggml_backend_tensor_set(tensor, values.ctypes.data, 0, values.nbytes)
        return True

    def _values(self, tensor: int, raw: bytes) -> Float32s | None:
        """What stands in a node, shape (tokens, width); None of another type or layout."""
        room = None if self._order is None else self._order.rooms.get(raw)
        if room is not None and self._ggml.ggml_nbytes(tensor) == room[2]:  # as it was before
            self._ggml.ggml_backend_tensor_get(tensor, room[1], 0, room[2])
            return room[0]
        count = self._ggml.ggml_nelements(tensor)
        size = 4 * count
        if self._ggml.ggml_nbytes(tensor) != size or not self._ggml.ggml_is_contiguous(tensor):
            return None
        tokens = self._ggml.ggml_nrows(tensor)
        values = np.empty((tokens, count // tokens if tokens else 0), np.float32)
        place = values.__array_interface__["data"][0]
        self._ggml.ggml_backend_tensor_get(tensor, place, 0, size)
        if self._order is not None:
            self._order.rooms[raw] = values, place, size
        return values


class _Order:
    """Which nodes of a graph of one token are wanted, in llama.cpp's order: always the same one.

    Should it be another once, a node that is wanted may be passed over: whoever it was to be shown
    to misses it, and the next graph is looked at by names again. rooms: arrays for values of nodes
    by their names, with place and size.
    """

    def __init__(self) -> None:
        self.rooms: dict[bytes, tuple[Float32s, int, int]] = {}
        self._names: Mapping[bytes, str] = {}
        self._known = b""
        self._asked = bytearray()

    def begins(self, names: Mapping[bytes, str]) -> Iterator[int]:
        """Return, for each node that llama.cpp will ask for, whether to look at its name.

        names: those of the nodes that are wanted.
        """
        if names is not self._names:
            self._names, self._known = names, b""
            self.rooms.clear()
        self._asked.clear()
        return iter(self._known) if self._known else repeat(1)

    def asked(self, wanted: bool) -> bool:
        """Note whether a node whose name was looked at is wanted; False if it should have been."""
        self._asked.append(wanted)
        if self._known and not wanted:
            self._known = b""
            return False
        return True

    def ended(self) -> None:
        """All nodes were asked for."""
        if not self._known:
            self._known = bytes(self._asked)
        elif len(self._asked) != self._known.count(1):
            self._known = b""


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
