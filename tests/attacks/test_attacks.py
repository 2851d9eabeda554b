"""Nothing is accepted that hides a wrong word, whatever the text around it looks like."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest

from energy_guard import Guard, Result
from energy_guard.backends import Scripted

SURE, WRONG = 0.97, 0.001
_PLACE = re.compile(r"\[(?P<wrong>[^][|]+)\|(?P<right>[^][|]+)\]|\{(?P<thought>\w+)\}")


@dataclass(frozen=True)
class Attack:
    """An answer with a wrong word in it, and its honest twin; see cases.toml."""

    kind: str
    question: str
    answer: str
    cut: int | None = None
    locator: str | None = None

    @classmethod
    def read(cls) -> list[Self]:
        text = Path(__file__).with_name("cases.toml").read_text("utf-8")
        return [cls(**case) for case in tomllib.loads(text)["case"]]

    def pieces(self, word: str, p: float) -> list[tuple[str, float]]:
        """The answer in words; the one in `word`, wrong or right, has the probability p."""
        pieces: list[tuple[str, float]] = []
        at = 0
        for place in [*_PLACE.finditer(self.answer), None]:
            before = self.answer[at : place.start() if place else None]
            pieces += [(piece, SURE) for piece in re.findall(r"\s*\S+|\s+\Z", before)]
            if place is not None:
                at = place.end()
                pieces.append((place["thought"], WRONG) if place["thought"] else (place[word], p))
        return pieces

    def judged(self, pieces: Sequence[tuple[str, float]], *, cut: bool) -> Result:
        guard = Guard(Scripted.saying(pieces), locator=self.locator)
        limit = self.cut if cut and self.cut else len(pieces) + 1
        return guard.ask(self.question, max_tokens=limit)


ATTACKS = Attack.read()


def test_there_are_many_attacks_of_many_kinds() -> None:
    assert len(ATTACKS) >= 60
    assert len({attack.kind for attack in ATTACKS}) >= 25
    assert len({attack.answer for attack in ATTACKS}) >= 60


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.kind)
def test_a_wrong_word_is_not_accepted(attack: Attack) -> None:
    result = attack.judged(attack.pieces("wrong", WRONG), cut=True)
    assert result.verdict != "accept", (result.text, result.reason)
    assert not (result.verdict == "unscored" and result.shown), (result.text, result.reason)


INVENTED = [a for a in ATTACKS if a.cut is None and re.search(r"\[[A-Z0-9][^|]*\|", a.answer)]


@pytest.mark.parametrize("attack", INVENTED, ids=lambda attack: attack.kind)
def test_an_invented_name_or_number_is_not_accepted(attack: Attack) -> None:
    result = attack.judged(attack.pieces("wrong", 0.05), cut=False)
    assert result.verdict != "accept", (result.text, result.reason)


def test_honest_twins_are_shown() -> None:
    withheld = [
        (attack.kind, attack.answer, result.reason)
        for attack in ATTACKS
        if not (result := attack.judged(attack.pieces("right", SURE), cut=False)).shown
    ]
    assert len(withheld) <= len(ATTACKS) / 5, withheld
