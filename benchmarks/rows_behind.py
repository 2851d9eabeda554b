"""What a row costs: waited for, or reduced while the engine decodes the next token.

    python -m benchmarks.rows_behind --model FILE --n-threads 1 --tokens 2400

One answer after the other is written; at every token a coin says whether its row is let go, waited
for or reduced behind. Ratios are of the medians, with 95 % intervals: neighbouring tokens share
whatever else the machine does, so that they carry over to other days.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from itertools import islice
from typing import Any

import numpy as np

from energy_guard import load
from energy_guard.backends.behind import Behind
from energy_guard.backends.llama_cpp import LlamaCpp
from energy_guard.backends.llama_cpp.tap import current_row
from energy_guard.energy import Floats, RowReducer

WAYS = ("no row", "waited for", "behind")
DRAWN = 400


def main() -> None:
    """Write the tokens, and print a line for each way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--n-threads", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=2400)
    args = parser.parse_args()
    threads = {"n_threads": args.n_threads, "n_threads_batch": args.n_threads}
    backend = load(args.model, "llama-cpp", n_ctx=512, **threads)
    if not isinstance(backend, LlamaCpp):
        raise SystemExit("This measures llama.cpp alone: name a GGUF file.")
    llm = backend.engine
    waiting, behind = RowReducer(llm.n_vocab()), Behind(RowReducer(llm.n_vocab()).reduce)
    coin = random.Random(0)  # noqa: S311
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    original, way, begun = llm.sample, "", 0.0

    def sample(*given: Any, **named: Any) -> int:
        nonlocal way, begun
        now = time.perf_counter()
        if way:
            seconds[way].append(now - begun)
        way, begun = coin.choice(WAYS), now
        row = current_row(llm)
        if way == "waited for":
            waiting.reduce(row)
        token: int = original(*given, **named)
        if way == "behind":
            behind.start(row)
        return token

    vars(llm)["sample"] = sample
    with behind.running():
        for _ in range(-(-args.tokens // 150)):
            way = ""
            for _ in islice(llm.generate(llm.tokenize(b"Once upon a time"), temp=1.0), 150):
                pass
    draw = np.random.default_rng(0)
    bare = np.array(seconds[WAYS[0]])
    for name in WAYS:
        took = np.array(seconds[name])
        drawn = [_median(draw, took) / _median(draw, bare) for _ in range(DRAWN)]
        low, high = np.quantile(drawn, (0.025, 0.975))
        median, ratio = 1e3 * np.median(took), np.median(took) / np.median(bare)
        sys.stdout.write(
            f"{name:10}  {median:.2f} ms  {ratio:.3f} ({low:.3f} to {high:.3f})  n={len(took)}\n"
        )


def _median(draw: np.random.Generator, took: Floats) -> float:
    return float(np.median(draw.choice(took, took.size)))


if __name__ == "__main__":
    main()
