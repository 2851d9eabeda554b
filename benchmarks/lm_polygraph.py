"""Side by side with lm-polygraph: `python -m benchmarks.lm_polygraph`.

In an environment of its own: lm_polygraph-requirements.txt says how. The same model, the same
prompts, the same greedy answers; sequence probability, perplexity and mean token entropy, which
are the cheapest that lm-polygraph reads from a model, in the cheapest setting it has for them (no
attentions, no hidden states). They do not need the row after the last token, so it is not
evaluated. Times are ratios to bare `generate` in rounds of one run; peak memory is of a process
of its own for each way.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from statistics import median, quantiles
from typing import Annotated, Any, Final

import numpy as np
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from energy_guard import Trace, load
from energy_guard.backends.speed import Comparison, interleaved
from energy_guard.backends.transformers import Transformers
from energy_guard.backends.transformers.speed import BATCH, bare, guarded, questions, requests_of
from energy_guard.cli.bench_memory import forget_peak, peak_kib
from energy_guard.request import Finished

MEMORY_TOKENS: Final = 2000
"""In several answers at once."""

_BARE, _GUARDED, _POLYGRAPH = "bare generate", "energy-guard", "lm-polygraph"

Estimates = dict[str, list[float]]
"""Values of an estimator, one an answer."""


def main(
    rounds: Annotated[int, typer.Option(min=2)] = 8,
    tokens: Annotated[int, typer.Option(min=16)] = 48,
    n_threads: int | None = None,
    memory_of: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    """Print time a token and peak memory beside bare generate, and whether the numbers agree."""
    if memory_of is not None:
        _print_peak(memory_of, n_threads)
        return
    console = Console()
    peaks = {way: _peak_kib(way, n_threads) for way in (_BARE, _GUARDED, _POLYGRAPH)}
    backend = _opened(n_threads)
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("", "ms a token", "ratio to bare: median", "quartiles"):
        table.add_column(heading, justify="right" if heading else "left")
    for number in (1, BATCH):
        comparison = _comparison(backend, number, tokens)
        table.add_row(f"[dim]{comparison.title}")
        shown = track(interleaved(comparison, rounds), total=rounds, console=Console(stderr=True))
        timed = list(shown)
        for way in comparison.ways:
            ratios = [one[way] / one[comparison.bare] for one in timed]
            low, _, high = quantiles(ratios, n=4)
            times = f"{median(one[way] for one in timed) * 1e3:.2f}"
            table.add_row(way, times, f"{median(ratios):.3f}", f"{low:.3f} to {high:.3f}")
    console.print(f"{backend.info.name}: {rounds} interleaved rounds of {tokens} tokens, greedy")
    console.print(table)
    for way, kib in peaks.items():
        more = (kib - peaks[_BARE]) / 1024
        console.print(f"peak memory over {MEMORY_TOKENS} tokens, {way}: {more:+.1f} MiB")
    for name, difference in _differences(backend, tokens).items():
        console.print(
            f"{name}: largest difference between the two {difference:.1e} ({BATCH} answers)"
        )


def _opened(n_threads: int | None) -> Transformers:
    backend = load("demo", "transformers", n_threads=n_threads, last_row=False)
    if not isinstance(backend, Transformers):
        raise TypeError(f"{type(backend).__name__} is not the backend that was asked for")
    return backend


def _comparison(backend: Transformers, number: int, tokens: int) -> Comparison:
    requests = requests_of(number, tokens)
    estimate = polygraph(backend, number, tokens)

    def estimated() -> int:
        estimate()
        return number * tokens

    ways = {
        _BARE: bare(backend, requests),
        _GUARDED: guarded(backend, requests),
        _POLYGRAPH: estimated,
    }
    counts = {way: run() for way, run in ways.items()}
    if set(counts.values()) != {number * tokens}:
        raise ValueError(f"answers of different lengths: {counts}")
    return Comparison(f"{number} at once", ways)


def polygraph(backend: Transformers, number: int, tokens: int) -> Callable[[], Estimates]:
    """lm-polygraph's own calculators and estimators on this engine, as its manager calls them."""
    from lm_polygraph.estimators import MaximumSequenceProbability, MeanTokenEntropy, Perplexity
    from lm_polygraph.stat_calculators import EntropyCalculator, GreedyProbsCalculator
    from lm_polygraph.utils.model import WhiteboxModel

    tokenizer = backend.tokenizer
    tokenizer.padding_side = "left"
    model = WhiteboxModel(backend.engine, tokenizer, "demo", instruct=True)
    calculators = (
        GreedyProbsCalculator(output_attentions=False, output_hidden_states=False),
        EntropyCalculator(),
    )
    estimators = (MaximumSequenceProbability(), Perplexity(), MeanTokenEntropy())
    texts = questions(number)

    def run() -> Estimates:
        stats: dict[str, Any] = {}
        for calculator in calculators:
            stats |= calculator(stats, texts, model, max_new_tokens=tokens)
        return {str(estimator): estimator(stats).tolist() for estimator in estimators}

    return run


def _differences(backend: Transformers, tokens: int) -> dict[str, float]:
    """Between lm-polygraph's estimates and the same numbers from our traces."""
    events = backend.generate(requests_of(BATCH, tokens))
    finished = [event for event in events if isinstance(event, Finished)]
    traces = [event.trace for event in sorted(finished, key=lambda event: event.sequence)]
    ours: dict[str, Callable[[Trace], Any]] = {
        "MaximumSequenceProbability": lambda trace: trace.nll.sum(),
        "Perplexity": lambda trace: trace.nll.mean(),
        "MeanTokenEntropy": lambda trace: trace.entropy.mean(),
    }
    return {
        name: float(np.abs(np.array(values) - [ours[name](trace) for trace in traces]).max())
        for name, values in polygraph(backend, BATCH, tokens)().items()
    }


def _print_peak(way: str, n_threads: int | None) -> None:
    backend, each = _opened(n_threads), MEMORY_TOKENS // BATCH
    requests = requests_of(BATCH, each)
    runs: dict[str, Callable[[], object]] = {
        _BARE: bare(backend, requests),
        _GUARDED: guarded(backend, requests),
        _POLYGRAPH: polygraph(backend, BATCH, each),
    }
    forget_peak()
    runs[way]()
    Console().print(json.dumps(peak_kib()))


def _peak_kib(way: str, n_threads: int | None) -> int:
    threads = [] if n_threads is None else ["--n-threads", str(n_threads)]
    command = [sys.executable, "-m", "benchmarks.lm_polygraph", "--memory-of", way, *threads]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603
    return int(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    typer.run(main)
