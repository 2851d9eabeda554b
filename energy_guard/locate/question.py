"""What a question asks for: its kind, its options, and the words that it has itself.

A prompt may hold a passage before its question. Only the question's own words are known: what
the passage says can be the answer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from energy_guard.locate.language_of import language_of
from energy_guard.locate.languages import LANGUAGES, NO_BLANKS, Kind
from energy_guard.locate.patterns import Pattern
from energy_guard.locate.sentences import sentence_ranges
from energy_guard.locate.words import WORD, stem


@dataclass(frozen=True, slots=True)
class QuestionForm:
    """What is known of a question.

    text: the question itself, without a passage before it. kind: what it asks for. language: the
    table that read it. known: stems of its words, without those of its options. options: what it
    offers to choose from, each as the stems that tell it from the others. comparative: stems of
    words such as "older", if it compares. several, single: whether it asks for
    more than one thing, or for one of several. head: stem of the noun after
    "which" or "what".
    """

    text: str
    kind: Kind
    language: str
    known: frozenset[str]
    options: tuple[frozenset[str], ...]
    comparative: frozenset[str]
    several: bool
    single: bool
    head: str
    claims: bool


@lru_cache(maxsize=1024)
def read_question(asked: str) -> QuestionForm:
    """Return what a question asks for, read from its words alone.

    >>> read_question("Context: It rained in 1816. Question: Who wrote Emma?").kind
    'who'
    """
    text = _itself(asked)
    language = language_of(text)
    kind = _kind(text, language)
    options = _options(text, language) if kind != "open" and kind != "number" else ()
    offered = frozenset().union(*options)
    words = [match[0] for match in WORD.finditer(text)]
    light = LANGUAGES[language].function if language in LANGUAGES else frozenset()
    said = (word for word in words if word.casefold() not in light or word.isupper())
    known = frozenset(map(stem, said)) - offered
    comparative = frozenset(stem(word) for word in words if _COMPARES.fullmatch(word))
    several = _SEVERAL.search(text) is not None
    single = _SINGLE.match(text) is not None
    return QuestionForm(
        text,
        kind,
        language,
        known,
        options,
        comparative,
        several,
        single,
        head=_head(text),
        claims=kind == "yes or no" and _seeks_a_yes(text, language),
    )


def claim_in(asked: str) -> str:
    """Return the question in a prompt; what it says if it expects a yes, so that a "not" counts.

    >>> claim_in("Bats are blind, aren't they?"), claim_in("Isn't a whale a fish?")
    ('Bats are blind', 'Is a whale a fish?')
    """
    form = read_question(asked)
    if not form.claims:
        return form.text
    text, negated = form.text, _NEGATED.match(form.text)
    if negated:
        positive = negated["verb"].removesuffix(next(filter(None, negated.groups()[1:])))
        whole = {"ca": "can", "wo": "will"}.get(positive.casefold(), positive)
        text = text[: negated.start("verb")] + whole + text[negated.end("verb") :]
    return _RIGHT.sub("", _TAG.sub("", text)) or form.text


@lru_cache(maxsize=64)
def passage_in(asked: str) -> str:
    """Return the passage that stands before the question in a prompt; empty if there is none.

    Worked examples before it are not taken for one: what follows their last answer counts.

    >>> passage_in("The mill on Bell Street was built in 1822 by Jonas Reed. Who built it?")
    'The mill on Bell Street was built in 1822 by Jonas Reed.'
    """
    begins = _begins(asked)
    before = asked[_examples_end(asked, begins) : begins]
    if _INSIDE.search(asked) and not _MARKER.search(asked):  # the request goes on to the question
        *_, (last, _) = [(0, 0), *sentence_ranges(before)]
        before = before[:last]
    passage = _MARKS.sub("", before).strip()
    return passage if len(WORD.findall(passage)) >= _FEWEST_WORDS else ""


def without_examples(asked: str) -> str:
    r"""Return a prompt without the worked examples that stand before its question.

    >>> without_examples("Q: What is 1 + 1?\nA: 2\nQ: What is an elk?\nA:")
    'Q: What is an elk?\nA:'
    """
    return asked[_examples_end(asked, _begins(asked)) :].strip()


def _begins(asked: str) -> int:
    """Where the question itself begins in a prompt."""
    return max(asked.rfind(_itself(asked)), 0)


def _examples_end(asked: str, begins: int) -> int:
    """Where the answer to the last worked example before the question ends; 0 if there is none."""
    return max((match.end() for match in _ANSWERED.finditer(asked, 0, begins)), default=0)


_ANSWERED: Final = Pattern(r"(?im)^[ \t]*(?:answer|antwort|réponse|respuesta|a)[ \t]*[:：].*$")
_MARKS: Final = Pattern(r"(?i)(?:question|q)\s*[:：]\s*$")
_FEWEST_WORDS: Final = 10
"""Words of a passage; fewer are a greeting or a rule."""


_MARKER: Final = Pattern(
    r"(?i)(?:^|[\n.。!?])[ \t>#*]*(?:user |the )?(?:question|frage|pregunta|domanda|pergunta|вопрос"
    r"|问题|問題|質問|질문|คำถาม|سؤال|السؤال|प्रश्न|soru|pytanie|vraag|fråga|q)\s*\d*[*]*\s*[:：][*]*"
    r"\s*(?P<body>\S[^\n]*)"
)
_INSIDE: Final = Pattern(
    r"(?i)(?<!\w)(?:question|frage|pregunta|domanda|pergunta|вопрос|问题|問題|質問)\s*[:：]\s*"
    r"(?P<body>[^\n]+[?？؟]['\"”’)]*)\s*\Z"
)
"""A question at the end of a request: "Tell a story that answers a child's question: …?" """
_TAIL: Final = Pattern(r"(?i)\s*\b(?:answer|antwort|réponse|respuesta|a)\s*[:：]\s*$")
_ENDS_ASKING: Final = Pattern(r"[?？؟]!*['\"”’)\]*]*$")


def _itself(asked: str) -> str:
    """The question in a prompt: after "Question:", or the last sentence that asks."""
    asked = _TAIL.sub("", asked.strip())
    marked = list(_MARKER.finditer(asked))
    if marked:
        asked = marked[-1]["body"].strip()
    else:
        inside = _INSIDE.search(asked)
        asked = inside["body"].strip() if inside else asked
    ranges = sentence_ranges(asked)
    parts = [asked[start:end] for start, end in ranges]
    if len(parts) < 2:
        return asked
    asking = [number for number, part in enumerate(parts) if _ENDS_ASKING.search(part)]
    if asking:
        last = asking[-1]
        first = last - 1 if last and _TAG.match(parts[last]) else last  # it asks about what is said
        return asked[ranges[first][0] : ranges[last][1]]
    leading = [part for part in parts if _kind(part, language_of(part)) != "what"]
    return (leading or parts)[-1]


_POLITE: Final = Pattern(
    r"(?i)^(?:(?:hello|hi|hey|please|so|ok|okay|well|and|but|now|¿|¡|[\"'“(])[,!. ]*)*"
    r"(?:(?:can|could|would|do|will) you (?:please )?(?:tell me|say|know|explain|name)[,:]? "
    r"|(?:please )?tell me[,:]? |i(?:'d| would) like to know[,:]? |i wonder )?"
)


@lru_cache(maxsize=64)
def _patterns(language: str) -> tuple[tuple[Kind, Pattern], ...]:
    if language in NO_BLANKS:
        return tuple((kind, Pattern(p)) for kind, p in NO_BLANKS[language])
    table = LANGUAGES[language].asks
    return tuple((kind, Pattern(rf"(?i)(?<!\w)(?:{p})(?!\w)")) for kind, p in table)


def _kind(text: str, language: str) -> Kind:
    text = text[_POLITE.match(text).end() :]  # type: ignore[union-attr]  # it matches nothing too
    table = LANGUAGES.get(language)
    if _begins_with_a_verb(text, language) or _NEGATED.match(text):
        return "yes or no"
    found: list[tuple[int, int, Kind]] = []
    for number, (kind, pattern) in enumerate(_patterns(language)):
        match = pattern.search(text)
        if match:
            found.append((match.start() if table else 0, number, kind))
    if _claims(text, language, found):
        return "yes or no"
    if not found:
        return "what"
    kind = min(found)[2]
    if kind in ("what", "which") and _ASKS_PLACE.search(text):
        return "where"
    if kind == "what" and _DEFINES.match(text):
        return "open"
    return kind


_WHO: Final = "it|they|he|she|we|i|there|that|this"
_TAG: Final = Pattern(
    rf"""(?xi)(?:^|[,;.!–—]\s*|\s-+\s*|\()
    (?: right | correct | true | yes | no | agreed? | makes?\ sense | am\ i\ (?:right|not)
      | (?:is|isn['’]?t|was|wasn['’]?t)\ (?:that|this|it)\ (?:right|true|correct|so)
      | (?:do|don['’]?t|would|wouldn['’]?t)\ you\ (?:agree|think\ so)(?:\ too|\ with\ me)?
      | don['’]?t\ you\ think
      | (?:is|are|was|were|do|does|did|has|have|had|must|should|ai)(?:n['’]?t)?\ (?:you|{_WHO})
        (?:\ not)?
      | (?:can|can['’]?t|will|won['’]?t|(?:could|would)(?:n['’]?t)?)\ (?:{_WHO})(?:\ not)?
      | can['’]?t\ you
      | oder(?:\ nicht)? | nicht\ wahr | richtig | stimmt['’]?s? | n['’]est-ce\ pas | pas\ vrai
      | ¿?(?:verdad|cierto|no|no\ es\ así) | vero | giusto | né | certo | não\ é | toch | niet\ waar
      | non | eller\ hur | prawda | değil\ mi | правда | верно | не\ так\ ли
    )\s*[?？!]+[)\]]*$"""
)
"""How an asker wants to be told that a claim is so; by itself, it is about the sentence before.
"can you?" and "will you?" are left out: they ask for something to be done."""

_RIGHT: Final = Pattern(
    r"(?i)(?<!\b(?:or|is|are|was|were|be|the|left|my|your|its|turn|all))\sright\s*[?？]+$"
)
"""The same without a comma, which is a claim only if nothing else asks."""

_SETS_A_TASK: Final = Pattern(r"^[^:?!.,\n]{1,80}:\s")
_ASKS_WHAT_IS_KNOWN: Final = Pattern(r"(?i)\byou (?:do not |don['’]?t )?(?:know|remember|recall)\b")

_NEGATED: Final = Pattern(
    r"(?i)^(?:(?:so|and|but|well)\b[, ]*)*(?P<verb>(?:is|are|was|were|does|did|has|have|could|would"
    r"|should)(?P<no>n['’]?t)|ca(?P<can>n['’]?t)|wo(?P<will>n['’]?t)"
    r"|do(?P<not>n['’]?t)(?= (?:you|they|we|i|the|all|most|many|these|those|people|\w+s)\b))\b"
)
"""How a question begins that expects a yes ("Isn't it true that …?")."""


def _begins_with_a_verb(text: str, language: str) -> bool:
    """Whether a question begins as those do that are answered by yes or no."""
    first, table = WORD.search(text), LANGUAGES.get(language)
    return bool(table and first and first[0].casefold() in table.auxiliaries)


def _seeks_a_yes(text: str, language: str) -> bool:
    """Whether a question of yes or no says what its asker takes for true."""
    if _NEGATED.match(text) or _TAG.search(text):
        return True
    return _RIGHT.search(text) is not None and not _begins_with_a_verb(text, language)


def _claims(text: str, language: str, found: list[tuple[int, int, Kind]]) -> bool:
    """Whether a text says something, and only wants to be told that it is so."""
    if _SETS_A_TASK.match(text):
        return False
    if not found:
        return bool(_TAG.search(text) or _RIGHT.search(text))
    if not _TAG.search(text) or _ASKS_WHAT_IS_KNOWN.search(text):
        return False
    at, _, kind = min(found)
    if at or kind not in ("when", "where") or language != "en":
        return bool(at)
    _, second, *_ = [*WORD.findall(text), ""]  # "When water boils, …" tells when, and does not ask
    return second.casefold() not in LANGUAGES[language].auxiliaries


_DEFINES: Final = Pattern(r"(?i)(?:what(?: is|'s| are)|was (?:ist|sind)) (?!the\b|your\b)")
_COMPARES: Final = Pattern(
    r"(?i)[a-z]{2,}(?:er|est)|more|less|fewer|better|worse|most|least|first|earlier|later"
)
_SEVERAL: Final = Pattern(
    r"(?i)\b(?:(?:which|what)(?: (?:two|three|four|five|six))?|(?:name|list|give)(?: me)?"
    r"(?: (?:the|all|some|two|three|four|five|six|seven))?(?: \w+)?)"
    r" (?!(?:was|does|has|this)\b)\w+[^\Ws]s\b|\blist\b|\b(?:what|who) are\b"
    r"|\bnenne (?:drei|zwei)\b"
)


def _head(text: str) -> str:
    """The stem of the noun after "which" or "what"."""
    match = _HEAD.search(text)
    return stem(match[1]) if match else ""


_HEAD: Final = Pattern(
    r"(?i)\b(?:which|what|welche[rsnm]?|quelle?s?|qué|quale?|qual|welke?|как(?:ой|ая|ое|ом))\s"
    r"(?!(?:is|are|was|were|did|do|does|the|has|have|can|will|would|year|kind|type|sort)\b)"
    r"(?:(?:\w+(?:ish|ese|ian|can|al|an|ous|ic))\s)?(\p{Ll}[\w-]+)"
)
_ASKS_PLACE: Final = Pattern(
    r"(?i)\b(?:in|at|on|from|to|into|near|through|of|under) (?:which|what)\b"
    r"|(?<!\b(?:good|bad|best|better|skilled))\s(?:in|at|from|to|on|into|through)\s*[?？]?$"
    r"|\b(?:in|an|auf|aus) welche\w+|\b(?:en|dans|à|de) quel|\ben qué\b"
    r"|\bin (?:quale|che)\b|\bem qu|(?<!\w)в как"
    r"|\b(?:which|what) (?:city|country|town|state|village|continent|region|county"
    r"|place|island|ocean|river|sea|province|district|part)\b"
)
_SINGLE: Final = Pattern(r"(?i)(?:name|give|tell|state)(?: me)? (?:one|an?|any)\b|nenne eine?n?\b")
_OR_IN: Final = {
    "en": "or", "de": "oder", "fr": "ou", "es": "o", "it": "o", "pt": "ou", "nl": "of",
    "sv": "eller", "pl": "czy", "tr": "veya", "vi": "hay", "id": "atau", "ru": "или", "ar": "أم",
    "hi": "या",
}  # fmt: skip


def _options(text: str, language: str) -> tuple[frozenset[str], ...]:
    """The options of "A, B or C", each as the stems that the others do not have."""
    if language not in _OR_IN:
        return ()
    match = re.search(rf"(?i),?\s+{_OR_IN[language]}\s+", text)
    if match is None:
        return ()
    light = LANGUAGES[language].function
    left, right = text[: match.start()], text[match.end() :]
    parts = re.split(r"\s*[,:;]\s+", left)[1:] or [_near(left, light, last=True)]
    parts.append(_near(right, light, last=False))
    stems = [{stem(m[0]) for m in WORD.finditer(part)} - light for part in parts]
    shared = set.intersection(*stems)
    told = tuple(frozenset(own - shared) for own in stems)
    return told if all(told) and len(told) > 1 else ()


def _near(side: str, light: frozenset[str], *, last: bool) -> str:
    """The option on one side of "or": its name, or the word next to it."""
    side = re.split(r"[?？,;:.](?:\s|$)", side)[-1 if last else 0]
    words = list(WORD.finditer(side))
    if not words:
        return ""
    if not last:
        while len(words) > 1 and words[0][0].casefold() in light:
            words = words[1:]
        end = 1
        while end < len(words) and (
            words[end][0][0].isupper() or words[end - 1][0].casefold() in ("of", "the")
        ):
            end += 1
        return side[words[0].start() : words[end - 1].end()]
    start = len(words) - 1
    while start > 1 and words[start][0][0].isupper() and words[start - 1][0][0].isupper():
        start -= 1
    return side[words[start].start() : words[-1].end()]
