"""The exact answer in Chinese, Japanese and Thai, which put no blanks between words.

What the sentence shares with the question is taken away, and so are the words between both; what
is left is the answer.
"""

from __future__ import annotations

import re
from typing import Final

from energy_guard.locate.parts import DATE, NUMBER, QUOTED
from energy_guard.locate.patterns import Pattern
from energy_guard.locate.question import QuestionForm
from energy_guard.text import Range

LANGUAGES: Final = frozenset(["zh", "ja", "th"])

_COPULA: Final = {
    "zh": r"(?:就?是|为|即|叫做?|称为|约为|约|大约|等于|位于|在|由|于|：|:|，)",
    "ja": r"(?:は|が|とは|である|を|に|で|、|：)",
    "th": r"(?:คือ|เป็น|ชื่อ|ที่|ใน|อยู่|ประมาณ|โดย)",
}
_LEADS: Final = {
    "zh": r"(?:[，,、：:\s]|就?是|为|约|大约|大概|可能|应该|一定|在|由|于|的|了|即|名为"
    r"|叫做?|称为|位于)+",
    "ja": r"(?:[、,：:\s]|は|が|を|に|で|の|も|約|およそ|おそらく|たぶん|それは)+",
    "th": r"(?:\s|คือ|เป็น|ชื่อ|ที่|ใน|อยู่|ประมาณ|โดย|ของ|นั้น|ก็)+",
}
_TRAILS: Final = {
    "zh": r"(?:[，,。．.！!？?\s”」』》]|的|了|结束|吗|呢)+",
    "ja": r"(?:[、,。．.！!？?\s]|です|でした|だった|である|であり|だ"
    r"|と(?:思い|考えられ|言われてい)ます"
    r"|に(?:あり|位置し)ます|にある|が(?:書き|作り|発明し|発見し)ました"
    r"|によって(?:書かれ|作られ|発明され|発見され)?(?:ました|た)?"
    r"|ます|ました|に|が|は|を|で|の)+",
    "th": r"(?:\s|ครับ|ค่ะ|นั้น|\.)+",
}
_YES_NO: Final = {
    "zh": r"^(?:是的?|对|不是?的?|没有|没错|正确|错误|有|可以|不能|不可以|会|不会)"
    r"(?=[，,。!！\s]|$)"
    r"|(?:不是|不能|不会|没有|并非|不可以|不)\p{Han}{1,3}|确实|的确",
    "ja": r"^(?:はい|いいえ|いや|ええ)|\w{0,4}"
    r"(?:ではありません|ではない|ません|ない)(?=[。でし]|$)",
    "th": r"^(?:ใช่|ไม่ใช่|ไม่|ใช่ครับ)|ไม่\w+",
}


def without_blanks(
    text: str, start: int, end: int, question: QuestionForm, language: str
) -> list[Range]:
    """Return the exact answer in a sentence of such a language; nothing if there is none."""
    if question.kind == "yes or no":
        said = Pattern(_YES_NO[language]).search(text[start:end])
        if said:
            return [(start + said.start(), start + said.end())]
    left = _left(text, start, end, question.text)
    typed = {"when": DATE, "number": NUMBER}.get(question.kind)
    if typed:
        for low, high in left or [(start, end)]:
            match = typed.search(text, low, high)
            if match:
                return [match.span()]
    trimmed = [_trimmed(text, *piece, language) for piece in left]
    pieces = [(a, b) for a, b in trimmed if re.search(r"[^\W_]", text[a:b])]
    if not pieces:
        return []
    for low, high in pieces:
        title = QUOTED.search(text, low, high)
        if title and question.kind != "who":
            return [title.span(1)]
    if question.kind == "open":
        return [(pieces[0][0], pieces[-1][1])]
    return [_after_copula(text, *_best(text, pieces, language), language)]


_INSIDE: Final = Pattern(r"[\w\p{M}]+")


def _left(text: str, start: int, end: int, question: str) -> list[Range]:
    """The parts of a sentence that share no two characters in a row with the question."""
    shared = bytearray(end - start)
    size = 2
    grams = {question[i : i + size] for i in range(len(question) - size + 1)}
    for at in range(start, end - size + 1):
        if text[at : at + size] in grams and _INSIDE.fullmatch(text, at, at + size):
            shared[at - start : at - start + size] = b"1" * size
    pieces: list[Range] = []
    for at in range(start, end):
        if not shared[at - start]:
            if pieces and pieces[-1][1] == at:
                pieces[-1] = (pieces[-1][0], at + 1)
            else:
                pieces.append((at, at + 1))
    return pieces


def _trimmed(text: str, start: int, end: int, language: str) -> Range:
    lead = Pattern(_LEADS[language]).match(text, start, end)
    start = lead.end() if lead else start
    trail = Pattern(rf"{_TRAILS[language]}$").search(text[start:end])
    return start, (start + trail.start() if trail else end)


def _best(text: str, pieces: list[Range], language: str) -> Range:
    """The piece after a copula; otherwise the longest."""
    for start, end in pieces:
        if re.search(r"(?:是|为|は|คือ|เป็น|：)\s*$", text[:start]):
            return start, end
    return max(pieces, key=lambda piece: piece[1] - piece[0])


def _after_copula(text: str, start: int, end: int, language: str) -> Range:
    """What follows the last verb of being inside a piece."""
    for match in reversed(list(re.finditer(r"是|คือ|为|：", text[start:end]))):
        if match.start() > 0 and match.end() < end - start and match.start() <= 8:
            return start + match.end(), end
    comma = re.search(r"[，,、]", text[start:end])
    if comma and comma.start() > 1 and language != "ja":
        return start, start + comma.start()
    return start, end


def shares(text: str, question: str) -> float:
    """Return which part of the question's pairs of characters a text has, 0 to 1."""
    grams = {question[i : i + 2] for i in range(len(question) - 1)}
    grams = {gram for gram in grams if _INSIDE.fullmatch(gram)}
    return sum(gram in text for gram in grams) / len(grams) if grams else 0.0
