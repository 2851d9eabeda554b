"""What does a log without texts give away? An attack.

    python -m benchmarks.private_log

The attacker has the model, knows the question and, at each token, all tokens before it, which is
more than an attacker has. At every rounding of the numbers of tokens the most probable token whose
numbers fit is taken; of pooled numbers alone, the most probable answer whose largest nll fits.
What the rounding moves is measured by `benchmarks.private_rounding`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from importlib.resources import files

import numpy as np

from energy_guard import Guard, Request, Sampling, load
from energy_guard.backends.llama_cpp import LlamaCpp
from energy_guard.backends.llama_cpp.tap import current_row
from energy_guard.energy import Floats, Ints
from energy_guard.private import SCORE_STEP

ANSWERS, TOKENS = 20, 16
ROUNDINGS = {"exact": 0.0, "1e-3": 1e-3, "1e-2": 1e-2, "0.1": 0.1}
POOLED = (SCORE_STEP, 0.5, 1.0, 2.0)
"""Steps that a score is rounded up to; the first is the one in use."""
DRAWS = 2000


def questions(count: int) -> list[str]:
    """Return questions of the built-in quiz, spread over it."""
    lines = files("energy_guard.data").joinpath("quiz.jsonl").read_text("utf-8").splitlines()
    every = len(lines) // count
    return [json.loads(line)["question"] for line in lines[::every]][:count]


def rows_of(backend: LlamaCpp, request: Request, ids: Iterable[int]) -> Floats:
    """Return the rows that the attacker gets from the model, shape (T, vocabulary)."""
    llm = backend.engine
    llm.reset()
    llm.eval(backend._prompts.encode(request))
    rows = []
    for token in ids:
        rows.append(np.array(current_row(llm), dtype=np.float64))
        llm.eval([token])
    return np.stack(rows)


def nll_of(rows: Floats) -> Floats:
    """Return the nll of every token of the vocabulary, shape (T, vocabulary)."""
    top = rows.max(1, keepdims=True)
    nll: Floats = top + np.log(np.exp(rows - top).sum(1, keepdims=True)) - rows
    return nll


def read_back(nll: Floats, ids: Ints, step: float) -> Ints:
    """Guess each token from its own nll, rounded to a step (0: exact)."""
    stored = nll[np.arange(len(ids)), ids][:, None]
    if step:
        fits = np.round(nll / step) == np.round(stored / step)
        return np.asarray(np.where(fits, nll, np.inf).argmin(1))
    return np.asarray(np.abs(nll - stored).argmin(1))


def read_back_pooled(nll: Floats, ids: Ints, step: float) -> Ints:
    """Guess an answer from its largest nll, rounded up to a step as in a private log."""
    highest = nll[np.arange(len(ids)), ids].max()
    high = np.ceil(highest / step - 1e-9) * step
    guess, best = np.asarray(nll.argmin(1)), nll.min(1)
    fits = (nll > high - step) & (nll <= high)
    if fits[np.arange(len(ids)), guess].any():
        return guess
    extra = np.where(fits, nll - best[:, None], np.inf)
    at, token = np.unravel_index(int(extra.argmin()), extra.shape)
    if np.isfinite(extra[at, token]):
        guess[at] = token
    return guess


def say(line: str) -> None:
    """Write a line at once: the next one takes a while."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def interval(right: list[Ints]) -> str:
    """Return the share of right tokens with its interval, answers drawn again."""
    counts = np.array([[r.sum(), len(r)] for r in right])
    drawn = counts[np.random.default_rng(0).integers(0, len(right), (DRAWS, len(right)))].sum(1)
    low, high = np.percentile(drawn[:, 0] / drawn[:, 1], [2.5, 97.5])
    total = counts.sum(0)
    return f"{total[0] / total[1]:.3f} | {low:.3f} to {high:.3f}"


def attack(backend: LlamaCpp, temperature: float, tokens: int, answers: int = ANSWERS) -> None:
    """Print how many tokens each level of a log gives away."""
    right: dict[str, list[Ints]] = {}
    guard = Guard(backend, profile=None)
    for number, question in enumerate(questions(answers)):
        sampling = Sampling(temperature, top_k=0, top_p=1.0, min_p=0.0, seed=number)
        request = Request.chat(question, sampling=sampling, max_tokens=tokens)
        ids = guard.ask(request).trace.ids[:tokens]
        nll = nll_of(rows_of(backend, request, ids.tolist()))
        for name, step in ROUNDINGS.items():
            right.setdefault(name, []).append(read_back(nll, ids, step) == ids)
        for step in POOLED:
            name = f"one score, {step:g}"
            right.setdefault(name, []).append(read_back_pooled(nll, ids, step) == ids)
        right.setdefault("no log", []).append(nll.argmin(1) == ids)
    say(f"\ntemperature {temperature:g}, at most {tokens} tokens, {answers} answers")
    say("level | share of tokens | 95 % | answers read back whole\n---|---|---|---")
    for name, found in right.items():
        say(f"{name} | {interval(found)} | {sum(bool(f.all()) for f in found)}")


if __name__ == "__main__":
    model = load("demo", n_ctx=1024, n_threads=1, n_threads_batch=1)
    if not isinstance(model, LlamaCpp):
        raise TypeError("the embedded model is one of llama.cpp")
    attack(model, 1.0, TOKENS)
    attack(model, 1.0, 1, answers=120)
    attack(model, 0.0, TOKENS)
