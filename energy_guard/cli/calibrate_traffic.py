"""`energy-guard calibrate --unlabelled`: the level of P(wrong) where a profile is used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from energy_guard.calibrate.traffic import (
    Gathered,
    Relevelled,
    check_start,
    gather,
    models_in,
    relevelled,
)
from energy_guard.cli.options import EngineOptions
from energy_guard.cli.screen import Console, say_json
from energy_guard.errors import ConfigError, InputError
from energy_guard.profile import Profile
from energy_guard.profile.store import find, store, user_path
from energy_guard.questions.labels import Label, LabelFile
from energy_guard.questions.to_label import file_of


def calibrate_on_traffic(
    logs: Sequence[Path],
    engine: EngineOptions,
    *,
    profile: str | None,
    labels: Path | None,
    system: str | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Estimate how often the model is wrong in these answers, and write a profile for there.

    Args:
        logs: Trace logs, files of answers, or folders of evaluations.
        engine: Its model is asked nothing, and loaded only if it is named and no profile is.
        profile: The starting profile; None: the one that is found for the model.
        labels: A file that `energy-guard label` wrote.
        system: The system prompt of the answers that count; None: the profile's.
        out: Where to put the profile; None: beside the starting one.
        as_json: Print the profile instead of what it means.

    Raises:
        InputError: There are too few answers, or the starting profile cannot be used.

    """
    files = [file_of(path) for path in logs]
    start, place = _start(profile, engine, files)
    check_start(start)
    path = out or place.with_name(f"{place.stem}.traffic.json")
    if path.exists() and Profile.read(path).p_wrong_from != "traffic":
        raise ConfigError(
            f"{path} is a profile that was made from labelled answers",
            "It would be lost with its promises: give another place (--out FILE).",
        )
    given = _labels(labels)
    gathered = gather(files, start, system=system, labels=given)
    if given and not gathered.labels_used:
        raise InputError(
            f"none of the {len(given)} labels of {labels} is of an answer that was read",
            "Give the file that energy-guard label wrote beside these answers.",
        )
    made = relevelled(start, gathered, system=system)
    store(made.profile, path)
    if as_json:
        say_json(made.profile.model_dump(mode="json", by_alias=True))
    else:
        _print(Console(), gathered, made, unused=len(given) - gathered.labels_used)
        Console().print(f"Profile: {path} (use it with --profile)", soft_wrap=True)


def _start(given: str | None, engine: EngineOptions, files: Sequence[Path]) -> tuple[Profile, Path]:
    """The starting profile, and where it is or would be."""
    if given is not None:
        return Profile.read(given), Path(given)
    models = models_in(files) if engine == EngineOptions() else [engine.open().info]
    if len(models) != 1:
        raise ConfigError(
            f"these answers are of {len(models)} models", "Name one profile: --profile FILE."
        )
    found = find(models[0])
    if found is None:
        raise ConfigError(
            f"there is no profile of {models[0].name} to start from",
            "Make one (energy-guard calibrate), or give one (--profile FILE).",
        )
    return found, user_path(models[0])


def _labels(file: Path | None) -> Mapping[str, Label]:
    if file is None:
        return {}
    given = LabelFile(file).given(1)
    if not given:
        raise InputError(f"{file} holds no labels", "Label some answers: energy-guard label.")
    return given


_ENOUGH: Final = 30
"""Labels with which estimates came near the truth (docs/results.md)."""


def _print(console: Console, gathered: Gathered, made: Relevelled, *, unused: int) -> None:
    share, traffic = made.shift.share, made.profile.traffic
    labelled = traffic.labelled if traffic else 0
    console.print(f"{share.n} answers with P(wrong), {labelled} of them labelled")
    for reason, count in gathered.left_out.items():
        console.print(f"  left out: {count} {reason}")
    if gathered.unknown:
        console.print(f"  {gathered.unknown} do not say which system prompt they were asked with")
    if unused:
        console.print(f"  {unused} labels are of answers that are not here")
    console.print(
        f"Estimated share of wrong answers: {share.value:.2f} "
        f"({share.low:.2f} to {share.high:.2f})",
        style="bold",
    )
    console.print(f"Mean P(wrong): {made.shift.before:.2f} before, {share.value:.2f} after")
    console.print(
        f"Shown, as P(wrong) is below {made.profile.abstain:.2f}: {made.shown_before} before, "
        f"{made.shown_after} after"
    )
    if labelled < _ENOUGH:
        given = f"and {labelled} of {_ENOUGH} labels" if labelled else "alone"
        console.print(
            f"An estimate from scores {given} may be far off (docs/results.md): about {_ENOUGH} "
            "labels sharpen it (energy-guard label, then --labels FILE).",
            style="yellow",
        )
    console.print("It promises nothing: the new profile has no certificate.")
