"""Profiles that are shipped: every one has a card, and the page is what the cards say."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from benchmarks.profile_cards import page
from energy_guard.profile import Profile
from energy_guard.questions.quiz import quiz

FOLDER = Path(str(files("energy_guard.data") / "profiles"))
CARDS = sorted(FOLDER.glob("*.card.json"))
PROFILES = sorted(set(FOLDER.glob("*.json")) - set(CARDS))
PAGE = Path(__file__).parents[2] / "docs" / "profiles.md"


def card_of(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.with_suffix(".card.json").read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.stem)
def test_a_shipped_profile_has_a_card_of_its_own(path: Path) -> None:
    profile, card = Profile.read(path), card_of(path)
    assert path.name == f"{profile.model}-{profile.backend}.json"
    assert card["model"]["fingerprint"] == profile.model
    assert card["model"]["backend"] == profile.backend
    assert (card["mode"], card["detector"]) == (profile.mode, profile.detector)


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.stem)
def test_a_card_has_a_number_of_answers_and_an_interval_for_each_figure(path: Path) -> None:
    card = json.loads(path.read_text(encoding="utf-8"))
    command = card["command"].replace(" --whole ", " ")
    assert command.startswith("energy-guard calibrate --model ")
    whole = card["quiz"]["all"]["n"] > len(quiz(whole=False))
    assert whole == (" --whole " in card["command"]), "the command asks what the card counts"
    for where in ("quiz", "elsewhere"):
        kinds = card[where]
        if kinds:
            assert kinds["all"]["n"] == sum(kinds[k]["n"] for k in kinds if k != "all") > 0
        for figures in kinds.values():
            wrong = figures["wrong"]
            assert wrong["low"] <= wrong["value"] <= wrong["high"]
            assert wrong["n"] == figures["n"]
            for name in ("auroc", "brier_skill"):
                assert "reason" in figures[name] or figures[name]["low"] <= figures[name]["high"]


def test_the_page_is_printed_from_the_cards() -> None:
    cards = [json.loads(path.read_text(encoding="utf-8")) for path in CARDS]
    assert page(cards) == PAGE.read_text(encoding="utf-8")
