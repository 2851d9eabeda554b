"""Which detector a profile is to be of: a named one, or one to be fitted, perhaps with a probe."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from energy_guard.errors import ConfigError, InputError
from energy_guard.guard import Guard
from energy_guard.neuron_detector import is_neurons, scorer_named
from energy_guard.neurons import NeuronProbe
from energy_guard.policy import Policy, check_damping


def chosen_detector(given: str | None, policy: Policy | None) -> str | None:
    """Return the single signal or the probe to use; None if a detector is to be fitted.

    Raises:
        ConfigError: It is unknown, or it is not the policy's.

    """
    named = policy.detector if policy else None
    if given is None:
        return named
    name = scorer_named(given).name
    if named not in (None, name):
        raise ConfigError(f"--detector {name} is not the policy's, {named}", "Give one.")
    return given if is_neurons(name) else name


def chosen_probe(
    neurons: Path | None, detector: str | None, *, asks_quiz: bool
) -> NeuronProbe | None:
    """Return the probe that a detector is to be fitted with; None without one.

    Args:
        neurons: Its file.
        detector: A named detector; no other is fitted then.
        asks_quiz: Whether the built-in quiz is asked.

    Raises:
        ConfigError: There is no such file, or a detector is named.
        InputError: The quiz is asked.

    """
    if neurons is None:
        return None
    if detector is not None:
        raise ConfigError(
            "--neurons is for a detector that is fitted, and one is named",
            "Leave one out; the probe alone is --detector neurons:FILE.json.",
        )
    if asks_quiz:
        raise InputError(
            "how far a detector may go by neurons is learnt from questions like yours, and the "
            "quiz is asked",
            "Give them as DATA, or take the probe alone: --detector neurons:FILE.json.",
        )
    return NeuronProbe.read(neurons)


def watching(guard: Guard, probe: NeuronProbe | None, policy: Policy | None) -> Guard:
    """Return a guard that watches a probe's neurons, too, whatever its detector goes by.

    Args:
        guard: Over the probe's model.
        probe: Whose neurons; None for no further ones.
        policy: That the profile is to be of.

    Raises:
        ConfigError: The policy retries with neurons switched off, and none are known.
        MismatchError: The probe is of another model.

    """
    if probe is not None:
        guard = guard.with_judge(replace(guard.judge, neurons=probe))
    if policy is not None:
        check_damping(policy, guard.judge.neurons)
    return guard
