"""The exact answer in free text: by the type of the question and the form of the answer."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from energy_guard.locate import no_blanks
from energy_guard.locate.asserted import denied
from energy_guard.locate.languages import language_of
from energy_guard.locate.names import best_name, phrase
from energy_guard.locate.parts import DATE, NUMBER, QUOTED, boxed, final_answer, marked
from energy_guard.locate.patterns import Pattern
from energy_guard.locate.question import Question, read_question
from energy_guard.locate.sentence import Sentence
from energy_guard.locate.sentences import marker_end, sentence_ranges
from energy_guard.locate.smalltalk import is_small_talk
from energy_guard.locate.span import Range
from energy_guard.locate.words import WORD, stem

SHORT: Final = 4
"""Words of an answer that is taken whole, if it is no sentence."""


def exact_answer(answer: str, asked: str) -> list[Range]:
    """Return the exact answer in free text; nothing if it only repeats the question.

    >>> exact_answer("Sure! The capital is Paris.", "What is the capital?")
    [(21, 26)]
    """
    question = read_question(asked)
    inside = boxed(answer)
    if inside:
        return [inside]
    final = final_answer(answer)
    if final:
        found = _in_part(answer, final, question, asked)
        if found:
            return _by_word(answer, found)
    whole = _bare(answer, 0, len(answer))
    if not re.search(r"\n", answer) and _is_short(answer, whole, question):
        return [whole] if whole[0] < whole[1] else []
    items = _items(answer, question)
    if items:
        return items
    return _by_word(answer, _in_sentences(answer, question, asked))


def _by_word(text: str, ranges: list[Range]) -> list[Range]:
    """The same ranges without the blanks inside them: a blank that is a token says nothing."""
    words = Pattern(r"\S+")
    return [match.span() for part in ranges for match in words.finditer(text, *part)]


_AROUND: Final = " \t\r\n*_`\"'“”‘’«»„.…,;:!?。、，！？|#()[]{}$"


def _bare(text: str, start: int, end: int) -> Range:
    """A range without the marks around it; those that are all it has stay."""
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


def _is_short(text: str, part: Range, question: Question) -> bool:
    """Whether a part is a few words without a verb of its own, so that all of it is the answer."""
    words = list(WORD.finditer(text, *part))
    language = language_of(text[part[0] : part[1]], question.language)
    if language in no_blanks.LANGUAGES:
        return len(text[part[0] : part[1]]) <= 12 and not no_blanks.shares(
            text[part[0] : part[1]], question.text
        )
    if not words or len(words) > SHORT:
        return not words
    sentence = Sentence(text, *part, tuple(denied(text)), question, language)
    if sentence.denied or len(sentence.words) != len(words):
        return False
    folded = [word[0].casefold().replace("’", "'") for word in words]
    spoken = any(word in sentence.table.copulas or word in _SUBJECTS for word in folded)
    lead = folded[0] in sentence.table.yes | sentence.table.no
    if lead and len(words) > 1:
        return False
    if _SPLITS.search(text, *part):
        return False
    known = sum(word.known for word in sentence.words)
    links = any(word.light and word.text.casefold() not in _INSIDE for word in sentence.words)
    if known and (links or question.kind == "yes or no") or known > 1 and sentence.telling:
        return False
    return not spoken and (question.kind != "number" or len(words) < 3)


_SPLITS: Final = Pattern(r"\s[—–=]\s|:\s")
_INSIDE: Final = frozenset("the a an of der die das des von le la les de du del el los il".split())


_SUBJECTS: Final = frozenset(
    "it he she they i we you this that there's it's es er sie il elle ils o a он она it's".split()
) - {"a", "o", "i"}


def _in_sentences(answer: str, question: Question, asked: str) -> list[Range]:
    """The exact answer in the sentence that answers best."""
    unsaid = tuple(denied(answer)) if question.kind not in ("yes or no", "open") else ()
    read = [
        _sentence(answer, *_unlisted(answer, *part), unsaid, question)
        for part in sentence_ranges(answer)
    ]
    telling = [s for s in read if not is_opening(answer[s.start : s.end])] or read
    ranked = sorted(
        range(len(telling)), key=lambda n: -_fit(telling[n], question, n, len(telling), asked)
    )
    for number in ranked:
        found = _extract(telling[number], question, asked)
        if found:
            return found
    echoed = (_said_again(telling[number]) for number in ranked)
    return next((list(found) for found in echoed if found), [])


def _said_again(sentence: Sentence) -> list[Range]:
    """What a sentence says of its subject, if it says it in words of the question."""
    low, high = sentence.said
    before = {stem(w.text) for w in sentence.words if w.end <= low and not w.light}
    said = [w for w in sentence.words if low <= w.start and not w.light]
    if low == sentence.start or all(stem(w.text) in before for w in said):
        return []
    return [(said[0].start, _bare(sentence.text, said[0].start, high)[1])]


def _unlisted(text: str, start: int, end: int) -> Range:
    return marker_end(text, start, end, set()), end


def _sentence(
    text: str, start: int, end: int, unsaid: tuple[Range, ...], question: Question
) -> Sentence:
    language = language_of(text[start:end], question.language)
    sentence = Sentence(text, start, end, unsaid, question, language)
    if unsaid and not sentence.telling and not _covered(start, end, unsaid):
        bare = Sentence(text, start, end, (), question, language)
        return bare if bare.telling else sentence
    return sentence


def _covered(start: int, end: int, ranges: tuple[Range, ...]) -> bool:
    return any(a <= start and end <= b for a, b in ranges)


_OPENING: Final = Pattern(
    r"""(?ix)^\W*(?:
      (?:that(?:['’]s|\ is)|what)\ (?:a|an|such\ a)\ (?:really\ |very\ )?\w+\ question.*
    | (?:great|good|excellent|interesting)\ question.*
    | thank(?:s|\ you)\b.*(?:question|asking).*
    | (?:sure|of\ course|certainly|absolutely|okay|ok|alright|yes)?[,!.\ ]*(?:i\ (?:can|would|will|['’]?d\ be|am)|i['’](?:ll|d|m))\b.*\b(?:help|assist|answer|explain|happy|glad)\b.*
    | (?:sure|of\ course|certainly|absolutely|okay|ok|alright)\W*
    | (?:well,?\ |ok,?\ |so,?\ |hmm,?\ )*let(?:['’]s|\ me|\ us)\b.{0,90}
    | here(?:['’]s|\ is|\ are)\b(?!.*\bis\b.*\bis\b).{0,80}
    | (?:das\ ist\ eine\ \w+\ frage|gute\ frage|c['’]est\ une\ (?:bonne|excellente)\ question|bonne\ question|buena\ pregunta|es\ una\ (?:buena|excelente)\ pregunta|(?:buona|ottima)\ domanda|boa\ pergunta|хороший\ вопрос|отличный\ вопрос|好问题|良い質問です|いい質問ですね).*
    | (?:gerne|natürlich|klar|selbstverständlich|bien\ sûr|claro|por\ supuesto|certo|com\ certeza|конечно|当然|当然可以|もちろん)\W*
    | (?:based\ on|according\ to)\ [^,]{0,60}[,:]?
    | (?:let\ me\ know|feel\ free|i\ hope|hope\ (?:this|that)|if\ you\ have|please\ (?:let|feel|note)).*
    )$"""
)


def is_opening(sentence: str) -> bool:
    """Return whether a sentence only opens or closes: it answers nothing, or asks back."""
    stripped = sentence.strip()
    if re.search(r"[?？؟]['\"”’)]*$", stripped) and not re.search(r"\d", stripped):
        return True
    return is_small_talk(stripped) or _OPENING.match(stripped) is not None


_CONCLUDES: Final = Pattern(
    r"(?i)\W*(?:so|thus|therefore|hence|in total|in all|altogether|overall|consequently|finally"
    r"|in conclusion|also|folglich|insgesamt|donc|au total|por lo tanto|en total|quindi|portanto"
    r"|итак|因此|所以|したがって)(?!\w)"
)


def _fit(sentence: Sentence, question: Question, number: int, count: int, asked: str) -> float:
    """How well a sentence answers: what it repeats of the question, and whether it has the type."""
    fit = -0.15 * number
    if sentence.language in no_blanks.LANGUAGES:
        part = sentence.text[sentence.start : sentence.end]
        return fit + 3 * no_blanks.shares(part, question.text)
    if not sentence.words:
        return -100.0
    content = {stem(w.text) for w in sentence.words if w.known and not w.light}
    fit += 2.0 * len(content) / max(1, len(question.known))
    fit += bool(sentence.telling) or question.kind == "yes or no"
    typed = _typed(sentence, question)
    fit += 1.5 * typed
    if question.kind == "yes or no" and sentence.words:
        first = sentence.words[0].text.casefold()
        fit += 2.0 * (first in sentence.table.yes or first in sentence.table.no)
    if _is_sum(question, asked, sentence.text) and typed:
        fit += 0.5 * number + 2.0 * (_CONCLUDES.match(sentence.text, sentence.start) is not None)
    if question.options:
        said = {stem(w.text) for w in sentence.words}
        fit += 2.0 * any(said & option for option in question.options)
    return fit


def _typed(sentence: Sentence, question: Question) -> bool:
    """Whether a sentence has a part of the type that is asked for."""
    if question.kind == "when":
        return any(True for _ in _typed_parts(sentence, DATE, question))
    if question.kind == "number":
        return any(True for _ in _typed_parts(sentence, NUMBER, question))
    if question.kind in ("who", "where"):
        return any(word.name and word.telling for word in sentence.words)
    return False


def _typed_parts(sentence: Sentence, pattern: Pattern, question: Question) -> list[Range]:
    """Asserted parts of a form, those that the question has not rather than those it has."""
    found = [m.span() for m in pattern.finditer(sentence.text, sentence.start, sentence.end)]
    found = [part for part in found if sentence.asserts(*part)]
    return [p for p in found if sentence.text[p[0] : p[1]].strip() not in question.text]


def _is_sum(question: Question, asked: str, text: str) -> bool:
    """Whether a number is worked out: an equation, or a question with several numbers."""
    if question.kind not in ("number", "what", "open"):
        return False
    return len(re.findall(r"\d+", asked)) > 1 or re.search(r"\d\s*=\s*\D{0,2}\d", text) is not None


def _in_part(text: str, part: Range, question: Question, asked: str) -> list[Range]:
    """The exact answer in what stands after "Answer:"."""
    ranges = sentence_ranges(text[part[0] : part[1]])
    if not ranges:
        return [_bare(text, *part)]
    start, end = part[0] + ranges[0][0], part[0] + ranges[0][1]
    bare = _bare(text, start, end)
    if _is_short(text, bare, question):
        return [bare]
    unsaid = tuple(denied(text[:end]))
    sentence = _sentence(text, *bare, unsaid, question)
    return _extract(sentence, question, asked)


def _items(answer: str, question: Question) -> list[Range]:
    """The items of a list that answers a question for several things: what stands before a gloss."""
    if not question.several or question.kind in ("yes or no", "number", "when"):
        return []
    found = []
    for line in re.finditer(r"(?m)^[ \t]*(?:[-*•+–]|\d{1,2}[.)])[ \t]+(?P<item>[^\n]+)$", answer):
        start, end = line.span("item")
        gloss = Pattern(r":\**\s|\s[–—-]\s|[.。]\s").search(answer, start, end)
        part = _bare(answer, start, gloss.start() if gloss else end)
        if 0 < len(WORD.findall(answer, *part)) <= 6:
            found.append(part)
    return found


def _extract(sentence: Sentence, question: Question, asked: str) -> list[Range]:
    """The exact answer in one sentence."""
    if sentence.language in no_blanks.LANGUAGES:
        unsaid_end = max((b for a, b in sentence.denied if a <= sentence.start < b), default=0)
        start = max(sentence.start, unsaid_end)
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
    if found is None and _is_sum(question, asked, sentence.text[sentence.start : sentence.end]):
        found = _number(sentence, question, asked)
    if found is None:
        found = _thing(sentence, question)
    return [found] if found and found[0] < found[1] else []


def _thing(sentence: Sentence, question: Question) -> Range | None:
    """A name, a marked part, a noun phrase, or all that is said of what was asked."""
    text = sentence.text
    for start, end in marked(text, sentence.start, sentence.end):
        words = [w for w in sentence.words if start <= w.start and w.end <= end]
        signs = not WORD.search(text, start, end) and sentence.asserts(start, end)
        whole = end - start > 0.8 * (sentence.end - sentence.start)
        if not whole and (signs or any(word.telling for word in words)):
            return _bare(text, start, end) if not signs else (start, end)
    if question.kind == "open":
        return _predicate(sentence)
    if question.kind in ("which", "what"):
        for match in QUOTED.finditer(text, *sentence.side):
            words = [
                w for w in sentence.words if match.start(1) <= w.start and w.end <= match.end(1)
            ]
            if any(word.telling for word in words):
                return match.span(1)
    name = best_name(sentence, question.kind)
    if question.kind in ("who", "where") and name:
        return name
    said = phrase(sentence)
    if said and name:
        return name if _names_it(sentence, said, name) else said
    return said or name or _predicate(sentence)


def _names_it(sentence: Sentence, said: Range, name: Range) -> bool:
    """Whether a name is what a noun phrase comes to: "the old Paris", "a city called Paris"."""
    if name[0] <= said[0]:
        return said[0] <= name[1] or name[0] >= sentence.side[0]
    if name[0] <= said[1]:
        return True
    between = sentence.text[said[1] : name[0]].strip().casefold()
    return (
        re.fullmatch(r",?\s*(?:is |was )?(?:called|named|known as|namens|the)\s*[\"“]?", between)
        is not None
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
    return _bare(sentence.text, start, max(high, start))


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
        if word in table.yes:
            return words[number].start, words[number].end
    for number, word in enumerate(folded):
        if word in table.auxiliaries and number:
            return words[number].start, _bare(sentence.text, words[number].start, sentence.end)[1]
    if not words:
        return None
    return words[0].start, words[-1].end


def _option(sentence: Sentence, question: Question) -> Range | None:
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
            r"(?i)\b(?:both|neither|the same|equal(?:ly)?|beide|keines?|les deux|ambos|entrambi|оба)\b"
        ).search(sentence.text, sentence.start, sentence.end)
        return both.span() if both else None
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


_COMPARATIVE: Final = Pattern(r"(?i)\w+er|less|more")


def _number(sentence: Sentence, question: Question, asked: str) -> Range | None:
    """The number that counts what was asked for, or that an equation comes to."""
    found = _typed_parts(sentence, NUMBER, question)
    every = [m.span() for m in NUMBER.finditer(sentence.text, sentence.start, sentence.end)]
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
    low, high = sentence.side
    for start, end in found:
        following = [w for w in sentence.words if w.start >= end][:2]
        if any(w.known and not w.light for w in following):
            return start, end
    if _is_sum(question, asked, part):
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


def _date(sentence: Sentence, question: Question) -> Range | None:
    """The date that stands nearest after the question's own verb; otherwise the first."""
    found = _typed_parts(sentence, DATE, question)
    if not found:
        found = [p for p in _typed_parts(sentence, NUMBER, question) if p[1] - p[0] > 3]
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
