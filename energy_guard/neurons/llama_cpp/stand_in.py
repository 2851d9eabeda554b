"""A context that stands in for a Llama's own, and calls back for the nodes of its graphs.

Whatever uses the Llama meanwhile uses this one, on the same weights and with the same settings. The
Llama's own context is put aside, and found again with all that it held.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from energy_guard.backends.attributes import replaced
from energy_guard.backends.llama_cpp.prompt_cache import ReadPrompt, taken
from energy_guard.backends.llama_cpp.tap import check_open
from energy_guard.backends.locks import DEFAULT_WAIT_S, lock_of
from energy_guard.errors import EngineBusyError, EngineError
from energy_guard.neurons.llama_cpp.nodes import NO_FACTORS, Factors, Nodes, Shows

if TYPE_CHECKING:
    from llama_cpp import Llama

T = TypeVar("T")


def factors_of(llm: Llama) -> Factors:
    """By what neurons of this Llama are multiplied now."""
    return _factors.get(llm, NO_FACTORS)


class Onlooker(Shows, Protocol):
    """Who looks on while a Llama evaluates tokens."""

    def begins(self, position: int) -> bool:
        """Tell whether a decode whose first token is at this position is to be shown."""
        ...


@contextmanager
def watched(llm: Llama, watch: Onlooker) -> Iterator[None]:
    """Let somebody look on until the block ends, in a context that stands in for the Llama's own.

    What that context holds is kept for the next time, so that a conversation is not read anew.

    Args:
        llm: Held by whoever calls this.
        watch: Who looks on.

    Raises:
        EngineError: There is no memory for a second context.

    """
    if _NODES in vars(llm._ctx):  # of a block around this one, where neurons are scaled
        with _set(_watches, llm, watch):
            yield
        return
    other = _idle.pop(llm, None)
    if other is None:
        other = _Held.empty(_context(llm))
        llm._model._exit_stack.callback(other.context.close)  # before its model is freed
    held = _Held.exchanged(llm, other)
    try:
        with _set(_watches, llm, watch):
            yield
    finally:
        mine = _Held.exchanged(llm, held)
        if llm._model.model is not None:
            _idle[llm] = mine


@contextmanager
def scaled(llm: Llama, factors: Factors) -> Iterator[None]:
    """Multiply neurons of a Llama until the block ends, beside what multiplies them already.

    It begins anew inside, with nothing in its context, and has its own again afterwards.

    Args:
        llm: Used by nobody at the beginning, or that is waited for.
        factors: By what.

    Raises:
        EngineBusyError: It stays in use for too long, or this very thread uses it.
        EngineError: It is closed, or there is no memory for a second context.

    """
    with lock_of(llm).hold(DEFAULT_WAIT_S):
        check_open(llm)
        inside = ExitStack()
        inside.enter_context(scaled_while_held(llm, factors))
    try:
        yield
    finally:
        with ExitStack() as waiting:
            # The own context comes back in any case: who goes on writing sees that it is another.
            with suppress(EngineBusyError):
                waiting.enter_context(lock_of(llm).hold(DEFAULT_WAIT_S))
            inside.close()


@contextmanager
def scaled_while_held(llm: Llama, factors: Factors) -> Iterator[None]:
    """Do as `scaled` for a Llama that is held by whoever calls this."""
    held = _Held.exchanged(llm, _Held.empty(_context(llm)))
    both = _multiplied(factors_of(llm), factors)
    # Texts of a cache of the user's own were read with other neurons.
    with replaced(llm, "cache", None), _set(_factors, llm, both):
        try:
            yield
        finally:
            _Held.exchanged(llm, held).context.close()


def _multiplied(one: Factors, other: Factors) -> Factors:
    both = {layer: one[layer] * other[layer] for layer in one.keys() & other.keys()}
    return {**one, **other, **both}


def _context(llm: Llama) -> Any:
    """A context like the Llama's own that calls back."""
    from llama_cpp import llama_cpp as library

    nodes = Nodes()
    params = type(llm.context_params).from_buffer_copy(llm.context_params)
    params.cb_eval = nodes.callback
    model = llm._model
    pointer = library.llama_init_from_model(model.model, params)
    if not pointer:
        raise EngineError(
            f"llama.cpp cannot make a second context of {llm.n_ctx()} tokens",
            "Free some memory, or load the model with a shorter context (n_ctx).",
        )
    context: Any = copy(llm._ctx)
    context.ctx, context.memory = pointer, library.llama_get_memory(pointer)
    context._exit_stack = ExitStack()
    decode, of = type(context).decode, weakref.ref(llm)

    def free() -> None:
        context.ctx, freed = None, context.ctx
        if model.model is not None:  # without its model it cannot be freed
            library.llama_free(freed)

    def decoded(batch: Any) -> None:
        user = of()
        watch = None if user is None else _watches.get(user)
        begins = watch is not None and watch.begins(batch.batch.pos[0])
        nodes.shows = watch if begins else None
        nodes.factors = NO_FACTORS if user is None else factors_of(user)
        with nodes.decoding(batch.batch.n_tokens):
            decode(context, batch)

    context._exit_stack.callback(free)
    context.decode = decoded
    vars(context)[_NODES] = nodes  # what is called back lives as long as the context
    return context


@dataclass(frozen=True)
class _Held:
    """A context with what a Llama knows of it."""

    context: Any
    ids: npt.NDArray[np.intc]
    last: ReadPrompt
    requires_eval: bool

    @classmethod
    def empty(cls, context: Any) -> _Held:
        """A new one."""
        return cls(context, np.zeros(0, np.intc), ReadPrompt([], None), requires_eval=True)

    @classmethod
    def exchanged(cls, llm: Llama, other: _Held) -> _Held:
        """Put another in the place of a Llama's, and return what it had."""
        is_open = llm._ctx.ctx is not None
        last = taken(llm) if is_open else ReadPrompt([], None)
        ids = llm.input_ids[: llm.n_tokens].copy()
        found = cls(llm._ctx, ids, last, llm._requires_eval)
        llm._ctx = other.context
        llm.n_tokens = len(other.ids)
        llm.input_ids[: len(other.ids)] = other.ids
        llm._requires_eval = other.requires_eval
        if llm._ctx.ctx is not None:
            other.last.keep(llm)
        return found


@contextmanager
def _set(registry: weakref.WeakKeyDictionary[Llama, T], llm: Llama, value: T) -> Iterator[None]:
    """Put in what counts for a Llama until the block ends."""
    before = registry.get(llm)
    registry[llm] = value
    try:
        yield
    finally:
        if before is None:
            del registry[llm]
        else:
            registry[llm] = before


_NODES: Final = "_energy_guard_nodes"
"""An attribute of the contexts that are made here."""

_idle: Final[weakref.WeakKeyDictionary[Llama, _Held]] = weakref.WeakKeyDictionary()
"""The context in which each Llama was watched last."""

_watches: Final[weakref.WeakKeyDictionary[Llama, Onlooker]] = weakref.WeakKeyDictionary()
"""Who looks on at each Llama, in all contexts that call back."""

_factors: Final[weakref.WeakKeyDictionary[Llama, Factors]] = weakref.WeakKeyDictionary()
"""By what neurons of each Llama are multiplied, in all its contexts."""
