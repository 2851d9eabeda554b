"""Does moving a profile to unlabelled answers bring its level nearer to the truth?

`python -m benchmarks.traffic answers.jsonl… [--profile FILE]`: files of graded answers of one
model, asked in any way. Each task is taken for a place of its own: its answers are read as if
nobody had graded them, then with 30 random labels (the mean over 20 draws), and the grades say what
is true. Intervals beside P(wrong) are those of the estimate; those of the Brier score's change are
from answers drawn again. `--choose` prints the same for other widths and weights, instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import typer

from energy_guard.backends.base import ModelInfo
from energy_guard.calibrate.prior_shift import MOST, WIDTH, LabelledScores, Shift, shift_of
from energy_guard.calibrate.traffic import base_of
from energy_guard.energy import Bools, Floats
from energy_guard.errors import InputError
from energy_guard.profile import Profile
from energy_guard.profile.store import find
from energy_guard.questions.answered import read_answers
from energy_guard.score import Score

LABELS: Final = 30
DRAWS: Final = 20
FEWEST: Final = 15
"""Answers that a row of the table needs."""


@dataclass(frozen=True, eq=False)
class Place:
    """Answers of one task: P(wrong) by the profile, and whether they are wrong, both (n,)."""

    name: str
    p_wrong: Floats
    wrong: Bools

    def moved(self, shift: Shift) -> Floats:
        """P(wrong) of each after a shift, (n,)."""
        odds = np.log(self.p_wrong) - np.log1p(-self.p_wrong)
        p: Floats = 1 / (1 + np.exp(-(odds + shift.log_odds)))
        return p

    def brier(self, p_wrong: Floats) -> float:
        """The mean squared error of a P(wrong) of each."""
        return float(np.mean((p_wrong - self.wrong) ** 2))

    def with_labels(self, base: float, rng: np.random.Generator) -> tuple[Floats, Bools]:
        """P(wrong) of all after 30 of them were labelled, and which those are."""
        chosen = np.zeros(len(self.wrong), dtype=bool)
        chosen[rng.permutation(len(self.wrong))[:LABELS]] = True
        told = LabelledScores(self.p_wrong[chosen], self.wrong[chosen], np.ones(int(chosen.sum())))
        return self.moved(shift_of(self.p_wrong, base, told=told)), chosen


def places(files: Iterable[Path], profile: Profile) -> Iterator[Place]:
    """The tasks in these files, then all of them together, each question of a task once."""
    found: dict[str, dict[str, tuple[float, bool]]] = {}
    for file in files:
        for answered in read_answers(file)[1]:
            score = answered.scored_by(profile.scorer).score
            if answered.declined or answered.unsure or not isinstance(score, Score):
                continue
            p = profile.p_wrong(score)
            if p is not None:
                rows = found.setdefault(answered.task, {})
                rows.setdefault(f"{answered.question} {answered.trace.text}", (p, answered.wrong))
    tasks = {name: list(rows.values()) for name, rows in sorted(found.items())}
    everything = [row for rows in tasks.values() for row in rows]
    for name, answers in (*tasks.items(), ("all tasks together", everything)):
        p_wrong, wrong = zip(*answers, strict=True)
        yield Place(name, np.array(p_wrong), np.array(wrong, dtype=bool))


def em(p_wrong: Floats, base: float) -> float:
    """The share of wrong answers by EM (Saerens et al. 2002), from the profile's own."""
    share = base
    for _ in range(1000):
        wrong, right = share * p_wrong / base, (1 - share) * (1 - p_wrong) / (1 - base)
        share = float(np.mean(wrong / (wrong + right)))
    return share


def row(place: Place, base: float) -> str:
    """One line of the table."""
    rng = np.random.default_rng(0)
    shift = shift_of(place.p_wrong, base)
    after = place.moved(shift)
    gain = (after - place.wrong) ** 2 - (place.p_wrong - place.wrong) ** 2
    drawn = rng.integers(len(gain), size=(2000, len(gain)))
    low, high = np.percentile(gain[drawn].mean(axis=1), [2.5, 97.5])
    cells = [
        place.name,
        str(len(place.wrong)),
        f"{place.wrong.mean():.2f}",
        f"{shift.before:.2f}",
        f"{shift.share.value:.2f} ({shift.share.low:.2f} to {shift.share.high:.2f})",
        f"{em(place.p_wrong, base):.2f}",
        f"{place.brier(place.p_wrong):.3f}",
        f"{place.brier(after):.3f} ({low:+.3f} to {high:+.3f})",
    ]
    if len(place.wrong) < 2 * LABELS:
        return _line([*cells, "–", "–"])
    runs = [place.with_labels(base, rng) for _ in range(DRAWS)]
    means = [float(p.mean()) for p, _ in runs]
    others = [float(np.mean(((p - place.wrong) ** 2)[~chosen])) for p, chosen in runs]
    spread = f"{np.mean(means):.2f} ({min(means):.2f} to {max(means):.2f})"
    return _line([*cells, spread, f"{np.mean(others):.3f}"])


def choices(every: Sequence[Place], base: float) -> Iterator[str]:
    """One line for each width and weight: means over tasks, and which a task left out would get."""
    errors: dict[tuple[float, float], list[float]] = {}
    for width in (0.5, 0.75, WIDTH, 1.25):
        for most in (0.0, 2.0, MOST, 6.0, 10.0, 20.0, 40.0, np.inf):
            shifts = [shift_of(p.p_wrong, base, width=width, most=most) for p in every]
            briers = [p.brier(p.moved(s)) for p, s in zip(every, shifts, strict=True)]
            errors[width, most] = briers
            truths = [float(p.wrong.mean()) for p in every]
            off = [abs(s.share.value - t) for s, t in zip(shifts, truths, strict=True)]
            held = [s.share.low <= t <= s.share.high for s, t in zip(shifts, truths, strict=True)]
            yield _line(
                [f"{width:g}", f"{most:g}"]
                + [f"{np.mean(values):.3f}" for values in (off, briers)]
                + [f"{sum(held)} of {len(held)}"]
            )
    left_out = [
        errors[min(errors, key=lambda key: sum(errors[key]) - errors[key][at])][at]
        for at in range(len(every))
    ]
    yield f"\nChosen on the other tasks, mean Brier on the one left out: {np.mean(left_out):.3f}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


_HEADINGS: Final[Mapping[bool, Sequence[str]]] = {
    False: (
        "task", "n", "wrong in truth", "mean P(wrong) before", "after, no labels", "share by EM",
        "Brier before", "Brier after, no labels (change)", "mean P(wrong) after 30 labels",
        "Brier of the others",
    ),
    True: ("width", "most", "mean distance to the truth", "mean Brier", "interval holds the truth"),
}  # fmt: skip


def main(
    answers: Annotated[list[Path], typer.Argument(help="Files of graded answers, of one model.")],
    profile: Annotated[Path | None, typer.Option(help="Where to start; that of the model.")] = None,
    choose: Annotated[bool, typer.Option("--choose", help="Try other widths and weights.")] = False,
) -> None:
    """Print one table."""
    model = ModelInfo(**read_answers(answers[0])[0]["model"])
    start = Profile.read(profile) if profile else find(model)
    if start is None:
        raise InputError(f"there is no profile of {model.name}", "Give one: --profile FILE.")
    base = base_of(start)
    every = [place for place in places(answers, start) if len(place.wrong) >= FEWEST]
    typer.echo(
        f"{model.name}: {base:.2f} of the answers that the profile was fitted on are wrong\n"
    )
    typer.echo(_line(_HEADINGS[choose]))
    typer.echo(_line(["---"] * len(_HEADINGS[choose])))
    lines = choices(every[:-1], base) if choose else (row(place, base) for place in every)
    for line in lines:
        typer.echo(line)


if __name__ == "__main__":
    typer.run(main)
