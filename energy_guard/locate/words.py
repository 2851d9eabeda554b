"""The words of an answer that say something: not stop words, not words of the question.

English only: the stop words are English, and words are what has blanks around it.
"""

from __future__ import annotations

import re
from typing import Final

from energy_guard.locate.sentences import sentence_ranges
from energy_guard.locate.smalltalk import is_small_talk
from energy_guard.locate.span import Range

WORD: Final = re.compile(r"\w+(?:[-'’.,]\w+)*")

STOP_WORDS: Final = frozenset(
    """a about after all also although am an and any approximately are around as at be because been
    before being between both but by called can common commonly considered could did do does during
    each either for from generally had has have he her here hers him his how however i if in into is
    it its itself just known likely made many may me might more most much my named not of often on
    one or other our over own perhaps possibly probably s she should since so some such than that
    the their theirs them then there these they this those through thus to too typically under until
    up us usually very was we well were what when where whether which while who whom whose why will
    with would you your""".split()
)


def content_words(answer: str, question: str) -> list[Range]:
    """Return the words of the first sentence that has any beyond stop words and the question's.

    Small talk before it ("Hello!") is passed over.

    >>> content_words("Sure! It is Paris.", "What is the capital?")
    [(12, 17)]
    """
    known = STOP_WORDS | {_stem(match[0]) for match in WORD.finditer(question)}
    for start, end in sentence_ranges(answer):
        if is_small_talk(answer[start:end]):
            continue
        found = [m.span() for m in WORD.finditer(answer, start, end) if _stem(m[0]) not in known]
        if found:
            return found
    return []


def _stem(word: str) -> str:
    """Case and the English genitive do not make another word."""
    return re.sub(r"['’]s$", "", word.casefold())
