"""The words of one sentence of an answer, as the search for the exact answer sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Final

import regex

from energy_guard.locate.languages import LANGUAGES, Language
from energy_guard.locate.patterns import Pattern
from energy_guard.locate.question import QuestionForm
from energy_guard.locate.words import WORD, stem
from energy_guard.text import Range


@dataclass(frozen=True, slots=True)
class SentenceWord:
    """A word and what it may be.

    known: it stands in the question. light: it says nothing alone. name: it has a capital that
    is not owed to its place.
    """

    start: int
    end: int
    text: str
    known: bool
    light: bool
    name: bool

    @property
    def telling(self) -> bool:
        """Whether it says something that the question does not."""
        return not (self.known or self.light)


@dataclass(frozen=True)
class Sentence:
    """A stretch of an answer whose words are read against a question.

    denied: ranges that the text does not assert. start, end: in characters of `text`.
    """

    text: str
    start: int
    end: int
    denied: tuple[Range, ...]
    question: QuestionForm
    language: str

    @cached_property
    def table(self) -> Language:
        """The closed words of its language."""
        return LANGUAGES.get(self.language, LANGUAGES["en"])

    def asserts(self, start: int, end: int) -> bool:
        """Whether a part is none of what the text denies."""
        return not any(a < end and b > start for a, b in self.denied)

    @cached_property
    def words(self) -> Sequence[SentenceWord]:
        """The asserted words, in order."""
        matches = list(WORD.finditer(self.text, self.start, self.end))
        shouted = self.text[self.start : self.end].isupper()
        read = []
        for number, match in enumerate(matches):
            follows = matches[number + 1][0] if number + 1 < len(matches) else ""
            if not self.denied or self.asserts(*match.span()):
                read.append(self._word(match, number == 0, follows, shouted))
        return read

    def _word(
        self, match: regex.Match[str], first: bool, follows: str, shouted: bool
    ) -> SentenceWord:
        text = match[0]
        folded = text.casefold().replace("’", "'")
        capital = text[0].isupper()
        light = folded in self.table.empty
        if light and capital and not shouted and self.language != "de":
            if text == "I":
                light = follows.islower() or "'" in follows
            elif len(text) > 1 and text.isupper():
                light = False  # US, WHO, IT
            elif not first and folded not in _OPENS and "'" not in folded:
                light = False  # May, vitamin A
        elif light and len(text) > 1 and text.isupper() and not shouted:
            light = False
        root = stem(text)
        known = root in self.question.known
        if capital and not known and len(root) > 4:  # Europe, European
            known = any(
                len(k) > 4 and (k.startswith(root) or root.startswith(k))
                for k in self.question.known
            )
        name = (capital or text[0].isdigit()) and not light
        start, end = match.span()
        if self.language == "tr" and "'" in folded:
            end = start + folded.index("'")
        elif self.language == "ko":
            end = start + len(_ENDING.sub("", text))
        elif self.language == "en" and folded.endswith("'s") and capital:
            end -= 2
        return SentenceWord(
            start, end, text, known, light, name and not first if not capital else name
        )

    def before(self, at: int) -> str:
        """The word before a place, in small letters; "" at the beginning."""
        words = [m[0] for m in WORD.finditer(self.text, self.start, at)]
        while words and words[-1].casefold() in _ARTICLES:
            words.pop()
        return words[-1].casefold() if words else ""

    @cached_property
    def telling(self) -> list[SentenceWord]:
        """The words that say something beyond the question."""
        return [word for word in self.words if word.telling]

    @cached_property
    def side(self) -> Range:
        """Where the answer stands as seen from the verb between it and what was asked."""
        splits = self._splits()[:_MOST_SPLITS]
        for number, split in enumerate(splits):
            if self.text.startswith(":", split[0]) and self._is_label(splits[number + 1 :]):
                continue
            before = [w for w in self.words if w.end <= split[0]]
            after = [w for w in self.words if w.start >= split[1]]
            told_before, told_after = (sum(w.telling for w in ws) for ws in (before, after))
            if not told_after and not told_before:
                continue
            if not told_after:
                return self.start, split[0]
            if not told_before:
                return split[1], self.end
            if self._names_head(before):
                return self.start, split[0]
            knows = [sum(w.known for w in ws) / len(ws) for ws in (before, after)]
            if knows[0] < knows[1]:
                return self.start, split[0]
            return split[1], self.end
        return self.start, self.end

    def _is_label(self, later: Sequence[Range]) -> bool:
        """Whether a colon only leads to a sentence of its own: "Note: the capital is Paris"."""
        return any(word.telling and word.start >= end for _, end in later for word in self.words)

    def _names_head(self, words: Sequence[SentenceWord]) -> bool:
        """Whether a name stands before the noun that was asked for: "Newton's Third Law"."""
        return any(
            first.name and first.telling and stem(second.text) == self.question.head
            for first, second in pairwise(words)
        )

    @property
    def is_split(self) -> bool:
        """Whether a verb of being tells on which side the answer stands."""
        return self.side != (self.start, self.end)

    def follows_known(self, at: int) -> bool:
        """Whether the last word before a place that is not light stands in the question."""
        before = (word for word in reversed(self.words) if word.end <= at and not word.light)
        last = next(before, None)
        return last is not None and last.known and not last.name

    def leads_known(self, at: int) -> bool:
        """Whether the word after a place stands in the question, as a verb after its subject."""
        after = next((word for word in self.words if word.start >= at), None)
        return after is not None and after.known and not after.name

    @cached_property
    def said(self) -> Range:
        """What stands after the first verb of being; all, if there is none."""
        return next(((end, self.end) for _, end in self._splits()), (self.start, self.end))

    def _splits(self) -> list[Range]:
        """Verbs of being, and the marks that stand for one."""
        found = [m.span() for m in _DASH.finditer(self.text, self.start, self.end)]
        previous = ""
        for word in self.words:
            folded = word.text.casefold().replace("’", "'")
            if folded in self.table.copulas and previous not in _RELATIVES:
                found.append((word.start, word.end))
            previous = folded
        found += [(m.end(1), m.end()) for m in _SHORTENED.finditer(self.text, self.start, self.end)]
        return sorted(pair for pair in found if pair[0] > self.start)


_ENDING: Final = Pattern(
    r"(?<=..)(?:이?었습니다|였습니다|입니다|이에요|예요|이다|에서|에게|부터|까지|으로|은|는|이|가|을|를|에|의|로|와|과)$"
)
_RELATIVES: Final = frozenset(
    "which that who whose where qui que der die das welche welcher quien che cui который".split()
)
_MOST_SPLITS: Final = 20  # each reads all words: more would take quadratic time
_OPENS: Final = frozenset(["the", "he", "she", "it", "they", "i'm", "no", "yes", "if", "or"])
_ARTICLES: Final = frozenset(
    "the a an der die das den dem le la les l un une el los las il lo gli i o os as de het".split()
)
_DASH: Final = Pattern(r"\s[—–]\s|\s=\s|:\s|(?<=\w)=(?=\w)")
_SHORTENED: Final = Pattern(r"(?i)\b((?:it|that|he|she|answer|they))['’](?:s|re)\b")
