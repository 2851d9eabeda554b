"""Whether an answer claims what stands at a place in it, or denies it, or only speaks of it.

Words of eleven languages; what none of the rules knows counts as claimed.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import regex

from energy_guard.questions.grading.reply import Place, Reply
from energy_guard.questions.grading.spelling import alike

_NOT: Final = (
    r"not|never|isnt|wasnt|arent|werent|dont|doesnt|didnt|cannot|cant|couldnt|wont|hasnt"
    r"|neither|nor"
    r"|nicht|kein(?:e[nmrs]?)?|niemals|weder|n'est pas|n'était pas|ne|pas|jamais|nunca"
    r"|non|nao|não|niet|geen"
    r"|inte|ikke|ei|nie|не|ни|nem|değil|tampoco"
)
_DENIES: Final = regex.compile(rf"(?<!\w)(?:{_NOT})(?!\w)")
_CONTRACTED: Final = regex.compile(r"(?<=\w)n't\b")
_AFFIRMS: Final = regex.compile(
    r"\b(?:not only|not just|not merely|not least|nicht nur|non seulement|no solo"
    r"|no sólo|non solo|não só"
    r"|why not|whether or not|if not|not (?:\w+ )?(?:sure|certain|know|remember"
    r"|positive)|not until|not to mention"
    r"|without (?:a |any )?doubt|no doubt|not a secret|nichts anderes? als"
    r"|none other than|no other than"
    r"|not unlike|not (?:surprisingly|unexpectedly))\b"
)
_TURN: Final = regex.compile(
    r"\b(?:but|rather|instead|sondern|mais|sino|bensì|ma|mas|maar|utan|ale|lecz|а|но"
    r"|hanem|vielmehr)\b|[;:]| - | — "
)
_BEFORE: Final = regex.compile(
    r"\b(?:instead of|(?<!none other )(?<!no other )than|rather than"
    r"|(?<!none )(?<!no )other than|no longer|as opposed to|except(?: for)?|unlike|contrary to"
    r"|(?:not to be |often |sometimes |commonly )?(?:confused|mistaken) (?:with|for)"
    r"|mis(?:taken|attributed) (?:to|for)|anstatt|anstelle von|statt|au lieu de"
    r"|en lugar de|en vez de"
    r"|invece di|em vez de|in plaats van|вместо|zamiast|i stället för|yerine)\s+(?:\w+\s+){0,2}$"
)
_AFTER: Final = regex.compile(
    r"^\s*(?:,\s*)?(?:(?:is|was|are|were|did|does|do|has|had|can|could"
    r"|would)\s*(?:not\b(?! only)|never\b|n't)|(?:isn|wasn|didn|doesn|aren|weren|can|couldn)'t"
    r"|never\b|ist (?:es )?nicht\b|war (?:es )?nicht\b|n'est pas\b|n'était pas\b|no es\b"
    r"|no fue\b|non è\b"
    r"|не является|(?:is|was) (?:incorrect|wrong|false)\b)"
)
_BELIEF: Final = regex.compile(
    r"\b(?:(?:many|some|most|people|often|commonly|widely|sometimes|popularly|mistakenly"
    r"|wrongly|incorrectly|falsely)\b"
    r".{0,40}\b(?:believe|think|thought|assume|say|claim|believed|assumed|attribute"
    r"|credited|attributed|mistaken)"
    r"|you might think|you may think|i thought|i (?:initially|first) thought"
    r"|popular belief|common misconception)"
)
_CONTRADICTS: Final = regex.compile(
    r"(?:,|\.|;|—)\s*(?:but|however|yet|although|in fact|actually"
    r"|in reality)\b(?!.{0,12}\b(?:not sure|not certain|may be|might be))"
    r"(?=.{0,80}\b(?:it|he|she|they|the|actually|was|is|were|in fact)\b)"
)
_RETRACTS: Final = regex.compile(
    r"(?:[.!?…,;—-]\s*|\n|^)(?:(?:oh |no )?wait\b|correction\b|scratch that\b|i mean\b"
    r"|i meant\b|my mistake\b"
    r"|sorry,? (?:i meant|it'?s|it is|that)|no, (?:actually|it'?s|it is|it was|sorry"
    r"|wait)\b|actually,? (?:it'?s|it is|it was|no|that'?s)\b"
    r"|moment(?: mal)?\b|nein,? (?:eigentlich|es)|korrektur\b|non,? (?:en fait|pardon"
    r"|plutôt)|pardon,? (?:c'est|je)|perdón\b|espera\b"
    r"|no, espera\b|mejor dicho\b|aspetta\b|anzi\b|нет, |точнее\b)"
)
_OR: Final = "or|oder|eller|или|veya|ou"
_CJK_BEFORE: Final = regex.compile(r"(?:不是|并不是|并非|不在|而非|而不是|没有|非)[^，。,、]{0,6}$")
_CJK_AFTER: Final = regex.compile(
    r"^[^，。,、]{0,4}(?:ではなく|じゃなく|ではありません|ではない|じゃない|でなく|ではなかった"
    r"|가 아니|이 아니|은 아니|는 아니|아니라|不是)"
)


def claimed(reply: Reply, place: Place, question: str = "") -> bool:
    """Whether the answer claims what stands at a place.

    question: cleaned; a denial that it has itself ("Who was not there?") denies nothing.

    >>> reply = Reply("It is not Lyon but Paris.")
    >>> [claimed(reply, next(reply.joined_places(word))) for word in ("lyon", "pari")]
    [False, True]
    """
    start, end = _bounds(reply, place)
    before = _without_asides(reply.text[start : place.start]).casefold()
    after = reply.text[place.stop : end].casefold()
    if _CJK_BEFORE.search(before) or _CJK_AFTER.search(after):
        return False
    if (
        _denied_before(before, question.casefold())
        or _BEFORE.search(before)
        or (_AFTER.search(after) and not _negative(question))
    ):
        return False
    rest = reply.text[place.stop :].casefold()
    if _BELIEF.search(before[-90:]) or _BELIEF.search(after[:60]):
        contradicted = _CONTRADICTS.search(rest[:200])
        if contradicted and not _CONTRADICTS.search(before[-60:]):
            return False
    retracted = _RETRACTS.search(rest)
    return retracted is None or len(rest[retracted.end() :].split()) == 0


def _bounds(reply: Reply, place: Place) -> tuple[int, int]:
    """The characters of the sentence in which a place is."""
    for first, end in reply.sentences:
        if first <= place.first < end:
            start = reply.words[first - 1].end if first else 0
            stop = reply.words[end].start if end < len(reply.words) else len(reply.text)
            return start, stop
    return 0, len(reply.text)


def _negative(question: str) -> bool:
    """Whether a question asks for what is not."""
    plain = _CONTRACTED.sub(" not", question.casefold())
    return _DENIES.search(plain) is not None


def _without_asides(text: str) -> str:
    """A text without what stands in brackets or quotation marks in it."""
    bare: str = regex.sub(r"\([^()]*\)|\"[^\"]*\"", " ", text)
    return bare


def _denied_before(before: str, question: str) -> bool:
    """Whether a denial reaches to the end of a text: five words at most, and no "but" between."""
    plain = _AFFIRMS.sub(" ", _CONTRACTED.sub(" not", before))
    found = None
    for match in _DENIES.finditer(plain):
        if not regex.search(rf"(?<!\w){match[0]}(?!\w)", question):
            found = match
    if found is None:
        return (
            regex.search(
                r"(?:^|[,.:;]\s*)(?:no|not) (?:the |a |an )?$|\bno (?:era|es|fue|fueron"
                r"|está|eran|son)\s+(?:\w+\s+){0,2}$|\bwithout (?:\w+ )?$",
                plain,
            )
            is not None
        )
    between = plain[found.end() :]
    if found[0] in ("ne", "non", "ei", "nie", "ma", "pas", "nem") and len(between.split()) > 3:
        return False
    if _TURN.search(between) or len(between.split()) >= 5:
        return False
    return not regex.search(r",\s*(?:it|he|she|they|this|that|es|c|il|sie|er)\b|,\s*$", between)


def offered(reply: Reply, place: Place, golds: Collection[str]) -> bool:
    """Whether a place is one of several that the answer leaves open: "A or B", a bare list.

    golds: joined words of every gold answer; a list of golds alone is no open choice.
    """
    start, end = _bounds(reply, place)
    text = reply.text[start:end]
    a = place.start - start
    b = place.stop - start
    left = regex.search(rf"\b(\p{{Lu}}[\w.' -]*?|\d+),? (?:{_OR}) $", text[:a])
    right = regex.match(rf",? (?:{_OR}) (\p{{Lu}}\w+|\d)", text[b:])
    if left is None and right is None:
        return _listed(text, a, b, golds)
    if right and regex.search(r"\b(?:in|for|if|when|depending)\b", text[b:]):
        return False
    other = (right or left)[1]
    if any(joined.startswith(Reply(other).joined) for joined in golds):
        return False
    if alike(other.casefold()[:6], text[a:b].casefold()[:6]):
        return False  # another spelling of the same
    return _bare(text, a, b)


def _bare(text: str, a: int, b: int) -> bool:
    """Whether an answer is little else than its options."""
    return len(text[:a].split()) + len(text[b:].split()) <= 8


def _listed(text: str, a: int, b: int, golds: Collection[str]) -> bool:
    """Whether a place is one of four or more things that stand without a sentence."""
    parts = [
        p for p in regex.split(r",\s*(?:and\s+|or\s+)?|\s+(?:and|or)\s+", text.strip(" .")) if p
    ]
    if len(parts) < 4 or any(len(part.split()) > 4 for part in parts):
        return False
    if (
        "," in text[a:b]
        or text[a:b] not in parts
        or regex.search(r"\b(?:is|are|was|were|by|include)\b", text)
    ):
        return False
    known = sum(Reply(part).joined in golds for part in parts)
    return known < len(parts) / 2
