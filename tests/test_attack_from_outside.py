"""A small part of `make attack`, always the same one; and that its runner notices failures."""

from __future__ import annotations

from pathlib import Path

import pytest
from attack_from_outside import itself, runner
from attack_from_outside.kinds import KINDS

SEED = 1

PARTS = {
    "commands": range(2, 130, 32),
    "api": range(10),
    "models": range(6),
    "profiles": range(24),
    "logs": range(16),
    "templates": range(24),
    "constraints": range(12),
    "policies": range(24),
    "threads": range(1),
    "tasks": range(4),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all: what takes long to make is made once."""
    return tmp_path_factory.mktemp("attack")


@pytest.mark.slow
@pytest.mark.parametrize("kind", PARTS)
def test_the_product_holds(kind: str, folder: Path) -> None:
    tally = runner.attack(kind, seed=SEED, folder=folder, numbers=PARTS[kind])
    assert not tally.failures, "\n".join(map(str, tally.failures))
    assert tally.tried == len(PARTS[kind])


@pytest.mark.slow
def test_calibrate_goes_on_after_it_was_killed(folder: Path) -> None:
    tally = runner.attack("calibrate", seed=SEED, folder=folder, numbers=[0])
    assert (tally.tried, tally.failures) == (1, [])


def test_each_kind_is_tried_here_or_is_a_command_that_is_killed() -> None:
    assert KINDS.keys() - PARTS.keys() == {"calibrate", "eval"}


@pytest.mark.slow
def test_the_runner_notices_every_way_to_fail_and_goes_on(folder: Path) -> None:
    tally = runner.attack("itself", seed=0, folder=folder, at_once=1)
    assert (tally.tried, tally.held, tally.refused) == (len(itself.CASES), 3, 1)
    why = {failure.what: failure.why for failure in tally.failures}
    assert why.keys() == {"fails", "dies", "hangs", "grows"}
    assert "ZeroDivisionError: a foreign one" in why["fails"]
    assert "status -11" in why["dies"]
    assert why["hangs"] == "no end after 5 s"
    assert "MiB of memory" in why["grows"]


@pytest.mark.slow
def test_a_failure_says_how_to_see_it_again(folder: Path) -> None:
    [failure] = runner.attack("itself", seed=3, folder=folder, numbers=[2]).failures
    assert "make attack ARGS='--only itself --seed 3 --case 2'" in str(failure)
