"""Whether an answer says a phrase: as it stands, as a name, or by the words that carry it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from typing import Final

import regex

from energy_guard.questions.grading.claims import claimed, offered
from energy_guard.questions.grading.finding import Finding
from energy_guard.questions.grading.gold import FILLERS, GENERIC, Gold
from energy_guard.questions.grading.kin import kin
from energy_guard.questions.grading.names import asks_person, person
from energy_guard.questions.grading.reply import Place, Reply
from energy_guard.questions.grading.spelling import alike
from energy_guard.questions.normalise import ARTICLES, Word, tokens

_LINKS: Final = frozenset("is was are were be in of to it by".split())
_NEGATIVE: Final = frozenset(
    "not no never none nobody nothing cannot isnt wasnt doesnt dont without".split()
)
NO: Final = Finding("no", "It claims none of the right answers.")


@lru_cache(maxsize=16384)
def asked_words(question: str) -> tuple[str, ...]:
    """Return the words of a cleaned question."""
    return tuple(word.text for word in tokens(question))


def phrase_said(reply: Reply, gold: Gold, question: str, joined: Collection[str]) -> Finding:
    """Return whether an answer says a phrase.

    question: cleaned. joined: the joined words of every gold answer of the row.
    """
    if not gold.words:
        return NO
    denied = False
    for place in _exact(reply, gold):
        if _echo(reply, place, gold, question):
            continue
        if not claimed(reply, place, question):
            denied = True
        elif offered(reply, place, joined):
            return Finding("denied", "It names a right answer only as one of several.")
        else:
            return Finding("yes", f"It says “{gold.text}”.")
    if denied:
        return Finding("denied", f"It denies “{gold.text}”.")
    return _loosely(reply, gold, question)


def _exact(reply: Reply, gold: Gold) -> Iterator[Place]:
    yield from reply.joined_places(gold.joined, inside=not gold.blanks)
    if len(gold.words) > 1 or gold.words[0].other != gold.words[0].text:
        yield from reply.phrase_places([w.text for w in gold.words])
        yield from reply.phrase_places([w.other for w in gold.words])
    elif gold.words[0].text in reply.at:
        yield from reply.phrase_places([gold.words[0].text])
    for name in kin(gold.joined):
        yield from reply.joined_places(name)
    if regex.search(r"\p{Cyrillic}", gold.joined):
        yield from _inflected(reply, gold.words)


def _inflected(reply: Reply, wanted: Sequence[Word]) -> Iterator[Place]:
    """Places where words stand in another case: all but the last letters are the same."""
    size = len(wanted)
    for first in range(len(reply.words) - size + 1):
        here = reply.words[first : first + size]
        if all(_same_stem(one.text, two.text) for one, two in zip(here, wanted, strict=True)):
            yield reply.place(first, first + size)


def _same_stem(one: str, two: str) -> bool:
    keep = max(len(two) - 2, 3)
    return one == two or (
        len(two) > 3 and one[:keep] == two[:keep] and abs(len(one) - len(two)) <= 3
    )


def _echo(reply: Reply, place: Place, gold: Gold, question: str) -> bool:
    """Whether a mention only says the question again.

    Only if the question has the phrase, too: it stands beside the same word there, or the
    question offers it ("A or B") and the answer says other words of the question first.
    """
    asked = asked_words(question)
    wanted = [w.text for w in gold.words]
    said = [w.text for w in reply.words]
    for at in range(len(asked) - len(wanted) + 1):
        if list(asked[at : at + len(wanted)]) != wanted:
            continue
        after = asked[at + len(wanted) : at + len(wanted) + 1]
        if after and tuple(said[place.end : place.end + 1]) == after:
            return True
        before = asked[at - 1] if at else ""
        if (
            before
            and place.first
            and said[place.first - 1] == before
            and before not in _LINKS | {"or", "a"}
        ):
            return True
        if "or" in asked and _other_first(said[: place.first], asked, at, at + len(wanted)):
            return True
    return False


def _other_first(before: Sequence[str], asked: Sequence[str], start: int, end: int) -> bool:
    """Whether the answer has the other option of an "A or B" in the question before this one."""
    either = asked.index("or")
    sides = asked[either + 1 :] if end <= either else asked[:either][::-1]
    own = {*asked[start:end], *ARTICLES} | FILLERS
    other = next((word for word in sides if word not in own), None)
    return other in before


def _loosely(reply: Reply, gold: Gold, question: str) -> Finding:
    best = NO
    if asks_person(question) and gold.name:
        for place, verdict in person(reply, gold):
            if verdict == "other":
                best = Finding("denied", "It names another person of that surname.")
            elif claimed(reply, place, question):
                if verdict == "same":
                    return Finding("yes", f"It names “{gold.text}” in another form.")
                best = Finding("doubt", f"Its name is much like “{gold.text}”.")
    if best.holds != "no":
        return best
    return _by_words(reply, gold, question)


def _by_words(reply: Reply, gold: Gold, question: str) -> Finding:
    """Whether the words that carry the gold answer stand in one sentence, in any order."""
    asked = frozenset(asked_words(question))
    wanted = [w for w in gold.content if w.text not in asked and w.text not in GENERIC]
    if not wanted or {w.text for w in gold.content} & _NEGATIVE:
        return NO
    at = _best_sentence(reply, [_near(reply, w) for w in wanted], gold.name)
    spots = [n for n in at if n is not None]
    if not spots:
        return _part(reply, gold, asked)
    if not claimed(reply, reply.place(min(spots), min(spots) + 1), question):
        return Finding("denied", f"It denies “{gold.text}”.")
    missing = [w for w, n in zip(wanted, at, strict=True) if n is None]
    if not missing:
        return Finding("yes", f"It says “{gold.text}” in other order or form.")
    part = _part(reply, gold, asked)
    if part.holds != "no":
        return part
    share = len(spots) / len(wanted)
    if share < 0.5:
        return NO
    has_head = gold.content[-1] not in missing
    hard = gold.name or any(w.values or w.text.isdigit() for w in missing)
    plain = not any(w.capital for w in missing)
    rival = _rival(reply, gold, missing, asked)
    short = len(reply.words) <= len(gold.words) + 2
    if rival and (short or any(w.text.isdigit() for w in missing)):
        return Finding("denied", f"It has another word where “{gold.text}” has its own.")
    if hard or rival or (share < 0.6 and not (has_head and plain)):
        return Finding("doubt", f"It has only some words of “{gold.text}”.")
    return Finding("yes", f"It has nearly all words of “{gold.text}”.")


def _best_sentence(reply: Reply, places: Sequence[Sequence[int]], tight: bool) -> list[int | None]:
    """The place of each word, or None, in the sentence that has most of them.

    tight: the words must stand close together, as those of a name do.
    """
    best: list[int | None] = [None] * len(places)
    within = 2 * len(places) + 2 if tight else 40
    for sentence in sorted({reply.sentence_of(n) for at in places for n in at}):
        inside = [[n for n in at if reply.sentence_of(n) == sentence] for at in places]
        for first in next(at for at in inside if at):
            near = [min(at, key=lambda n: abs(n - first), default=None) for at in inside]
            near = [n if n is not None and abs(n - first) <= within else None for n in near]
            if near.count(None) < best.count(None):
                best = near
    return best


def _rival(reply: Reply, gold: Gold, missing: Sequence[Word], asked: frozenset[str]) -> bool:
    """Whether the answer has another word where a word of the gold answer is missing."""
    known = {w.text for w in gold.words} | asked | FILLERS
    lost = {w.start for w in missing}
    for n, word in enumerate(gold.words):
        if word.start not in lost:
            continue
        for step in (1, -1):
            beside = n + step
            if not 0 <= beside < len(gold.words) or gold.words[beside].start in lost:
                continue
            for at in _near(reply, gold.words[beside]):
                place = at - step
                if 0 <= place < len(reply.words) and reply.words[place].text not in known:
                    gap = reply.text[
                        min(reply.words[place].end, reply.words[at].end) : max(
                            reply.words[place].start, reply.words[at].start
                        )
                    ]
                    if regex.fullmatch(r"[\s-]*", gap):
                        return True
    return False


def _part(reply: Reply, gold: Gold, asked: frozenset[str]) -> Finding:
    """Whether an answer is only a part of the gold one."""
    said = [w for w in reply.words if w.text not in FILLERS and w.text not in asked]
    own = {w.text for w in gold.content}
    if not 0 < len(said) <= 6 or not all(w.text in own and not w.values for w in said):
        return NO
    if not gold.name and _trails(gold, {w.text for w in said}):
        return Finding("yes", f"It says the first part of “{gold.text}”.")
    return Finding("doubt", f"It says only a part of “{gold.text}”.")


def _trails(gold: Gold, said: set[str]) -> bool:
    """Whether what an answer leaves out only trails after a small word or a sign."""
    if gold.content[0].text not in said:
        return False
    after = next((n for n, w in enumerate(gold.words) if w.text not in said), len(gold.words))
    if after in (0, len(gold.words)):
        return False
    gap = gold.text[gold.words[after - 1].end : gold.words[after].start]
    return gold.words[after].text in FILLERS or regex.search(r"[,(:;]", gap) is not None


def _near(reply: Reply, wanted: Word) -> list[int]:
    """Places of a word, of another spelling of it and, if it is no name, of its family."""
    exact = [
        *reply.at.get(wanted.text, ()),
        *(reply.at.get(wanted.other, ()) if wanted.other else ()),
    ]
    if exact or wanted.values:
        return sorted(set(exact))
    found = []
    for n in reply.beginnings.get(wanted.text[:4], ()):
        word = reply.words[n].text
        if (len(wanted.text) > 6 and alike(wanted.text, word)) or (
            (not wanted.capital or not reply.words[n].capital) and _family(wanted.text, word)
        ):
            found.append(n)
    return found


def _family(one: str, two: str) -> bool:
    """Whether two words have so much of their beginning in common that one comes of the other."""
    same = 0
    for a, b in zip(one, two, strict=False):
        if a != b:
            break
        same += 1
    return same >= 4 and same >= 0.6 * max(len(one), len(two))
