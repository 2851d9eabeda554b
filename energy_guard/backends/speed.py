"""What `energy-guard bench` measures on every engine: the same answers, written in several ways."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median

from energy_guard.backends.base import Backend
from energy_guard.request import Request, Token

Run = Callable[[], int]
"""Writes its answers once, and returns how many tokens they have."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Ways to write the same answers; the first one is bare, and the others are held against it.

    ready: what is run before a way, untimed. A prompt that another way has read may have to be
    read again, as not all of them divide it alike; who asks twice in a row pays for no other.
    """

    title: str
    ways: Mapping[str, Run]
    ready: Mapping[str, Run] = field(default_factory=dict)

    @property
    def bare(self) -> str:
        """The name of the first way."""
        return next(iter(self.ways))


def interleaved(comparison: Comparison, rounds: int) -> Iterator[dict[str, float]]:
    """Yield, for each round, the seconds a token of every way, in an order drawn anew.

    What runs before leaves its traces in the caches; a fixed order would favour somebody.
    """
    ways = comparison.ways
    for run in ways.values():
        run()  # warm up, and read the prompt
    order = random.Random(0)  # noqa: S311
    for _ in range(rounds):
        seconds = {}
        for name in order.sample(sorted(ways), len(ways)):
            if name in comparison.ready:
                comparison.ready[name]()
            started = time.perf_counter()
            count = ways[name]()
            seconds[name] = (time.perf_counter() - started) / count
        yield seconds


def retry_ratios(backend: Backend, request: Request, rounds: int) -> Iterator[float]:
    """Yield times of answering a prompt again, over the decoding time of the tokens alone."""
    with backend.session() as session:
        for _ in session.generate([request]):
            pass
        for _ in range(rounds):
            begun = time.perf_counter()
            at = [time.perf_counter() for e in session.generate([request]) if isinstance(e, Token)]
            whole = time.perf_counter() - begun
            yield whole / (median(later - sooner for sooner, later in pairwise(at)) * len(at))
