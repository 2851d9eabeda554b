"""A second context on the weights of a Llama, which shows the values of nodes of its graph.

Nothing is patched, and the Llama's own context does not notice. Neurons of the Llama that are
damped are damped here, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from energy_guard.backends.llama_cpp.tap import check_open
from energy_guard.errors import EngineError
from energy_guard.neurons.llama_cpp.nodes import Nodes, Shows
from energy_guard.neurons.llama_cpp.stand_in import factors_of

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
        shows: Whom nodes are shown to.

    """

    def __init__(self, llm: Llama, size: int, shows: Shows) -> None:
        self._llm = llm
        self._size = -(-size // _PAGE) * _PAGE
        self._shows = shows
        self._context: Any = None

    def __enter__(self) -> Self:
        from llama_cpp import llama_cpp as library

        check_open(self._llm)
        own = self._llm.context_params
        params = type(own).from_buffer_copy(own)
        params.n_ctx, params.n_batch, params.n_ubatch = self._size, _BATCH, _BATCH
        self._nodes = Nodes()
        params.cb_eval = self._nodes.callback
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
        self._nodes.shows = self._shows if shown else None
        self._nodes.factors = factors_of(self._llm)
        with self._nodes.decoding(len(tokens)):
            status = library.llama_decode(self._context, batch)
            if status != 0:
                raise EngineError(
                    f"llama.cpp failed while it evaluated tokens (status {status})",
                    "Run `energy-guard doctor` with this model.",
                )
