"""The exact answer in free text: by the type of the question and the form of the answer."""

from __future__ import annotations

import re
from typing import Final

from energy_guard.locate import no_blanks
from energy_guard.locate.asserted import denied
from energy_guard.locate.by_kind import extract, is_sum, typed_parts
from energy_guard.locate.language_of import language_of
from energy_guard.locate.parts import DATE, NUMBER, bare, boxed, final_answer
from energy_guard.locate.patterns import Pattern
from energy_guard.locate.question import QuestionForm, read_question
from energy_guard.locate.sentence import Sentence
from energy_guard.locate.sentences import marker_end, sentence_ranges
from energy_guard.locate.smalltalk import is_small_talk
from energy_guard.locate.words import WORD, stem
from energy_guard.text import Range

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
    whole = bare(answer, 0, len(answer))
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


def _is_short(text: str, part: Range, question: QuestionForm) -> bool:
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
    if known and (links or question.kind == "yes or no"):
        return False
    if known > 1 and sentence.telling:
        return False
    return not spoken and (question.kind != "number" or len(words) < 3)


_SPLITS: Final = Pattern(r"\s[—–=]\s|:\s")
_INSIDE: Final = frozenset("the a an of der die das des von le la les de du del el los il".split())


_SUBJECTS: Final = frozenset(
    "it he she they i we you this that there's it's es er sie il elle ils o a он она it's".split()
) - {"a", "o", "i"}


def _in_sentences(answer: str, question: QuestionForm, asked: str) -> list[Range]:
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
        found = extract(telling[number], question, asked)
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
    return [(said[0].start, bare(sentence.text, said[0].start, high)[1])]


def _unlisted(text: str, start: int, end: int) -> Range:
    """A sentence without its list marker and without a label that says only that it follows."""
    start = marker_end(text, start, end, set())
    label = _LABEL.match(text, start, end)
    return (label.end() if label else start), end


_LABEL: Final = Pattern(
    r"(?i)[*_]*(?:(?:please )?note|remark|hint|(?:fun |quick )?fact|tip|n\.?b\.?|reminder|hinweis"
    r"|anmerkung|bemerkung|remarque|note|astuce|nota|observación|dato|注意?|备注|提示)"
    r"[*_]*\s?[:：][*_]*\s*(?=\w)"
)


def _sentence(
    text: str, start: int, end: int, unsaid: tuple[Range, ...], question: QuestionForm
) -> Sentence:
    language = language_of(text[start:end], question.language)
    sentence = Sentence(text, start, end, unsaid, question, language)
    if unsaid and not sentence.telling and not _covered(start, end, unsaid):
        inner = Sentence(text, start, end, (), question, language)
        return inner if inner.telling else sentence
    return sentence


def _covered(start: int, end: int, ranges: tuple[Range, ...]) -> bool:
    return any(a <= start and end <= b for a, b in ranges)


_OPENING: Final = Pattern(
    r"""(?ix)\W*(?:
      (?:that(?:['’]s|\ is)|what)\ (?:a|an|such\ a)\ (?:really\ |very\ )?\w+\ question.*
    | (?:great|good|excellent|interesting)\ question.*
    | thank(?:s|\ you)\b.*(?:question|asking).*
    | (?:sure|of\ course|certainly|absolutely|okay|ok|alright|yes)?[,!.\ ]*
      (?:i\ (?:can|would|will|['’]?d\ be|am)|i['’](?:ll|d|m))\b
      .*\b(?:help|assist|answer|explain|happy|glad)\b.*
    | (?:sure|of\ course|certainly|absolutely|okay|ok|alright)\W*
    | (?:to\ (?:determine|find|answer|get)\b[^,]{0,90},\ )?(?:i|we)(?:['’]ll|\ will|\ can|\ need\ to
      |\ should)\ (?:now\ |first\ )?(?:search|look|use|call|check|determine|find|follow|start)\b
      .{0,90}
    | (?:well,?\ |ok,?\ |so,?\ |hmm,?\ )*let(?:['’]s|\ me|\ us)\b.{0,90}
    | here(?:['’]s|\ is|\ are)\b(?!.*\bis\b.*\bis\b).{0,80}
    | (?:das\ ist\ eine\ \w+\ frage|gute\ frage|c['’]est\ une\ (?:bonne|excellente)\ question
      |bonne\ question|buena\ pregunta|es\ una\ (?:buena|excelente)\ pregunta
      |(?:buona|ottima)\ domanda|boa\ pergunta|хороший\ вопрос|отличный\ вопрос|好问题
      |良い質問です|いい質問ですね).*
    | (?:gerne|natürlich|klar|selbstverständlich|bien\ sûr|claro|por\ supuesto|certo|com\ certeza
      |конечно|当然|当然可以|もちろん)\W*
    | (?:based\ on|according\ to)\ [^,]{0,60}[,:]?
    | (?:let\ me\ know|feel\ free|i\ hope|hope\ (?:this|that)|if\ you\ have
      |please\ (?:let|feel|note)).*
    )"""
)


def is_opening(sentence: str) -> bool:
    """Return whether a sentence only opens or closes: it answers nothing, or asks back."""
    stripped = sentence.strip()
    if re.search(r"[?？؟]['\"”’)]*$", stripped) and not re.search(r"\d", stripped):
        return True
    return is_small_talk(stripped) or _OPENING.fullmatch(stripped) is not None


_CONCLUDES: Final = Pattern(
    r"(?i)\W*(?:so|thus|therefore|hence|in total|in all|altogether|overall|consequently|finally"
    r"|in conclusion|also|folglich|insgesamt|donc|au total|por lo tanto|en total|quindi|portanto"
    r"|итак|因此|所以|したがって)(?!\w)"
)


def _fit(sentence: Sentence, question: QuestionForm, number: int, count: int, asked: str) -> float:
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
    if is_sum(question, asked, sentence.text) and typed:
        fit += 0.5 * number + 2.0 * (_CONCLUDES.match(sentence.text, sentence.start) is not None)
    if question.options:
        said = {stem(w.text) for w in sentence.words}
        fit += 2.0 * any(said & option for option in question.options)
    return fit


def _typed(sentence: Sentence, question: QuestionForm) -> bool:
    """Whether a sentence has a part of the type that is asked for."""
    if question.kind == "when":
        return any(True for _ in typed_parts(sentence, DATE, question))
    if question.kind == "number":
        return any(True for _ in typed_parts(sentence, NUMBER, question))
    if question.kind in ("who", "where"):
        return any(word.name and word.telling for word in sentence.words)
    return False


def _in_part(text: str, part: Range, question: QuestionForm, asked: str) -> list[Range]:
    """The exact answer in what stands after "Answer:"."""
    ranges = sentence_ranges(text[part[0] : part[1]])
    if not ranges:
        return [bare(text, *part)]
    start, end = part[0] + ranges[0][0], part[0] + ranges[0][1]
    inner = bare(text, start, end)
    if _is_short(text, inner, question):
        return [inner]
    unsaid = tuple(denied(text[:end]))
    sentence = _sentence(text, *inner, unsaid, question)
    return extract(sentence, question, asked)


def _items(answer: str, question: QuestionForm) -> list[Range]:
    """The items of a list, if several things are asked for: what stands before a gloss."""
    if not question.several or question.kind in ("yes or no", "number", "when"):
        return []
    found = []
    for line in re.finditer(r"(?m)^[ \t]*(?:[-*•+–]|\d{1,2}[.)])[ \t]+(?P<item>[^\n]+)$", answer):
        start, end = line.span("item")
        gloss = Pattern(r":\**\s|\s[–—-]\s|[.。]\s").search(answer, start, end)
        part = bare(answer, start, gloss.start() if gloss else end)
        if 0 < sum(1 for _ in WORD.finditer(answer, *part)) <= 6:
            found.append(part)
    return found
