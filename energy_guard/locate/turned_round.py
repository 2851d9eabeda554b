"""Signs that a text said again has another sense: other numbers, negations, names or words.

Languages: English, German, French, Spanish, Chinese; a word is read as the same number or negation
in all of them, as a translation has them in two.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from typing import Final

from energy_guard.locate.language_of import language_of
from energy_guard.locate.patterns import Pattern
from energy_guard.locate.sentences import sentence_ranges

_NUMBERS: Final = {
    word: value
    for value, words in {
        "2": "two zwei deux dos 二 两",
        "3": "three drei trois tres 三",
        "4": "four vier quatre cuatro 四",
        "5": "five fünf cinq cinco 五",
        "6": "six sechs seis 六",
        "7": "seven sieben sept siete 七",
        "8": "eight acht huit ocho 八",
        "9": "nine neun neuf nueve 九",
        "10": "ten zehn dix diez 十",
        "11": "eleven elf onze",
        "12": "twelve dozen zwölf douze doce",
        "20": "twenty zwanzig vingt veinte",
        "30": "thirty dreißig trente treinta",
        "40": "forty vierzig quarante cuarenta",
        "50": "fifty fünfzig cinquante cincuenta",
        "100": "hundred hundert cent cien ciento 百",
        "1000": "thousand tausend mille mil 千",
        "half": "half halb halbe halben halber demi demie mitad medio media 半",
    }.items()
    for word in words.split()
}
"""One is left out: it is an article, too."""

_ZH: Final = "二两三四五六七八九十百千半"

_NEGATION: Final = Pattern(
    r"""(?xi)(?<!\w)(?:not|no|cannot|never|none|nobody|nothing|nor|neither|without|unable|impossible
      |\w+n['’]t|(?:do|does|did|is|was|are|were|ca|could|wo|would|has|have|had|should)nt|nicht|kein\w*|nie|niemals|niemand|nichts|ohne|pas|jamais|sans|aucune?|rien|nunca
      |sin|nada|nadie|ning[uú]n\w*)(?!\w)
      | (?:不(?!好意思|错|过|但|如|仅|同|久|少|管|论)|没|无(?!论)|别(?!的)|勿|未)"""
)
_BLANK: Final = Pattern(r"\.{3}|…|_{2,}")
_OPENERS: Final = frozenset(
    """a an the this that these those there here i we you he she it they my our your his her its
    their if when as in on at to for from because since after before while with by so and but or
    can could would will may please unfortunately kindly regrettably dear due let both all one
    ich wir du er sie es mein unser dein sein der die das den dem ein eine einen bitte leider
    je nous tu il elle on ils elles mon ma mes notre votre son sa ses le la les l un une des de du
    ce cette ces en dans pour si merci malheureusement yo nosotros tú él ella ellos mi su sus tu
    el los las una unos este esta esto lo por para con como al del hoy ayer mañana podemos podría
    podrías lamento lamentamos
    is are was were be been am has have had do does did ist sind war hat bin bist habe haben est
    sont était es son era fue ha que qui who which not no than then of about""".split()
)
"""Words that begin a sentence in any rewording, and small words that a correction may bring."""

_ALIKE: Final = 0.5
"""Share of letters in common of a word and the one that it corrects."""

_GERMAN_NAME: Final = Pattern(
    r"(?<=\p{Ll}\s)(?P<name>\p{Lu}\p{Ll}+\s\p{Lu}\p{Ll}+)|\b(?:von|aus|nach)\s(?!Hause\b)"
    r"(?P<place>\p{Lu}\p{Ll}+)"
)
"""Two nouns in a row, or one without an article: names, though all nouns have capitals."""


def turned_round(given: str, answer: str) -> bool:
    """Return whether an answer has numbers or negations other than its text has, or a blank filled.

    >>> turned_round("do not take two", "Take two."), turned_round("take two", "Nimm zwei.")
    (True, False)
    """
    return (
        bool(_BLANK.search(given))
        or _negations(given) != _negations(answer)
        or numbers_in(given) != numbers_in(answer)
    )


def brings_names(given: str, answer: str, *, is_translation: bool) -> bool:
    """Return whether an answer has names that are not in the given text.

    The first word of a sentence is a name unless it is a small word or begins like one of the
    text's; in a translation that cannot be told, nor in German, all of whose nouns have capitals.
    """
    known = {word.casefold() for word in re.findall(r"\w+", given)}
    if language_of(answer) == "de":
        found = [match[match.lastgroup or 0] for match in _GERMAN_NAME.finditer(answer)]
        return any(word.casefold() not in known for name in found for word in name.split())
    begun = {word[:_BEGUN] for word in known}
    for start, end in sentence_ranges(answer):
        first, *others = re.findall(r"[^\W\d_]+(?:['’]\w+)?", answer[start:end]) or [""]
        names = {re.split("['’]", w)[0].casefold() for w in others if w[0].isupper()}
        if names - known - {"i"}:
            return True
        first = re.split("['’]", first)[0].casefold()
        is_small = first in _OPENERS or first[:_BEGUN] in begun or first == first.upper()
        if not (is_translation or is_small):
            return True
    return False


_BEGUN: Final = 3
"""Letters that a word shares with another form of itself."""


def brings_words(given: str, answer: str) -> bool:
    """Return whether a corrected text has words that are like none of the given text's.

    >>> brings_words("he take it", "He takes it."), brings_words("it is rock", "It is cheese.")
    (False, True)
    """
    known = set(re.findall(r"\w+", given.casefold()))
    said = set(re.findall(r"\w+", answer.casefold())) - known - _OPENERS
    return any(
        len(word) >= _BEGUN
        and all(difflib.SequenceMatcher(None, word, old).ratio() < _ALIKE for old in known)
        for word in said
    )


def _negations(text: str) -> int:
    return sum(1 for _ in _NEGATION.finditer(text))


def numbers_in(text: str) -> Counter[str]:
    """Return the numbers of a text, in digits or words, but for one.

    >>> numbers_in("Two dogs, 10 cats") == numbers_in("2 Hunde, zehn Katzen")
    True
    """
    text = re.sub(r"十分(?![钟之])", " ", text.casefold())  # "very"
    words = re.findall(rf"[{_ZH}]+|[^\W\d_{_ZH}]+|\d+", text)
    return Counter(
        _NUMBERS.get(word, word)
        for word in words
        if word in _NUMBERS or word.isdigit() or word[0] in _ZH
    )
