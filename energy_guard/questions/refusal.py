"""Whether a model declines to answer by itself: an "I don't know" or "the passage does not say".

Decided by what a text asserts, a clause at a time. It is a refusal if one clause refuses, no
clause before it asserts anything and nothing after it gives an answer all the same. The words
of each language are data: energy_guard/data/refusals.toml. What is refused in another
language, or in words that are not there, is not seen: how often, docs/languages.md says.
"""

from __future__ import annotations

import tomllib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

import regex


def is_refusal(answer: str, question: str = "") -> bool:
    """Whether an answer only says that the model does not know or may not tell.

    Args:
        answer: what the model wrote, without its reasoning.
        question: what it was asked, if known. It tells a title ("I Don't Know") from a refusal,
            and "the text mentions no injury" as the answer to a question about the text.

    Returns:
        True for a refusal. A guess ("I am not sure, but I think it is Oslo"), a quoted refusal
        and a correction ("The text does not speak of Paris; it speaks of Rome") are answers.

    >>> is_refusal("I don't know."), is_refusal("It is not known as Oslo but as Bergen.")
    (True, False)

    """
    text, quoted = _unquoted(_plain(answer))
    sentences = tuple(filter(None, map(_clauses, _SENTENCE_END.split(text))))
    said = _Said(text, sentences, _plain(question).lower(), quoted)
    lower = text.lower()
    return any(language.declines(said) for language in _languages() if language.hint.search(lower))


@dataclass(frozen=True)
class _Said:
    """A text to decide on: its clauses by sentences, and the question in lower case.

    quoted: the whole text was one quotation.
    """

    text: str
    sentences: tuple[tuple[str, ...], ...]
    question: str
    quoted: bool

    @property
    def clauses(self) -> tuple[str, ...]:
        """All clauses, in order."""
        return tuple(clause for sentence in self.sentences for clause in sentence)


_SENTENCE_END: Final = regex.compile(r"(?<=[.!?…])\s+|(?<=[.!?…]\p{Pf})\s+|[。！？।؟]|\s*\n\s*")
_CLAUSE_END: Final = regex.compile(r"[,،;:؛]\s+|[，、；：]|\s[-–—]\s|\s*—\s*|[()\[\]]")
_MARKUP: Final = regex.compile(r"[*_`#>~|{}]+|\\\w+(?=\{)|(?m:^\s*\(?[A-H]\)\s)")
_EDGES: Final = regex.compile(r"^[^\w\p{M}]+|[^\w\p{M}]+$")
_QUOTED: Final = regex.compile(
    r"\"[^\"]*\"|“[^”]*”|„[^“”]*[“”]|«[^»]*»|「[^」]*」|『[^』]*』|(?<![\w.])'[^']*'(?!\w)"
)
_NUMBER: Final = regex.compile(r"\d+")
_WORD: Final = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}]|[\p{L}\p{M}\p{N}]+")


def _plain(text: str) -> str:
    """The text without markup, its apostrophes and blanks in one form."""
    text = unicodedata.normalize("NFC", text).replace("’", "'").replace("‘", "'")
    spaced: str = regex.sub(r"[^\S\n]+", " ", _MARKUP.sub("", text))
    return spaced.strip()


def _unquoted(text: str) -> tuple[str, bool]:
    """The text with others' words taken out, and whether it was one quotation."""
    whole = _QUOTED.fullmatch(text.rstrip("., "))
    if whole:
        return whole[0][1:-1].strip(), True
    return _QUOTED.sub("…quoted…", text), False


def _clauses(sentence: str) -> tuple[str, ...]:
    return tuple(filter(None, (_EDGES.sub("", part) for part in _CLAUSE_END.split(sentence))))


def _words(text: str) -> list[str]:
    found: list[str] = _WORD.findall(text.lower())
    return found


@dataclass(frozen=True)
class _Language:
    """One language's patterns, compiled; what each is for is said at the head of the table."""

    hint: Any
    rewrite: tuple[tuple[Any, str], ...]
    skip: Any
    unknown: Any
    unsaid: Any
    label: Any
    disclaimer: Any
    frame: Any
    guess: Any
    correct: Any
    but: Any
    turn: Any
    topic: Any
    so: Any
    no: Any
    source: Any
    wh: Any
    work: Any

    def declines(self, said: _Said) -> bool:
        """Whether a text is a refusal in this language."""
        sentences = [
            [turn for clause in sentence for turn in self.turn.split(clause)]
            for sentence in said.sentences
        ]
        clauses = [clause for sentence in sentences for clause in sentence]
        count = 0
        asserted = disclaimed = denied = False
        for sentence in sentences:
            led = claims = details = False
            for clause in sentence:
                count += 1
                plain = self._bare(clause)
                kind = self._kind(plain)
                free = not (asserted or claims or (disclaimed and details))
                if kind == "unknown" and free and self.disclaimer.search(plain):
                    disclaimed = led = True
                elif kind and (free or self.so.match(plain)):
                    return self._stands(said, plain, kind, clauses[count:], denied)
                elif self.no.fullmatch(plain):
                    denied = denied or count == 1
                elif self._frames(plain):
                    led = True
                elif plain and not _echoes(clause, said.question):
                    claims, details = claims or not led, details or led
            asserted = asserted or claims or (disclaimed and details)
        return disclaimed and not asserted and not self.guess.search(self._rewritten(said.text))

    def _stands(
        self, said: _Said, refusal: str, kind: str, rest: Sequence[str], denied: bool
    ) -> bool:
        """Whether a refusing clause is what the text comes to; `rest` are the clauses after it."""
        if kind == "unsaid" and self._answers_about_text(said.question, denied):
            return False
        if self._is_name(said, kind):
            return False
        return not self._answers(refusal, rest, said.question)

    def _frames(self, clause: str) -> bool:
        """Whether a clause asserts no answer, by its beginning or as one about the source."""
        return bool(self.frame.match(clause) or self.topic.match(clause))

    def _answers_about_text(self, question: str, denied: bool) -> bool:
        """Whether "the text does not say so" is the answer to a question of yes or no.

        denied: the text begins with a no.
        """
        if self.wh.search(question):
            return False
        return denied or self.source.search(question) is not None

    def _bare(self, clause: str) -> str:
        """The clause in the words that the patterns are written for."""
        return " ".join(self.skip.sub(" ", self._rewritten(clause)).split())

    def _rewritten(self, text: str) -> str:
        text = text.lower()
        for pattern, replacement in self.rewrite:
            text = pattern.sub(replacement, text)
        return text

    def _kind(self, clause: str) -> str | None:
        """How a clause refuses: "label", "unknown" or "unsaid"; None if it does not."""
        if not self.hint.search(clause):
            return None
        if self.label.fullmatch(clause):
            return "label"
        if self.unknown.match(clause):
            return "unknown"
        return "unsaid" if self.unsaid.match(clause) else None

    def _is_name(self, said: _Said, kind: str) -> bool:
        """Whether the text is a title, or the words that were asked for."""
        if len(said.clauses) > 1:
            return False
        words = said.text.split()
        names = [word for word in words if word in (words[0], words[-1]) or len(word) > 3]
        titled = len(words) > 1 and all(word[0].isupper() for word in names)
        if self.work.search(said.question):
            return said.quoted or titled
        sentence = said.text.isupper() or said.text.endswith((".", "!"))
        return titled and kind != "label" and not sentence

    def _answers(self, refusal: str, after: Sequence[str], question: str) -> bool:
        """Whether an answer follows a refusal."""
        following = [self._rewritten(clause) for clause in after]
        if self.guess.search(", ".join([refusal, *following])):
            return True
        precise = self.wh.search(refusal)
        for plain in following[:2]:
            if self.correct.match(plain):
                return not precise
            if self.but.match(plain) and _new_number(plain, question):
                return True
        return False


def _echoes(clause: str, question: str) -> bool:
    """Whether a clause only says the question again: most of its words, no new name or number."""
    asked = set(_words(question))
    said = _WORD.findall(clause)
    new = [word for word in said if word.lower() not in asked]
    fresh = any(word[0].isupper() or word[0].isdigit() for word in new if word != said[0])
    return not fresh and len(new) < 0.4 * len(said)


def _new_number(clause: str, question: str) -> bool:
    return bool(set(_NUMBER.findall(clause)) - set(_NUMBER.findall(question)))


@cache
def _languages() -> tuple[_Language, ...]:
    """All languages of the table, in the form (NFC) that texts are brought to."""
    text = (files("energy_guard.data") / "refusals.toml").read_text("utf-8")
    table = tomllib.loads(unicodedata.normalize("NFC", text))
    return tuple(map(_language, table.values()))


def _language(entries: dict[str, Any]) -> _Language:
    """Compile one language's table."""

    def spelt(pattern: str) -> str:
        """The pattern, with the entries that it names put in."""
        whole: str = regex.sub(r"\{([a-z]+)\}", lambda name: spelt(entries[name[1]]), pattern)
        return whole

    def compiled(pattern: str) -> Any:
        return regex.compile(spelt(pattern))

    def begun(patterns: Sequence[str]) -> Any:
        """At the beginning of a clause, after words that may lead to it."""
        either = "|".join(f"(?:{pattern})" for pattern in patterns)
        return compiled(rf"(?:{entries['lead']}\b\W*)*(?:{either})")

    single = ("hint", "disclaimer", "frame", "guess", "correct", "no", "source", "wh", "work")
    return _Language(
        rewrite=tuple((regex.compile(old), new) for old, new in entries.get("rewrite", ())),
        skip=compiled(rf"(?<!\w)(?:{entries['skip']})(?!\w)"),
        unknown=begun(entries["unknown"]),
        unsaid=begun(entries["unsaid"]),
        label=compiled(rf"(?:{entries['lead']}\b\W*)*{entries['label']}"),
        but=compiled(rf"{entries['but']}\b"),
        turn=regex.compile(rf"(?i)\s+(?={spelt(entries['but'])}\b)"),
        topic=compiled(r"(?:\S+ ){0,2}\S{0,3}{source}"),
        so=compiled(rf"{entries['so']}\b"),
        **{name: compiled(entries[name]) for name in single},
    )
