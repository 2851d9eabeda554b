"""A text without the marks that do not count: Markdown, LaTeX, footnotes, signs of other scripts.

Nothing here knows what a word means; the case of letters is kept.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import Final

import regex

_SUPERSCRIPTS: Final = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
_SIGNS: Final = str.maketrans(
    {
        "−": "-",
        "‐": "-",
        "‑": "-",
        "‒": "-",
        "–": "-",
        "—": " — ",
        "⁄": "/",
        "∕": "/",
        "’": "'",
        "‘": "'",
        "ʼ": "'",
        "ʻ": "'",
        "`": "'",
        "´": "'",
        "΄": "'",
        "“": '"',
        "”": '"',
        "„": '"',
        "«": '"',
        "»": '"',
        "،": ",",
        "٬": ",",
        "٫": ".",
        "·": "*",
        "×": "*",
        "⋅": "*",
        "\u00ad": None,
        "\u200b": None,
        "\u200c": None,
        "\u200d": None,
        "\u200e": None,
        "\u200f": None,
        "\u2060": None,
        "\ufeff": None,
    }
)
_BOXED: Final = regex.compile(r"\\(?:boxed|fbox)\s*(\{(?:[^{}]|(?1))*\})")
_FRACTION: Final = regex.compile(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}")
_WRAPPED: Final = regex.compile(r"\\(?:text|mathrm|mathbf|textbf|mbox|ce)\s*\{([^{}]*)\}")
_LINK: Final = regex.compile(r"!?\[([^\[\]]*)\]\((?:https?:|/)[^()\s]*\)")
_NOTE: Final = regex.compile(
    r"\[\^?\d{1,2}\^?\]|\^\d{1,2}\^|(?<=[a-z]{3})\d{1,3}(?=[.,;]?(?:\s|$))"
)
_MONTH: Final = (
    "january|february|march|april|may|june|july|august|september|october|november|december"
)
_NOTE_OF_YEAR: Final = regex.compile(
    r"(?<=\b(?i:in|since|until|year|(?:1\d|20)\d\d to"
    rf"|(?:{_MONTH})(?:\s\d\d?(?:st|nd|rd|th)?)?),?\s)"
    r"((?:1\d|20)\d\d)\d{1,2}(?=[.;](?:\s|$))"
)
"""A year with the number of a note after it; without the word before it is a larger number."""
_GLUED: Final = regex.compile(
    r"\b((?i:by|was|is|in|on|of|and|the|at|from|to|for|are|with|as"
    r"|called))(?=\p{Lu}\p{Ll}{2}|\d{4})"
)
"""A small word that has lost the blank after it."""
_POWER_OF_TEN: Final = regex.compile(
    r"(\d+(?:\.\d+)?)\s*(?:\*|x|\\times|\\cdot)\s*10\s*(?:\^|\*\*)\s*\{?(-?\d+)\}?"
)


@lru_cache(maxsize=65536)
def clean(text: str) -> str:
    r"""Return a text in one set of signs, and without marks that only say how it looks.

    >>> clean("It is **CO₂**."), clean("$$\\boxed{\\frac{3}{4}}$$"), clean("१९४७")
    ('It is CO2.', '3/4', '1947')
    """
    text = _latex(text) if "\\" in text or "{,}" in text else text
    text = regex.sub(
        r"(?<=\d)[\u00a0\u202f\u2009' ’](?=\d{3}(?!\d))(?<=[\u00a0\u202f\u2009'’])", "", text
    )
    text = regex.sub(
        r"(?<=[\w)])([⁻]?[⁰¹²³⁴⁵⁶⁷⁸⁹]+)", lambda m: "^" + m[1].translate(_SUPERSCRIPTS), text
    )
    text = regex.sub(r"(?<=\d)(?=[¼-¾⅐-⅞])", " ", text)
    text = unicodedata.normalize("NFKC", text.translate(_SIGNS)).translate(_SIGNS)
    if not text.isascii():
        text = "".join(str(unicodedata.decimal(c)) if c.isdecimal() else c for c in text)
    text = _LINK.sub(r"\1", text)
    text = regex.sub(r"(?<=\w)\*\*(?=[\w(])(?<=\d\*\*)(?=\d)", "^", text)
    text = regex.sub(r"(?<=\d)(?=(?:km|cm|mm|kg|mph|lbs?|ft|m|g)\b)", " ", text)
    text = regex.sub(
        r"\*\*(?=\D)|(?<=\D)\*\*|__|^#+\s|^>\s|(?<!\w)[*_](?=\w)|(?<=[\w.!?])[*_](?!\w)",
        "",
        text,
        flags=regex.M,
    )
    text = _GLUED.sub(r"\1 ", text)
    text = regex.sub(r"\b(\p{Ll}{3,})(?=\p{Lu}\p{Ll}{2})", r"\1 ", text)
    text = _NOTE.sub("", _NOTE_OF_YEAR.sub(r"\1", text))
    text = _POWER_OF_TEN.sub(r"\1e\2", text)
    return text.strip()


def _latex(text: str) -> str:
    """LaTeX as plain text; of a text with a box, only what the last box holds."""
    boxes = _BOXED.findall(text)
    if boxes:
        text = boxes[-1][1:-1]
    text = regex.sub(r"\{,\}|\\,(?=\d)", ",", text)
    for _ in range(3):  # a fraction may hold a fraction
        text = _FRACTION.sub(r"\1/\2", text)
    text = _WRAPPED.sub(r"\1", text)
    text = text.replace("\\%", "%").replace("\\$", "$").replace("^\\circ", "°")
    plain: str = regex.sub(r"\$\$|\\[()\[\]]|\\left|\\right|\\[,;! ]", "", text)
    return plain
