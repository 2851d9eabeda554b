"""How a labelled question is put to the model: one wording for each kind of question.

Two to four examples of our own come first: small models answer more briefly with them, and an
engine that keeps its cache within a session reads them once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final, Literal

from energy_guard.backends import Backend
from energy_guard.errors import InputError
from energy_guard.questions.grading.numbers import calculated
from energy_guard.questions.rows import Question
from energy_guard.request import Message, Request, Sampling

Kind = Literal["free", "choices", "passage", "calculation"]


@dataclass(frozen=True, slots=True)
class Wording:
    """The system prompt, worked examples (question, answer) and the room for an answer.

    raw: all of it is put as plain text that the model goes on with, for models without a chat
    template.
    """

    system: str
    examples: tuple[tuple[str, str], ...]
    max_tokens: int = 32
    raw: bool = False


Wordings = Mapping[Kind, Wording]
"""A wording for each kind of question."""


SYSTEM: Final = "Answer in one short sentence."
"""The system prompt of the shipped profiles, and of a profile whose maker names no other."""

EACH_KIND: Final = "one for each kind"
"""How files of answers call `WORDINGS`, which have no system prompt in common."""

_PLAIN_TEXT: Final = "plain text, "


def kind_of(row: Question) -> Kind:
    """Return which wording a row gets; its gold answers play no part.

    >>> kind_of(Question("1", "t", "Which city?", ("York",), choices=("York", "Ely")))
    'choices'
    """
    if row.offered:
        return "choices"
    if row.context:
        return "passage"
    return "calculation" if calculated(row.question) else "free"


def request_of(row: Question, wording: Wording | None = None) -> Request:
    """Make the request of a row; in a chat its passage is the request's context.

    wording: in the place of the one for its kind. It is answered greedily; what a policy draws
    when it asks again follows from the question alone, and not from that of another question.
    """
    wording = wording or WORDINGS[kind_of(row)]
    asked = row.question
    if row.offered:
        asked += f"\nChoose one: {_listed(row.offered)}."
    sampling = Sampling(seed=_seed(row))
    if wording.raw:
        passage = f"[1] {row.context}\n\n" if row.context else ""
        return Request.raw(
            _plain_opening(wording) + _plain(passage + asked),
            choices=row.offered,
            max_tokens=wording.max_tokens,
            stop=("\n",),
            sampling=sampling,
        )
    return Request.chat(
        [*_opening(wording), Message("user", asked)],
        context=(row.context,) if row.context else (),
        choices=row.offered,
        max_tokens=wording.max_tokens,
        sampling=sampling,
    )


def sharing(wording: Wording) -> tuple[Request, Request]:
    """Return two requests that begin as all of this wording do, and go on differently."""
    beginnings = ("a", "[1]")
    if wording.raw:
        opening = _plain_opening(wording)
        one, other = (Request.raw(f"{opening}{text}") for text in beginnings)
    else:
        turns = _opening(wording)
        one, other = (Request.chat([*turns, Message("user", text)]) for text in beginnings)
    return one, other


def alike(wording: Wording) -> Wordings:
    """Return the same wording for every kind of question."""
    return dict.fromkeys(WORDINGS, wording)


def few_shot(shots: int) -> Wordings:
    """Return wordings in plain text with so many worked examples each, as far as there are so many.

    >>> print(request_of(Question("1", "t", "Who?", ()), few_shot(1)["free"]).text)
    Answer the question with as few words as possible.
    <BLANKLINE>
    Question: What is the capital of Norway?
    Answer: Oslo
    <BLANKLINE>
    Question: Who?
    Answer:
    """
    return {
        kind: replace(wording, examples=wording.examples[:shots], raw=True)
        for kind, wording in WORDINGS.items()
    }


def in_chat(system: str = SYSTEM) -> Wordings:
    """Return the wordings of people who chat: their system prompt, and no examples.

    >>> in_chat("Be brief.")["free"].examples
    ()
    """
    return alike(Wording(system, (), max_tokens=48))


def as_made(system: str | None) -> Wordings:
    """Return how the questions of a profile were put: in a chat, or with each kind's own wording.

    Args:
        system: The profile's system prompt; None if it has none of its own.

    """
    return WORDINGS if system is None else in_chat(system)


def as_told(system: str | None, shots: int, *, otherwise: Wordings) -> Wordings:
    """Return how questions are put as the options `--system` and `--shots` say.

    Args:
        system: The system prompt; None if none is named.
        shots: Worked examples in plain text; 0 for a chat.
        otherwise: What holds if neither is named.

    Raises:
        InputError: Both are named.

    """
    if not shots:
        return otherwise if system is None else in_chat(system)
    if system is not None:
        raise InputError("--system goes with a chat, and --shots asks in plain text", "Give one.")
    return few_shot(shots)


def systems_of(recorded: str) -> tuple[str | None, ...]:
    """Return the system prompts of the wordings by this name; None for plain text."""
    if recorded == EACH_KIND:
        return tuple(wording.system for wording in WORDINGS.values())
    return (None if recorded.startswith(_PLAIN_TEXT) else recorded,)


def name_of(wordings: Wordings) -> str:
    """Say how questions are put, in the words that files of answers have."""
    first = wordings["free"]
    if first.raw:
        return f"{_PLAIN_TEXT}{len(first.examples)} examples"
    return EACH_KIND if wordings == WORDINGS else first.system


def with_rule(wording: Wording, rule: str) -> Wording:
    """Return a wording whose system prompt says a rule besides."""
    return replace(wording, system=f"{wording.system} {rule}") if rule else wording


def _opening(wording: Wording) -> list[Message]:
    turns = [Message("system", wording.system)] if wording.system else []
    for question, answer in wording.examples:
        turns += [Message("user", question), Message("assistant", answer)]
    return turns


def _plain_opening(wording: Wording) -> str:
    examples = "".join(f"{_plain(asked)} {said}\n\n" for asked, said in wording.examples)
    return f"{wording.system}\n\n{examples}"


def _plain(asked: str) -> str:
    """What is asked as plain text, with its passage before the word that marks the question."""
    passage, blank, question = asked.rpartition("\n\n")
    return f"{passage}{blank}Question: {question}\nAnswer:"


def _seed(row: Question) -> int:
    text = f"{row.question}\0{row.context or ''}"
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:4], "big")


def _listed(choices: Sequence[str]) -> str:
    return ", ".join(choices[:-1]) + " or " + choices[-1] if len(choices) > 1 else choices[0]


_RESERVE: Final = 64
"""Tokens for what may be said besides: a confidence target's rule, p(true), a retry's feedback."""


def fits_context(row: Question, backend: Backend, *, wordings: Wordings | None = None) -> bool:
    """Whether question, passage and answer fit the context; wordings: `WORDINGS` unless given."""
    request = request_of(row, (wordings or WORDINGS)[kind_of(row)])
    return backend.measure(request).room >= request.max_tokens + _RESERVE


WORDINGS: Final[Wordings] = MappingProxyType(
    {
        "free": Wording(
            "Answer the question with as few words as possible.",
            (
                ("What is the capital of Norway?", "Oslo"),
                ("who painted the girl with a pearl earring", "Johannes Vermeer"),
                ("In which year did the Berlin Wall fall?", "1989"),
                ("What is the chemical symbol for iron?", "Fe"),
            ),
        ),
        "choices": Wording(
            "Answer with one of the given choices.",
            (
                ("Which of these is a fruit?\nChoose one: cedar, apple or salmon.", "apple"),
                (
                    "Tom thanked Anna because he got a gift. Who got a gift?\n"
                    "Choose one: Anna or Tom.",
                    "Tom",
                ),
                (
                    'Is the feeling of this text good or bad: "What a lovely day we had!"\n'
                    "Choose one: bad or good.",
                    "good",
                ),
            ),
        ),
        "passage": Wording(
            "Answer the question from the passage with as few words as possible.",
            (
                (
                    "[1] The mill on Bell Street was built in 1822 by Jonas Reed, who sold it "
                    "ten years later.\n\nWho built the mill on Bell Street?",
                    "Jonas Reed",
                ),
                (
                    "[1] The lake freezes in December. In spring it is a stop for cranes on "
                    "their way north.\n\nWhen does the lake freeze?",
                    "in December",
                ),
            ),
        ),
        "calculation": Wording(
            "Answer with a number.",
            (
                (
                    "Lena has 4 boxes with 6 pencils each. She gives away 5 pencils. How many "
                    "are left?",
                    "19",
                ),
                (
                    "A book costs 7 dollars and a pen 2 dollars. How much are 3 books and a pen?",
                    "23",
                ),
                ("Omar is 31 years old and his son is 8. How much older is Omar?", "23"),
                ("A pack of 24 cards is shared by 4 children. How many does each get?", "6"),
            ),
            max_tokens=48,
        ),
    }
)
