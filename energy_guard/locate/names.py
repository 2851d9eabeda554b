"""Runs of words that are one part of an answer: names, noun phrases, lists of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from energy_guard.locate.patterns import Pattern
from energy_guard.locate.sentence import Sentence, SentenceWord
from energy_guard.locate.words import stem
from energy_guard.text import Range

_CONNECTORS: Final = frozenset(
    """of the de da do dos das di del della des du d' van von der den zu la le el al bin ibn ben y e
    und and & zur zum vom af ten ter""".split()
)
_GAP: Final = Pattern(r"[ \u00a0]|[-–/]|\.\s?|['’]|, (?=Jr|Sr|II|III|Ph)|\s?&\s?")
_ABBREVIATED: Final = Pattern(r"(?:\p{Lu}|\p{L}\.\p{L}|Dr|St|Mr|Mrs|Ms|Jr|Sr|Mt|Prof|Gen|Lt|Col)$")
_LISTED: Final = Pattern(
    r"(?i)[\"*”’_]*(?:,\s*(?:and |or |und |et |y |e |en |i |и |& )?"
    r"|\s(?:and|or|&|und|et|y|e|en|i|и|och|ve|dan|và)\s)"
    r"(?:the |also |by )?[\"*“_]*"
)
_DEMONYM: Final = Pattern(r"\p{Lu}\w+(?:ish|ese|ian|ean|can|an|ic|ch|sh)$")
_TITLE: Final = Pattern(r"Jr|Sr|Dr|Mr|Mrs|Ms|Sir|Lord|Lady|Prof(?:essor)?|St|\p{Lu}(?:\.\p{Lu})*")
_AGENT: Final = frozenset("by von par por da door av przez oleh bởi durch".split())
_AGREES: Final = frozenset("called named als as namens llamado appelé heißt".split())


def names(sentence: Sentence) -> list[Range]:
    """Return the runs of capitalised words that hold a word the question has not, in order."""
    words = sentence.words
    runs: list[list[SentenceWord]] = []
    number = 0
    while number < len(words):
        if not words[number].name or not _is_letter(words[number].text):
            number += 1
            continue
        run = [words[number]]
        number += 1
        while number < len(words):
            joined = _joined(sentence.text, run[-1], words[number:])
            if not joined:
                break
            run += words[number : number + joined]
            number += joined
        runs.append(run)
    kept = []
    for run in runs:
        if not any(word.telling and not _TITLE.fullmatch(word.text) for word in run):
            continue
        last = words.index(run[-1])
        follows = words[last + 1] if last + 1 < len(words) else None
        near = follows is not None and sentence.text[run[-1].end : follows.start] == " "
        describes = near and follows and follows.text.islower() and not follows.known
        describes = describes and not (follows and follows.light)
        if not (describes and len(run) == 1 and _DEMONYM.match(run[0].text)):
            kept.append((run[0].start, run[-1].end))
    return kept


def _is_letter(text: str) -> bool:
    return text[0].isalpha()


def _joined(text: str, last: SentenceWord, words: Sequence[SentenceWord]) -> int:
    """How many of the next words belong to a name; connectors only with a name after them."""
    gap = text[last.end : words[0].start]
    small = not re.fullmatch(r"[ \u00a0]|[-–/]|['’]s? ?|, |\s?&\s?", gap)
    if small and not (gap.startswith(".") and _ABBREVIATED.search(last.text)):
        return 0
    if gap == ", " and not re.match(r"(?:Jr|Sr|II|III)\b", words[0].text):
        return 0
    if words[0].name:
        return 1
    count = 0
    while count < len(words) and words[count].text.casefold() in _CONNECTORS and count < 3:
        count += 1
        if count < len(words) and text[words[count - 1].end : words[count].start] not in (
            " ",
            "'",
            "’",
        ):
            return 0
    joins = 0 < count < len(words) and words[count].name and not words[count].known
    plain = words[0].text.casefold() in ("and", "und", "y", "e", "&")
    return count + 1 if joins and not plain else 0


def best_name(sentence: Sentence, kind: str) -> Range | None:
    """Return the name, or list of names, that fits a kind of question best."""
    found = _lists(sentence, names(sentence))
    if not found:
        return None
    low, high = sentence.side
    table = sentence.table

    def cost(number: int) -> tuple[int, int]:
        start, end = found[number]
        before = sentence.before(start)
        penalty = 0 if low <= start and end <= high else 3
        penalty -= sentence.follows_known(start) or sentence.leads_known(end)
        penalty += start == sentence.words[0].start and not re.search(
            r"\s", sentence.text[start:end]
        )
        if sentence.question.head and _stands_by(sentence, start, end):
            penalty -= 3
        if kind == "where":
            penalty -= 1 if before in table.prepositions else 0
        elif before in _AGENT:
            penalty -= 3 if kind == "who" else 0
        elif before in table.prepositions and before not in _AGREES:
            penalty += 2
        return penalty, number

    return found[min(range(len(found)), key=cost)]


def _lists(sentence: Sentence, found: list[Range]) -> list[Range]:
    """Names with nothing but commas and "and" between them as one."""
    joined: list[Range] = []
    for start, end in found:
        one = sentence.question.single or not joined
        if one or not _LISTED.fullmatch(sentence.text, joined[-1][1], start):
            joined.append((start, end))
        else:
            joined[-1] = joined[-1][0], end
    return joined


def _stands_by(sentence: Sentence, start: int, end: int) -> bool:
    """Whether a name stands by the noun that was asked for: "the state of Maine"."""
    words = sentence.words
    inside = [number for number, w in enumerate(words) if start <= w.start and w.end <= end]
    if not inside:
        return False
    around = [w for w in words[max(0, inside[0] - 3) : inside[0]] if not w.light][-1:]
    around += [words[n] for n in inside]
    around += words[inside[-1] + 1 : inside[-1] + 2]
    return any(stem(w.text) == sentence.question.head for w in around)


def phrase(sentence: Sentence) -> Range | None:
    """Return the first noun phrase on the answer's side that says something new."""
    low, high = sentence.side
    words = [word for word in sentence.words if low <= word.start and word.end <= high]
    words = _after_participle(sentence, words)
    told = [n for n, w in enumerate(words) if w.telling and not _is_adverb(w, words[n + 1 :])]
    at = told[0] if told else len(words)
    if not sentence.is_split:
        at = next((n for n in told if sentence.follows_known(words[n].start)), at)
    if at == len(words):
        return None
    if not sentence.is_split and _is_verb(sentence, words, at):
        at += 1
        while at < len(words) and not words[at].telling:
            at += 1
    end = at
    while end + 1 < len(words):
        gap = sentence.text[words[end].end : words[end + 1].start]
        follows = words[end + 1]
        listed = sentence.question.several and _LISTED.fullmatch(gap) and follows.telling
        if not listed and not re.fullmatch(r"[ \u00a0]|[-–/*`_]+|\s?[+^×*/]\s?", gap):
            break
        if follows.light:
            joins = follows.text.casefold() in ("of", "the", "de", "des", "du", "del", "von", "der")
            ahead = words[end + 2 : end + 4]
            if not joins or not ahead or not any(word.telling for word in ahead[:1]):
                several = sentence.question.several and re.fullmatch(
                    r"(?i)and|und|et|y|e|or", follows.text
                )
                if not several or not ahead:
                    break
        elif follows.known and not follows.name:
            break
        end += 1
    if end == at and words[at].text.islower():
        end = _completed(sentence, words, at)
    return words[at].start, words[end].end


def _completed(sentence: Sentence, words: Sequence[SentenceWord], at: int) -> int:
    """Where a phrase of one small word ends that goes on with a preposition: "due to rain"."""
    end = last = at
    while end + 1 < len(words):
        gap = sentence.text[words[end].end : words[end + 1].start]
        small = words[end + 1].text.casefold()
        if gap != " " or (end == at and small not in sentence.table.prepositions):
            break
        if small in _CLAUSES:
            break
        end += 1
        last = end if words[end].telling else last
    return last


_CLAUSES: Final = frozenset(
    "which that who whose where when while because since as although but is are was were".split()
)
_PARTICIPLE: Final = Pattern(r"[a-z]+(?:ed|en|wn|ught|made|built|set|lt|nd|t)$")


def _after_participle(sentence: Sentence, words: list[SentenceWord]) -> list[SentenceWord]:
    """The words after "written by", "made of", "caused by", if the side begins so."""
    for at, word in enumerate(words[:3]):
        following = words[at + 1] if at + 1 < len(words) else None
        if following is None or word.light:
            continue
        passive = following.text.casefold() in ("by", "of", "in", "at", "from", "as", "to", "with")
        if _PARTICIPLE.match(word.text) and passive and any(w.telling for w in words[at + 2 :]):
            return words[at + 2 :]
        return words
    return words


def _is_adverb(word: SentenceWord, after: Sequence[SentenceWord]) -> bool:
    return re.fullmatch(r"[a-z]+ly", word.text) is not None and any(w.telling for w in after)


def _is_verb(sentence: Sentence, words: Sequence[SentenceWord], at: int) -> bool:
    """Whether a new word after a known subject seems to be the verb of what follows."""
    if not at or sentence.language != "en" or not re.fullmatch(r"[a-z]+(?:s|ed)", words[at].text):
        return False
    return any(word.telling for word in words[at + 1 :])
