"""How llama.cpp draws a token, written down a second time: NumPy, one row, float64."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from energy_guard.request import Sampling


def probabilities(row: np.ndarray, answer: Sequence[int], sampling: Sampling) -> np.ndarray:
    """The chance of every token, shape (vocabulary,); exactly 0 for what is filtered out."""
    logits = row.astype(np.float64).copy()
    for token, bias in sampling.logit_bias.items():
        logits[token] += bias
    logits = penalised(logits, answer, sampling)
    kept = np.isfinite(logits)
    if sampling.top_k > 0:
        kept &= logits >= np.sort(logits)[-min(sampling.top_k, len(logits))]
    for keeps in (typical, top_p, min_p):
        p = softmax(np.where(kept, logits, -np.inf))
        kept[~keeps(p, sampling)] = False
    return softmax(np.where(kept, logits, -np.inf) / sampling.temperature)


def penalised(logits: np.ndarray, answer: Sequence[int], sampling: Sampling) -> np.ndarray:
    """The last 64 tokens of the answer; the prompt does not count."""
    out = logits.copy()
    for token, count in Counter(answer[-64:]).items():
        if out[token] <= 0:
            out[token] *= sampling.repeat_penalty
        else:
            out[token] /= sampling.repeat_penalty
        out[token] -= count * sampling.frequency_penalty + sampling.presence_penalty
    return out


def typical(p: np.ndarray, sampling: Sampling) -> np.ndarray:
    """Those whose surprise is nearest to the entropy, until they have more than the mass."""
    if sampling.typical_p >= 1:
        return p > 0
    live = np.flatnonzero(p)
    surprise = -np.log(p[live])
    order = live[np.argsort(np.abs(surprise - (p[live] * surprise).sum()), kind="stable")]
    return first_of(order, np.cumsum(p[order]) > sampling.typical_p, len(p))


def top_p(p: np.ndarray, sampling: Sampling) -> np.ndarray:
    """The likeliest, until they have at least the mass."""
    if sampling.top_p >= 1:
        return p > 0
    order = np.argsort(-p, kind="stable")
    return first_of(order, np.cumsum(p[order]) >= sampling.top_p, len(p))


def min_p(p: np.ndarray, sampling: Sampling) -> np.ndarray:
    """Those with at least that share of the likeliest one's probability; one at the least."""
    return p >= min(sampling.min_p, 1.0) * p.max() if sampling.min_p > 0 else p > 0


def first_of(order: np.ndarray, enough: np.ndarray, size: int) -> np.ndarray:
    count = int(enough.argmax()) + 1 if enough.any() else len(order)
    kept = np.zeros(size, bool)
    kept[order[:count]] = True
    return kept


def softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()
