"""Sentences that say back what the user has just told: "I'm sorry that you lost your key."

Languages: English, German, French, Spanish, Chinese.
"""

from __future__ import annotations

import re
from typing import Final

from energy_guard.locate.patterns import Pattern

_FEELS: Final = Pattern(
    r"""(?x)\W*(?:
      (?:oh\ no[,.!]?\ )?(?:i'm|i\ am)\ (?:so\ |very\ |really\ )?(?:sorry|glad|happy|pleased)
      (?:\ to\ (?:hear|learn))?(?:\ that)?
    | (?:es\ )?(?:tut\ mir\ (?:sehr\ )?leid|freut\ mich)(?:\ zu\ hören)?,?\ dass
    | je\ suis\ (?:vraiment\ )?(?:désolée?|ravie?|content[e]?)\ (?:d'apprendre\ |d'entendre\ )?que?
    | (?:siento|lamento|me\ alegra)(?:\ mucho)?(?:\ (?:oír|escuchar|saber))?\ que
    | (?:很|非常|真)?(?:抱歉|遗憾|高兴)(?:听到|得知)?)(?=\W|[你您])(?P<told>.+)"""
)
_END: Final = Pattern(r"[,;:.!?…¡¿。！？，；：、\n]+")

_SPEAKER: Final[dict[str, str]] = {
    word: sense
    for sense, words in {
        "person": "i me my you your ich mich mir mein meine meinen meiner meinem du dich dir dein "
        "deine deinen deiner deinem sie ihnen ihr ihre ihren ihrer ihrem j je me mon ma mes vous "
        "te tu ton ta tes votre vos yo mi mis usted su sus 我 你 您",
        "be": "am are was were bin bist sind war warst waren suis es êtes étais étiez soy eres "
        "estoy estás está estés esté",
        "have": "have has had habe hast haben hatte hattest hatten ai as avez ayez he has ha "
        "hayas haya",
    }.items()
    for word in words.split()
}
"""Words that change when another says the same: to whom they point, not what they say."""


def is_told_back(told: str, sentence: str) -> bool:
    """Return whether a sentence is sorry or glad about what the user stated, in the same words.

    A clause of the user's has to come back whole and in order, and to begin with the one who told
    it. What was asked is not told, so a text with a question has none.

    >>> is_told_back("Sorry, I lost my key.", "I'm sorry to hear that you lost your key.")
    True
    >>> is_told_back("Is it true that I lost my key?", "I'm sorry that you lost your key.")
    False
    """
    felt = _FEELS.fullmatch(_END.sub(",", sentence.lower().replace("’", "'")).strip(" ,"))
    if felt is None or re.search(r"[?？؟]", told):
        return False
    said = _senses(felt["told"])
    clauses = (_senses(part) for part in _END.split(told.lower().replace("’", "'")))
    return any(
        clause[:1] in (["person"], ["have"], ["be"])
        and said in (clause, [*clause[:1], *clause[2:], *clause[1:2]])  # German: its verb last
        for clause in clauses
    )


def _senses(text: str) -> list[str]:
    """The words of a clause, those for the speaker and the hearer in one form; hanzi one by one."""
    text = re.sub(r"(?<!\w)(i|you)'(?:m|re)(?!\w)", r"\1 am", text)
    text = re.sub(r"(?<!\w)(i|you)'ve(?!\w)", r"\1 have", text)
    words = re.findall(r"[㐀-鿿]|[^\W㐀-鿿]+", text)
    return [_SPEAKER.get(word, word) for word in words]
