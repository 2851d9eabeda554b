"""What `energy-guard calibrate` prints."""

from __future__ import annotations

from pathlib import Path
from typing import Final, get_args

from rich.table import Table

from energy_guard.calibrate.make_profile import Made
from energy_guard.cli.by_kind import by_kind, warnings
from energy_guard.cli.screen import Console
from energy_guard.estimates.estimate import Measured, NotDefined
from energy_guard.profile import Profile
from energy_guard.questions.grade import Outcome


def print_made(console: Console, made: Made, path: Path, *, kept: bool) -> None:
    """Print what a profile is worth, and where it is.

    Args:
        console: Where.
        made: The profile, and what was measured.
        path: Its file.
        kept: Whether it was kept as it was, and only a promise is new.

    """
    profile = made.profile
    counts = ", ".join(f"{made.outcomes[o]} {o}" for o in get_args(Outcome))
    console.print(f"{sum(made.outcomes.values())} answers: {counts}")
    if made.outcomes["unsure"]:
        listed = path.with_name(f"{path.stem}.*.unsure.jsonl")
        console.print(f"What is unsure is left out, for a person to read: {listed}", soft_wrap=True)
    whose = _KEPT if kept else _OTHERS if profile.elsewhere else _NOT_FITTED_ON
    console.print(f"{whose}: AUROC {_text(made.auroc)}; nll:max alone {_text(made.baseline)}")
    console.print(by_kind(made.kinds))
    for line in warnings(made.kinds):
        console.print(line, style="yellow")
    if profile.elsewhere and not kept:
        console.print(_elsewhere(profile))
    if profile.retries:
        console.print(
            f"Of {made.asked} questions {made.retried} are asked again. What P(wrong) and promises "
            "are about is what comes out of that, with this one limit: another one would have "
            "other questions asked again."
        )
    if made.certificate is not None:
        console.print(_thresholds(made))
        console.print(made.certificate.reason, style="bold")
    console.print(
        f"Rules: warn from P(wrong) {profile.warn:.2f}, abstain from {profile.abstain:.2f}."
    )
    if profile.calibration.note:
        console.print(f"note: {profile.calibration.note}", style="yellow")
    console.print(f"Profile: {path}", soft_wrap=True)


_KEPT: Final = "The profile as it is"
_OTHERS: Final = "The detector from other models here"
_NOT_FITTED_ON: Final = "On questions that the detector was not fitted on"


_AS_MUCH: Final = 0.995
"""What is above it is written as 1."""


def _elsewhere(profile: Profile) -> str:
    """What was done to a curve of the quiz for people's questions."""
    hard, side = ("harder", "higher") if profile.elsewhere > 0 else ("easier", "lower")
    slope = profile.elsewhere_slope
    less = f", and to be sure counts for {slope:.2f} as much there" if slope < _AS_MUCH else ""
    return (
        f"So it is in the quiz. Other people's questions are {hard} at the same score, so the "
        f"profile has all P(wrong) {side} by {abs(profile.elsewhere):.2f} in log-odds{less}."
    )


def _thresholds(made: Made) -> Table:
    """Risk and coverage below every threshold that was tested."""
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim")  # 80 columns hold it
    for heading in ("below", "answered", "wrong", "risk", "coverage", "promised"):
        table.add_column(heading, justify="right")
    for row in made.certificate.tested if made.certificate else ():
        table.add_row(
            f"{row.threshold:.3f}",
            str(row.answered),
            str(row.wrong),
            _between(row.risk),
            _between(row.coverage),
            "yes" if row.holds else "–",
        )
    return table


def _text(measured: Measured) -> str:
    if isinstance(measured, NotDefined):
        return f"– ({measured.reason})"
    return f"{_between(measured)[:-1]}, n = {measured.n})"


def _between(measured: Measured) -> str:
    """A share with its interval, in a table that has the counts."""
    if isinstance(measured, NotDefined):
        return "–"
    return f"{measured.value:.3f} ({measured.low:.3f} to {measured.high:.3f})"
