"""Which parts of a text are denied, taken back or set aside, so that what is left is asserted."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Final

from energy_guard.locate.patterns import IGNORECASE, Pattern
from energy_guard.text import Range

_NOT: Final = r"(?:not|nicht|kein\w*|pas|non|no|não|niet|geen|inte|nie|не|bukan|không phải)"
_BUT: Final = (
    r"(?:but(?: rather| by| in| actually)*|sondern|mais|sino(?: que)?|bensì|ma|mas(?: sim)?|maar"
    r"|utan|ale|lecz|а|но|melainkan|mà)"
)
_DENIED: Final = tuple(
    Pattern(pattern, IGNORECASE)
    for pattern in (
        rf"(?<!\w){_NOT}\s(?P<d>[^.;!?\n]{{1,80}}?),?\s+{_BUT}(?!\w)",
        rf"(?:[,;(]|\s[–—-])\s*(?:and\s+)?(?P<d>{_NOT}\s[^,.;!?\n)]{{1,60}})",
        r"(?<!\w)(?P<d>(?:instead of|rather than|as opposed to|contrary to|unlike|despite"
        r"|other than|except for|statt|anstatt|entgegen|anders als|au lieu de?"
        r"|plutôt que?|contrairement à"
        r"|en lugar de|en vez de|a diferencia de|contrario a|invece di|a differenza di|em vez de"
        r"|ao contrário de|in plaats van|вместо|в отличие от)\s[^,.;!?\n]+,?)",
        r"(?:^|(?<=[.;!?]\s))(?P<d>(?:although|though|even though|even if|while|whereas|obwohl"
        r"|bien que|aunque|sebbene|mentre|embora|hoewel|хотя)\s[^,;.!?\n]+,)",
        r"(?:^|(?<=[.;!?]\s)|(?<=\n))(?P<d>(?:according to|based on|as reported by|laut|gemäß|selon"
        r"|d['’]après|según|de acuerdo con|secondo|segundo|volgens|enligt|według|согласно)"
        r"\s[^,;.!?\n]{1,60},)",
        r"(?P<d>[,;]\s+(?:while|whereas|although|though|compared (?:to|with)|obwohl|wohingegen"
        r"|tandis que|alors que|mientras que|aunque|mentre|enquanto|terwijl|хотя|тогда как)"
        r"\s[^.!?\n]+)",
        r"(?P<d>(?:(?:many|some|most|a lot of)(?:\s+people)?\s+(?:\w+ly\s+)?(?:believe|think|say"
        r"|claim|assume)|(?:it(?:'s| is)|you)\s+(?:\w+\s+)?(?:commonly|often|widely|popularly)?\s*"
        r"(?:believed|thought|assumed|might think|may think)|often mistaken"
        r"|viele (?:glauben|denken)"
        r"|beaucoup (?:pensent|croient)|muchos (?:creen|piensan))[^.!?\n]*?"
        r"[,;]?\s+(?:but|however|aber|mais|pero)(?!\w)[,]?)",
        r"(?P<d>\([^()\n]*\)|\[\d{1,3}\])",
        r"(?P<d>（[^（）\n]*）)",
        r"(?P<d>不是[^，。；]{1,30}[，,]\s*(?:而)?是)",
        r"(?P<d>[^。、，「」]{1,30}では(?:なく|ありません)[、，]?)",
    )
)
_CLAUSE: Final = Pattern(
    r"[,;]\s+|\s[–—]\s|[.!?]\s+|\s+(?:but|however|aber|sondern|mais|pero|sino|mas|maar|но)\s+",
    IGNORECASE,
)
_NEGATION: Final = Pattern(
    r"(?i)(?<!\w)(?:not|never|no longer|nicht|nie|niemals|kein\w*|ne|pas|jamais|nunca|non|mai|não"
    r"|niet|nooit|inte|не|никогда|isn['’]t|wasn['’]t|aren['’]t|weren['’]t|don['’]t|didn['’]t"
    r"|doesn['’]t|cannot|can['’]t|won['’]t)(?!\w)|(?i:^no$)"
)
_TAKEN_BACK: Final = Pattern(
    r"(?i)(?:(?<=[.!?…,;—–-]\s)|(?<=\n))(?:oh,?\s+|hmm,?\s+|no,?\s+)?(?:wait|actually|correction"
    r"|scratch that|sorry|my mistake|i mean(?:t)?|on second thought"
    r"|let me correct(?: that| myself)?"
    r"|i was wrong|i made a mistake|moment|halt|nein|eigentlich|pardon|enfin|perdón|espera"
    r"|en realidad"
    r"|aspetta|anzi|espere|na verdade|wacht|подожди\w*|точнее|вернее)\b[,:;.!—–\s]*"
    r"(?:no,?\s+|actually"
    r",?\s+)?(?=\S)"
)


def denied(text: str) -> list[Range]:
    """Return the ranges of a text that it does not assert itself.

    They are what it denies in favour of something else, sets aside, or takes back. A text that
    only denies ("The Earth is not flat") keeps its words.

    >>> [text[a:b] for text in ["Oslo, not Bergen."] for a, b in denied(text)]
    ['not Bergen']
    """
    found = [match.span("d") for pattern in _DENIED for match in pattern.finditer(text)]
    back = list(_TAKEN_BACK.finditer(text))
    if back and re.search(r"\w", text[back[-1].end() :]):
        found.append((0, back[-1].end()))
    known = {start for start, _ in found}
    return found + [part for part in _denying_clauses(text) if part[0] not in known]


def _denying_clauses(text: str) -> list[Range]:
    """Clauses with a negation, if another clause has none: "It isn't Bergen, it's Oslo"."""
    if not _NEGATION.search(text):
        return []
    cuts = [0, *(match.end() for match in _CLAUSE.finditer(text)), len(text)]
    clauses = [(a, b) for a, b in pairwise(cuts) if text[a:b].strip()]
    negated = [c for c in clauses if _NEGATION.search(text[c[0] : c[1]].strip(" ,.;!?—–-"))]
    return negated if len(negated) < len(clauses) else []
