"""Are log-probabilities known from logits? On rows of the embedded model.

    python -m benchmarks.log_probabilities

Each row is rounded to a format, as logits and as log-probabilities, and reduced at several inverse
temperatures. A false alarm: a row of logits that counts as log-probabilities. A miss: the reverse.
"""

from __future__ import annotations

import sys

import numpy as np

from benchmarks.private_log import nll_of, questions, rows_of
from energy_guard import Guard, Request, Sampling, load
from energy_guard.energy import Floats, LogProbabilityRow, RowReducer

QUESTIONS, TOKENS = 6, 10
BETAS = (0.5, 0.7, 1.0, 1.3, 2.0)


def rounded(rows: Floats, kind: str) -> np.ndarray:
    """Round rows to a format, half to even, and return them as float32."""
    plain = rows.astype(np.float32)
    if kind == "float16":
        return plain.astype(np.float16).astype(np.float32)
    if kind == "bfloat16":
        bits = plain.view(np.uint32)
        return ((bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)).view(np.float32)
    return plain


def known(rows: np.ndarray, beta: float) -> int:
    """Count the rows that are known as log-probabilities."""
    reducer = RowReducer(rows.shape[1], inverse_temperature=beta)
    return sum(isinstance(reducer.reduce(row), LogProbabilityRow) for row in rows)


if __name__ == "__main__":
    backend = load("demo", n_ctx=1024, n_threads=1, n_threads_batch=1)
    guard, found = Guard(backend, profile=None), []
    for number, question in enumerate(questions(QUESTIONS)):
        sampling = Sampling(1.0, top_k=0, top_p=1.0, min_p=0.0, seed=number)
        asked = Request.chat(question, sampling=sampling, max_tokens=TOKENS)
        ids = guard.ask(asked).trace.ids[:TOKENS].tolist()
        found.append(rows_of(backend, asked, ids))  # type: ignore[arg-type]
    logits = np.concatenate(found)
    write = sys.stdout.write
    write("rows in | inverse temperature | rows | false alarms | misses\n---|---|---|---|---\n")
    for kind in ("float32", "bfloat16", "float16"):
        theirs, normalised = rounded(logits, kind), rounded(-nll_of(logits), kind)
        for beta in BETAS:
            missed = len(logits) - known(normalised, beta)
            write(f"{kind} | {beta:g} | {len(logits)} | {known(theirs, beta)} | {missed}\n")
