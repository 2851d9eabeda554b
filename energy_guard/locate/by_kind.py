"""The exact answer in one sentence: for each kind of question the part that answers it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from energy_guard.locate import no_blanks
from energy_guard.locate.names import best_name, phrase
from energy_guard.locate.parts import DATE, NUMBER, QUOTED, bare, marked
from energy_guard.locate.patterns import Pattern
from energy_guard.locate.question import QuestionForm
from energy_guard.locate.sentence import Sentence
from energy_guard.locate.words import WORD, stem
from energy_guard.text import Range


def extract(sentence: Sentence, question: QuestionForm, asked: str) -> list[Range]:
    """The exact answer in one sentence."""
    if sentence.language in no_blanks.LANGUAGES:
        unsaid_end = max((b for a, b in sentence.denied if a <= sentence.start < b), default=0)
        start = max(sentence.start, unsaid_end) if unsaid_end < sentence.end else sentence.start
        return no_blanks.without_blanks(
            sentence.text, start, sentence.end, question, sentence.language
        )
    if question.options:
        option = _option(sentence, question)
        if option:
            return [option]
    by_kind: dict[str, Callable[[], Range | None]] = {
        "yes or no": lambda: _yes_or_no(sentence),
        "number": lambda: _number(sentence, question, asked),
        "when": lambda: _date(sentence, question),
    }
    found = by_kind.get(question.kind, lambda: None)()
    if found is None and is_sum(question, asked, sentence.text[sentence.start : sentence.end]):
        found = _number(sentence, question, asked)
    if found is None:
        found = _with_count(sentence, _thing(sentence, question))
    return [found] if found and found[0] < found[1] else []


def _thing(sentence: Sentence, question: QuestionForm) -> Range | None:
    """A name, a marked part, a noun phrase, or all that is said of what was asked."""
    text = sentence.text
    for start, end in marked(text, sentence.start, sentence.end):
        words = [w for w in sentence.words if start <= w.start and w.end <= end]
        signs = not WORD.search(text, start, end) and sentence.asserts(start, end)
        whole = end - start > 0.8 * (sentence.end - sentence.start)
        if not whole and (signs or any(word.telling for word in words)):
            return bare(text, start, end) if not signs else (start, end)
    if question.kind == "open":
        return _predicate(sentence)
    if question.kind in ("which", "what"):
        for match in QUOTED.finditer(text, *sentence.side):
            words = [
                w for w in sentence.words if match.start(1) <= w.start and w.end <= match.end(1)
            ]
            if any(word.telling for word in words):
                return match.start(1), match.end(1)
    name = _whole_name(sentence, best_name(sentence, question.kind))
    said = phrase(sentence)
    low, high = sentence.side
    beside = name and said and not (low <= name[0] and name[1] <= high)
    if name and (question.kind == "who" or (question.kind == "where" and not beside)):
        return name
    if name and said and question.several and said[0] == name[0]:
        return name[0], max(name[1], said[1])
    pointed = name and sentence.follows_known(name[0])
    pointed = pointed or (said and sentence.follows_known(said[0]))
    pointed = pointed or (said and sentence.leads_known(said[1]))
    if said and not sentence.is_split and not pointed:
        return sentence.telling[0].start, sentence.telling[-1].end
    if said and name:
        return name if _names_it(sentence, said, name) else said
    return said or name or _predicate(sentence)


def _with_count(sentence: Sentence, found: Range | None) -> Range | None:
    """What was found with the number that it counts: "100 degrees Celsius", not "Celsius"."""
    if found is None or sentence.question.kind in ("who", "where"):
        return found
    start, end = found
    before = _COUNT.search(sentence.text, sentence.start, start)
    if before is None or not sentence.asserts(*before.span("number")):
        return found
    if not before["between"] and not _NAMED_UNIT.match(sentence.text, start):
        return found  # "18 Physics prizes": what is asked for is counted in vain
    return before.start("number"), end


_NAMED_UNIT: Final = Pattern(
    r"(?i)(?:US|U\.S\.|euros?|dollars?|pounds?|francs?|yen|rubles?|celsius|fahrenheit|kelvin)\b"
)
"""How a name begins that is a unit."""

_COUNT: Final = Pattern(
    r"(?<![\w.,])(?P<number>[-−–]?[$€£¥]?(?![12]\d{3}\s)\d(?:[\d.,]*\d)?)[ \u00a0]?"
    r"(?P<between>(?:(?:degrees?|grad|degrés?|grados|gradi|graus|hundred|thousand"
    r"|(?:m|b|tr)illions?|[mb]illiard\w*|[mb]illones|[mb]illionen|square|cubic)[ \u00a0]|°)*)$"
)
"""A number that is no year, and what may stand between it and its unit."""


def _whole_name(sentence: Sentence, name: Range | None) -> Range | None:
    """A name with what belongs to it: "the northern part of Mali", "Deutsch (German)"."""
    if name is None:
        return None
    after = _BELONGS.match(sentence.text, name[1], sentence.end)
    if after is None or (after["head"] and stem(after["head"]) != sentence.question.head):
        return name
    return name[0], after.end("name")


_BELONGS: Final = Pattern(
    r" (?:\((?P<name>\p{Lu}[\p{L} -]{2,30})\)"
    r"|(?P<head>\p{Ll}+) of (?:the )?(?P<name>\p{Lu}\p{L}+(?: \p{Lu}\p{L}+)*))"
)


def _names_it(sentence: Sentence, said: Range, name: Range) -> bool:
    """Whether a name is what a noun phrase comes to: "the old Paris", "a city called Paris"."""
    if name[0] <= said[0]:
        return said[0] <= name[1] or name[0] >= sentence.side[0]
    if name[0] <= said[1]:
        return True
    between = sentence.text[said[1] : name[0]].strip().casefold()
    return _INTRODUCES.fullmatch(between) is not None


_INTRODUCES: Final = Pattern(
    r",?\s*(?:is |was )?the\s*[\"“]?|(?:.*[\s,])?(?:called|named|known as|namens)\s*[\"“]?"
)


def _predicate(sentence: Sentence) -> Range | None:
    """From the first new word on the answer's side to the end of what is said."""
    low, high = sentence.side
    words = [w for w in sentence.telling if low <= w.start and w.end <= high]
    if not words:
        return None
    because = Pattern(r"(?i)\b(?:because|weil|parce que|porque|perché|потому что)\b").search(
        sentence.text, sentence.start, sentence.end
    )
    start = because.start() if because else words[0].start
    return bare(sentence.text, start, max(high, start))


def _yes_or_no(sentence: Sentence) -> Range | None:
    """The yes or no; a negation with its word; what affirms; what is said of the subject."""
    words, table = sentence.words, sentence.table
    folded = [word.text.casefold().replace("’", "'") for word in words]
    if folded and (folded[0] in table.yes or folded[0] in table.no):
        return words[0].start, words[0].end
    for number, word in enumerate(folded):
        if word in table.no or word in ("unlikely", "impossible", "myth"):
            last = min(number + 1, len(words) - 1)
            while last + 1 < len(words) and words[last].light and folded[last] not in table.no:
                last += 1
            return words[number].start, words[last].end
    for number, word in enumerate(folded):
        opposed = _OPPOSED.fullmatch(word)
        if opposed and not words[number].known and stem(opposed[1]) in sentence.question.known:
            return words[number].start, words[number].end
    for number, word in enumerate(folded):
        if word in table.yes and not words[number].known:
            return words[number].start, words[number].end
    for number, word in enumerate(folded):
        if word in table.auxiliaries and number:
            return words[number].start, bare(sentence.text, words[number].start, sentence.end)[1]
    if not words:
        return None
    return words[0].start, words[-1].end


_OPPOSED: Final = Pattern(r"(?:il|im|in|ir|un|dis|non-?)(\w{3,})")


def _option(sentence: Sentence, question: QuestionForm) -> Range | None:
    """The option that is asserted: the one named, or the one that a comparison puts first."""
    named: list[tuple[int, Range]] = []
    for number, option in enumerate(question.options):
        words = [w for w in sentence.words if stem(w.text) in option]
        if words:
            end = words[0].end
            for word in words[1:]:
                if re.fullmatch(
                    r"[ \-,.']{1,3}(?:of |the |and )?", sentence.text[end : word.start]
                ):
                    end = word.end
            named.append((number, (words[0].start, end)))
    if not named:
        both = Pattern(
            r"(?i)\b(?:both|neither|the same|equal(?:ly)?|beide|keines?|les deux|ambos"
            r"|entrambi|оба)\b"
        ).search(sentence.text, sentence.start, sentence.end)
        return (both.start(), both.end()) if both else None
    named.sort(key=lambda pair: pair[1])
    if len(named) > 1 and question.comparative:
        than = Pattern(r"(?i)\s(?:than|als|que|di|чем)\s").search(
            sentence.text, sentence.start, sentence.end
        )
        before = {stem(w.text) for w in sentence.words if than and w.end <= than.start()}
        compares = {stem(w.text) for w in sentence.words if _COMPARATIVE.fullmatch(w.text)}
        if than and compares and not before & question.comparative:
            return named[1][1]
    return named[0][1]


_DATING: Final = frozenset("in since by until im seit en desde nel dal em в с".split())
_COMPARATIVE: Final = Pattern(r"(?i)\w+er|less|more")


def _number(sentence: Sentence, question: QuestionForm, asked: str) -> Range | None:
    """The number that counts what was asked for, or that an equation comes to."""
    found = typed_parts(sentence, NUMBER, question)
    every: list[Range] = [
        m.span() for m in NUMBER.finditer(sentence.text, sentence.start, sentence.end)
    ]
    if not found:
        found = [part for part in every if sentence.asserts(*part)][-1:]
    if not found:
        return None
    part = sentence.text[sentence.start : sentence.end]
    equals = part.rfind("=")
    if equals >= 0:
        after = [p for p in every if p[0] > sentence.start + equals]
        if after:
            return after[0]
    found = _alternatives(sentence.text, found)
    years = [p for p in found if re.fullmatch(r"[12]\d{3}", sentence.text[p[0] : p[1]])]
    if len(years) < len(found):  # "founded in 1816" counts nothing
        found = [p for p in found if p not in years or sentence.before(p[0]) not in _DATING]
    low, high = sentence.side
    for start, end in found:
        following = [w for w in sentence.words if w.start >= end][:2]
        if any(w.known and not w.light for w in following):
            return start, end
    if is_sum(question, asked, part):
        return found[-1]
    digits = [p for p in found if re.search(r"\d", sentence.text[p[0] : p[1]])]
    for start, end in digits or found:
        if low <= start and end <= high:
            return start, end
    return (digits or found)[0]


def _alternatives(text: str, found: list[Range]) -> list[Range]:
    """Numbers with units as one, if "or" or brackets say the same in another unit."""
    joined: list[Range] = []
    for start, end in found:
        if joined:
            before = text[joined[-1][1] : start]
            units = all(
                re.search(r"\d\s?[^\W\d]|[°$€£%]", text[a:b]) for a, b in (joined[-1], (start, end))
            )
            if units and re.fullmatch(
                r"(?i),?\s+(?:or|oder|ou|o)\s+(?:about |some )?|\s?[-–]\s?|\sto\s", before
            ):
                joined[-1] = joined[-1][0], end
                continue
        joined.append((start, end))
    return joined


def _date(sentence: Sentence, question: QuestionForm) -> Range | None:
    """The date that stands nearest after the question's own verb; otherwise the first."""
    found = typed_parts(sentence, DATE, question)
    if not found:
        found = [m.span() for m in DATE.finditer(sentence.text, sentence.start, sentence.end)]
        found = [p for p in found if sentence.text[p[0] : p[1]] not in question.text]
    if not found:
        found = [p for p in typed_parts(sentence, NUMBER, question) if p[1] - p[0] > 3]
    if len(found) > 1:
        shapes = {_shape(word) for word in question.known}
        small = [w for w in sentence.words if w.text.islower() and not w.light]
        known = [w for w in small if w.known or _shape(stem(w.text)) in shapes]
        near = [
            (min((p[0] - w.end for w in known if w.end <= p[0]), default=999), p) for p in found
        ]
        return min(near)[1]
    return found[0] if found else None


def _shape(word: str) -> str:
    """A word without vowels after its first letter: strong verbs change those (fall, fell)."""
    return word[:1] + re.sub(r"[aeiou]", "", word[1:])


def typed_parts(sentence: Sentence, pattern: Pattern, question: QuestionForm) -> list[Range]:
    """Asserted parts of a form, those that the question has not rather than those it has."""
    found = [m.span() for m in pattern.finditer(sentence.text, sentence.start, sentence.end)]
    found = [part for part in found if sentence.asserts(*part)]
    return [p for p in found if sentence.text[p[0] : p[1]].strip() not in question.text]


def is_sum(question: QuestionForm, asked: str, text: str) -> bool:
    """Whether a number is worked out: an equation, or a question with several numbers."""
    if question.kind not in ("number", "what", "open"):
        return False
    return (
        len(re.findall(r"\d+(?:[.,]\d+)*", asked)) > 1
        or re.search(r"\d\s*=\s*\D{0,2}\d", text) is not None
    )
