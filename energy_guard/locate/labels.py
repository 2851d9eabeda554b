"""The one of some given labels that an answer names."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from energy_guard.errors import ConfigError
from energy_guard.locate.patterns import Pattern
from energy_guard.locate.span import Asked, Found, Locator, NotLocated
from energy_guard.text import Range


@Locator
def labels(answer: str, asked: Asked) -> Found:
    """The first mention of the one choice of the request that the answer names."""
    return _named(answer, asked.choices)


def by_labels(names: str) -> Locator:
    """Make a locator of labels with commas between them; ConfigError if one is blank."""
    given = tuple(name.strip() for name in names.split(","))
    if not all(given):
        raise ConfigError(
            f"labels:{names} has a blank label",
            "Write labels:yes,no or, for the request's, labels.",
        )

    return Locator(lambda answer, asked: _named(answer, given))


def label_range(answer: str, choices: Sequence[str]) -> Range | NotLocated:
    """Return the first mention of the one choice that the answer names, in any letter case.

    Longer choices first: "New York City" is no mention of "New York". Words count whole, but for
    longer labels in scripts that put no blanks between words. What a sentence says of the label
    ("not York") is not understood.

    >>> label_range("It is York.", ("York", "Leeds"))
    (6, 10)
    >>> label_range("答えは東京です。", ("東京", "大阪"))
    (3, 5)
    """
    found: dict[str, Range] = {}
    taken = bytearray(len(answer))
    for choice in sorted(filter(str.strip, choices), key=len, reverse=True):
        for match in _mentions(choice).finditer(answer):
            start, end = match.span()
            if any(taken[start:end]) or _is_article(choice, answer, start, end):
                continue
            taken[start:end] = b"1" * (end - start)
            found.setdefault(choice.strip().casefold(), (start, end))
    if len(found) == 1:
        return next(iter(found.values()))
    return NotLocated(f"the answer names {len(found) or 'none'} of the choices, not exactly one")


def _named(answer: str, choices: Sequence[str]) -> Found:
    if not any(choice.strip() for choice in choices):
        return NotLocated("the request has no choices")
    found = label_range(answer, choices)
    return found if isinstance(found, NotLocated) else [found]


def _mentions(choice: str) -> re.Pattern[str]:
    """A label as whole words, its accents composed or not."""
    forms = {unicodedata.normalize(form, choice.strip()) for form in ("NFC", "NFD")}
    either = "|".join(r"\s+".join(map(re.escape, form.split())) for form in sorted(forms))
    within = _NO_BLANKS.search(choice) and len(choice.strip()) > 1  # 是 is in 不是
    whole = either if within else rf"(?<![^\W_])(?:{either})(?![^\W_])"
    return re.compile(whole, re.IGNORECASE)


_NO_BLANKS = Pattern(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]")
"""Scripts in which a word has no blank before and after it."""


_RUNS_ON = re.compile(r"\s+[^\W\d_]")


def _is_article(choice: str, answer: str, start: int, end: int) -> bool:
    """Whether a label of one letter only seems to be named: the "a" in "a fruit"."""
    in_another_case = end - start == 1 and answer[start:end] != choice.strip()
    return in_another_case and _RUNS_ON.match(answer, end) is not None
