"""Are promises kept, and how often are they made? `python -m benchmarks.certificates`

Answers with a known risk are drawn: the detector's rank of an answer is uniform between 0 and 1,
and P(wrong) at rank u is low + (high − low) · u^power. Each run draws rows to choose thresholds on
and rows to certify on, and asks whether the certified threshold's true risk is above what was
promised. Needed rows: the fewest at which the expected counts just do at one of ten thresholds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Final

import numpy as np
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from energy_guard.calibrate.binomial import answers_needed
from energy_guard.calibrate.certify import GRID, Labelled, certify, spend, threshold_grid
from energy_guard.energy import Floats
from energy_guard.profile import Certificate

CHOOSING_ROWS: Final = 200


@dataclass(frozen=True)
class Curve:
    """P(wrong) at each rank of the detector."""

    low: float
    high: float
    power: float = 1.0

    def at(self, rank: Floats) -> Floats:
        """P(wrong) of answers at these ranks."""
        return self.low + (self.high - self.low) * rank**self.power

    def risk(self, coverage: float) -> float:
        """The share of wrong answers among those below rank `coverage`."""
        rise = (self.high - self.low) / (self.power + 1)
        return self.low + rise * math.pow(coverage, self.power)


@dataclass(frozen=True)
class Outcome:
    """What 'runs' certificates came to: shares of the runs, and the mean coverage if certified."""

    runs: int
    certified: float
    exceeding: float
    coverage: float


def needed_rows(curve: Curve, max_risk: float, confidence: float) -> int | None:
    """Return how many rows to certify on just do if all counts are as expected; None: none do."""
    level = spend(confidence, 1) / GRID
    found = []
    for step in range(1, GRID + 1):
        answers = answers_needed(curve.risk(step / GRID), max_risk, level=level)
        if answers is not None:
            found.append(math.ceil(answers * GRID / step))
    return min(found, default=None)


def simulate(
    curve: Curve, max_risk: float, confidence: float, rows: int, runs: int, seed: int = 0
) -> Outcome:
    """Certify `runs` times on freshly drawn rows."""
    random = np.random.default_rng(seed)
    questions = [str(number) for number in range(rows)]
    certified = exceeding = 0
    coverage = 0.0
    for _ in range(runs):
        grid = threshold_grid(random.random(CHOOSING_ROWS))
        made = certify(
            draw(random, curve, questions),
            grid,
            max_risk=max_risk,
            confidence=confidence,
            basis="simulated",
        )
        if made.threshold is not None:
            certified += 1
            exceeding += curve.risk(made.threshold) > max_risk
            coverage += made.threshold
    return Outcome(runs, certified / runs, exceeding / runs, coverage / max(certified, 1))


def look_until_it_holds(
    curve: Curve, max_risk: float, confidence: float, rows: int, looks: int, seed: int = 0
) -> bool:
    """Whether the promise at which somebody stops, who adds rows until there is one, is false."""
    random = np.random.default_rng(seed)
    grid = threshold_grid(random.random(CHOOSING_ROWS))
    every = draw(random, curve, [str(number) for number in range(rows * looks)])
    earlier: list[Certificate] = []
    for look in range(1, looks + 1):
        seen = slice(0, look * rows)
        part = Labelled(every.questions[seen], every.risk[seen], every.wrong[seen])
        made = certify(
            part, grid, max_risk=max_risk, confidence=confidence, basis="simulated", earlier=earlier
        )
        if made.threshold is not None:
            return curve.risk(made.threshold) > max_risk
        earlier.append(made)
    return False


def draw(random: np.random.Generator, curve: Curve, questions: list[str]) -> Labelled:
    """Draw a rank and a label for each question."""
    rank = random.random(len(questions))
    return Labelled(questions, rank, random.random(len(questions)) < curve.at(rank))


SETTINGS: Final = (
    (Curve(0, 0.2), 0.1, 0.95),
    (Curve(0, 0.2), 0.05, 0.95),
    (Curve(0.01, 0.01), 0.05, 0.95),
    (Curve(0.07, 0.07), 0.1, 0.95),
    (Curve(0.03, 0.5), 0.2, 0.95),
    (Curve(0.05, 0.9, 2), 0.2, 0.95),
    (Curve(0.05, 0.9, 2), 0.2, 0.8),
    (Curve(0.0, 0.9), 0.3, 0.9),
    (Curve(0.101, 0.101), 0.1, 0.95),
    (Curve(0.101, 0.101), 0.1, 0.8),
    (Curve(0.3, 0.9), 0.25, 0.95),
)
"""Curve, max_risk, confidence; in the last three every certificate would be false."""

LOOKS: Final = 5


def main(runs: Annotated[int, typer.Option(help="Certificates of each row.")] = 500) -> None:
    """Print how often thresholds are certified, and how often wrongly so."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in (
        "P(wrong) at rank u", "max risk", "confidence", "needed rows", "rows", "certified",
        "coverage", "exceeding", "allowed",
    ):  # fmt: skip
        table.add_column(heading, justify="right", no_wrap=True)
    for curve, max_risk, confidence in track(SETTINGS, console=Console(stderr=True)):
        needed = needed_rows(curve, max_risk, confidence)
        for rows in (needed, 2 * needed) if needed else (500, 2000):
            made = simulate(curve, max_risk, confidence, rows, runs)
            table.add_row(
                f"{curve.low:g} + {curve.high - curve.low:g} u^{curve.power:g}",
                f"{max_risk:g}",
                f"{confidence:g}",
                str(needed or "none do"),
                str(rows),
                f"{made.certified:.1%}",
                f"{made.coverage:.2f}" if made.certified else "",
                f"{made.exceeding:.1%}",
                f"{1 - confidence:.0%}",
            )
    console = Console()
    console.print(f"{runs} certificates a row, {GRID} thresholds, first look")
    console.print(table)
    curve, max_risk, confidence = Curve(0.101, 0.101), 0.1, 0.8
    false = sum(
        look_until_it_holds(curve, max_risk, confidence, 200, LOOKS, seed)
        for seed in track(range(runs), console=Console(stderr=True))
    )
    console.print(
        f"P(wrong) {curve.low:g} everywhere, {max_risk:g} promised at {confidence:g}, "
        f"up to {LOOKS} looks with 200 more rows each, until it holds: {false / runs:.1%} false"
    )


if __name__ == "__main__":
    typer.run(main)
