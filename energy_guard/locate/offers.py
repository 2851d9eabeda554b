"""Offers of help, as word lists: "If you need anything else, please don't hesitate to ask."

There are more ways to offer help than phrases that could be listed. A clause is an offer if it
begins like one and has no word but those that offers are made of, none of which says anything
about the world.

Languages: English, German, French, Spanish, Chinese.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from energy_guard.locate.patterns import Pattern


@dataclass(frozen=True)
class _Offers:
    """How offers begin, and all words that they may have."""

    begins: Pattern
    words: frozenset[str]


def _read(begins: str, words: str) -> _Offers:
    return _Offers(Pattern(rf"(?:{begins})(?!\w)"), frozenset(words.split()))


_LANGUAGES: Final = (
    _read(
        r"(?:if|whenever|when|should) (?:you|there)|(?:and )?(?:please |just )*(?:feel free"
        r"|don't hesitate|do not hesitate|let me know|reach out|ask)|is there"
        r"|i(?:'m| am) (?:always )?(?:here|happy|ready|glad|available)"
        r"|i(?:'ll| will|'d| would) be (?:here|happy|glad)|i (?:can|could|may) (?:help|assist)"
        r"|(?:how|what)(?: else)? (?:can|may|could) i",
        """if when whenever should you your you're need have want would you'd like ever there is
        are any anything something some else more other further additional question
        questions help assistance assist support information info details clarification
        concern concerns request requests to ask asking me i i'm i'll i'd am be for with
        about on it this that them know let feel free don't hesitate do not please just
        reach out contact again anytime any time at here happy glad ready available
        always or and the a an of in specific particular what how can may could today
        now provide need's task tasks moment""",
    ),
    _read(
        r"(?:wenn|falls|sofern) (?:du|sie|es)|solltest du|sollten sie|(?:bitte )?(?:lass|lassen sie"
        r"|melde dich|melden sie sich|frag|fragen sie|zögere|zögern sie)|ich (?:bin|helfe|stehe"
        r"|freue mich) (?:dir|ihnen|euch|gern|gerne|hier|da|immer|jederzeit|darauf|zur)"
        r"|(?:wie|womit|wobei|was) (?:kann|darf|könnte) ich|gibt es|dann (?:stelle?|stellen|frag)",
        """wenn falls sofern solltest sollten du sie dir ihnen dich euch noch weitere weiteren
        andere anderen mehr irgendwelche fragen frage etwas hilfe unterstützung
        informationen anliegen zu benötigst benötigen brauchst brauchen hast haben
        möchtest möchten wissen lass lassen es mich bitte einfach gerne gern jederzeit
        melde melden sich bei mir frag zögere zögern nicht stehe zur verfügung bin da
        für helfen weiterhelfen weiter unterstützen ich kann darf könnte freue darauf
        dann stelle stell
        sein hier um auch heute dabei damit mit was wie womit wobei tun behilflich gibt
        sonst das oder und bestimmtes jetzt immer bereit stellen kontaktieren wann""",
    ),
    _read(
        r"si (?:vous|tu|jamais)|n'hésitez|n'hésite|(?:faites|fais|dites|dis)-(?:le-)?moi"
        r"|je (?:suis|serai|serais|reste) (?:là|ici|à|toujours|heureux|heureuse|ravie?|disponible)"
        r"|(?:comment|en quoi|que|avec quoi) (?:puis-je|pourrais-je|je peux)|y a-t-il",
        """si vous tu jamais avez as d'autres d'autre des une autre autres question questions
        besoin d'aide aide d'informations informations supplémentaires plus de n'hésitez
        n'hésite pas à me te le la les demander poser contacter faire savoir revenir
        faites-moi fais-moi dites-moi dis-moi dites-le-moi je suis serai serais reste là
        ici toujours heureux heureuse ravi ravie disponible pour aider t'aider votre ta
        ton service disposition comment en quoi que avec puis-je pourrais-je peux être
        utile quelque chose y a-t-il moi ou et quoi d'une d'assistance assistance
        préoccupations aujourd'hui""",
    ),
    _read(
        r"si (?:tienes|tiene|necesitas|necesita|hay|quieres|quiere|deseas|desea|surge)|no (?:dudes"
        r"|dude)|por favor no (?:dudes|dude)|(?:dime|dígame|avísame|házmelo|hazme)|(?:estoy|estaré"
        r"|estaría) (?:aquí|siempre|encantad[oa]|feliz|listo|para|a)|aquí (?:estoy|estaré)"
        r"|(?:(?:en|con) qué(?: más)?|cómo) (?:puedo|te puedo|le puedo)|hay (?:algo|alguna)",
        """si tienes tiene necesitas necesita hay quieres quiere deseas desea surge algo alguna
        algún otra otras otro otros más cualquier cosa pregunta preguntas duda dudas
        consulta consultas ayuda asistencia información adicional adicionales no dudes
        dude en preguntar preguntarme preguntarlo hacerlas hacerla hacérmelas hacérmela
        decirme decírmelo escribirme contactarme consultarme pedirla pedirlo dime dígame
        avísame házmelo hazme saber estoy estaré estaría aquí siempre encantado
        encantada feliz listo para ayudarte ayudarle ayudar lo que a de tu su con qué
        cómo puedo te le servirte hoy por favor disposición o y la el sobre una un
        específica específico concreta concreto necesites necesite""",
    ),
)
_CHINESE: Final = Pattern(
    r"(?:如果|若|如)(?:你|您)?(?:还)?(?:有|需要|想)[有需要想任何其他别的更多问题进一步帮助协助信息了解或者和疑问支持时你您]*"
    r"|(?:请|欢迎)?(?:随时)(?:告诉|联系|问|向|提出|来)[我问提出来找提问你您的吧]*"
    r"|我(?:随时|会|将|很|都|可以|能)*(?:乐意|在这里|尽力|竭诚|为|帮|随时)[乐意在这里尽力竭诚为你您帮助提供服务支持解答问题的和]*"
)


def is_offer(clause: str) -> bool:
    """Return whether a clause in small letters only offers help.

    >>> is_offer("if you need anything else"), is_offer("if you need aspirin")
    (True, False)
    """
    if _CHINESE.fullmatch(clause):
        return True
    words = re.findall(r"[\w'-]+", clause)
    return any(
        language.begins.match(clause) is not None and language.words.issuperset(words)
        for language in _LANGUAGES
    )
