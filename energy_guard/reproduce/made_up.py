"""Questions about people, books and towns that do not exist, always the same ones.

Their names are put together from syllables. No word of a name may stand in the questions, passages
and answers of the rows that they are held against: it would be no new one.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Final

import regex

from energy_guard.errors import InputError
from energy_guard.questions.rows import Question

_BEGINNINGS: Final = ("Vel", "Dro", "Quin", "Mar", "Tos", "Brel", "Hax", "Yor", "Lum", "Zep", "Ner")
_MIDDLES: Final = ("ta", "mi", "vo", "ru", "ske", "ndo", "lly", "que", "rga", "pho")
_ENDS: Final = ("rith", "mere", "vack", "lonne", "dova", "quill", "sten", "barra", "nold", "wick")

_ASKED: Final = (
    "In which year was the painter {first} {last} born?",
    "Who wrote the novel The Lanterns of {town}?",
    "In which country is the town of {town}?",
    "Which prize did the chemist {first} {last} win?",
    "Which river flows through the town of {town}?",
    "What is the name of the hero of {first} {last}'s novel The Winter at {town}?",
    "Who was the first mayor of {town}?",
    "Which university did the physicist {first} {last} found?",
)

_WORD: Final = regex.compile(r"\p{L}+")


def made_up_questions(n: int, known: Sequence[Question]) -> list[Question]:
    """Return n questions, none of which has an answer.

    Args:
        n: How many.
        known: Rows whose words no name may have.

    Raises:
        InputError: There are not as many names.

    """
    taken = {word.casefold() for row in known for word in _WORD.findall(_text(row))}
    every = _names(taken)
    most = len(every) // 3  # a question takes two names and a town, whether it says them or not
    if n > most:
        raise InputError(
            f"{n} made-up questions are more than there can be",
            f"Ask for at most {most} (-n).",
        )
    names = iter(every)
    found = []
    for number in range(n):
        asked = _ASKED[number % len(_ASKED)]
        question = asked.format(first=next(names), last=next(names), town=next(names))
        found.append(Question(f"made-up-{number}", "made_up", question, (), answerable=False))
    return found


def _text(row: Question) -> str:
    return " ".join((row.question, row.context or "", *row.answers, *row.choices))


def _names(taken: set[str]) -> list[str]:
    """Names in a random order that is always the same, without those that are taken."""
    every = [b + m + e for b in _BEGINNINGS for m in _MIDDLES for e in _ENDS]
    Random("names that are new").shuffle(every)  # noqa: S311  # no secret
    return [name for name in every if name.casefold() not in taken]
