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
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from energy_guard.backends.attributes import replaced
from energy_guard.backends.llama_cpp.prompt_cache import ReadPrompt, taken
from energy_guard.backends.llama_cpp.tap import check_open
from energy_guard.backends.locks import DEFAULT_WAIT_S, lock_of
from energy_guard.errors import EngineBusyError, EngineError
from energy_guard.neurons.llama_cpp.nodes import NO_FACTORS, Factors, Nodes

if TYPE_CHECKING:
    from llama_cpp import Llama


def factors_of(llm: Llama) -> Factors:
    """By what neurons of this Llama are multiplied now."""
    return _factors.get(llm, NO_FACTORS)


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
        held = _Held.exchanged(llm, _Held.empty(_context(llm)))
        before = factors_of(llm)
        _factors[llm] = _multiplied(before, factors)
    # Texts of a cache of the user's own were read with other neurons.
    with replaced(llm, "cache", None), ExitStack() as waiting:
        try:
            yield
        finally:
            # The own context comes back in any case: who goes on writing sees that it is another.
            with suppress(EngineBusyError):
                waiting.enter_context(lock_of(llm).hold(DEFAULT_WAIT_S))
            _factors[llm] = before
            _Held.exchanged(llm, held).context.close()


def _multiplied(one: Factors, other: Factors) -> Factors:
    both = {layer: one[layer] * other[layer] for layer in one.keys() & other.keys()}
    return {**one, **other, **both}


def _context(llm: Llama) -> Any:
    """A context like the Llama's own that calls back."""
    from llama_cpp import llama_cpp as library

    nodes = Nodes((), lambda _name, _values: None)
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
        nodes.factors = NO_FACTORS if user is None else factors_of(user)
        with nodes.decoding():
            decode(context, batch)

    context._exit_stack.callback(free)
    context.decode = decoded  # holds what is called back as long as the context is there
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


_factors: Final[weakref.WeakKeyDictionary[Llama, Factors]] = weakref.WeakKeyDictionary()
"""By what neurons of each Llama are multiplied, in all its contexts."""
