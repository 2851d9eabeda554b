"""Names of countries, their people and their tongues, which people use for one another."""

from __future__ import annotations

from typing import Final

_LINES: Final = """
britain|great britain|british|united kingdom|uk|briton
england|english|englishman|englishwoman
scotland|scottish|scot
wales|wale|welsh|welshman
ireland|irish|irishman
france|french|frenchman
germany|german
spain|spanish|spaniard
portugal|portuguese
netherland|dutch|holland
belgium|belgian
denmark|danish|dane
norway|norwegian
sweden|swedish|swede
finland|finnish|finn
iceland|icelandic|icelander
poland|polish|pole
greece|greek
turkey|turkish|turk|turkiye
switzerland|swis|swiss
italy|italian
russia|russian
ukraine|ukrainian
czechia|czech republic|czech
hungary|hungarian
romania|romanian
japan|japanese
china|chinese
korea|korean
vietnam|vietnamese
thailand|thai
india|indian
pakistan|pakistani
israel|israeli
iraq|iraqi
iran|iranian|persia|persian
egypt|egyptian
morocco|moroccan
argentina|argentine|argentinian
brazil|brazilian
canada|canadian
mexico|mexican
peru|peruvian
chile|chilean
cuba|cuban
australia|australian
new zealand|new zealander
united state|us|usa|united state of america|america|american
soviet union|ussr|soviet
united nation|un
european union|eu
"""
_GROUPS: Final = [line.replace(" ", "").split("|") for line in _LINES.strip().splitlines()]
_KIN: Final = {name: group for group in _GROUPS for name in group}


def kin(words: str) -> list[str]:
    """Return the names that people use for a country's, its people's or its tongue's.

    words: in one form and joined.

    >>> kin("norway")
    ['norwegian']
    """
    return [name for name in _KIN.get(words, ()) if name != words]
