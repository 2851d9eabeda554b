"""Answers that only ask back: "Which year do you mean?" claims nothing.

Languages: English, German, French, Spanish, Chinese. A question that tells something ("Did you
know that …?", "Isn't Lyon the capital?") is none of these.
"""

from __future__ import annotations

import re
from typing import Final

from energy_guard.locate.patterns import Pattern
from energy_guard.locate.sentences import sentence_ranges
from energy_guard.locate.smalltalk import is_small_talk, plain_clauses
from energy_guard.locate.turned_round import numbers_in

_TO_USER: Final = Pattern(
    r"(?i)(?<!\w)(?:you|your|yours|shall i|should i|can i|may i|du|dich|dir|deine?[rnms]?|sie"
    r"|ihnen|ihre?[rnms]?|soll ich|kann ich|worum geht|tu|te|toi|ton|ta|vous|votre|vos|usted"
    r"|ustedes|tú|su|tus|quieres|prefieres|necesitas|buscas|prefiere|puedo|podrías|podría|puedes|puede|estás|te)(?!\w)|[你您]|请问"
)
_TELLS: Final = Pattern(
    r"""(?xi)(?<!\w)(?:(?:did|do|didn't|don't)\ you\ know|knew|aware|remember|heard|believe|isn't
      |aren't|wasn't|weren't|doesn't|didn't|not|because|since|although|as|whose|that|while|so
      |caus(?:e|es|ed|ing)|cur(?:e|es|ed|ing)|kill(?:s|ed|ing)?|verursach\w*|heil(?:t|en|te|ten)
      |causée?s?|provoquée?s?|causó|causada?|provocó|provocada?|(?:the|an?)\ \w+\ (?:your?|i)
      |who(?!\ (?:do|did|are|would|should)\ you)|wusstest|wussten|weißt|wissen|nicht|weil|da|dass
      |obwohl|sabías|sabes|sabía|porque|aunque|savais|savez|sais|parce)(?!\w)
      | (?<!\w)(?:it\ (?:is|was)|(?:can|may|should|shall|could)\ i
        \ (?:say|tell|assure|inform|confirm|state|add)|would\ you\ (?:say|agree|accept)
        |darf\ ich\ \w+\ (?:sagen|versichern)|puedo\ (?:decir|asegurar)\w*
        |puis-je\ (?:vous\ |te\ )?(?:dire|assurer))(?!\w)
      | ,\ (?:the|a|an|der|die|das|ein|eine|el|la|los|un|una|le|les|une|right|oder|verdad|no)(?!\w)
      | 知道 | 难道 | 不是 | 因为 | 导致"""
)
_CLARIFIES: Final = Pattern(
    r"(?i)(?:please |could you |can you |would you )*(?:give|tell|provide|share|clarify|specify)"
    r"(?: me| us)?(?: (?:a |some |any )?(?:bit )?(?:more|further)?)? ?(?:context|details?"
    r"|information)"
    r"(?: (?:please|first|about (?:it|that|this)))?[.!]?"
)
_AGREES: Final = Pattern(
    r"""(?xi)(?<!\w)(?:of\ course|sure|certainly|absolutely|no\ (?:problem|worries|trouble)|not
      |(?:that|it)(?:'s|\ is)\ (?:ok|okay|all\ right|alright|fine)|all\ good|ja|nein|natürlich|klar
      |selbstverständlich|kein\ problem|pas\ de\ (?:souci|problème)|claro|por\ supuesto
      |no\ hay\ problema)(?!\w) | 当然 | 好的 | 没问题 | 没事 | 没关系"""
)
_PRAISES: Final = Pattern(
    r"(?i)(?<!\w)(?:great|ok|okay|perfect|awesome|cool|nice|good|got it|wonderful|excellent"
    r"|all right|alright|helpful|useful|well|gerne?|bien)\s*(?:[,;:.!?…]|\Z)"
)
"""Small talk that would answer a question of yes or no; the former agrees to what was told, too."""

_HELP: Final = Pattern(
    r"(?i)(?<!\w)(?:help|assist|assistance|advice|question|favou?r|i (?:want|need)|i'd like"
    r"|i would like|hilf\w*|helfen|rat|frage|ich (?:brauche|möchte|will)|aide[rz]?|aides|conseil"
    r"|je (?:voudrais|veux)|j'ai besoin|ayud\w*|consejo|pregunta|duda|quiero|necesito"
    r"|me gustaría)(?!\w)|帮|问题|建议|我想|我要"
)
_WHO_OR_WHAT: Final = Pattern(
    r"(?i)\W*(?:who|whom|whose|what|when|where|which|why|how|wer|wen|wem|was|wann|wo|wohin"
    r"|woher|welche[rsnm]?|warum|wie|qui|quand|où|quelle?s?|pourquoi|comment|combien|de quel"
    r"|quién|quiénes|qué|cuándo|dónde|cuál|cuáles|cómo|cuánt[oa]s?|a qué)(?!\w| if\b)"
    r"[^,;:]*|[^，。：]*(?:谁|什么|哪|多少|多大|几)[^，。：]*"
)
_MAY_YOU: Final = Pattern(
    r"(?i)\W*(?:(?:can|could|would|will) (?:you|i)|may i|kannst du|könntest du|können sie"
    r"|könnten sie|darf ich|kann ich|peux-tu|pouvez-vous|pourriez-vous|tu peux|vous pouvez"
    r"|puedes|podrías|puede usted|me puedes)(?!\w)|\W*(?:请问)?(?:你|您)?(?:可以|能|能不能)"
)
_KNOWS: Final = Pattern(
    r"(?i)(?<!\w)(?:if|whether|that|know|ob|dass|wenn|wissen|si|que|savoir|saber)(?!\w)"
    r"|是不是|是否|知道"
)
_LONGEST_PLEA: Final = 12
"""Words of a plea for help; longer ones tell or ask something else as well."""

_LONGEST: Final = 24
"""Words of a question that is asked back; longer ones tell something."""


def asks_back(question: str, answer: str) -> bool:
    """Return whether an answer is nothing but a question to the one who asked.

    >>> asks_back("Who won?", "Sure! Which year do you mean?")
    True
    >>> asks_back("Who won?", "Did you know that France won?")
    False
    """
    if not question.strip() or not re.search(r"[?？]", answer):
        return False
    said = [answer[start:end] for start, end in sentence_ranges(answer)]
    asking = [sentence for sentence in said if re.search(r"[?？]\W*\Z", sentence)]
    return (
        bool(asking)
        and not answers_yes_or_no(question, answer)
        and all(
            only_asks(question, sentence) if sentence in asking else _leads(sentence)
            for sentence in said
        )
    )


def _leads(sentence: str) -> bool:
    return is_lead(sentence) or _CLARIFIES.fullmatch(sentence) is not None


def is_lead(text: str) -> bool:
    """Return whether a text is only what leads to something else: a greeting, a thank-you, a sorry.

    Other small talk would answer who, when or how: "Anytime!", "Everyone.", "Very good."

    >>> is_lead("Sorry, I'm happy to help!"), is_lead("Anytime!")
    (True, False)
    """
    clauses = plain_clauses(text)
    return bool(clauses) and all(_LEADS.fullmatch(clause) for clause in clauses)


_LEADS: Final = Pattern(
    r"""(?x)(?:hello|hi|hey)(?:\ there)?|please
      | (?:(?:i'm|i\ am)\ )?(?:so\ |very\ |really\ )?sorry
        (?:\ about\ that|\ for\ (?:the|any|my)\ (?:confusion|inconvenience|trouble|mistake|delay))?
      | (?:my\ )?apologies(?:\ for\ (?:the|any)\ (?:confusion|inconvenience))?|excuse\ me
      | (?:thank\ you|thanks)(?:\ (?:so|very)\ much|\ a\ lot)?(?:\ for\ (?:asking|your\ question))?
      | of\ course|sure(?:\ thing)?|certainly|absolutely|(?:great|good|excellent)\ question
      | (?:(?:i'd|i\ would|i'll|i\ will)\ be|i'm|i\ am)\ (?:very\ |more\ than\ |always\ )?
        (?:happy|glad|pleased|here)\ to\ (?:help|assist)(?:\ you)?(?:\ out)?
        (?:\ with\ (?:that|it|this|your\ \w+))?
      | i\ can\ (?:help|assist)(?:\ you)?(?:\ with\ (?:that|it|this))?
      | hallo|servus|(?:es\ )?tut\ mir\ (?:sehr\ |wirklich\ )?leid|entschuldigung|verzeihung
      | (?:vielen\ |herzlichen\ )?dank|danke(?:schön)?|ja|natürlich|klar|selbstverständlich|gerne?
      | ich\ (?:kann|helfe)\ (?:dir|ihnen|euch)(?:\ (?:gerne?|natürlich|dabei|damit|weiter))*
        (?:\ (?:helfen|weiterhelfen))?
      | bonjour|salut|(?:je\ suis\ )?(?:vraiment\ |sincèrement\ )?(?:désolée?|navrée?)
      | merci(?:\ beaucoup)?
      | hola|lo\ siento(?:\ mucho)?|disculpa|disculpe|perdón|(?:muchas\ )?gracias
      | claro(?:\ que\ sí)?|por\ supuesto
      | (?:puedo|estaré\ encantad[oa]\ de|voy\ a)\ ayudar(?:te|le)(?:\ con\ (?:eso|esto|ello))?
      | je\ (?:peux|vais)\ (?:vous\ |t'|te\ )aider(?:\ avec\ plaisir)?
      | [你您]好|(?:很|非常)?(?:抱歉|对不起)|谢谢[你您]?|好的|当然(?:可以)?"""
)
_PARTS: Final = Pattern(r"[,;:¿!，；：！、\n]+|\s*[–—]\s*|\s-+\s")
_PLEASE: Final = Pattern(r"(?i)\W*(?:please|bitte|por favor|s'il (?:te|vous) plaît|请)\W*")
_STARTS: Final = Pattern(
    r"""(?xi)\W*(?:
      (?:(?:in|at|on|to|for|from|with|of|by|about)\ )?(?:who|whom|whose|what|when|where|which|why
        |how)(?:'s|'re)?
      | can|could|would|will|do|does|did|are|is|was|were|have|has|may|should|shall|am
      | (?:(?:an|auf|aus|bei|für|in|mit|nach|von|zu|über|um)\ )?(?:wer|wen|wem|was|wann|wo|wohin
        |woher|welche[rsnm]?|warum|wie|worum|womit|wobei|wofür|wozu|worüber|worauf|wonach)
      | kannst|kann|können|könntest|könnten|möchtest|möchten|willst|wollen|meinst|meinen|hast|haben
      | bist|sind|brauchst|brauchen|suchst|suchen|darf|soll|gibt|sprichst|sprechen|kommst
      | (?:(?:à|de|en|dans|pour|avec|sur)\ )?(?:qui|que|quoi|quand|où|quel(?:le)?s?|pourquoi|comment
        |combien)|est-ce\ (?:que|qu)
      | (?:vous\ |tu\ )?(?:voulez|souhaitez|parlez|cherchez|pouvez|pourriez|veux|souhaites|parles
        |cherches|peux|pourrais)|(?:avez|êtes|as|es)-(?:vous|tu)|puis-je
      | (?:(?:a|de|en|con|para|por|sobre)\ )?(?:qué|cuál|cuáles|quién|quiénes|cuándo|dónde|cómo
        |cuánt[oa]s?)
      | (?:me\ )?(?:podrías|podría|puedes|puede|puedo)|quieres|quiere|prefieres|prefiere|necesitas
      | necesita|buscas|busca|tienes|tiene|te\ refieres|se\ refiere|deseas|desea|te\ gusta\w*|hay
      )(?![\w])
      | \W*(?:请问|[你您]|什么|哪|谁|有什么|有哪|能|可以|是否|需要)"""
)
"""How a question begins: nothing can be said before it."""


def answers_yes_or_no(question: str, answer: str) -> bool:
    """Return whether an answer has an "Of course!" in it that answers what was asked or told.

    Not so after a plea for help, nor after questions of who, what or when.

    >>> answers_yes_or_no("Is it flat?", "Of course!"), answers_yes_or_no("Help me", "Of course!")
    (True, False)
    """
    answer = answer.replace("’", "'")
    parts = [question[start:end] for start, end in sentence_ranges(question)]
    plain = [is_small_talk(part) or _WHO_OR_WHAT.fullmatch(part) or _pleads(part) for part in parts]
    if all(plain):
        return False
    asks = re.search(r"[?？]", question)
    return bool(_AGREES.search(answer) or (asks and _PRAISES.search(answer)))


def _pleads(sentence: str) -> bool:
    """Whether a sentence only says that its writer wants something."""
    sentence = sentence.replace("’", "'")
    asks = re.search(r"[?？]\W*\Z", sentence) is not None
    return (
        _HELP.search(sentence) is not None
        and len(re.findall(r"\w+", sentence)) <= _LONGEST_PLEA
        and not _KNOWS.search(sentence)
        and (not asks or _MAY_YOU.match(sentence) is not None)
    )


def only_asks(question: str, sentence: str) -> bool:
    """Return whether a sentence asks its reader something, and tells nothing.

    Args:
        question: what it says is no news.
        sentence: it ends with a question mark.
    """
    *before, last = [part for part in _PARTS.split(sentence) if re.search(r"\w", part)] or [""]
    while before and _PLEASE.fullmatch(last):
        last = before.pop()
    if not all(map(is_lead, before)):
        return False
    if is_small_talk(last):
        return True
    if not _STARTS.match(last):
        return False
    known = {word.casefold() for word in re.findall(r"\w+", question)} | {"i", "sie", "ihnen"}
    words = re.findall(r"\w+", sentence)
    news = [
        w for w in words[1:] if w[0].isdigit() or (w[0].isupper() and not _GERMAN.search(sentence))
    ]
    if any(word.casefold() not in known for word in news) or len(words) > _LONGEST:
        return False
    if numbers_in(sentence) - numbers_in(question):
        return False
    return _TO_USER.search(sentence) is not None and not _TELLS.search(sentence.replace("’", "'"))


_GERMAN: Final = Pattern(
    r"(?i)\b(?:meinst|meinen|möchtest|möchten|welche[rsnm]?|der|die|das|worum|womit|was|wie|ich)\b"
)
"""Words of German, whose nouns all have a capital."""
