"""How far the numbers of a vLLM server with our extension are from transformers' on its weights.

    python -m energy_guard.backends.vllm.serve --model FOLDER --dtype float32 --port 8000
    python -m benchmarks.served_numbers FOLDER http://localhost:8000/v1

Chats and completions, greedy and sampled, streamed and whole, and scored afterwards. Rows are
evaluated at once, and reduced in float64.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, Final

import numpy as np

from energy_guard import load
from energy_guard.backends import Backend
from energy_guard.cli.screen import say
from energy_guard.energy import RowReducer
from energy_guard.request import Event, Finished, Request, Sampling
from energy_guard.trace import Trace

QUESTIONS: Final = (
    *("Hi", "What is the capital of France?", "thth", "One, two, three"),
    *("Ünïcode 名前", "a" * 90, "Why?", "2+2="),
)
SAMPLED: Final = Sampling(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0)


def main() -> None:
    """Ask, and print the largest differences."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("url")
    args = parser.parse_args()
    server, here = load(args.url), load(args.model, "transformers", dtype="float32", n_threads=1)
    most: defaultdict[tuple[str, str], float] = defaultdict(float)
    tokens, shifted = 0, np.inf
    for question in QUESTIONS:
        for kind in (Request.chat, Request.raw):
            for sampling in (Sampling(), SAMPLED):
                request = kind(question, max_tokens=24, sampling=sampling)
                for how, trace in answers(server, request):
                    off, wrong = differences(here, request, trace)
                    most[request.mode, how] = max(most[request.mode, how], off)
                    shifted = min(shifted, wrong)
                    tokens += len(trace)
    for (mode, how), off in most.items():
        say(f"{mode}, {how}: {off:.1e}")
    say(f"{tokens} tokens; one off, an answer differs by {shifted:.1f} at least")


def answers(server: Backend, request: Request) -> Iterator[tuple[str, Trace]]:
    """Yield an answer streamed, whole, and scored as one that exists."""
    with server.session() as session:
        for steps, how in ((True, "streamed"), (False, "whole")):
            trace = ended(session.generate([request], steps=steps))
            yield how, trace
        yield "scored", ended(session.replay([(request, trace.ids.tolist())]))


def ended(events: Iterable[Event]) -> Trace:
    """Return the trace of the one answer."""
    return next(event.trace for event in events if isinstance(event, Finished))


def differences(here: Any, request: Request, trace: Trace) -> tuple[float, float]:
    """Return the largest difference of any number, and that of rows read one place off."""
    import torch

    prompt, ids = here.encode(request, trace.ids.tolist())
    with torch.no_grad():
        rows = here.engine(torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 :].double()
    reducer = RowReducer(rows.shape[1], np.float64)
    reduced = np.array([reducer.reduce(row) for row in rows.numpy()])
    chosen = rows.numpy()[np.arange(len(ids)), ids]
    count = len(trace.log_partition)
    pairs = (
        (trace.token_logit, chosen),
        (trace.log_partition, reduced[:count, 0]),
        (trace.row_mean, reduced[:count, 1]),
        (trace.entropy, reduced[: len(ids), 2]),
        (trace.margin, reduced[: len(ids), 3]),
    )
    off = max(float(np.abs(found - expected).max()) for found, expected in pairs)
    wrong = np.abs(trace.log_partition[1:] - reduced[: count - 1, 0]).max(initial=0.0)
    return off, float(wrong) if count > 1 else np.inf


if __name__ == "__main__":
    main()
