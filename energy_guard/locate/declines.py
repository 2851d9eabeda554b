"""Answers that only say that the model does not know, or cannot do what it was asked for.

They claim nothing about the world, if every clause of theirs is a phrase of a closed list with
nothing behind it but the question put indirectly. "The passage does not say" and
"nobody knows" are claims, and so is whatever stands beside a phrase of the list.

Languages: English, German, French, Spanish, Chinese.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Final

from energy_guard.locate.asking_back import answers_yes_or_no, is_lead, only_asks
from energy_guard.locate.offers import is_offer
from energy_guard.locate.patterns import Pattern
from energy_guard.locate.sentences import sentence_ranges
from energy_guard.locate.words import stem
from energy_guard.text import Range

_CLAUSE: Final = Pattern(
    r"(?i)(?:(?!,\s(?:wer|wen|wem|was|wann|wo|wohin|woher|welche[rsnm]?|warum|wie|ob)(?!\w))"
    r"[,;:.!?…¡¿。！？，；：、\n])+|\s[–—-]\s"
    r"|(?<!\w)(?:but|however|and|aber|und|mais|et|pero|sin embargo|y)(?!\w)|但是?|不过"
)
_REFUSES: Final = Pattern(
    r"""(?x)
      (?:unfortunately\ |sorry\ |i'm\ afraid\ (?:that\ )?)?(?:
        i\ (?:do\ not|don't|really\ don't|just\ don't)\ know
      | (?:i\ (?:cannot|can\ not|can't)|(?:i\ am|i'm)\ (?:not\ able|unable)\ to)\ (?:
          say|tell(?:\ you)?|answer|determine|know|help(?:\ you)?|assist(?:\ you)?
        | (?P<gives_en>give(?:\ you)?|provide(?:\ you\ with)?|recommend|suggest))
      | i(?:'m|\ am)\ not\ sure )
    | (?:leider\ )?(?:
        (?:das\ )?weiß\ ich(?:\ leider)?\ nicht | ich\ weiß(?:\ es|\ das)?(?:\ leider)?\ nicht
      | (?:ich\ kann|kann\ ich)(?:\ (?:dir|ihnen|euch|leider|das|es)){0,3}\ nicht
        \ (?:sagen|beantworten|wissen|bestimmen|helfen|weiterhelfen)
      | (?:dabei|damit|da)\ kann\ ich(?:\ (?:dir|ihnen|leider)){0,2}\ nicht\ (?:helfen
          |weiterhelfen)
      | ich\ bin(?:\ mir)?(?:\ (?:leider|da))?\ nicht\ sicher )
    | (?:malheureusement\ )?(?:
        je\ ne\ sais\ pas | je\ l'ignore | je\ ne\ suis\ pas\ sûre?
      | je\ ne\ peux\ pas(?:\ (?:vous|te))?\ (?:dire|répondre|aider|savoir|le\ dire
        |(?P<gives_fr>donner|fournir|recommander|conseiller)) )
    | (?:lamentablemente\ |desafortunadamente\ )?(?:
        no\ (?:lo\ )?sé | no\ estoy\ segur[oa]
      | no\ (?:te\ |le\ )?puedo\ (?:decir(?:te|le|lo)?|responder|ayudar(?:te|le)?|saber(?:lo)?
        |determinar|(?P<gives_es>dar(?:te|le)?|proporcionar(?:te|le)?|recomendar(?:te|le)?))
      | no\ (?:tengo\ la\ capacidad|soy\ capaz)\ de\ (?:decir(?:te)?|responder|saber|determinar
        |(?P<gives_able>recomendar|dar|proporcionar)) )
    """
)
"""The beginning of a clause that declines; `gives_…`: what is declined follows as an object."""

_REFUSES_ZH: Final = Pattern(
    r"(?:很?抱歉|对不起)?我(?:也|还|暂时|目前)?"
    r"(?:不知道|不清楚|不(?:能|太)?确定|(?:无法|不能)(?:确定|知道|判断|回答|告诉[你您]))"
    r"(?:(?:这个|您的|你的)?(?:问题|答案)|(?P<rest>.*[谁什么哪何多少几否怎].*))?"
)
_LACKS_ZH: Final = Pattern(
    r"(?P<i>我)?(?:并)?没有(?:自己的|具体的|个人的?)?(?:年龄|身体|性别|生日|身高|体重|信息|经历|实体)"
)
_LACKS: Final = Pattern(
    r"(?:i (?:do not|don't) (?:currently |actually )?have|i have no|i lack|(?:ich )?habe(?: ich)?"
    r"(?: leider)? keine[nr]?|je n'ai (?:malheureusement )?(?:pas|aucune?)|no tengo|no cuento con"
    r"|no dispongo de)(?!\w)"
)
_KNOWLEDGE: Final = frozenset(
    """access information info data knowledge details context informationen zugriff zugang daten
    kenntnis kenntnisse angaben accès informations données connaissance connaissances détails
    acceso información datos conocimiento detalles contexto
    age body gender alter altersangabe geschlecht körper âge corps edad cuerpo""".split()
)
"""What a model may say that it lacks, itself included."""
_OF_KNOWLEDGE: Final = _KNOWLEDGE | frozenset(
    """any enough the a an to or and of real time current live specific personal more such events
    keine zu auf und oder persönliche persönlichen aktuelle aktuellen genaue genauen genug à aux au
    de d des et ou assez personnelles actuelles ni a o y suficiente suficientes personales
    actuales tiempo eventos específicos historias internet""".split()
)
_ABOUT: Final = Pattern(
    r"\s(?:about|on|regarding|concerning|über|zu|darüber|sur|concernant|sobre|acerca de)(?=\s|,|\Z)"
)
"""What follows "I have no information": what it is about is named in words of the question."""

_THAT: Final = Pattern(r"\A\s(?:that|this)\s(?=information|data|knowledge|detail)")
_TO_TELL: Final = Pattern(
    r"\s(?:to|para|pour|um)\s(?:accurately |correctly )?(?:determine|answer|provide|give|responder"
    r"|determinar|répondre|déterminer)(?!\w)"
)
_NAMED: Final = Pattern(
    r"(?:(?:you|him|her|them)\ )?(?:your|his|her|their|its|the|tu|su|el|la|los|las|votre|ton|ta|son"
    r"|sa|le|les|ihre?n?|deine?n?|seine?n?) \p{Ll}+"
)
"""What a model has too little to tell: "your height", and nothing that is said of it."""

_ADVICE: Final = Pattern(
    r"(?:(?:any|specific|direct|medical|legal|financial|personal|real-time|an)\ ){0,2}"
    r"(?:answers?|information|advice|opinions?|details)"
    r"(?: (?:on|about|to|regarding|with) (?:\p{Ll}+ ){0,2}(?:matters|topics|questions|issues"
    r"|inquiries|events|this|that|it))?"
)
"""What a model does not give, by its kind."""

_PURPOSE: Final = Pattern(
    r"(?:my (?:(?:primary|main|only|sole) )?(?:function|purpose|role|goal|job) is"
    r"|i(?:'m| am) (?:here|designed|programmed|trained))"
    r" to (?:assist|help|provide|answer|support)(?: (?P<tail>.*))?"
)
_TAIL: Final = Pattern(
    r"(?:(?:you|your|users|people|with|in|on|or|to|of|a|the|any|other|wide|range|general"
    r"|knowledge|information|questions?|quer(?:y|ies)|inquiries|non-political|non|coding|code"
    r"|programming|software|development|tasks?|topics|problems|answers|technical|related"
    r"|various|assistance|support|guidance)(?: |\Z))+"
)
"""What a model says that it is for; what follows an "and" is only that if a purpose was before."""

_MACHINE: Final = Pattern(
    r"""(?x)(?:as|i'm|i\ am)\ (?:just\ |only\ )?an?\ (?:ai|artificial\ intelligence)
        (?:\ (?:language\ model|model|assistant))?
      | (?:als|ich\ bin)(?:\ nur)?(?:\ eine?)?\ (?:ki|ai|künstliche\ intelligenz)
        (?:[\ -](?:modell|sprachmodell|assistent(?:in)?))?
      | (?:en\ tant\ qu'|je\ (?:ne\ )?suis\ (?:qu')?)(?:une?\ )?
        (?:ia|(?:assistant|modèle)\ (?:ia|d'intelligence\ artificielle)|intelligence\ artificielle)
      | (?:como|soy)(?:\ una?)?\ (?:ia|inteligencia\ artificial
        |(?:asistente|modelo)\ de\ (?:ia|inteligencia\ artificial|lenguaje))"""
)
_MACHINE_ZH: Final = Pattern(
    r"(?:作为|我(?:只)?是)(?:一个|一名|一款)?(?:人工智能|ai)(?:语言)?(?:模型|助手|助理)?"
)
_ASKED: Final = Pattern(
    r"(?:who|whom|whose|what|when|where|which|why|how|whether|if|wer|wen|wem|was|wann|wo|wohin"
    r"|woher|welche[rsnm]?|warum|wie|ob|qui|quand|où|quelle?s?|pourquoi|comment|combien|si|quién"
    r"|quiénes|qué|cuándo|dónde|cuál|cuáles|cómo|cuánt[oa]s?|por\ qué)(?!\w)"
)
_POINTING: Final = Pattern(
    r"(?:(?:you\ )?(?:with|about|on|for|to|of)\ )?(?:the|that|this|it|your|any|an?)?\ ?"
    r"(?:answer|question|request|information)?(?:\ to\ (?:it|(?:that|this|your)(?:\ question)?))?"
    r"(?:\ for\ (?:sure|certain))?"
    r"|(?:das|es|dabei|damit)?(?:\ genau)?|(?:à\ (?:cela|cette\ question|votre\ question))?"
    r"|(?:con\ (?:eso|esto)|(?:a\ )?(?:eso|esa\ pregunta|tu\ pregunta))?"
)
_IT: Final = Pattern(r"(?:(?:you\ )?(?:that|this|it|any|das|es))?")
"""After a verb of giving: whether one may take it is answered by "I can't recommend it"."""

_LIGHT: Final = frozenset(
    """the a an of for to you your it der die das den dem ein eine einen dir ihnen le la les l un
    une des de du d vous te à el los las una unos unas del""".split()
)
_ANY: Final = frozenset(
    """any specific particular exact précis précise précises particulier particuliers específico
    específica específicos específicas ningún ninguna""".split()
)
"""What is not given is one of many: "I can't recommend aspirin" is advice."""

_POINTS: Final = frozenset("that this those these".split())

_WHICH: Final = Pattern(r"\W*(?!(?:whether|if|ob|si)(?!\w))" + _ASKED.text)
"""A question of which one: whether one may take it is answered by "I can't recommend any"."""

_NAMES: Final = Pattern(
    r"\W*(?:who|whose|what|which|wer|wessen|was|welche[rsnm]?|qui|quelle?s?|quién|qué|cuál)(?!\w)"
)
"""Questions whose answer is a thing: of when, how or why one gives it, a denial answers."""

_GIVES_ANYTHING: Final = Pattern(
    r"(?<!\w)(?:giv\w*|gave|provid\w*|suppl\w*|serv\w*|offer\w*|geb\w*|gib\w*|donn\w*|fourni\w*"
    r"|dar|da|dan|proporcion\w*)(?!\w)"
)
"""Questions of what is given, to whom: what one cannot give answers them."""

_SEVERAL: Final = Pattern(r"(?<!\w)(?:or|and|vs|oder|und|ou|et|o|u|y)(?!\w)|[,:;/]|还是|或者?")
"""More than one thing is asked about, so that one that is not given may be an answer."""

_OF_WORDS: Final = Pattern(
    r"(?i)[\"“”„«»「」『』]|(?<!\w)['‘‚]\w|(?<!\w)(?:mean(?:s|ing)?|say|phrase|word|words|title|song|lyrics|quote"
    r"|translat\w+|rewrite|repeat|bedeute[tn]?|heißt|sagt\ man|übersetz\w*|wiederhol\w*|titel"
    r"|signifie|veut\ dire|dit-on|tradui\w*|répète\w*|titre|significa|se\ dice|traduc\w*"
    r"|repite|título)(?!\w)|意思|翻译|怎么说|重复|歌名"
)
"""Questions about words: there, a phrase of the list may be what was asked for."""


def only_declines(question: str, answer: str) -> bool:
    """Return whether an answer only says that the model does not know or cannot do it.

    >>> only_declines("Who won the race?", "I'm sorry, but I don't know who won the race.")
    True
    >>> only_declines("Who won the race?", "I don't know. It was Anna.")
    False
    """
    if not question.strip() or _OF_WORDS.search(question):
        return False
    asked = question.lower().replace("’", "'")
    known = {stem(word) for word in _words(asked)}
    said = []
    for start, end in sentence_ranges(answer):
        sentence = answer[start:end]
        if not (re.search(r"[?？]\W*\Z", sentence) and only_asks(question, sentence)):
            said += _clauses(sentence)
    is_machine = any(_MACHINE_ZH.fullmatch(clause) for clause in said)
    beside = [
        clause for clause in said if not _declines(clause, asked, known, is_machine=is_machine)
    ]
    if not _OF_ITSELF.search(asked):
        beside = _without_purpose(beside)
    return (
        len(beside) < len(said)
        and not answers_yes_or_no(question, ". ".join(beside))
        and all(
            _MACHINE.fullmatch(clause)
            or _MACHINE_ZH.fullmatch(clause)
            or is_lead(clause)
            or (is_offer(clause) and not _ANSWERS.match(clause))
            for clause in beside
        )
    )


def beside_refusals(answer: str) -> list[Range]:
    """Return where an answer that declines says more than the phrases that are known to decline.

    >>> text = "I'm sorry, but I don't know who won."
    >>> [text[start:end] for start, end in beside_refusals(text)]
    [' who won']
    """
    lower = answer.lower().replace("’", "'")
    if len(lower) != len(answer):
        return [(0, len(answer))]
    edges = [0, *(edge for gap in _CLAUSE.finditer(lower) for edge in gap.span()), len(answer)]
    found = []
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        clause = lower[start:end]
        indent = len(clause) - len(clause.lstrip())
        refusal = _REFUSES.match(clause.lstrip()) or _REFUSES_ZH.match(clause.lstrip())
        if refusal:
            start += indent + refusal.end()
        elif is_lead(clause):
            continue
        if re.search(r"\w", lower[start:end]):
            found.append((start, end))
    return found


_ANSWERS: Final = Pattern(r"(?:when|whenever|is there|gibt es|y a-t-il|hay)(?!\w)")
"""Offers that answer: "whenever you need it", "hay algo"."""


def _clauses(sentence: str) -> list[str]:
    parts = (" ".join(part.split()) for part in _CLAUSE.split(sentence.lower().replace("’", "'")))
    return [part for part in parts if re.search(r"\w", part)]


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text)


def _declines(clause: str, asked: str, known: set[str], *, is_machine: bool) -> bool:
    """Whether a clause is a refusal with nothing behind it but what was asked.

    is_machine: another clause says in Chinese that a model speaks, and the subject may be left out.
    """
    lacks_zh = _LACKS_ZH.fullmatch(clause)
    if lacks_zh:
        return lacks_zh["i"] is not None or is_machine
    chinese = _REFUSES_ZH.fullmatch(clause)
    if chinese:
        return (chinese["rest"] or "") in re.sub(r"\s", "", asked)
    machine = _MACHINE.match(clause)
    clause = clause[machine.end() :].strip() if machine else clause
    refusal = _REFUSES.match(clause)
    lacks = _LACKS.match(clause)
    if refusal is None and lacks:
        return _is_of_knowledge(clause[lacks.end() :], asked, known)
    if refusal is None or re.match(r"\w", clause[refusal.end() :]):
        return False
    rest = clause[refusal.end() :].strip(" ,")
    gives = any(refusal[name] for name in refusal.groupdict())
    points = _POINTING.fullmatch(rest) and not (
        gives and _IT.fullmatch(rest) and not _WHICH.match(asked)
    )
    if points or _asks_again(rest, asked):
        return True
    if gives and _GIVES.search(refusal[0]) and _ADVICE.fullmatch(rest):
        return True
    words = set(_words(rest)) - _LIGHT
    if gives and _WHICH.match(asked) and {stem(word) for word in words - _ANY - _POINTS} <= known:
        return bool(words & _ANY) or _is_what_was_asked_for(refusal[0], rest, asked)
    return False


def _is_what_was_asked_for(refusal: str, rest: str, asked: str) -> bool:
    """Whether what is not provided is the answer itself: "the number of the mill", "that number".

    Not if giving is what the question is about, as in "What can I give my dog?", nor of more than
    one thing: there it answers.
    """
    return (
        _GIVES.search(refusal) is not None
        and _NAMES.match(asked) is not None
        and not _GIVES_ANYTHING.search(asked)
        and not _SEVERAL.search(asked)
        and (rest in asked or re.fullmatch(r"(?:that|this|those|these) \w+", rest) is not None)
    )


def _is_of_knowledge(lacked: str, asked: str, known: set[str]) -> bool:
    """Whether what a model says it lacks is information, about what was asked at the most."""
    lacked, *told = _TO_TELL.split(_THAT.sub(" ", lacked))
    if not all(_is_only_named(part.strip(" ,"), asked) for part in told):
        return False
    head, *about = _ABOUT.split(lacked)
    words = set(_words(head))
    named = " ".join(about).strip(" ,")
    is_named = not _SAYS_IT_IS.search(named) and all(
        stem(word) in known or word in _LIGHT | _OF_KNOWLEDGE for word in _words(named)
    )
    return (
        bool(words & _KNOWLEDGE)
        and words <= _OF_KNOWLEDGE
        and (is_named or _asks_again(named, asked))
    )


def _without_purpose(clauses: list[str]) -> list[str]:
    """The clauses but for those that say what a model is for."""
    kept: list[str] = []
    before = False
    for clause in clauses:
        purpose = _PURPOSE.fullmatch(clause)
        tail = purpose["tail"] if purpose else clause
        before = (before or purpose is not None) and (not tail or _TAIL.fullmatch(tail) is not None)
        if not before:
            kept.append(clause)
    return kept


_OF_ITSELF: Final = Pattern(r"(?<!\w)(?:you|your|purpose)(?!\w)")
_GIVES: Final = Pattern(r"give|provide|dar|proporcionar|donner|fournir")


def _is_only_named(told: str, asked: str) -> bool:
    return bool(
        _POINTING.fullmatch(told) or _NAMED.fullmatch(told) or _asks_again(told, asked)
    ) and not _SAYS_IT_IS.search(told)


_SAYS_IT_IS: Final = Pattern(
    r"(?<!\w)(?:is|are|was|were|ist|sind|war|waren|est|sont|était|es|son|era|fue|fueron)(?!\w)"
)


def _asks_again(clause: str, asked: str) -> bool:
    """Whether a clause is one of the question's, put indirectly: "who won the race".

    Words of two of them would make a statement: of "Who won, Ann or Ben?", "who won is Ben".
    """
    said = _words(clause)
    if not _ASKED.match(clause) or (len(said) <= _FEWEST and _WHETHER & set(said)):
        return False
    words = Counter(stem(word) for word in said if word not in _LIGHT | _WHETHER)
    return bool(words) and any(
        words <= Counter(map(stem, _words(part))) for part in _ONE_QUESTION.split(asked)
    )


_ONE_QUESTION: Final = Pattern(_CLAUSE.text + r"|(?<!\w)(?:or|oder|ou|o|u)(?!\w)|还是|或者?")
_FEWEST: Final = 2
"""Words of what is no question of whether: "if sugar", "si"."""
_WHETHER: Final = frozenset("whether if ob si".split())
"""Other question words have to stand in the question: "why it is so" says that it is."""
