"""`energy-guard bench`: what the guard costs on this machine, as ratios from one run."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from statistics import median, quantiles
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from energy_guard.backends.llama_cpp import LlamaCpp
from energy_guard.backends.llama_cpp.speed import (
    BARE,
    Run,
    interleaved,
    retry_ratio,
    ways,
    with_logprobs,
)
from energy_guard.cli.options import BAD_INPUT, Json, Model, NGpuLayers, NThreads, open_backend
from energy_guard.errors import EngineError, InputError
from energy_guard.guard import Guard

MEMORY_TOKENS: Final = 2000
_OLD_WAY: Final = "logits_all, logprobs=1"


def bench(
    model: Model = "demo",
    pairs: Annotated[int, typer.Option(help="Rounds; each runs every way once.", min=2)] = 12,
    tokens: Annotated[int, typer.Option(help="Length of the answer.", min=16)] = 128,
    n_gpu_layers: NGpuLayers = None,
    n_threads: NThreads = None,
    as_json: Json = False,
) -> None:
    """Measure the guard's cost: time a token beside bare generation, a retry, peak memory.

    Every round runs all ways one after the other, so that what disturbs the machine disturbs
    all of them. Ratios carry over to other days; absolute times do not.
    """
    console = Console()
    # First: a child's peak begins with what its parent had, and engines make the parent large.
    memory = {way: _peak_memory(model, way) for way in ("bare", "guarded")}
    backend = _open(model, tokens, n_gpu_layers, n_threads, logits_all=False)
    keeps_all = _open(model, tokens, n_gpu_layers, n_threads, logits_all=True)
    runs = ways(backend, Guard(backend).ask, tokens)
    rounds = _timed("this package", runs, pairs)
    # In rounds of its own: it sweeps the caches, and whoever came next would pay for that.
    old_way = {BARE: runs[BARE], _OLD_WAY: with_logprobs(keeps_all, tokens)}
    old_rounds = _timed("the old way", old_way, pairs)
    retries = [retry_ratio(backend, tokens) for _ in range(pairs)]
    if as_json:
        report = {
            "pairs": pairs,
            "tokens": tokens,
            "seconds_a_token": rounds,
            "seconds_a_token_old_way": old_rounds,
            "retry": retries,
            "peak_memory_kib": memory,
            "memory_tokens": MEMORY_TOKENS,
        }
        typer.echo(json.dumps(report))
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("", "ms a token", "ratio to bare: median", "quartiles"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, of in [*((name, rounds) for name in runs), (_OLD_WAY, old_rounds)]:
        times = median(r[name] for r in of) * 1e3
        table.add_row(name, f"{times:.2f}", *_spread([r[name] / r[BARE] for r in of]))
    table.add_row("a retry, to its decoding", "", *_spread(retries))
    console.print(f"{backend.info.name}: {pairs} interleaved rounds of {tokens} tokens, greedy")
    console.print(table)
    more = (memory["guarded"] - memory["bare"]) / 1024
    console.print(f"peak memory over {MEMORY_TOKENS} tokens: {more:+.1f} MiB beside bare")


def _timed(what: str, runs: Mapping[str, Run], pairs: int) -> list[dict[str, float]]:
    return list(track(interleaved(runs, pairs), what, pairs, console=Console(stderr=True)))


def _open(
    model: str, tokens: int, n_gpu_layers: int | None, n_threads: int | None, logits_all: bool
) -> LlamaCpp:
    options = {"logits_all": True} if logits_all else {}
    backend = open_backend(model, None, max(512, 2 * tokens), n_gpu_layers, n_threads, **options)
    if not isinstance(backend, LlamaCpp):
        raise InputError("bench measures llama.cpp")
    return backend


def _spread(values: list[float]) -> tuple[str, str]:
    lower, _, upper = quantiles(values, n=4)
    return f"{median(values):.3f}", f"{lower:.3f} to {upper:.3f}"


def _peak_memory(model: str, way: str) -> int:
    """Peak resident memory in KiB of a process that writes one long answer."""
    child = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "energy_guard.cli.bench_memory", model, way, str(MEMORY_TOKENS)],
        capture_output=True,
        text=True,
        check=False,
    )
    if child.returncode == BAD_INPUT:
        raise InputError(child.stderr.strip())
    if child.returncode:
        raise EngineError(f"the memory run failed: {child.stderr.strip()}")
    peak, _ = map(int, child.stdout.split())
    return peak
