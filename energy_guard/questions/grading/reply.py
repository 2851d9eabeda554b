"""An answer, read once: its words, its sentences, and where a phrase stands in it.

Nothing here knows what is right; a place is only a place.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Final

import regex

from energy_guard.questions.normalise import Word, telling

_SHORT: Final = (
    "st|mr|mrs|ms|dr|prof|jr|sr|vs|no|ft|mt|gen|col|lt|sgt|capt|rev|hon|gov|sen|rep|pres"
    "|inc|co|corp|ltd"
    "|bros|etc|eg|ie|approx|ca|c|vol|op|ed|jan|feb|mar|apr|jun|jul|aug|sep|sept|oct|nov|dec"
)
_END: Final = regex.compile(
    r"(?<=[.!?][\"')\]]*)\s+(?=[\"'(\[]*[\p{Lu}\p{Lo}\d])|[。！？]|\n+"
    r"|(?<=[.!?])\s+(?=(?:but|wait|no|actually)\b)"
)
_OPEN: Final = regex.compile(rf"(?i)(?:\b(?:{_SHORT})|(?<!\p{{L}})\p{{L}}(?:\.\p{{L}})*)\.$")
"""What ends with a dot that ends no sentence: an abbreviation, an initial."""


_SMALL_WORDS: Final = frozenset("is and in was on as with for who from to sis sand swas".split())


@dataclass(frozen=True, slots=True)
class Place:
    """Where a phrase stands: its first word and the one after its last, and its characters."""

    first: int
    end: int
    start: int
    stop: int


class Reply:
    """A cleaned answer with what every comparison asks of it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.words: tuple[Word, ...] = telling(text)
        self.joined = "".join(word.text for word in self.words)
        self._starts: list[int] = []
        at = 0
        for word in self.words:
            self._starts.append(at)
            at += len(word.text)
        self._starts.append(at)
        self._boundaries = set(self._starts)

    @cached_property
    def at(self) -> dict[str, list[int]]:
        """The places of every word, under each of its forms."""
        places: dict[str, list[int]] = defaultdict(list)
        for n, word in enumerate(self.words):
            places[word.text].append(n)
            if word.other != word.text:
                places[word.other].append(n)
        return dict(places)

    @cached_property
    def beginnings(self) -> dict[str, list[int]]:
        """The places of the words by their first four letters."""
        places: dict[str, list[int]] = defaultdict(list)
        for n, word in enumerate(self.words):
            places[word.text[:4]].append(n)
        return dict(places)

    @cached_property
    def sentences(self) -> list[tuple[int, int]]:
        """The range of words of each sentence."""
        ends = [end for _, end in sentences(self.text)]
        ranges, first = [], 0
        for end in ends:
            after = first
            while after < len(self.words) and self.words[after].start < end:
                after += 1
            if after > first:
                ranges.append((first, after))
            first = after
        return ranges

    @cached_property
    def _sentence_ends(self) -> list[int]:
        return [end for _, end in self.sentences]

    def sentence_of(self, word: int) -> int:
        """Return in which sentence a word stands."""
        return bisect_left(self._sentence_ends, word + 1)

    def between(self, first: int, end: int) -> str:
        """Return the text from the first word to the end of the last."""
        return self.text[self.words[first].start : self.words[end - 1].end] if end > first else ""

    def place(self, first: int, end: int) -> Place:
        """Return the place of a range of words."""
        return Place(first, end, self.words[first].start, self.words[end - 1].end)

    def joined_places(self, phrase: str, inside: bool = False) -> Iterator[Place]:
        """Places where a phrase stands, however it is cut into words.

        inside: it may begin and end within a word, as in scripts without blanks.
        """
        at = self.joined.find(phrase) if phrase else -1
        while at >= 0:
            end = at + len(phrase)
            if inside or (
                at in self._boundaries and (end in self._boundaries or self._glued(phrase, end))
            ):
                first = bisect_left(self._starts, at + 1) - 1
                place = self.place(first, bisect_left(self._starts, end))
                if inside:
                    skipped, left = at - self._starts[first], self._starts[place.end] - end
                    place = replace(place, start=place.start + skipped, stop=place.stop - left)
                yield place
            at = self.joined.find(phrase, at + 1)

    def _glued(self, phrase: str, end: int) -> bool:
        """Whether only a small word that has lost the blank before it comes after a phrase."""
        following = self._starts[bisect_left(self._starts, end)]
        return len(phrase) > 6 and self.joined[end:following] in _SMALL_WORDS

    def phrase_places(self, phrase: Sequence[str]) -> Iterator[Place]:
        """Places where words stand one after another, in any of their forms."""
        for first in self.at.get(phrase[0], ()):
            end = first + len(phrase)
            if end <= len(self.words) and all(
                wanted in (word.text, word.other)
                for wanted, word in zip(phrase, self.words[first:end], strict=True)
            ):
                yield self.place(first, end)


@lru_cache(maxsize=4096)
def sentences(text: str) -> tuple[tuple[int, int], ...]:
    """Return the ranges of a text's sentences, in characters; initials and "St." end none.

    >>> [("J. K. Rowling. No.")[a:b] for a, b in sentences("J. K. Rowling. No.")]
    ['J. K. Rowling.', ' No.']
    """
    cuts = [0]
    for match in _END.finditer(text):
        if "\n" in match[0] or not _OPEN.search(text[max(0, match.start() - 12) : match.start()]):
            cuts.append(match.start() if match[0].isspace() else match.end())
    cuts.append(len(text))
    return tuple((a, b) for a, b in pairwise(cuts) if b > a)
