"""What measuring the support by passages costs beside an answer, interleaved.

    python -m benchmarks.support_cost --model M [--questions N] [--passages P] [--n-threads K]
        [--asking]

With --asking the model is asked about its passages, and nothing is read twice.
The quiz's questions over passages are asked with and without it, each on an engine that has read
nothing before. The cost is a share of the whole call (the prompt is read, the answer written), and
of the writing alone.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from dataclasses import replace

from energy_guard import Guard, load
from energy_guard.events import Text
from energy_guard.questions.quiz import quiz
from energy_guard.questions.wording import in_chat, kind_of, request_of
from energy_guard.request import Request
from energy_guard.support_features import BY_ASKING


def _asked(guard: Guard, request: Request) -> tuple[float, float]:
    """Seconds of a whole call, and of it those after the first token."""
    guard.backend.engine.reset()  # type: ignore[attr-defined]  # this one is llama.cpp
    guard.backend.engine._ctx.kv_cache_clear()  # type: ignore[attr-defined]
    start = time.perf_counter()
    first = None
    for event in guard.stream(request):
        if first is None and isinstance(event, Text):
            first = time.perf_counter()
    end = time.perf_counter()
    return end - start, end - (first or start)


def main() -> None:
    """Print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--questions", type=int, default=20)
    parser.add_argument("--passages", type=int, default=4, help="each question's own and others'")
    parser.add_argument("--n-threads", type=int, default=1)
    parser.add_argument("--asking", action="store_true")
    args = parser.parse_args()
    threads = {"n_threads": args.n_threads, "n_threads_batch": args.n_threads}
    backend = load(args.model, "llama-cpp", n_ctx=2048, **threads)
    plain, measuring = (Guard(backend, profile=None, support=s) for s in (False, True))
    if args.asking:
        judge = replace(measuring.judge, support=frozenset(BY_ASKING))
        measuring = measuring.with_judge(judge)
    words = in_chat()
    rows = [row for row in quiz(whole=True) if row.context]
    contexts = [row.context or "" for row in rows]
    rows = rows[: args.questions]
    of_call, of_writing, tokens = [], [], []
    for number, row in enumerate(rows):
        passages = contexts[number : number + args.passages]
        request = replace(request_of(row, words[kind_of(row)]), context=tuple(passages))
        order = (plain, measuring) if number % 2 else (measuring, plain)
        seconds = {guard: _asked(guard, request) for guard in order}
        extra = seconds[measuring][0] - seconds[plain][0]
        of_call.append(extra / seconds[plain][0])
        of_writing.append(extra / seconds[plain][1])
        tokens.append(backend.measure(request).tokens)
    for name, shares in (("the whole call", of_call), ("the writing", of_writing)):
        low, middle, high = statistics.quantiles(shares, n=4)
        sys.stdout.write(f"of {name}: {middle:.2f} (quartiles {low:.2f} to {high:.2f})\n")
    sys.stdout.write(f"n = {len(rows)}, prompts of {statistics.median(tokens):.0f} tokens\n")


if __name__ == "__main__":
    main()
