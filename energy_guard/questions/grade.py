"""Whether an answer is right: from a labelled row and the answer's text alone.

The grade knows nothing of spans, scores or locators, so that changing those cannot change it.
What it does not understand counts as wrong. Its own error is in docs/results.md.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal

from energy_guard.errors import InputError
from energy_guard.locate.labels import label_range
from energy_guard.locate.span import NotLocated, reasoning
from energy_guard.questions.normalise import MONTHS, is_number, number, unit, words
from energy_guard.questions.refusal import is_refusal
from energy_guard.questions.rows import Question

Outcome = Literal["right", "wrong", "refused"]
"""refused: the model declined by itself a question that has an answer."""

Grader = Callable[[Question, str], Outcome]
"""Says how an answer to a row came out; `grade_row` is one, and users may hand in their own."""


@dataclass(frozen=True, slots=True)
class Grade:
    """How an answer came out, and what decided it.

    outcome: "unsure" is for answers that nobody should count without having read them; today's
    rules decide every answer, so that none gives it. reason: a sentence in words.

    >>> Grade("refused", "It declines to answer.").outcome
    'refused'
    """

    outcome: Outcome | Literal["unsure"]
    reason: str


def grade(
    question: str,
    answers: Sequence[str],
    answer: str,
    choices: Sequence[str] = (),
    answerable: bool = True,
) -> Grade:
    """Grade one answer by the right ones, without a model.

    The rules are those of `grade_row`.

    >>> grade("What is the capital of France?", ["Paris"], "It is Paris.")
    Grade(outcome='right', reason='It says “Paris”.')

    Args:
        question: What was asked.
        answers: The right answer and its aliases; none are needed if there is none.
        answer: What was answered; reasoning in it does not count.
        choices: What the answer was to be chosen from; empty if it was free.
        answerable: False if the right thing is to say that one cannot know.

    Returns:
        The outcome with its reason.

    Raises:
        InputError: Answers or choices are one text instead of a list, or there is no right answer
            to a question that has one.

    """
    if isinstance(answers, str) or isinstance(choices, str):
        raise InputError("answers and choices are lists of texts, not one text", "Write [TEXT].")
    if answerable and not any(map(str.strip, answers)):
        raise InputError(
            "there is no right answer to grade by",
            "Give one, or answerable=False if there is none.",
        )
    row = Question("", "", question, tuple(answers), None, tuple(choices), answerable)
    outcome, reason = _decided(row, _shown(answer, is_open=False))
    return Grade(outcome, reason)


def grade_row(row: Question, answer: str, reasoning_open: bool = False) -> Outcome:
    """Grade one answer to a labelled row; reasoning in it (<think>…</think>) does not count.

    An unanswerable row is right only if the model declines. If choices were offered, the answer
    must name exactly one of them. Otherwise a gold answer or alias must be in it: as a number, a
    date or whole words, not denied, not one of several.

    >>> row = Question("1", "capitals", "What is the capital of France?", ("Paris",))
    >>> [grade_row(row, text) for text in ("It is Paris.", "Lyon, not Paris.", "I don't know.")]
    ['right', 'wrong', 'refused']

    Args:
        row: The question with its gold answers.
        answer: What the model wrote.
        reasoning_open: Whether the prompt ended inside <think>.

    Returns:
        How the answer came out.

    """
    outcome, _ = _decided(row, _shown(answer, reasoning_open))
    return outcome


def _decided(row: Question, text: str) -> tuple[Outcome, str]:
    """The outcome of an answer without reasoning, and what decided it."""
    declines = is_refusal(text)
    if not row.answerable:
        if declines:
            return "right", "The question has no answer, and this declines to give one."
        return "wrong", "The question has no answer, and this does not say so."
    right, reason = _named(row, text) if row.offered else _said(row, text)
    if right:
        return "right", reason
    return ("refused", "It declines to answer.") if declines else ("wrong", reason)


def checked(grader: Grader, row: Question, answer: str) -> Outcome:
    """Ask a user's grader; InputError where it returns something else than an outcome."""
    outcome = grader(row, answer)
    if outcome not in ("right", "wrong", "refused"):
        raise InputError(
            f"the grader returned {outcome!r} for the row {row.id!r}",
            'A grader returns "right", "wrong" or "refused".',
        )
    return outcome


def _shown(answer: str, is_open: bool) -> str:
    for start, end in reversed(reasoning(answer, is_open)):
        answer = answer[:start] + " " + answer[end:]
    return answer.strip()


def _said(row: Question, text: str) -> tuple[bool, str]:
    """Whether a gold answer or alias is said, and which."""
    for gold in _aliases(row.answers):
        if _holds(text, gold, row.question):
            return True, f"It says “{gold}”."
    return False, "It claims none of the right answers."


def _named(row: Question, text: str) -> tuple[bool, str]:
    """Whether exactly one choice is named, and that is a gold one; and what is named."""
    plain = {" ".join(words(choice)): choice for choice in row.offered}
    found = label_range(" ".join(words(text)), list(plain))
    if isinstance(found, NotLocated):
        return False, f"{found.reason[0].upper()}{found.reason[1:]}."
    said = " ".join(words(text))
    start, end = found
    golds = {" ".join(words(answer)) for answer in row.answers}
    sentence = end - start > _SENTENCE
    listing = sentence and len(said) - (end - start) > _SENTENCE  # parts of other choices too
    choice = plain.get(said[start:end], said[start:end])  # letter case may differ: ı and i
    if said[start:end] not in golds:
        return False, f"It names the choice “{choice}”, which is not right."
    if listing:
        return False, f"It says much more than the choice “{choice}”."
    if _denied(said[:start].split()):
        return False, f"It denies the choice “{choice}”."
    return True, f"It names the choice “{choice}” and no other."


_SENTENCE: Final = 30
"""Characters from which a choice is a sentence, and what else is said more than a frame."""


def _aliases(answers: Sequence[str]) -> Iterator[str]:
    """The gold answers, each also without what stands in brackets."""
    for answer in answers:
        yield answer
        bare = re.sub(r"\s*\([^()]*\)", "", answer).strip()
        if bare and bare != answer:
            yield bare


def _holds(text: str, gold: str, question: str) -> bool:
    """Whether an answer says what a gold answer says."""
    wanted = words(gold)
    if not wanted:
        return gold.strip() == text.strip()
    if wanted in (["yes"], ["no"]):
        return _polar(text) == wanted[0]
    value = number(gold)
    if value is not None:
        return _number_said(text, value, gold, question)
    if _is_date(wanted) and any(set(wanted) <= set(date) for date in _dates(words(text))):
        return True
    return _phrase_said(text, wanted, question)


def _polar(text: str) -> str | None:
    """The yes or no that an answer begins with, or the only one in it."""
    found = [word for word in words(text) if word in ("yes", "no")]
    first = words(text)[:1]
    if first and first[0] in ("yes", "no"):
        return first[0]
    return found[0] if len(set(found)) == 1 and found[0] == "yes" else None


def _number_said(text: str, value: float, gold: str, question: str) -> bool:
    """Whether the number that an answer claims is `value`, to the digits of the gold answer.

    The number claimed: the one after "answer is" or the last "=", else the only one that is not
    in the question, else, where something was to be calculated, the last.
    """
    said = words(text)
    places = len(gold.rstrip("%").partition(".")[2]) if "." in gold else 0
    found = [(at, float(w)) for at, w in enumerate(said) if is_number(w)]
    stated = re.search(r"(?:answer\s+is|=)\s*(?:[A-Za-z$]+\s+){0,2}?(-?[$]?\d[\d,.]*)\D*$", text)
    if stated:
        claimed = number(stated[1].rstrip(".,"))
        found = [(at, n) for at, n in found if n == claimed][-1:]
    elif len({n for _, n in found}) > 1:
        asked = {float(w) for w in words(question) if is_number(w)}
        new = [(at, n) for at, n in found if n not in asked]
        if len({n for _, n in new}) == 1:
            found = new
        elif calculated(question):
            found = found[-1:]
        else:
            return False
    for at, n in found[:1] or []:
        wanted_unit, said_unit = unit(gold), unit(" ".join(said[at : at + 2]))
        clash = wanted_unit and said_unit and wanted_unit != said_unit
        near = math.isclose(round(n, places) if places else n, value, rel_tol=1e-9, abs_tol=1e-9)
        return near and not clash and not _denied(said[:at])
    return False


def calculated(question: str) -> bool:
    """Whether a question asks for something that is to be calculated from numbers in it.

    >>> calculated("Tom has 3 apples and buys 4. How many has he?"), calculated("Who has 3?")
    (True, False)
    """
    asks = re.search(
        r"\b(how (many|much|long|far|old|fast)|what (is|was|will|are|percentage)|find"
        r"|calculate|compute|solve)\b",
        question,
        re.IGNORECASE,
    )
    return asks is not None and sum(map(is_number, words(question))) > 1


def _is_date(found: Sequence[str]) -> bool:
    return any(word in MONTHS for word in found) and all(
        word in MONTHS or is_number(word) or word in ("of", "utc") for word in found
    )


def _dates(found: Sequence[str]) -> Iterator[list[str]]:
    """Runs of words that are a date: month names, days, years."""
    run: list[str] = []
    for word in [*found, ""]:
        if word in MONTHS or is_number(word) or (run and word in ("of", "on")):
            run.append(word)
        elif run:
            if any(w in MONTHS for w in run):
                yield run
            run = []


_DENIALS: Final = frozenset(
    "not never isnt wasnt arent werent dont doesnt didnt cannot cant nor neither without except "
    "unlike".split()
)
_DENYING_PAIRS: Final = frozenset(
    {("instead", "of"), ("rather", "than"), ("other", "than"), ("no", "longer")}
)
_NEAR: Final = 4
"""Words before an alias in which a denial counts."""


def _denied(before: Sequence[str]) -> bool:
    """Whether the words before an alias deny it."""
    near = list(before[-_NEAR:])
    if ("not", "only") in pairwise(near):
        return False
    return bool(_DENIALS & set(near)) or any(pair in _DENYING_PAIRS for pair in pairwise(near))


def _phrase_said(text: str, wanted: Sequence[str], question: str) -> bool:
    """Whether a phrase stands in one clause of an answer as its claim."""
    phrase = [_singular(word) for word in wanted]
    asked = [_singular(word) for word in words(question)]
    for clause in _clauses(text):
        said = [_singular(word) for word in words(clause)]
        if _offered(clause, phrase):
            continue
        for at in _places(said, phrase):
            if not _denied(said[:at]) and not _repeats(said, at, phrase, asked):
                return True
    return False


def _clauses(text: str) -> list[str]:
    return [part for part in re.split(r"(?<=[.!?;:])\s+|\n+|,\s+(?=but\b|not\b)", text) if part]


def _places(said: Sequence[str], wanted: Sequence[str]) -> list[int]:
    size = len(wanted)
    return [at for at in range(len(said) - size + 1) if said[at : at + size] == wanted]


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def _offered(clause: str, wanted: Sequence[str]) -> bool:
    """Whether the phrase is one of several offered: "A or B", or a list of more than three."""
    parts = re.split(r",\s*(?:and\s+|or\s+)?|\s+(?:or|and)\s+", clause)
    if not any(_places([_singular(word) for word in words(part)], wanted) for part in parts):
        return False  # the phrase has a comma or an "and" itself
    return len(parts) > 4 or re.search(r"\bor\b", clause) is not None


def _repeats(said: Sequence[str], at: int, wanted: Sequence[str], asked: Sequence[str]) -> bool:
    """Whether a mention only says the question again.

    Where the question has the phrase too: it stands beside the same word there, or the question
    offers it ("A or B") and the answer says other words of the question first.
    """
    end = at + len(wanted)
    for place in _places(asked, wanted):
        after = place + len(wanted)
        if said[end : end + 1] and said[end : end + 1] == asked[after : after + 1]:
            return True
        if at and place and said[at - 1] == asked[place - 1] and said[at - 1] not in _LINKS:
            return True
        if "or" in asked and set(said[:at]) & set(asked) - _LINKS:
            return True
    return False


_LINKS: Final = frozenset("is was are were be in of to it by".split())
