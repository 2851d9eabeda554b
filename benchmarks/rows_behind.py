"""What a row costs: waited for, or reduced while the engine computes the next token.

    python -m benchmarks.rows_behind --model FILE [--backend transformers] --n-threads 1
    python -m benchmarks.rows_behind --vocabulary 151936    # a small random model instead

One answer after the other is written; at every token a coin says whether its row is let go, waited
for or reduced behind (in llama.cpp; transformers waits for all). Ratios are of the medians, with
95 % intervals: neighbouring tokens share whatever else the machine does, so that they carry over to
other days. Beside the time by the clock stands the processor time of the thread that writes, which
is what is left on a machine with a core free, whether or not it has one now; it says nothing if
several threads compute.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.wide_model import wide_transformers, write_wide_model
from energy_guard import load
from energy_guard.backends.behind import Behind
from energy_guard.backends.llama_cpp import LlamaCpp
from energy_guard.backends.llama_cpp.tap import current_row
from energy_guard.backends.recorder import Recorder
from energy_guard.backends.transformers import Transformers
from energy_guard.energy import Floats, RowReducer

WAITING = ("no row", "waited for")
CLOCKS: dict[str, Callable[[], float]] = {
    "by the clock": time.perf_counter,
    "its thread": time.thread_time,
}
DRAWN = 400
ANSWER = 150
"""Tokens of an answer; the last one is not counted, as nothing follows it."""


class Coin:
    """Draws what happens to a token's row, and keeps how long each took until the next."""

    def __init__(self, ways: Sequence[str]) -> None:
        self.way = ""
        self.seconds: dict[str, list[tuple[float, ...]]] = {way: [] for way in ways}
        self._ways = ways
        self._draw = random.Random(0)  # noqa: S311
        self._begun: tuple[float, ...] = ()

    def next(self) -> str:
        """A token was computed: return what happens to its row."""
        now = tuple(clock() for clock in CLOCKS.values())
        if self.way:
            took = tuple(end - begin for end, begin in zip(now, self._begun, strict=True))
            self.seconds[self.way].append(took)
        self.way, self._begun = self._draw.choice(self._ways), now
        return self.way

    def answer(self) -> None:
        """Another answer begins."""
        self.way = ""


def in_llama_cpp(llm: Any, coin: Coin, answers: int) -> None:
    """Write answers with a `Llama`."""
    reducer, behind = RowReducer(llm.n_vocab()), Behind()
    copy = np.empty(llm.n_vocab(), np.float32)
    original = llm.sample

    def sample(*given: Any, **named: Any) -> int:
        way, row = coin.next(), current_row(llm)
        behind.settle()
        if way == "waited for":
            reducer.reduce(row)
        elif way == "behind":
            np.copyto(copy, row)
            behind.owe(partial(reducer.reduce, copy))
        token: int = original(*given, **named)
        return token

    evaluate = llm.eval

    def decode(tokens: Any) -> None:
        behind.begin()
        evaluate(tokens)

    vars(llm).update(sample=sample, eval=decode)
    with behind.running():
        for _ in range(answers):
            coin.answer()
            for _ in islice(llm.generate(llm.tokenize(b"Once upon a time"), temp=1.0), ANSWER):
                pass


def in_transformers(model: Any, coin: Coin, answers: int) -> None:
    """Write answers with a transformers model, a `Watch` of ours beside them or none."""
    import torch
    from transformers import LogitsProcessor, StoppingCriteria

    from energy_guard.backends.transformers.follow import Following
    from energy_guard.backends.transformers.read_along import Watch

    prompt = torch.tensor([[1, 2, 3, 4]])

    def watch() -> Watch:
        recorders = [Recorder(0, prompt.shape[1])]
        following = Following(
            recorders, lambda _: b"", frozenset(), lambda _: None, lambda *_: None, last_row=False
        )
        made = Watch(model, lambda choices, _: following.step(choices))
        made._alone = True  # as it is if an answer is written greedily: nobody else changes rows
        return made

    class See(LogitsProcessor):
        def __call__(self, ids: Any, scores: Any) -> Any:
            return waiting._see(ids, scores) if coin.next() == "waited for" else scores

    class Step(StoppingCriteria):
        def __call__(self, ids: Any, scores: Any, **_: Any) -> Any:
            done = torch.zeros(len(ids), dtype=torch.bool)
            return waiting._step(ids, done, _why) if coin.way == "waited for" else done

    for _ in range(answers):
        coin.answer()
        waiting = watch()
        model.generate(
            prompt,
            do_sample=False,
            max_new_tokens=ANSWER,
            min_new_tokens=ANSWER,
            logits_processor=[See()],
            stopping_criteria=[Step()],
        )


def _why(_token: int, _length: int) -> Any:
    return "length"


def main() -> None:
    """Write the tokens, and print a line for each way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--backend", choices=("llama-cpp", "transformers"), default="llama-cpp")
    parser.add_argument("--vocabulary", type=int, help="of a random model, instead of --model")
    parser.add_argument("--n-threads", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=2400)
    args = parser.parse_args()
    coin = Coin(WAITING if args.backend == "transformers" else (*WAITING, "behind"))
    answers = -(-args.tokens // ANSWER)
    with TemporaryDirectory() as folder:
        if args.backend == "transformers":
            import torch

            torch.set_num_threads(args.n_threads)
            wide = args.vocabulary and wide_transformers(args.vocabulary)
            in_transformers(wide or _engine(args.model, Transformers), coin, answers)
        else:
            path = Path(folder) / "wide.gguf"
            if args.vocabulary:
                write_wide_model(path, args.vocabulary)
            model = str(path) if args.vocabulary else args.model
            threads = {"n_threads": args.n_threads, "n_threads_batch": args.n_threads}
            in_llama_cpp(_engine(model, LlamaCpp, n_ctx=512, **threads), coin, answers)
    for clock, name in enumerate(CLOCKS):
        took = {way: np.array(seconds)[:, clock] for way, seconds in coin.seconds.items()}
        for line in _lines(took):
            sys.stdout.write(f"{name:13}  {line}\n")


def _engine(model: str, kind: type[LlamaCpp | Transformers], **options: Any) -> Any:
    backend = load(model, "llama-cpp" if kind is LlamaCpp else "transformers", **options)
    if not isinstance(backend, kind):
        raise SystemExit(f"{model} is no model for {kind.__name__}.")
    return backend.engine


def _lines(took: dict[str, Floats]) -> Iterator[str]:
    draw, bare = np.random.default_rng(0), took[WAITING[0]]
    for name, some in took.items():
        drawn = [_median(draw, some) / _median(draw, bare) for _ in range(DRAWN)]
        low, high = np.quantile(drawn, (0.025, 0.975))
        median, ratio = 1e3 * np.median(some), np.median(some) / np.median(bare)
        yield f"{name:10}  {median:.2f} ms  {ratio:.3f} ({low:.3f} to {high:.3f})  n={len(some)}"


def _median(draw: np.random.Generator, took: Floats) -> float:
    return float(np.median(draw.choice(took, took.size)))


if __name__ == "__main__":
    main()
