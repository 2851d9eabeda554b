"""Ordinary turns are shown: greetings, rewriting, code and stories, in four languages.

Each token gets one of the nlls that a real model had on its own answers of that kind, drawn with a
seed of its own: the answers are ours, and their energies are as middling as those of honest text.
"""

from __future__ import annotations

import json
import math
import random
import re
from collections import Counter
from pathlib import Path
from typing import Final

import pytest

from energy_guard import Guard
from energy_guard.backends import Scripted

TURNS: Final = [
    json.loads(line)
    for line in Path(__file__).with_name("ordinary.jsonl").read_text("utf-8").splitlines()
]
LANGUAGES: Final = ("en", "de", "es", "zh")

_NLLS: Final = {
    "greeting": (
        "0.00 0.00 0.00 0.01 0.01 0.02 0.03 0.06 0.08 0.17 0.27 "
        "0.41 0.50 0.58 0.69 0.84 0.97 1.22 1.45 1.71 2.79"
    ),
    "rewriting": (
        "0.00 0.00 0.01 0.01 0.02 0.03 0.05 0.06 0.08 0.14 0.17 "
        "0.28 0.31 0.36 0.43 0.55 0.73 0.80 0.95 1.24 1.84"
    ),
    "code": (
        "0.00 0.00 0.00 0.00 0.00 0.00 0.00 0.00 0.00 0.00 0.00 "
        "0.01 0.01 0.02 0.04 0.08 0.13 0.22 0.36 0.54 1.13"
    ),
    "story": (
        "0.00 0.00 0.00 0.00 0.00 0.00 0.00 0.00 0.00 0.01 0.04 "
        "0.07 0.13 0.23 0.38 0.56 0.76 1.06 1.39 1.84 3.05"
    ),
}
QUANTILES: Final = {kind: tuple(map(float, nlls.split())) for kind, nlls in _NLLS.items()}
"""Nll at the quantiles 0, 0.05, …, 1 (nats): qwen2.5-coder 0.5B, greedy, prompts of this file."""


def pieces(turn: dict[str, str]) -> list[tuple[str, float]]:
    """The words of an answer with probabilities; Chinese, which has no blanks, by characters."""
    draw = random.Random(turn["question"])
    levels = QUANTILES[turn["kind"]]
    said = []
    for piece in re.findall(r"\s*[㐀-鿿]|\s*[^\s㐀-鿿]+|\s+\Z", turn["answer"]):
        place = draw.random() * (len(levels) - 1)
        low = levels[int(place)]
        nll = low + (levels[int(place) + 1] - low) * (place % 1)
        said.append((piece, math.exp(-max(nll, 0.001))))
    return said


def withheld(turn: dict[str, str]) -> bool:
    """Whether the guard with its hand-set limits keeps an answer back."""
    said = pieces(turn)
    result = Guard(Scripted.saying(said)).ask(turn["question"], max_tokens=len(said) + 1)
    return not result.shown


def test_there_are_fifty_different_turns_in_each_language() -> None:
    assert Counter(turn["language"] for turn in TURNS) == dict.fromkeys(LANGUAGES, 50)
    assert len({turn["question"] for turn in TURNS}) == len(TURNS)
    assert all(count >= 48 for count in Counter(turn["kind"] for turn in TURNS).values())


@pytest.mark.parametrize("language", LANGUAGES)
def test_at_most_one_ordinary_turn_of_twenty_is_withheld(language: str) -> None:
    lost = [t["question"] for t in TURNS if t["language"] == language and withheld(t)]
    assert len(lost) <= 50 / 20, lost
