"""Sentences that only say where an answer may be found: "You can search for it online."

Languages: English, German, French, Spanish.
"""

from __future__ import annotations

import re
from typing import Final

from energy_guard.locate.patterns import Pattern
from energy_guard.locate.words import stem

_BEGINS: Final = Pattern(
    r"(?:you (?:can|could|may|might)(?: also| always)?"
    r"|(?:i|i can|i would|i'd) (?:suggest|recommend)(?: that)? you|please)"
    r" (?:check|search|look|consult|visit|ask)"
    r"|(?:i|i can|i would|i'd) (?:suggest|recommend) (?:checking|searching|looking|consulting)"
    r"|(?:du kannst|du könntest|sie können|sie könnten)(?: auch| aber)?"
    r" (?:auf|im|in|bei|online|nach)"
    r"|(?:vous pouvez|vous pourriez|tu peux)(?: aussi| également)? (?:consulter|chercher|rechercher"
    r"|visiter|vérifier)|je (?:vous|te) (?:suggère|recommande|conseille) de (?:consulter|chercher"
    r"|rechercher|vérifier)"
    r"|(?:también )?(?:puedo sugerir(?:te)? que (?:busques|consultes|visites)|(?:puedes|podrías"
    r"|puede)(?: también)? (?:consultar|buscar|visitar)|te (?:sugiero|recomiendo) (?:que busques"
    r"|que consultes|buscar|consultar))"
)
_WORDS: Final = frozenset(
    """online internet web website websites official site sites news source sources local library
    libraries bookstore bookstores store stores friends recommendations reviews schedule schedules
    timetable app expert experts professional reliable latest current information details find more
    get out up for to about in at on with from of or and the a an your you any some other that like
    auf im in bei der dem den einer eine ein offiziellen webseite website nachrichten quellen fragen
    suchen nachsehen nachschauen oder und fahrplan bibliothek freunde freunden nach um zu finden
    sur en ligne le la les un une des du de site officiel sources fiables actualités bibliothèque
    librairie amis ou et pour trouver plus d'informations informations horaires
    línea tiendas tienda biblioteca librería librerías amigos recomendaciones populares sugerencias
    sitio página oficial fuentes confiables noticias encontrar obtener más información los las el
    que te gusten gustar o y para por a tu su con""".split()
)


def only_says_where(sentence: str, known: set[str]) -> bool:
    """Return whether a sentence in small letters only says where to look, for what was asked.

    Args:
        sentence: without the mark at its end.
        known: stems of the question's words.

    >>> only_says_where("you can search for trains online", {"train"})
    True
    >>> only_says_where("you can eat mushrooms", {"mushroom", "eat"})
    False
    """
    begins = _BEGINS.match(sentence)
    if begins is None:
        return False
    words = re.findall(r"[\w']+", sentence[begins.end() :])
    found = sum(word in _WORDS for word in words)
    return found > 0 and all(word in _WORDS or stem(word) in known for word in words)
