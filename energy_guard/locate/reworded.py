"""Answers that say a given text again: rewriting, correcting and translating it on request.

What such an answer says is the text's claim, not the model's. That holds only as far as it brings
no name, number or negation of its own, and no more text than a rewording takes. A summary chooses,
so that it may be wrong about its text: it has to be made of the text's own clauses.

Languages of the request: English, German, French, Spanish, Chinese.
"""

from __future__ import annotations

import re
from typing import Final

from energy_guard.locate.patterns import Pattern
from energy_guard.locate.turned_round import brings_names, brings_words, turned_round

_WANTED: Final = Pattern(
    r"""(?xis)\A\W*(?:(?:please|can\ you|could\ you|bitte|kannst\ du|können\ sie|por\ favor|puedes
      |s'il\ (?:te|vous)\ plaît|peux-tu|pouvez-vous|请你?|帮我)[\s,]*)*
      (?:(?P<translation>translate|übersetze?n?|traduce|traduzca|traduis|traduisez|翻译
          |把下面的句子翻译)
        |(?P<summary>summari[sz]e|sum\ up|fasse?|resume|resúme\w*|résume[sz]?
          |(?:用.{1,4}句话)?(?:概括|总结))
        |(?P<correction>correct|fix\ the|korrigiere?|verbessere?|corrigez?|corrige|改正)
        |rewrite|reword|rephrase|paraphrase|shorten|proofread|improve|polish
        |make\ (?:this|it|the\ (?:sentence|text))|(?:turn|change)\ (?:this|it|the)|put\ this
        |formuliere?|schreibe?\ (?:den|das|diesen|diese)\ \w+\ (?:um|neu)
        |mach(?:e)?\ (?:das|den|es)|kürze?|setze?
        |reescribe|reformula|haz(?:lo|\ est[ae])|pon|convierte|mejora|acorta
        |réécris|reformule|raccourcis
        |把这句话|改写|润色|改得|缩短|把下面的(?:句子|话|文字)改)
      (?P<how>[^:：\n]{0,80})[:：]\s*(?P<given>\S.*)\Z"""
)
_FACTS: Final = Pattern(
    r"(?i)(?<!\w)(?:facts?|factual|claims?|statements?|answers?|information|fakten|aussagen?"
    r"|behauptung|antwort|angaben|faits?|affirmation|réponse|hechos?|datos|afirmación|respuesta)"
    r"(?!\w)|事实|说法|答案"
)
"""What is corrected may be what a text says, and not how."""
_ASKS: Final = Pattern(r"[?？؟]\W*\Z")
_WANTS_TO_KNOW: Final = Pattern(
    r"""(?xi)\W*(?:please\ |bitte\ |por\ favor,?\ |请)?(?:
      (?:who|whom|whose|what|when|where|which|why|how|name|explain|tell|list|describe|define|state
        |say|answer|calculate|compute|find
      |wer|wen|wem|was|wann|wo|welche[rsnm]?|warum|wie|nenne?|erkläre?|sag|sage|beschreibe?
      |qui|quand|où|quel(?:le)?s?|pourquoi|comment|combien|nomme[rz]?|explique[rz]?|dis|dites|décris
      |quién|qué|cuándo|dónde|cuál|cómo|cuánt[oa]s?|nombra|explica|di|dime|describe)(?!\w)
      | (?:the|der|die|das|le|la|l['’]|el)\ ?[\w'’ ]+\ (?:of|von|de|du|des|del)\ [\w'’ ]+\Z
      | 谁|什么|为什么|怎么|哪|说明|解释|列出|告诉)"""
)
"""How a text begins that is no text to be reworded but a wish to know something."""

_FEWEST: Final = 3
"""Words of a text that can be reworded. Of one or two words, the meaning is asked for."""
_MOST_MORE: Final = 80
"""Characters that a rewording may have beside twice those of its text."""


def is_reworded(question: str, answer: str) -> str | None:
    """Return "rewriting" or "a translation" for a given text in other words; None for all else.

    >>> is_reworded("Rewrite politely: Give me the book.", "Could you give me the book, please?")
    'rewriting'
    >>> is_reworded("Translate into French: The king is dead.", "Le roi Charles est mort.") is None
    True
    """
    request = _WANTED.match(question)
    if request is None:
        return None
    if request["correction"] and _FACTS.search(request["how"]):
        return None
    given = request["given"].strip()
    answer = answer.removeprefix(question[: request.start("given")].strip())  # it may be said again
    fewest = 2 * _FEWEST if request["translation"] else _FEWEST + 1
    if len(re.findall(r"\w+", given)) < _FEWEST and len(re.findall(r"[㐀-鿿]", given)) < fewest:
        return None
    if len(answer) > 2 * len(given) * _stretch(given) + _MOST_MORE:
        return None
    is_translation = request["translation"] is not None
    if brings_names(given, answer, is_translation=is_translation):
        return None
    if (_ASKS.search(given) or _WANTS_TO_KNOW.match(given)) and not _ASKS.search(answer):
        return None  # a reply to what was to be reworded
    if request["summary"]:
        return "a summary" if _in_its_words(given, answer) else None
    if turned_round(given, answer) or (request["correction"] and brings_words(given, answer)):
        return None
    return "a translation" if is_translation else "rewriting"


def _in_its_words(given: str, answer: str) -> bool:
    """Whether a summary is made of whole clauses of its text, none of which hangs on another."""
    if _HANGS.search(given):
        return False
    clauses = [_said(part) for part in _CLAUSE.split(given)]
    known = [*clauses, *(clause[2:] for clause in clauses if clause[:2] == ["我", "们"])]
    return all(_said(part) in known for part in _CLAUSE.split(answer) if re.search(r"\w", part))


def _said(clause: str) -> list[str]:
    """The words of a clause but for those that join it to others; hanzi one by one."""
    words = re.findall(r"[㐀-鿿]|[^\W_㐀-鿿]+(?:['’]\w+)?", clause.casefold())
    return [word for word in words if word not in _LINKS]


_CLAUSE: Final = Pattern(
    r"(?i)[,;:.!?…¡¿。！？，；：、\n]+|\s(?:and|but|so|und|aber|et|mais|y|e|pero)\s"
)
_HANGS: Final = Pattern(
    r"(?i)(?<!\w)(?:if|unless|whether|that|said|says?|claims?|claimed|den(?:y|ies|ied)|thinks?"
    r"|thought|believes?|believed|neither|nor|instead|wenn|falls|ob|dass|sagte?|behauptete?"
    r"|glaubte?|weder|statt|si|que|qu|dit|disent|pense|croit|ni|dice|dijo|cree|piensa|sino)(?!\w)"
    r"|如果|要是|除非|说|认为|以为"
)
_LINKS: Final = frozenset(
    "and but so then also still und aber dann auch et mais puis y e pero the le la les el".split()
) | frozenset("但是而且还仍然也就所以")


def _stretch(given: str) -> int:
    """How many times as long a text becomes in another script: Chinese takes few characters."""
    return 4 if re.search(r"[㐀-鿿]", given) else 1
