"""Where neurons come from: a chat model's beside those of the base model that it was made from.

Two questions of Gao et al.: does a probe on the chat model's neurons tell the same answers when the
base model reads them, and did training change its neurons more than others?
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from energy_guard.backends.base import Backend
from energy_guard.backends.llama_cpp import LlamaCpp
from energy_guard.energy import Floats, Ints
from energy_guard.errors import MismatchError
from energy_guard.neurons.contributions import AnswerToRead, Float32s
from energy_guard.neurons.find import PARTS
from energy_guard.neurons.fit import LabelledContributions, Search, divided
from energy_guard.neurons.llama_cpp import mlp_tensors as in_llama_cpp
from energy_guard.neurons.probe import Labelling
from energy_guard.neurons.read import encoded_prompt, neuron_shape, readable
from energy_guard.neurons.transformers.gated import gated_mlps
from energy_guard.neurons.transformers.gated import mlp_weights as in_transformers
from energy_guard.request import Request


@dataclass(frozen=True, eq=False)
class Transferred:
    """Log-odds of "wrong" of n answers, by probes on the chat model that have not seen them.

    folds: shape (n,). chat, base: of what either model's neurons contribute, shape (n,).
    """

    folds: Ints
    chat: Floats
    base: Floats


def transferred(
    chat: LabelledContributions, base: Float32s, *, labelling: Labelling, seed: int = 0
) -> Transferred:
    """Tell answers that both models read by probes that were fitted to the chat model.

    Answers are divided as in `find_neurons`, so that its figures for the chat model are these.

    Args:
        chat: What the chat model's neurons contribute to labelled answers.
        base: What the base model's do to the exact answers, shape (n, layers * neurons).
        labelling: What probes are fitted to tell apart.
        seed: Of the division into parts.

    Raises:
        InputError: There are too few questions of a class.
        MissingExtraError: scikit-learn is not installed.

    """
    n = len(chat.wrong)
    folds, risks = np.zeros(n, np.int64), np.empty((2, n))
    for number, (fitting, held) in enumerate(divided(chat, seed, PARTS)):
        fit = Search(chat.part(fitting), labelling, seed).sparse()
        folds[held] = number
        for risk, exact in zip(risks, (chat.exact, base), strict=True):
            risk[held] = fit.log_odds(exact[held])
    return Transferred(folds, *risks)


def as_read_by_base(chat: Backend, base: Backend, answer: AnswerToRead) -> AnswerToRead:
    """Return an answer for the base model to read, after the tokens of the chat model's prompt.

    A base model has no chat template, or another one.

    Raises:
        MismatchError: Its vocabulary is another one.
        InputError: A backend does not show neurons.

    """
    plain = replace(answer, request=Request.raw(answer.request.question))
    if encoded_prompt(chat, plain) != encoded_prompt(base, plain):
        raise MismatchError(
            f"{base.info.name} and {chat.info.name} have other tokens for the same text",
            "Give the base model that the chat model was made from.",
        )
    return replace(answer, request=Request(ids=tuple(encoded_prompt(chat, answer))))


def parameter_change(chat: Backend, base: Backend) -> Floats:
    """Return how far training turned each neuron's weights, shape (layers, neurons).

    The mean of three cosine distances: of a neuron's rows of the gate and the up projection, and of
    its column of the down projection. 0 is no change, or one of length alone.

    Args:
        chat: llama.cpp or transformers.
        base: What it was made from, on the same engine.

    Raises:
        MismatchError: The models are of other shapes, or on other engines.
        InputError: The backend does not show neurons, or weights are quantised so that they cannot
            be unpacked.

    """
    shape = neuron_shape(chat)
    if chat.info.backend != base.info.backend or neuron_shape(base) != shape:
        raise _unlike(chat, base)
    change = np.zeros(shape)
    for (layer, after), (other, before) in zip(_weights(chat), _weights(base), strict=True):
        if layer != other or after.shape != before.shape:
            raise _unlike(chat, base)
        change[layer] += _turned(after, before) / 3
    return change


def change_ranks(change: Floats) -> Floats:
    """Return the share of neurons that changed less than each one, ties as half; the same shape.

    >>> change_ranks(np.array([[0.0, 0.3], [0.1, 0.1]])).tolist()
    [[0.125, 0.875], [0.5, 0.5]]
    """
    _, places, counts = np.unique(change.ravel(), return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - counts / 2) / change.size
    return np.asarray(ranks[places.ravel()]).reshape(change.shape)


def _weights(backend: Backend) -> Iterator[tuple[int, Float32s]]:
    """Each projection with its layer, shape (neurons, width of the model)."""
    engine = readable(backend)
    if isinstance(engine, LlamaCpp):
        return in_llama_cpp.mlp_weights(Path(engine.engine.model_path))
    return in_transformers(engine.engine, gated_mlps(engine.engine))


def _turned(after: Float32s, before: Float32s) -> Floats:
    """The cosine distance of each row from what it was, shape (rows,)."""

    def products(one: Float32s, other: Float32s) -> Floats:
        return np.asarray(np.einsum("ij,ij->i", one, other, dtype=np.float64))

    lengths = np.sqrt(products(after, after) * products(before, before))
    cosines = np.divide(
        products(after, before), lengths, out=np.zeros_like(lengths), where=lengths > 0
    )
    both_empty = ~after.any(axis=1) & ~before.any(axis=1)
    return np.where(both_empty, 0.0, np.maximum(0.0, 1 - cosines))


def _unlike(chat: Backend, base: Backend) -> MismatchError:
    return MismatchError(
        f"{base.info.name} ({base.info.backend}) and {chat.info.name} ({chat.info.backend}) are "
        "not of one shape and one engine",
        "Give the base model that the chat model was made from, in the same kind of file.",
    )
