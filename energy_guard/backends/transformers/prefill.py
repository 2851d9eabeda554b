"""Ending the reading of a long prompt from inside: between the layers of the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from threading import get_ident
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.nn import Module
    from transformers import PreTrainedModel


class PromptInterruptedError(Exception):
    """The prompt was not read to its end."""


@contextmanager
def interruptible(
    model: PreTrainedModel, interrupted: Callable[[], bool]
) -> Iterator[Callable[[], None]]:
    """Raise PromptInterruptedError inside, between two layers, when `interrupted` says so.

    Other threads that run the model are not interrupted. Yields a function to be called when the
    prompt has been read: single tokens are not worth it.
    """
    mine = get_ident()

    def look(_layer: Module, _inputs: object) -> None:
        if get_ident() == mine and interrupted():
            raise PromptInterruptedError

    with ExitStack() as stack:
        for layer in _layers(model):
            stack.callback(layer.register_forward_pre_hook(look).remove)
        yield stack.close


def _layers(model: PreTrainedModel) -> list[Module]:
    """The longest list of modules: the decoder's layers."""
    from torch.nn import ModuleList

    lists = (list(m) for m in model.modules() if isinstance(m, ModuleList))
    return max(lists, key=len, default=[])
