"""Texts brought to one form, so that two ways of writing the same answer compare equal.

English where words matter: articles, number words, ordinals. A word keeps where it stands and
what numbers it may mean.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import regex

from energy_guard.questions.grading.clean import clean

ARTICLES: Final = frozenset({"a", "an", "the"})
_ONES: Final = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen"
).split()
_TENS: Final = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_SMALL: Final = {word: n for n, word in enumerate(_ONES)} | {
    word: 10 * n for n, word in enumerate(_TENS, 2)
}
_LARGE: Final = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_ORDINALS: Final = {
    word: n
    for n, word in enumerate(
        "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth "
        "thirteenth fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth".split(),
        1,
    )
} | {ten[:-1] + "ieth": 10 * n for n, ten in enumerate(_TENS, 2)}
_DECADES: Final = {ten[:-1] + "ies": f"{n}0s" for n, ten in enumerate(_TENS, 2)}
_LETTERS: Final = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ı": "i", "æ": "ae", "œ": "oe", "þ": "th", "ð": "d", "ə": "a"}
)
_ENDINGS: Final = frozenset({"t", "re", "ve", "ll", "d", "m"})
"""What English has after an apostrophe, but for the s."""
_SHORT: Final = {"US": "unitedstate", "UK": "unitedkingdom", "St": "saint", "Mt": "mount"}
"""Short forms as the long one is joined."""
_NUMBER: Final = (
    r"\d{1,3}(?:,\d{2,3})*,\d{3}(?:\.\d+)?(?![\d,]\d)"  # 1,234.5 and 1,00,000
    r"|\d{1,3}(?:\.\d{3})+,\d+|\d{1,3}(?:\.\d{3}){2,}"  # 1.234,5
    r"|\d{1,3}(?:\ \d{3}){2,}(?!\d)|\d{1,3}\ \d{3}(?=\ *[€$£¥%])"
    r"|(?<![\d,])\d+,\d{1,2}(?![\d,])"  # 2,5
    r"|\d+/\d+(?![/\d])|\d+\.\d+(?:e-?\d+)?|\d+(?:e-?\d+)?"
)
_BLOCK: Final = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_HAN_DIGITS: Final = "〇零一二三四五六七八九十百千万億亿两"
_TOKEN: Final = regex.compile(
    rf"(?<![\p{{Latin}}\d.,])(?<!\w)-(?:{_NUMBER})(?![\p{{Latin}}\d])"
    rf"|(?<![\p{{Latin}}\d]|\d[.])(?:{_NUMBER})(?![\p{{Latin}}\d])"
    rf"|[{_HAN_DIGITS}]{{2,}}|(?:(?![{_HAN_DIGITS}]{{2}})[{_BLOCK}ー])+"
    rf"|(?:\p{{L}}\.)+(?=\p{{L}}\b)\p{{L}}"
    rf"|(?:(?![{_BLOCK}])[\p{{L}}\p{{M}}\p{{N}}])+(?:'(?:(?![{_BLOCK}])[\p{{L}}\p{{M}}])+)*|[%$€£¥]"
)
_DIGITS: Final = regex.compile(r"-?\d[\d.,/ ]*(?:e-?\d+)?")
_SIGNS: Final = frozenset("%$€£¥")
_ROMAN: Final = regex.compile(r"(?=[IVXL])(?:X{0,3}|XL|L?X{0,3})(?:IX|IV|V?I{0,3})")
_ROMAN_DIGITS: Final = {"I": 1, "V": 5, "X": 10, "L": 50}


@dataclass(frozen=True, slots=True)
class Word:
    """One word of a cleaned text, or one of the signs % $ € £ ¥.

    text: in one form: no case, no accents, digits for numbers, no s of the plural.
    other: another form that it may have: a Roman numeral's letters, a decade without century.
    start, end: where it stands in the cleaned text, in characters. values: the numbers that it
    may mean. capital: whether it begins with a capital letter or a digit.
    """

    text: str
    other: str
    start: int
    end: int
    values: tuple[float, ...] = ()
    capital: bool = False


def words(text: str) -> list[str]:
    """Return the words of a text in one form: case, accents, articles, plurals, numbers.

    >>> words("The Café has twenty-one tables, 1,000 guests")
    ['cafe', 'has', '21', 'table', '1000', 'guest']
    """
    return [word.text for word in telling(clean(text))]


def telling(text: str) -> tuple[Word, ...]:
    """Return the words of a cleaned text but for its articles.

    An "a" that no word follows is a name, and so is an "A" within a sentence before a small letter.

    >>> [word.text for word in telling("A map of station A. Vitamin A is a vitamin")]
    ['map', 'of', 'station', 'a', 'vitamin', 'a', 'is', 'vitamin']
    """
    found = tokens(text)
    return tuple(
        word
        for number, word in enumerate(found)
        if word.text not in ARTICLES
        or (number and word.text == "a" and _LETTER.match(text, word.start - 2))
    )


_LETTER: Final = regex.compile(r"(?V1)\S\s(?i:a)\s*(?:$|[.,;:!?)\]\"”])|[\w,]\sA\s\p{Ll}")


@lru_cache(maxsize=32768)
def tokens(text: str) -> tuple[Word, ...]:
    """Return the words of a cleaned text, articles included, and where they stand."""
    text = regex.sub(r"\bU\.S\.(?:A\.)?|\bUSA\b", lambda m: "US" + " " * (len(m[0]) - 2), text)
    found: list[Word] = []
    for match in _TOKEN.finditer(text):
        raw = match[0]
        if set(raw) <= set(_HAN_DIGITS):
            values = _finite(_han(raw))
            plain = _plain(values[0]) if values else raw
            found.append(Word(plain, raw, match.start(), match.end(), values))
        elif raw in _SIGNS or _DIGITS.fullmatch(raw):
            found.append(_numeral(raw, match.start(), match.end()))
        else:
            found.append(_word(raw, match.start(), match.end(), found, text))
    return tuple(_numbers(found, text))


def folded(raw: str) -> str:
    """Return a word without case and accents.

    >>> folded("Łódź"), folded("İstanbul"), folded("Straße")
    ('lodz', 'istanbul', 'strasse')
    """
    if raw.isascii():
        return raw.casefold()
    bare = unicodedata.normalize("NFKD", raw.casefold())
    bare = regex.sub(r"[\u0300-\u036f]", "", bare)
    return unicodedata.normalize("NFC", bare.translate(_LETTERS))


def _numeral(raw: str, start: int, end: int) -> Word:
    values = _finite(*_values(raw))
    text = raw
    if values:
        text = raw if "/" in raw else _plain(values[0])
    return Word(text, text, start, end, values, True)


def _finite(*values: float) -> tuple[float, ...]:
    """The values that arithmetic holds; a number too large for it is compared as it is written."""
    return tuple(value for value in values if math.isfinite(value))


def _values(raw: str) -> tuple[float, ...]:
    """The numbers that digits may mean: 1.234 is also 1234 in other countries."""
    if raw in _SIGNS:
        return ()
    if "/" in raw:
        top, _, under = raw.partition("/")
        return (float(top) / float(under),) if float(under) else ()
    bare = raw.replace(" ", "")
    if regex.fullmatch(r"-?\d{1,3}(?:\.\d{3})+,\d+|-?\d{1,3}(?:\.\d{3}){2,}", bare):
        return (float(bare.replace(".", "").replace(",", ".")),)
    if regex.fullmatch(r"-?\d+,\d{1,2}", bare):
        return (float(bare.replace(",", ".")),)
    plain = float(bare.replace(",", ""))
    if regex.fullmatch(r"-?[1-9]\d{0,2}\.\d{3}", bare):
        return (plain, float(bare.replace(".", "")))
    return (plain,)


def _han(raw: str) -> float:
    """The value of a number in Chinese characters: 三百二十 is 320, 二〇二一 is 2021."""
    values = [2.0 if c == "两" else unicodedata.numeric(c) for c in raw]
    if all(value < 10 for value in values):
        return float("".join(f"{value:.0f}" for value in values))
    total = part = digit = 0.0
    for value in values:
        if value < 10:
            digit = value
        elif value < 10000:
            part, digit = part + (digit or 1) * value, 0.0
        else:
            total, part, digit = total + (part + digit or 1) * value, 0.0, 0.0
    return total + part + digit


def _word(raw: str, start: int, end: int, before: Sequence[Word], text: str) -> Word:
    capital = raw[0].isupper()
    ordinal = regex.fullmatch(r"(\d+)(?:st|nd|rd|th)", raw, regex.IGNORECASE)
    if ordinal:
        return Word(ordinal[1], raw, start, end, _finite(float(ordinal[1])), True)
    decade = regex.fullmatch(r"(\d*)(\d0)'?s", raw)
    if decade:
        return Word(f"{decade[1]}{decade[2]}s", f"{decade[2]}s", start, end)
    counted = regex.fullmatch(r"(\d+(?:\.\d+)?)(\p{L}{1,4})", raw)
    if counted and counted[2].lower() in ("k", "m", "bn"):
        size = {"k": 1e3, "m": 1e6, "bn": 1e9}[counted[2].lower()]
        values = _finite(float(counted[1]) * size)
        return Word(raw.casefold(), raw.casefold(), start, end, values)
    if raw.casefold() in _DECADES:
        return Word(_DECADES[raw.casefold()], raw.casefold(), start, end)
    head, _, tail = raw.partition("'")
    other = ""
    if tail in ("s", "S"):
        raw = head
    elif capital and len(head) > 3 and tail and tail not in _ENDINGS:
        other = singular(folded(head))  # a Turkish ending
    bare = folded(raw.replace("'", "").replace(".", ""))
    if raw in _SHORT:
        return Word(_SHORT[raw], bare, start, end, (), True)
    bare = singular(bare)
    numeral = _roman(raw, before, text, start)
    if numeral:
        return Word(str(numeral), bare, start, end, (), True)
    return Word(bare, other or bare, start, end, (), capital)


def singular(word: str) -> str:
    """Return a word without the s of the plural.

    >>> singular("wolves"), singular("cities"), singular("glass")
    ('wolve', 'city', 'glass')
    """
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 4 and word.endswith(("xes", "ches", "shes", "sses")):
        return word[:-2]
    return word[:-1] if len(word) > 3 and word.endswith("s") and word[-2] not in "su" else word


def _roman(raw: str, before: Sequence[Word], text: str, start: int) -> int:
    """The number that capital letters mean; one letter only right after a capitalised word."""
    if not _ROMAN.fullmatch(raw):
        return 0
    if len(raw) == 1:
        named = before and before[-1].capital and text[before[-1].end : start] == " "
        if not named or raw == "L":
            return 0
    digits = [_ROMAN_DIGITS[letter] for letter in raw]
    return sum(-d if d < max(digits[n:]) else d for n, d in enumerate(digits))


def _numbers(found: Sequence[Word], text: str) -> list[Word]:
    """Runs of number words as one word: twenty one → 21, two hundred and five → 205."""
    out: list[Word] = []
    at = 0
    while at < len(found):
        value, size = _run(found[at:])
        one = (
            size == 1
            and found[at].text == "one"
            and [w.text for w in found[at + 1 : at + 2]] == ["of"]
        )
        if size and not one and math.isfinite(value):
            plain = _plain(value)
            first, last = found[at], found[at + size - 1]
            out.append(Word(plain, plain, first.start, last.end, (value,), first.capital))
            at += size
            continue
        word = found[at]
        if word.text in _ORDINALS:
            n = _ORDINALS[word.text]
            tens = out[-1] if out else None
            if (
                tens
                and tens.values
                and n < 10
                and tens.values[0] in range(20, 100, 10)
                and text[tens.end : word.start] in ("-", " ")
            ):
                n += int(tens.values[0])
                start = out.pop().start
            else:
                start = word.start
            out.append(Word(str(n), word.text, start, word.end, (), word.capital))
        else:
            out.append(word)
        at += 1
    return out


def _run(found: Sequence[Word]) -> tuple[float, int]:
    """The value of the number that a list of words begins with, and how many words it takes."""
    total, part, size, last = 0.0, 0.0, 0, ""
    for n, item in enumerate(found[:12]):
        word = item.text
        if word in _SMALL:
            if last == "digits" or (last in _SMALL and not _joins(last, word)):
                break
            part += _SMALL[word]
        elif word == "hundred" and (last in _SMALL or last == "digits"):
            part *= 100
        elif word in _LARGE and last:
            total, part = total + part * _LARGE[word], 0.0
        elif item.values and not last and n + 1 < len(found) and found[n + 1].text in _LARGE:
            part, word = item.values[0], "digits"
        elif word == "and" and last in ("hundred", *_LARGE) and n + 1 < len(found):
            if found[n + 1].text not in _SMALL:
                break
            continue
        else:
            break
        last, size = word, n + 1
    return total + part, size


def _joins(last: str, word: str) -> bool:
    return last in _TENS and 0 < _SMALL[word] < 10


def _plain(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)
