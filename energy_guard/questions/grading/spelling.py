"""When two words are one word spelt in two ways."""

from __future__ import annotations

from rapidfuzz.distance import OSA


def alike(one: str, other: str) -> bool:
    """Whether two words of seven or more letters differ by one letter, and not by the first.

    >>> alike("matthew", "mathew"), alike("gambia", "zambia")
    (True, False)
    """
    if one == other:
        return True
    shortest = min(len(one), len(other))
    if shortest < 5 or one[0] != other[0] or any(c.isdigit() for c in one + other):
        return False
    cutoff = 1 if shortest < 10 else 2
    return OSA.distance(one, other, score_cutoff=cutoff) <= cutoff
