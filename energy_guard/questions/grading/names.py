"""Names of persons: which first name, initial, title or spelling still is the same person."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, Literal

import regex

from energy_guard.questions.grading.gold import FILLERS, GENERIC, PARTICLES, TITLES, Gold
from energy_guard.questions.grading.reply import Place, Reply
from energy_guard.questions.grading.spelling import alike
from energy_guard.questions.normalise import Word, singular

_ASKED: Final = regex.compile(
    r"\b(?:who|whos|whom|whose|which (?:\w+ ){0,3}(?:man|woman|person|actor|actress"
    r"|singer|author|writer|poet|artist|painter"
    r"|composer|president|politician|minister|king|queen|player|footballer|golfer"
    r"|comedian|presenter|director|scientist"
    r"|philosopher|explorer|novelist|dramatist|playwright|musician|star|driver|boxer"
    r"|cricketer|celebrity|monarch|inventor|leader)"
    r"|actor|actress|singer|author|surname|wer|wem|qui|quién|quien|chi|quem|wie|кто|kto"
    r"|vem|hvem|kim)\b",
    regex.IGNORECASE,
)
_NICKNAMES: Final = tuple(
    frozenset(map(singular, line.split()))
    for line in """
        james jim jimmy jamie
        william bill billy will willie liam
        robert bob bobby rob robbie
        richard dick rick rich
        john jack johnny jon
        edward ed ted eddie ned
        charles charlie chuck
        elizabeth liz beth betty lizzie
        margaret maggie peggy meg
        michael mike mick mickey
        joseph joe joey
        thomas tom tommy
        anthony tony
        henry harry hank
        katherine catherine kathleen kate cathy kathy katie
        andrew andy drew
        stephen steven steve
        alexander alex sasha
        daniel dan danny
        samuel sam
        benjamin ben
        matthew matt
        gregory greg
        lawrence larry
        david dave
        patricia pat
        kenneth ken
        ronald ron
        donald don
        timothy tim
        francis frank
        theodore ted teddy
        nicholas nick
        christopher chris
        frederick fred
        philip phil
        jeffrey jeff
        susan sue
        deborah debbie
    """.strip().splitlines()
)


def asks_person(question: str) -> bool:
    """Whether a question asks for a person.

    >>> asks_person("Who wrote it?"), asks_person("Which city?")
    (True, False)
    """
    return _ASKED.search(question) is not None


def person(reply: Reply, gold: Gold) -> Iterator[tuple[Place, Literal["same", "other", "doubt"]]]:
    """Places where the surname of a gold person stands, and whether it is the same person."""
    names = [w for w in gold.words if not (w.text in TITLES and w.text != gold.words[-1].text)]
    names = [w for w in names if not regex.fullmatch(r"jr|sr|\d+", w.text)] or list(names)
    if len(names) < 2 or any(w.text in GENERIC | _BODIES | FILLERS or w.values for w in names):
        return
    given = [part for w in names[:-1] if w.text not in PARTICLES for part in _letters(w, gold.text)]
    surname = names[-1].text
    spelt = [n for n, w in enumerate(reply.words) if w.capital and alike(surname, w.text)]
    for at in dict.fromkeys([*reply.at.get(surname, ()), *spelt]):
        first, before = _before(reply, at)
        exact = surname in (reply.words[at].text, reply.words[at].other)
        if not before:
            alone = exact and (len(surname) > 3)
            if alone and reply.words[at].capital and not _followed(reply, at):
                yield reply.place(first, at + 1), "same"
            continue
        verdict = _same([part for w in before for part in _letters(w, reply.text)], given)
        if verdict == "same" and not exact and not any(b.text == g for b in before for g in given):
            verdict = "doubt"
        yield reply.place(first, at + 1), verdict


_BODIES: Final = frozenset(
    "empire congress assembly court judge army house senate university college "
    "government republic school church "
    "museum park palace street union nation association council committee department "
    "force ministry league".split()
)
"""Last words of names that are no persons'."""


def _letters(word: Word, text: str) -> list[str]:
    """A given name, or each letter of initials written together."""
    if regex.fullmatch(r"\p{Lu}(?:\.?\p{Lu}){1,2}", text[word.start : word.end]):
        return list(word.text)
    return [word.text]


def _followed(reply: Reply, at: int) -> bool:
    """Whether a capitalised word comes right after, so that the surname is a first name here."""
    if at + 1 >= len(reply.words):
        return False
    after = reply.words[at + 1]
    return (
        after.capital
        and not after.values
        and reply.text[reply.words[at].end : after.start] in (" ", "-")
    )


def _before(reply: Reply, at: int) -> tuple[int, list[Word]]:
    """The given names right before a word, particles and titles aside, and where they begin."""
    found: list[Word] = []
    first = at
    while first and len(found) < 4:
        word = reply.words[first - 1]
        gap = reply.text[word.end : reply.words[first].start]
        if (
            not regex.fullmatch(r"[\s.\-\"'()]*", gap)
            or (". " in gap and len(word.text) > 2)
            or not gap
        ):
            break
        if word.text in TITLES or word.text in PARTICLES:
            first -= 1
            continue
        if not word.capital or word.values or word.text in _STARTS:
            break
        found.insert(0, word)
        first -= 1
    return first, found


_STARTS: Final = frozenset(
    "by and was is it the in when while as although that this he she actor actress "
    "singer author writer poet "
    "director artist composer painter both answer name i".split()
)
"""What may have a capital before a name and is no name."""


def _same(said: Sequence[str], given: Sequence[str]) -> Literal["same", "other", "doubt"]:
    if not given:
        return "same"
    fits = [any(_fits(s, g) for g in given) for s in said]
    if not any(fits):
        return "other"
    if fits[0] and len(said) > 1 and len(given) > 1 and not all(fits):
        return "other" if _fits(said[0], given[0]) and len(given) == len(said) else "doubt"
    return "same"


def _fits(said: str, given: str) -> bool:
    """Whether two given names may be one: equal, an initial, a nickname, another spelling."""
    if said == given or (min(len(said), len(given)) == 1 and said[0] == given[0]):
        return True
    if min(len(said), len(given)) >= 3 and (said.startswith(given) or given.startswith(said)):
        return True
    return alike(said, given) or any(said in group and given in group for group in _NICKNAMES)
