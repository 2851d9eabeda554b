"""`energy-guard bench`: what the guard costs on this machine, as ratios from one run."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import asdict
from statistics import median, quantiles
from typing import Annotated, Final, TypeVar

import typer
from rich.progress import MofNCompleteColumn
from rich.table import Table
from rich.text import Text

from energy_guard.backends.speed import Comparison, interleaved
from energy_guard.cli.bench_engines import BENCHES
from energy_guard.cli.bundle import bundled
from energy_guard.cli.options import BAD_INPUT, EngineOptions, Json
from energy_guard.cli.screen import Console, progress, say_json
from energy_guard.errors import ConfigError, EngineError, InputError

MEMORY_TOKENS: Final = 2000

Item = TypeVar("Item")


@bundled(without=("n_ctx", "served_model"))
def bench(
    engine: EngineOptions,
    *,
    pairs: Annotated[
        int | None, typer.Option(help="Rounds; each runs every way once.", min=2, max=10_000)
    ] = None,
    tokens: Annotated[
        int | None, typer.Option(help="Length of an answer.", min=16, max=2**20)
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure the guard's cost: time a token beside bare generation, a retry, peak memory.

    Every round runs all ways one after the other, so that what disturbs the machine disturbs
    all of them. Ratios carry over to other days; absolute times do not.
    """
    engine.check_is_here("bench")
    if engine.kind not in BENCHES:
        raise ConfigError(
            f"bench has nothing to compare {engine.kind} with", f"It has: {', '.join(BENCHES)}."
        )
    kind = BENCHES[engine.kind]
    pairs, tokens = pairs or kind.rounds, tokens or kind.tokens
    # First: a child's peak begins with what its parent had, and engines make the parent large.
    memory = {way: _peak_memory(engine, way) for way in kind.memory_ways}
    measured = kind(engine, tokens)
    timed = [
        (comparison, _shown(interleaved(comparison, pairs), comparison.title, pairs))
        for comparison in measured.comparisons()
    ]
    retries = _shown(measured.retries(pairs), "a retry", pairs)
    if as_json:
        report = {
            "model": measured.name,
            "backend": engine.kind,
            "pairs": pairs,
            "tokens": tokens,
            "seconds_a_token": {comparison.title: rounds for comparison, rounds in timed},
            "retry": retries,
            "peak_memory_kib": memory,
            "memory_tokens": MEMORY_TOKENS,
        }
        say_json(report)
        return
    console = Console()
    console.print(f"{measured.name}: {pairs} interleaved rounds of {tokens} tokens, greedy")
    console.print(_table(timed, retries))
    bare, *others = kind.memory_ways
    more = (f"{way} {(memory[way] - memory[bare]) / 1024:+.1f} MiB" for way in others)
    console.print(f"peak memory over {MEMORY_TOKENS} tokens, beside bare: {', '.join(more)}")


def _table(timed: list[tuple[Comparison, list[dict[str, float]]]], retries: list[float]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("", "ms a token", "ratio to bare: median", "quartiles"):
        table.add_column(heading, justify="left" if not heading else "right")
    for comparison, rounds in timed:
        table.add_row(Text(comparison.title, "dim"))
        for name in comparison.ways:
            times = f"{median(one[name] for one in rounds) * 1e3:.2f}"
            ratios = [one[name] / one[comparison.bare] for one in rounds]
            table.add_row(name, times, *_spread(ratios))
    table.add_row(Text("the same prompt again", "dim"))
    table.add_row("a retry, to its decoding", "", *_spread(retries))
    return table


def _shown(items: Iterable[Item], what: str, number: int) -> list[Item]:
    with progress(MofNCompleteColumn()) as shown:
        return list(shown.track(items, total=number, description=what))


def _spread(values: list[float]) -> tuple[str, str]:
    lower, _, upper = quantiles(values, n=4)
    return f"{median(values):.3f}", f"{lower:.3f} to {upper:.3f}"


def _peak_memory(options: EngineOptions, way: str) -> int:
    """Peak resident memory in KiB of a process that writes long answers."""
    given = (json.dumps(asdict(options)), way, str(MEMORY_TOKENS))
    child = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "energy_guard.cli.bench_memory", *given],
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
