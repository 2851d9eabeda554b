"""The yes or no of an answer, in words of many languages or by saying the question again."""

from __future__ import annotations

from typing import Final, Literal

import regex

from energy_guard.locate.question import claim_in
from energy_guard.questions.grading.gold import FILLERS
from energy_guard.questions.normalise import ARTICLES, tokens

_YES: Final = frozenset(
    "yes yeah yep yup true correct ja oui si sí sim tak da да evet hai はい 是 是的 对 예 네 "
    "kyllä igen ano jes jo doch "
    "certainly definitely absolutely indeed affirmative wahr richtig vrai verdadero vero "
    "正确 हाँ हां نعم".split()
)
_NO: Final = frozenset(
    "no nope nah false incorrect nein non não nao nee nej nei nie нет hayır ei nem ne "
    "falsch faux falso いいえ 不 不是 否 没有 "
    "아니요 아니오 नहीं لا".split()
)
_FIRM_YES: Final = regex.compile(
    r"^\W*(?:no|without(?: a| any)?) doubt|^\W*(?:of course|i think so|that(?:'s"
    r"| is) (?:right|true|correct))(?! not)|^\W*(?:exactly|right)\W*(?:$|[,.!](?!\W*no\b))"
    r"|^\W*(?:i (?:(?:completely|fully|totally|strongly|wholly) )?agree|you(?:'re| are) "
    r"(?:(?:absolutely|completely|quite) )?(?:right|correct))(?: with (?:you|that|this))?"
    r"\W*(?:$|[,.!;:](?!.*\bbut\b))"
    r"|^\W*it(?:'s| is) (?:true|right|correct)\W*(?:$|[,.!])"
    r"|^\W*it (?:is|does|was|did|can|has)\W*$"
)
_FIRM_NO: Final = regex.compile(
    r"^\W*(?:not (?:really|at all|exactly|quite|true|correct|necessarily|yet)"
    r"|i (?:do not|don't|would not|wouldn't|can't|cannot) (?:\w+ly )?agree"
    r"|i (?:\w+ly |have to |must )?disagree|you(?:'re| are) (?:not \w+|wrong|mistaken|incorrect)"
    r"|of course not|certainly not|definitely not|absolutely not|i don't think so"
    r"|far from it|by no means|wrong\b|on the contrary"
    r"|(?:actually,? )?(?:that|this|it)(?:'s| is| was)? (?:not true|untrue|false|incorrect|wrong"
    r"|an? (?:common |popular |widespread )?(?:myth|misconception)))"
)
_NEGATION: Final = regex.compile(
    r"\b(?:not|never|cannot|isnt|neither|no longer|false|untrue|incorrect|myth|nicht"
    r"|kein\w*|pas|jamais|nunca|jamás|niet|geen|inte|ikke|не|nie|değil)\b"
    r"|n't\b|(?:^|[.:]\s*)(?:no|non|não) (?:es|è|é|era|fue|puede|sono|são|pode|si|se)\b"
    r"|不(?!仅)|没有|ない|ません|않|아니"
)
Polarity = Literal["yes", "no"]


_AUXILIARIES: Final = ARTICLES | frozenset("do does did can could has have had will would".split())


def polarity(word: str) -> Polarity | None:
    """Return what a gold answer is that is a yes or a no, an adverb before it aside; else None.

    >>> polarity("Typically, no"), polarity("ja"), polarity("Norway")
    ('no', 'yes', None)
    """
    bare = [part for part in regex.split(r"[\s,.!]+", word.casefold()) if part]
    if len(bare) == 2 and bare[0].endswith("ly"):
        bare = bare[1:]
    if len(bare) != 1:
        return None
    return "yes" if bare[0] in _YES else "no" if bare[0] in _NO else None


def polarity_said(text: str, question: str) -> Polarity | None:
    """Return the yes or no of a cleaned answer; None if it says neither.

    >>> polarity_said("The Earth is not flat.", "Is the Earth flat?")
    'no'
    """
    plain, question = text.casefold().strip(), claim_in(question)
    if _FIRM_YES.search(plain):
        return "yes"
    if _FIRM_NO.search(plain):
        return "no"
    plain = regex.sub(r"^\W*(?:(?:the|my) )?(?:final )?answer(?: is)?\W*", "", plain)
    first = regex.match(r"[\p{L}\p{M}]+", plain)
    if first and (head := _head(first[0], plain)):
        return head
    wait = regex.search(r"(?:therefore|so|thus|hence|answer is),?:? (yes|no)\b", plain)
    if wait:
        return "yes" if wait[1] == "yes" else "no"
    sentence = regex.split(r"(?<=[.!?。])\s*", plain)[0]
    asked = {word.text for word in tokens(question)} - FILLERS - _AUXILIARIES
    said = {word.text for word in tokens(sentence)}
    negations = len(_NEGATION.findall(regex.sub(r"not only|no doubt|not just", " ", sentence)))
    about = len(asked & said) * 2 >= len(asked) or regex.match(
        r"(?:it|that|this|they|he|she|es|il|это)\b", plain
    )
    if not about or (not asked and not regex.match(r"(?:it|that|this|they)\b", plain)):
        return None
    negative = len(_NEGATION.findall(question.casefold())) % 2
    if negations % 2 != negative:
        return "no" if not negative else None
    return "yes" if not negative else None


def _head(word: str, text: str) -> Polarity | None:
    if word in ("不", "是") and not regex.match(r"(?:不|是)(?:[，,。.]|$)", text):
        return None
    if word in _YES:
        return "yes"
    if word in _NO and not regex.match(r"(?:no|non) (?:one|doubt|matter|other|more)\b", text):
        return "no"
    return None
