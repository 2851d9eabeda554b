"""Parts of a text with a form of their own: dates, numbers, marked text, final answers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from energy_guard.locate.patterns import VERBOSE, Pattern
from energy_guard.locate.span import trimmed
from energy_guard.text import Range

_MONTH: Final = (
    r"(?:Jan(?:uary|uar)?|Feb(?:ruary|ruar)?|Mar(?:ch|s)?|März|Apr(?:il)?|May|Mai|Mayo|Ma[ij]|June?"
    r"|Juni|July?|Juli|Aug(?:ust)?|Sept?(?:ember)?|O[ck]t(?:ober)?|Nov(?:ember)?|De[cz](?:ember)?"
    r"|janvier|février|mars|avril|mai|juin|juillet|août|septembre|octobre|novembre|décembre"
    r"|enero|febrero|marzo|abril|mayo|junio|julio|agosto|septiembre|octubre|noviembre|diciembre"
    r"|gennaio|febbraio|aprile|maggio|giugno|luglio|settembre|ottobre|dicembre"
    r"|janeiro|fevereiro|março|maio|junho|julho|setembro|outubro|novembro|dezembro"
    r"|januari|februari|maart|augustus|января|февраля|марта|апреля|мая|июня|июля|августа|сентября"
    r"|октября|ноября|декабря|stycznia|lutego|marca|kwietnia|maja|czerwca|lipca|sierpnia|września"
    r"|października|listopada|grudnia|Ocak|Şubat|Mart|Nisan|Mayıs|Haziran|Temmuz|Ağustos|Eylül"
    r"|Ekim|Kasım|Aralık|जनवरी|फरवरी|मार्च|अप्रैल|मई|जून|जुलाई|अगस्त|सितंबर|अक्टूबर|नवंबर|दिसंबर"
    r"|يناير|فبراير|مارس|أبريل|مايو|يونيو|يوليو|أغسطس|سبتمبر|أكتوبر|نوفمبر|ديسمبر)"
)
_ERA: Final = (
    r"(?:\s?(?:BCE?|CE|B\.C\.(?:E\.)?|A\.D\.|AD|v\. ?Chr\.|n\. ?Chr\.|a\.C\.|av\. J\.-C\.))"
)
_ORDINALS: Final = (
    r"(?:first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|eleventh|twelfth"
    r"|thirteenth|fourteenth|fifteenth|sixteenth|seventeenth|eighteenth|nineteenth|twentieth"
    r"|twenty-first|\d{1,2}(?:st|nd|rd|th|\.|e|er)?|[IVX]+(?:e|ème)?)"
)
_DAY: Final = r"\d{1,2}(?:st|nd|rd|th|er|º|\.)?"
_YEAR: Final = r"\d{3,4}"
_ONE_DATE: Final = rf"""
    \d{{4}}-\d\d?-\d\d? | \d{{1,2}}[./-]\d{{1,2}}[./-]\d{{2,4}} | \d{{4}}/\d\d?/\d\d?
    | \d{{1,4}}年(?:\d{{1,2}}月)?(?:\d{{1,2}}日)? | \d{{1,2}}月(?:\d{{1,2}}日)?
    | \d{{1,4}}년(?:\s?\d{{1,2}}월)?(?:\s?\d{{1,2}}일)?
    | (?:\b{_DAY}\s+(?:of\s+|de\s+)?)?\b{_MONTH}\b(?:\.?\s+(?:{_DAY}(?!\d)))?
      (?:,?\s+(?:de\s+|del\s+)?{_YEAR}\b{_ERA}?)?
    | \b(?:AD|A\.D\.)\s?\d{{1,4}}\b
    | (?:the\s+)?(?:(?:early|mid|late)[- ])?
      (?:{_ORDINALS}[- ]century|(?:siècle|siglo|secolo)\s[IVX]+){_ERA}?
    | \b{_ORDINALS}\s(?:siècle|Jahrhundert|eeuw|wiek|век)\w*
    | \b(?:(?:early|mid|late)[- ])?
      (?:\d{{3,4}}s|\d0s|(?:twen|thir|for|fif|six|seven|eigh|nine)ties)\b
    | (?<![\w.,])\d{{1,4}}{_ERA} | (?<![\w.,$€£]){_YEAR}(?![\w%]|[.,:]\d)
    | \b\d{{1,2}}:\d\d(?:\s?[ap]\.?m\.?)?
    | \b\d{{1,2}}\s?[ap]\.?m\b\.?
    | \b(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)days?\b
    | \b\d+\s(?:years?|days?|weeks?|months?|hours?|minutes?)\sago\b
    | \b(?:yesterday|today|tomorrow|spring|summer|autumn|winter|Christmas(?:\s(?:Day|Eve))?)\b
"""
DATE: Final = Pattern(
    rf"(?:{_ONE_DATE})(?:\s*(?:[-–—]|\bto\b|\buntil\b|\bbis\b|\band\b)\s*(?:{_ONE_DATE}))?",
    VERBOSE,
)
"""A day, month, year, decade, century or time, or two of them with "to" between."""

_SCALE: Final = (
    r"(?:hundred|thousand|million|billion|trillion|dozen|Millionen|Milliarden?|Million|tausend"
    r"|millones|millions|milliards?|mille|mil|miles|milioni|milhões|миллион\w*|миллиард\w*|тысяч\w*"
    r"|percent|per cent|Prozent|pour cent|por ciento|per cento|por cento|процент\w*|degrees)\b"
    r"|[万億亿千百]+|万|억|만|लाख|करोड़"
)
_UNIT: Final = (
    r"(?:k?m/h|km²|km2|mph|m/s|k?g|mg|[km]?m|cm|mm|km|mi|ft|lbs?|oz|[kmgt]b|ml|°\s?[CFK]|[CFK]|meters?"
    r"|metres?|kilomet(?:er|re)s?|miles?|feet|foot|inch(?:es)?|yards?|years?|days?|weeks?|months?"
    r"|hours?|minutes?|seconds?|kilograms?|grams?|pounds?|tons?|tonnes?|lit(?:er|re)s?|gallons?"
    r"|dollars?|euros?|cents?|Meter|Kilometer|Jahre|Tage|Stunden|mètres|kilomètres|ans|metros"
    r"|kilómetros|años|метр\w*|километр\w*|лет|€|\$|£|米|公里|メートル|キロ)(?![\p{L}\d])"
)
_NUMBER_WORD: Final = (
    r"(?:(?:twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety)(?:[- ](?:one|two|three|four|five"
    r"|six|seven|eight|nine))?|zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve"
    r"|thirteen|fourteen|fifteen|sixteen|seventeen|eighteen|nineteen|hundreds?|a hundred|a thousand"
    r"|a dozen|half|none|twice|once"
    r"|zwei|drei|vier|fünf|sechs|sieben|acht|neun|zehn|elf|zwölf|deux|trois|quatre|cinq|six|sept"
    r"|huit|neuf|dix|douze|dos|tres|cuatro|cinco|seis|siete|ocho|nueve|diez|doce|due|tre|quattro"
    r"|cinque|sei|sette|otto|nove|dieci|два|две|три|четыре|пять|шесть|семь|восемь|девять|десять)"
)
_DIGITS: Final = r"""
    (?: \\[dt]?frac\{\d+\}\{\d+\} | \d{1,3}(?:(?:,|\{,\}|[\u00a0\u202f'’٬])\d{3}(?!\d))+(?:\.\d+)?
      | \d{1,3}(?:\.\d{3})+(?:,\d+)? | \d{1,3}(?:[ ]\d{3})+(?!\d) | \d+(?:[.,٫]\d+)?(?:/\d+)? )
    (?:\s?[×x*·]\s?10\s?\^?\{?[-−]?[\d⁰¹²³⁴-⁹⁻]+\}?|[eE][-+]?\d+|\s?[½⅓⅔¼¾]|\^\d+)? | [½⅓⅔¼¾]
"""
_BEFORE: Final = r"(?:[-−–+]?\s?(?:US)?[$€£¥₹]\s?|(?<![\w)]\s?)[-−–+])"
_AFTER: Final = rf"(?:\s?(?:%|‰|٪)|[- ]?(?:{_SCALE})(?:\s(?:{_SCALE}))?)"
_MORE_WORDS: Final = (
    rf"(?:(?:[- ]and[- ]|[- ]){_NUMBER_WORD}|\s(?:hundred|thousand|million|billion))"
)
NUMBER: Final = Pattern(
    rf"""(?<![\p{{L}}\d_.]){_BEFORE}?(?:{_DIGITS})(?![\p{{Latin}}\d_]*\d)
           {_AFTER}?(?:\s?(?:{_UNIT})(?:[ ](?:per|pro|par)[ ]\w+)?)?
        | (?<![\w-])(?i:{_NUMBER_WORD}{_MORE_WORDS}*)(?![\w-])(?:\s(?:{_UNIT}))?""",
    VERBOSE,
)
"""A number in digits or words with its sign, currency, scale and unit."""

MARKED: Final = Pattern(
    r"(?<![*\w])(?P<b>\*\*|__)(?=\S)(?P<bold>[^*\n]+?)(?<=\S)(?P=b)(?![*\w])"
    r"|(?<!`)`(?P<code>[^`\n]+)`(?!`)|\\text(?:bf)?\{(?P<tex>[^{}]+)\}|<b>(?P<html>[^<>]+)</b>"
)
"""Bold text and code."""

QUOTED: Final = Pattern(r"[\"“„«「『《]([^\"”“»」』》\n]+)[\"”“»」』》]")

_FINAL: Final = Pattern(
    r"""(?ix)(?:^|(?<=[\s.。,，:：;(*#_>]))(?:
      (?:so[, ]+|thus[, ]+|therefore[, ]+|hence[, ]+)?(?:the|my|our)?\s*
        (?:final|correct|right|short|exact|direct)?\s*(?:answer|result|solution|conclusion)
        (?:\s+(?:to|for)\s+(?:the|your|this)\s+(?:question|problem))?
        \s*[*_]*\s*(?:(?:is|was|would\s+be|should\s+be)\b(?!\s+not\b)(?:\s+that\b)?\s*:?|[:=])
      | (?:die\s+)?(?:richtige\s+|korrekte\s+)?antwort\s*[*_]*\s*(?:ist\b|lautet\b|:)\s*:?
      | (?:la\s+)?(?:bonne\s+)?réponse\s*[*_]*\s*(?:est\b|:)\s*:?
      | (?:la\s+)?(?:respuesta|risposta|solución)(?:\s+correcta|\s+corretta|\s+final)?
        \s*[*_]*\s*(?:es\b|è\b|:)\s*:?
      | (?:a\s+)?resposta(?:\s+correta|\s+final)?\s*[*_]*\s*(?:é\b|:)\s*:?
      | (?:het\s+)?antwoord\s*[*_]*\s*(?:is\b|:) | svaret?\s*(?:är\b|:) | odpowiedź\s*(?:to\b|:)
      | cevap\s*: | ответ\s*[:—–-] | câu\s+trả\s+lời\s*(?:là|:) | jawaban(?:nya)?\s*(?:adalah|:)
      | (?:最终|最終|正确|正しい)?(?:的|な)?(?:答案|答え|回答)\s*(?:是|为|は|[:：])
      | (?:정답|답)\s*(?:은|:) | คำตอบ\s*(?:คือ|:) | उत्तर\s*(?:है\b|:)
      | (?:الإجابة|الجواب)\s*(?:هي|هو|:)
      ) [*_]*\s* | (?m:^\s*\#{4}\s*(?=\S))"""
)
_SAYS_FINAL: Final = (
    "answer result solution conclusion antwort réponse respuesta solución risposta resposta"
    " antwoord svar odpowiedź cevap ответ trả jawaban 答 정답 답 คำตอบ उत्तर إجابة جواب ####"
).split()
"""One of these stands in every text that `_FINAL` matches: looking for them is faster."""

_HEADING: Final = Pattern(
    r"(?im)^[ \t]*(?:\#{1,6}[ \t]*|\*\*)(?:final |short )?(?:answer|antwort|réponse|respuesta"
    r"|risposta|resposta|答案|答え|ответ)[ \t]*[:：]?(?:\*\*)?[ \t]*[:：]?[ \t]*\n+"
)
_BOXED: Final = Pattern(r"\\(?:boxed|fbox)\s*\{")


def boxed(text: str) -> Range | None:
    r"""Return what stands in the last \boxed{…}, without \text{…} around it."""
    found = None
    for match in _BOXED.finditer(text):
        depth, at = 1, match.end()
        while at < len(text) and depth:
            depth += {"{": 1, "}": -1}.get(text[at], 0)
            at += 1
        if not depth:
            found = trimmed(text, match.end(), at - 1)
    if found is None or found[0] >= found[1]:
        return None
    inner = Pattern(r"\\(?:text|mathrm|textbf|mathbf)\{([^{}]*)\}").fullmatch(text, *found)
    return trimmed(text, *inner.span(1)) if inner else found


def final_answer(text: str) -> Range | None:
    """Return where the text after the last "Answer:" or its like stands, to the end of its line."""
    folded = text.casefold()
    if not any(word in folded for word in _SAYS_FINAL):
        return None
    for match in reversed([*_FINAL.finditer(text), *_HEADING.finditer(text)]):
        end = text.find("\n", match.end())
        start, end = trimmed(text, match.end(), len(text) if end < 0 else end)
        if re.search(r"[^\W_]", text[start:end]):
            return start, end
    return None


def marked(text: str, start: int, end: int) -> Iterator[Range]:
    """Yield what stands in bold or as code in a range, without its marks."""
    for match in MARKED.finditer(text, start, end):
        yield match.span(match.lastgroup or 0)


def bare(text: str, start: int, end: int) -> Range:
    """Return a range without the marks around it; those that are all it has stay."""
    part = text[start:end]
    inner = part.lstrip(" \t\r\n*_`\"'“”‘’«»„…,;:。、，！？|#>($¿¡")
    if not inner:
        inner = part.strip(" \t\r\n`*$")
        begin = start + part.find(inner)
        return begin, begin + len(inner)
    begin = end - len(inner)
    kept = inner.rstrip(" \t\r\n*_`\"'“”‘’«»„.…,;:!?。、，！？|)$")
    if kept.count("(") > kept.count(")") and inner[len(kept) :].startswith(")"):
        kept += ")"
    if not kept:
        return begin, begin
    return begin, begin + len(kept)
