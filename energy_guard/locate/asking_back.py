"""Answers that only ask back: "Which year do you mean?" claims nothing.

Languages: English, German, French, Spanish, Chinese. A question that tells something ("Did you
know that …?", "Isn't Lyon the capital?") is none of these.
"""

from __future__ import annotations

import re
from typing import Final

from energy_guard.locate.patterns import Pattern
from energy_guard.locate.sentences import sentence_ranges
from energy_guard.locate.smalltalk import is_small_talk

_TO_USER: Final = Pattern(
    r"(?i)(?<!\w)(?:you|your|yours|shall i|should i|can i|may i|du|dich|dir|deine?[rnms]?|sie"
    r"|ihnen|ihre?[rnms]?|soll ich|kann ich|worum geht|tu|te|toi|ton|ta|vous|votre|vos|usted"
    r"|ustedes|tú|su|tus|quieres|prefieres|necesitas|buscas|prefiere|puedo)(?!\w)|[你您]|请问"
)
_TELLS: Final = Pattern(
    r"""(?xi)(?<!\w)(?:(?:did|do|didn't|don't)\ you\ know|knew|aware|remember|heard|believe|isn't
      |aren't|wasn't|weren't|doesn't|didn't|not|because|since|although|as|whose|that|while
      |who(?!\ (?:do|did|are|would|should)\ you)|wusstest|wussten|weißt|wissen|nicht|weil|da|dass
      |obwohl|sabías|sabes|sabía|porque|aunque|savais|savez|sais|parce)(?!\w)
      | ,\ (?:the|a|an|der|die|das|ein|eine|el|la|los|un|una|le|les|une|right|oder|verdad|no)(?!\w)
      | 知道 | 难道 | 不是 | 因为"""
)
_CLARIFIES: Final = Pattern(
    r"(?i)(?:please |could you |can you |would you )*(?:give|tell|provide|share|clarify|specify)"
    r"(?: me| us)?(?: (?:a |some |any )?(?:bit )?(?:more|further)?)? ?(?:context|details?"
    r"|information)"
    r"(?: (?:please|first|about (?:it|that|this)))?[.!]?"
)
_LONGEST: Final = 24
"""Words of a question that is asked back; longer ones tell something."""


def asks_back(question: str, answer: str) -> bool:
    """Return whether an answer is nothing but a question to the one who asked.

    >>> asks_back("Who won?", "Sure! Which year do you mean?")
    True
    >>> asks_back("Who won?", "Did you know that France won?")
    False
    """
    if not question.strip() or not re.search(r"[?？]", answer):
        return False
    said = [answer[start:end] for start, end in sentence_ranges(answer)]
    asking = [sentence for sentence in said if re.search(r"[?？]\W*\Z", sentence)]
    known = {word.casefold() for word in re.findall(r"\w+", question)} | {"i", "sie", "ihnen"}
    return bool(asking) and all(
        _only_asks(sentence, known) if sentence in asking else _leads(sentence) for sentence in said
    )


def _leads(sentence: str) -> bool:
    return is_small_talk(sentence) or _CLARIFIES.fullmatch(sentence) is not None


def _only_asks(sentence: str, known: set[str]) -> bool:
    """Whether a question asks its reader something, and tells nothing."""
    if is_small_talk(sentence):
        return True
    words = re.findall(r"\w+", sentence)
    news = [
        w for w in words[1:] if w[0].isdigit() or (w[0].isupper() and not _GERMAN.search(sentence))
    ]
    if any(word.casefold() not in known for word in news) or len(words) > _LONGEST:
        return False
    return _TO_USER.search(sentence) is not None and not _TELLS.search(sentence.replace("’", "'"))


_GERMAN: Final = Pattern(
    r"(?i)\b(?:meinst|meinen|möchtest|möchten|welche[rsnm]?|der|die|das|worum|womit|was|wie|ich)\b"
)
"""Words of German, whose nouns all have a capital."""
