"""Which one of the choices an answer picks: by letter, by text, or by both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import regex

from energy_guard.questions.grading.claims import claimed
from energy_guard.questions.grading.clean import clean
from energy_guard.questions.grading.finding import Finding
from energy_guard.questions.grading.gold import Gold, golds
from energy_guard.questions.grading.polar import polarity, polarity_said
from energy_guard.questions.grading.reply import Place, Reply

_LETTER: Final = regex.compile(
    r"^\W*(?:(?:the )?(?:correct |right |best |final )?(?:answer|choice|option)(?: is)?\W*)?"
    r"[(\[]?([A-Za-z])(?:[).:\]]|\s*$|\s+-\s|,\s|\s+(?:is (?:correct|right)|because|since)\b)"
)
_STATED: Final = regex.compile(
    r"(?i:\b(?:answer|choice|option|antwort|réponse|respuesta|risposta|ответ)"
    r"(?: is| ist| est| es|:|)|答案是|答えは)\W*([A-H])(?![\p{L}'])(?!\s+[a-z])"
)
_SENTENCE: Final = 30
"""Characters from which a choice is a sentence, and what else is said more than a frame."""


def chosen(reply: Reply, choices: Sequence[str], answers: Sequence[str], question: str) -> Finding:
    """Return whether an answer picks exactly one choice, and that is a gold one.

    Args:
        reply: The answer.
        choices: What was offered.
        answers: The gold choices, by text or, if no text is among the choices, by letter.
        question: What was asked.

    Returns:
        "yes" with the choice, or if an answer that names none is how only gold ones begin;
        "doubt" if letter and text are of two choices; else why not.

    """
    offered = [clean(choice) for choice in choices]
    by_letter = _by_letter(reply.text, offered)
    named, denied = _by_text(reply, offered, question)
    if by_letter is not None and named in ([], [by_letter]):
        named = [by_letter]
    elif by_letter is not None:
        return Finding("doubt", "It names the letter of one choice and the text of another.")
    if not named:
        begun = _begun_by(reply, offered)
        if begun and all(_is_gold(at, offered, answers) for at in begun):
            return Finding("yes", "It is how only right choices begin.")
    if not named and denied:
        return Finding("denied", f"It denies the choice “{choices[denied[0]]}”.")
    if not named:
        return Finding("no", "The answer names none of the choices, not exactly one.")
    if len(named) > 1:
        reason = f"The answer names {len(named)} of the choices, not exactly one."
        return Finding("denied", reason)
    choice = choices[named[0]]
    if not _is_gold(named[0], offered, answers):
        return Finding("denied", f"It names the choice “{choice}”, which is not right.")
    return Finding("yes", f"It names the choice “{choice}” and no other.")


def _is_gold(at: int, offered: Sequence[str], answers: Sequence[str]) -> bool:
    wanted = {clean(answer).casefold() for answer in answers}
    texts = {choice.casefold() for choice in offered}
    return offered[at].casefold() in wanted or (chr(97 + at) in wanted and not wanted & texts)


def _begun_by(reply: Reply, offered: Sequence[str]) -> list[int]:
    """The choices that begin with the whole answer: "No" of those that say no, and why."""
    said = [word.text for word in reply.words]
    ways = [[word.text for word in golds(choice)[0].words] for choice in offered]
    return [at for at, words in enumerate(ways) if said and words[: len(said)] == said]


def _by_letter(text: str, offered: Sequence[str]) -> int | None:
    found = _LETTER.search(text) or _STATED.search(text)
    if found is None or (found[1].islower() and len(text.strip(" ().")) > 1):
        return None
    letter = found[1].casefold()
    folded = [choice.casefold() for choice in offered]
    if letter in folded:
        return folded.index(letter)
    at = ord(letter) - 97
    return at if at < len(offered) else None


def _by_text(reply: Reply, offered: Sequence[str], question: str) -> tuple[list[int], list[int]]:
    """The choices whose words are claimed, and those that are denied; longer choices first."""
    taken: set[int] = set()
    claims: set[int] = set()
    denied: set[int] = set()
    ways = [golds(choice)[0] for choice in offered]
    for n in sorted(range(len(ways)), key=lambda n: -len(ways[n].joined)):
        for place in _places(reply, ways[n]):
            if taken & set(range(place.start, place.stop)) or _listing(reply, place):
                continue
            taken |= set(range(place.start, place.stop))
            (claims if claimed(reply, place) else denied).add(n)
    if not claims and {polarity(choice) for choice in offered} == {"yes", "no"}:
        said = polarity_said(reply.text, question)
        claims |= {n for n, choice in enumerate(offered) if said and polarity(choice) == said}
    return sorted(claims), sorted(denied - claims)


def _places(reply: Reply, gold: Gold) -> Iterator[Place]:
    """Places of a choice; of a letter only those where it is no article and no word."""
    if len(gold.joined) > 1 or not gold.joined.isascii():
        yield from reply.joined_places(gold.joined, inside=not gold.blanks)
        return
    for n, word in enumerate(reply.words):
        said = reply.text[word.start : word.end]
        if said == gold.text.upper() and not regex.match(r"\s+[a-z]", reply.text[word.end :]):
            yield reply.place(n, n + 1)


def _listing(reply: Reply, place: Place) -> bool:
    """Whether a choice that is a sentence has parts of other choices beside it."""
    size = place.stop - place.start
    return size > _SENTENCE and len(reply.text) - size > _SENTENCE
