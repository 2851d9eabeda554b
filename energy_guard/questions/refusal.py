"""Whether a model declines to answer by itself, in English."""

from __future__ import annotations

import re
from typing import Final

_REFUSAL: Final = re.compile(
    r"""
      \bi\s(?:really\s|honestly\s)?(?:do\snot|don't|dont|cannot|can't|can\snot|could\snot|couldn't
        |am\snot\sable\sto|am\sunable\sto|'m\snot\sable\sto|'m\sunable\sto)\s(?:really\s)?
        (?:know|answer|say|tell|determine|provide|find|have\s(?:any\s|enough\s|the\s|access|that\s
        |real|specific\s|information))
    | \bi(?:'m|\sam)\s(?:not\s(?:sure|certain|aware|familiar|provided|given)|unsure|unaware
        |sorry,?\s(?:but\s)?i\b)
    | \b(?:it|this|that|the\s(?:answer|question|information))\s(?:is|was)\s(?:not\s|un)
        (?:known|clear|answerable|stated|specified|mentioned|given|provided|possible\sto
        |explicitly|in\sthe\s(?:passage|text))
    | \b(?:passages?|texts?|contexts?|articles?|information|paragraph)\s
        (?:given\s|provided\s|above\s)?
        (?:does|do|did|is|was|has|have)(?:\snot|n't)\s(?:\w+ly\s|directly\s)?(?:say|state|mention|specify
        |specified|give|provide|provided|contain|hold|tell|include|answer|have|indicate|sufficient
        |enough|explain|describe|name|list|there|available)
    | \bnot\s(?:explicitly\s|directly\s)?(?:mentioned|stated|specified|given|provided|said|answered)
        \s(?:in|by)\s(?:the|this)\s(?:\w+\s)?(?:passages?|texts?|contexts?|article|question|information)
    | \b(?:not\senough|insufficient|no)\sinformation\b
    | \bcannot\sbe\s(?:determined|answered|known|inferred)
    | ^\W*(?:unanswerable|unknown|no\sanswer|none\sof\sthe\s(?:above|passages?)|n/a)\W*$
    | ^\W*unanswerable\b
    """,
    re.VERBOSE | re.IGNORECASE,
)
_GUESSES: Final = re.compile(
    r"\bbut\s(?:i\s(?:think|believe|guess|would)|it\s(?:is|was|could|might|may)|my\s(?:best\s)?guess)",
    re.IGNORECASE,
)


def is_refusal(answer: str) -> bool:
    """Whether an answer's first sentence says that the model does not know or may not tell.

    A guess after it ("I am not sure, but I think it is Oslo") is an answer.

    >>> is_refusal("I don't know."), is_refusal("It is not known as Oslo but as Bergen.")
    (True, False)
    """
    text = " ".join(answer.replace("’", "'").split())
    first = re.split(r"(?<=[.!?])\s", text, maxsplit=2)
    head = " ".join(first[: 2 if first[0].lower().startswith(("i'm sorry", "sorry")) else 1])
    found = _REFUSAL.search(head)
    if found is None or _GUESSES.search(text[found.end() :]):
        return False
    return not re.match(r"\s(?:as|for)\b", head[found.end() :])
