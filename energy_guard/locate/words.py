"""Words of a text in any script that puts blanks between them, and when two are the same."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from energy_guard.locate.patterns import VERBOSE, Pattern

WORD: Final = Pattern(
    r"""(?:[$€£¥₹]\s?|(?<![\w)])[-−–+](?=\d))?[\p{L}\p{M}\p{N}_]+
        (?:(?:[-‐'’.,/:&^]|\{,\}|[×·])[\p{L}\p{M}\p{N}_]+)*
        (?:\+\+|\#(?!\w)|\s?[%‰]|'(?=\s))?""",
    VERBOSE,
)
"""A word with what belongs to it: its sign, the marks inside (3.5, don't), a final ++ or %."""


@lru_cache(maxsize=8192)
def stem(word: str) -> str:
    """Return what is left of a word when case and its commonest endings make no difference.

    >>> stem("France's") == stem("FRANCE"), stem("founded") == stem("found")
    (True, True)
    """
    folded = word.casefold().replace("’", "'")
    folded = re.sub(r"'(?:[^\W\d_]+)?$", "", folded) or folded
    if len(folded) > 4 and folded.isalpha():
        folded = folded if folded.endswith("ss") else folded.removesuffix("s")
        for ending in ("ing", "ed", "e"):
            if folded.endswith(ending) and len(folded) - len(ending) >= 3:
                return folded.removesuffix(ending)
    return folded
