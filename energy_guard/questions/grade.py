"""Whether an answer is right: from a labelled row and the answer's text alone.

The grade knows nothing of spans, scores or locators, so that changing those cannot change it.
What it does not understand counts as wrong. Its own error is in docs/results.md.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
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
"""Says how an answer to a row came out; `grade` is one, and users may hand in their own."""


def grade(row: Question, answer: str, reasoning_open: bool = False) -> Outcome:
    """Grade one answer; reasoning in it (<think>…</think>) does not count.

    reasoning_open: the prompt ended inside <think>. An unanswerable row is right only where the
    model declines. Where choices were offered the answer must name exactly one of them.
    Otherwise a gold answer or alias must be in it: as a number, a date or whole words, not
    denied, not one of several.

    >>> row = Question("1", "capitals", "What is the capital of France?", ("Paris",))
    >>> [grade(row, text) for text in ("It is Paris.", "Lyon, not Paris.", "I don't know.")]
    ['right', 'wrong', 'refused']
    """
    text = _shown(answer, reasoning_open)
    if not row.answerable:
        return "right" if is_refusal(text) else "wrong"
    if row.offered:
        right = _names(row, text)
    else:
        right = any(_holds(text, gold, row.question) for gold in _aliases(row.answers))
    if right:
        return "right"
    return "refused" if is_refusal(text) else "wrong"


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


def _names(row: Question, text: str) -> bool:
    """Whether exactly one choice is named, and that is a gold one."""
    plain = {" ".join(words(choice)): choice for choice in row.offered}
    found = label_range(" ".join(words(text)), list(plain))
    if isinstance(found, NotLocated):
        return False
    said = " ".join(words(text))
    start, end = found
    golds = {" ".join(words(answer)) for answer in row.answers}
    sentence = end - start > _SENTENCE
    listing = sentence and len(said) - (end - start) > _SENTENCE  # parts of other choices too
    return said[start:end] in golds and not listing and not _denied(said[:start].split())


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
