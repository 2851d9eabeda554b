"""A gold answer and the ways in which people write it: read once for each text, then kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import regex

from energy_guard.questions.grading.clean import clean
from energy_guard.questions.normalise import Word, telling

FILLERS: Final = frozenset(
    "of in on at by for from to with and or as is are was were be it its this that their his her "
    "c ca circa about approximately around approx roughly nearly almost over some very "
    "your our my mid early late later sometime "
    "one who which what into during within through between under he she they them you i we".split()
)
"""Words that say nothing by themselves."""
TITLES: Final = frozenset(
    "mr mrs ms miss dr doctor prof professor sir dame lord lady saint st king queen "
    "prince princess "
    "emperor empress president senator governor general colonel captain major lieutenant sergeant "
    "judge justice chief rev reverend father pope cardinal bishop jr sr junior senior phd md esq "
    "baron count duke earl us american british english french german".split()
)
"""Words beside a name that the name may lack."""
GENERIC: Final = frozenset(
    "company corporation corp inc ltd co plc group city town village state country county river "
    "island mountain mount lake song film movie album novel book play band team club fc party "
    "people family language origin".split()
)
"""Words that say of what kind a name is."""
PARTICLES: Final = frozenset("de da di du del der den van von la le el al bin ibn y e".split())
_BLOCKS: Final = regex.compile(
    r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Hangul}]"
)


@dataclass(frozen=True, slots=True)
class Gold:
    """One way to write a gold answer.

    text: cleaned. words: without articles. content: those of them that say something.
    """

    text: str
    words: tuple[Word, ...]
    content: tuple[Word, ...]
    joined: str
    blanks: bool
    """Whether its script puts blanks between words."""

    @property
    def name(self) -> bool:
        """Whether it looks like a name: its words have capitals."""
        return bool(self.content) and all(w.capital or w.text in PARTICLES for w in self.content)


@lru_cache(maxsize=65536)
def listed(answer: str) -> tuple[tuple[Gold, ...], ...]:
    """Return the parts of a gold answer that is a list of three or more; none if it is no list.

    >>> [part[0].text for part in listed("France, Germany and Belgium")]
    ['France', 'Germany', 'Belgium']
    """
    text = regex.sub(r"\s*[(\[][^()\[\]]*[)\]]\s*", " ", clean(answer))
    if not regex.search(r",.*\s(?:and|&|und|et|y|e)\s", text):
        return ()
    parts = [
        part.strip()
        for part in regex.split(r",\s*(?:(?:and|&)\s+)?|\s+(?:and|&|und|et|y|e)\s+", text)
    ]
    if len(parts) < 3 or any(not part or len(part.split()) > 5 for part in parts):
        return ()
    return tuple(golds(part) for part in parts)


@lru_cache(maxsize=65536)
def golds(answer: str) -> tuple[Gold, ...]:
    """Return the ways to write a gold answer: as it is, without brackets, each of "A or B".

    >>> [gold.text for gold in golds("World War II (1939-1945)")]
    ['World War II (1939-1945)', 'World War II']
    """
    return tuple(_gold(text) for text in dict.fromkeys(_ways(clean(answer))) if text)


def _ways(text: str) -> Iterator[str]:
    yield text
    bare = regex.sub(r"\s*[(\[][^()\[\]]*[)\]]\s*", " ", text).strip()
    yield bare
    yield from regex.findall(r"\((?:accept|or|also)\s+([^()]*)\)", text, regex.IGNORECASE)
    parts = regex.split(r"\s+(?:or|OR)\s+|\s+/\s+|;\s+", bare)
    if len(parts) > 1:
        yield from parts
    head, comma, tail = bare.partition(", ")
    if (
        comma
        and (tail[:1].islower() or len(tail.split()) > 4)
        and not regex.search(r"\band\b|\d", head)
        and " and " not in tail[:30]
        and head[:1].isupper()
    ):
        yield head
    elif comma and head[:1].isupper() and "," not in tail and " and " not in tail:
        if len(head.split()) <= 2 and len(tail.split()) <= 2 and not regex.search(r"\d", bare):
            yield f"{tail} {head}"  # a name turned round
        if not tail[:1].isdigit() and not regex.search(r"\d", head):
            yield head  # a place without its state
    title, colon, rest = bare.partition(": ")
    if colon and rest:
        yield title


def _gold(text: str) -> Gold:
    words = telling(text)
    content = tuple(w for w in words if w.text not in FILLERS)
    joined = "".join(w.text for w in words)
    return Gold(text, words, content or words, joined, _BLOCKS.search(text) is None)
