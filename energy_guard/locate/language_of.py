"""Which language a text is in, as far as the tables of `energy_guard.locate.languages` tell."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from typing import Final

from energy_guard.locate.languages import LANGUAGES
from energy_guard.locate.patterns import IGNORECASE, Pattern

_SCRIPTS: Final = (
    ("ko", Pattern(r"\p{Hangul}")),
    ("ja", Pattern(r"[\p{Hiragana}\p{Katakana}]")),
    ("zh", Pattern(r"\p{Han}")),
    ("th", Pattern(r"\p{Thai}")),
    ("hi", Pattern(r"\p{Devanagari}")),
    ("ru", Pattern(r"\p{Cyrillic}")),
    ("ar", Pattern(r"\p{Arabic}")),
)
_LATIN: Final = ("en", "de", "fr", "es", "it", "pt", "nl", "sv", "pl", "tr", "vi", "id")
_WHOSE: Final[dict[str, list[str]]] = {}
for _name in _LATIN:
    for _word in LANGUAGES[_name].function | LANGUAGES[_name].no | LANGUAGES[_name].yes:
        _WHOSE.setdefault(_word, []).append(_name)
_LETTERS_OF: Final = (
    ("ıİğş", "tr"), ("ß", "de"), ("ñ¿¡", "es"), ("ãõ", "pt"), ("łąęźżćś", "pl"), ("å", "sv"),
    ("ạảấầẩẫậắằẳẵặẹẻẽếềểễệịỉĩọỏốồổỗộớờởỡợụủũứừửữựỳỵỷỹđơư", "vi"), ("œ", "fr"),
)  # fmt: skip
"""Letters that hardly any other language has."""
_LETTERS = Pattern(r"[\p{L}\p{M}]+(?:['’]\p{L}+)?")
_ASKED_IN: Final = {
    name: Pattern(
        r"\b(?:" + "|".join(pattern for _, pattern in LANGUAGES[name].asks) + r")\b",
        IGNORECASE,
    )
    for name in _LATIN
}


@lru_cache(maxsize=1024)
def language_of(text: str, likely: str = "en") -> str:
    """Return the language that a text seems to be in.

    likely: the language that it is in unless more words speak for another.

    >>> language_of("Was ist die Hauptstadt?"), language_of("東京です")
    ('de', 'ja')
    """
    letters = sum(map(str.isalpha, text))
    for name, script in () if text.isascii() else _SCRIPTS:
        if 6 * len(script.findall(text)) > letters:
            return name
    counts: Counter[str] = Counter({likely: 1})
    for letters_of, name in () if text.isascii() else _LETTERS_OF:
        counts[name] += 2 * any(letter in letters_of for letter in text)
    for match in _LETTERS.finditer(text.casefold()):
        for name in _WHOSE.get(match[0], ()):
            counts[name] += 1
    for name, asked in _ASKED_IN.items():
        counts[name] += 2 * (asked.match(text) is not None)
    return max(_LATIN, key=lambda name: (counts[name], name == likely))
