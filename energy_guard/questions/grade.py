"""Whether an answer is right: from a labelled row and the answer's text alone.

The grade knows nothing of spans, scores or locators, so that changing those cannot change it.
What is doubtful is `unsure`, and what is not understood counts as wrong. The grader's own error
is in docs/results.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from energy_guard.arguments import checked
from energy_guard.errors import InputError
from energy_guard.questions.grading.choices import chosen
from energy_guard.questions.grading.clean import clean
from energy_guard.questions.grading.compare import compared
from energy_guard.questions.grading.reply import Reply
from energy_guard.questions.nonexistence import says_there_is_none
from energy_guard.questions.refusal import is_refusal
from energy_guard.questions.rows import Question
from energy_guard.reasoning import without_reasoning

Outcome = Literal["right", "wrong", "refused", "unsure"]
"""refused: the model declined by itself a question that has an answer; unsure: for a person."""

Grader = Callable[[Question, str], Outcome]
"""Says how an answer to a row came out; `grade_row` is one, and users may hand in their own."""


@dataclass(frozen=True, slots=True)
class Grade:
    """How an answer came out, and what decided it.

    outcome: "unsure" is for answers that nobody should count without having read them. reason: a
    sentence in words.

    >>> Grade("refused", "It declines to answer.").outcome
    'refused'
    """

    outcome: Outcome
    reason: str


@checked
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
    >>> grade("On which day was she born?", ["17 May 1990"], "In 1990.")
    Grade(outcome='unsure', reason='Its date is less exact than the right one.')

    Args:
        question: What was asked.
        answers: The right answer and its aliases, each of which is right alone; none are needed
            if there is none.
        answer: What was answered; reasoning in it does not count.
        choices: What the answer was to be chosen from; empty if it was free.
        answerable: False if the right thing is to say that one cannot know.

    Returns:
        The outcome with its reason.

    Raises:
        InputError: Answers or choices are one text instead of a list, or there is no right answer
            to a question that has one.

    """
    if answerable and not any(map(str.strip, answers)):
        raise InputError(
            "there is no right answer to grade by",
            "Give one, or answerable=False if there is none.",
        )
    row = Question("", "", question, tuple(answers), None, tuple(choices), answerable)
    return _decided(row, without_reasoning(answer))


@checked
def grade_row(row: Question, answer: str, reasoning_open: bool = False) -> Outcome:
    """Grade one answer to a labelled row; reasoning in it (<think>…</think>) does not count.

    An unanswerable row is right only if the model declines or, without a passage, says that what
    is asked about does not exist. If choices were offered, the answer must pick exactly one of
    them; to pick "unknown" is no refusal if it is one of them. Otherwise the answer must claim a
    gold answer or alias, as a person would write it: as a number, a date, a name or the words that
    carry it.

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
    return _decided(row, without_reasoning(answer, is_open=reasoning_open)).outcome


def _decided(row: Question, text: str) -> Grade:
    """The grade of an answer without reasoning."""
    declines = is_refusal(text, row.question)
    if not row.answerable:
        if declines:
            return Grade("right", "The question has no answer, and this declines to give one.")
        if row.context is None and says_there_is_none(text):
            return Grade("right", "The question has no answer, and this says that nothing exists.")
        return Grade("wrong", "The question has no answer, and this does not say so.")
    reply = Reply(clean(text))
    if row.offered:
        finding = chosen(reply, row.offered, row.answers, row.question)
    else:
        finding = compared(reply, row.answers, clean(row.question))
    if finding.holds == "yes":
        return Grade("right", finding.reason)
    if declines and not (finding.holds == "denied" and _names_a_refusal(text, row)):
        return Grade("refused", "It declines to answer.")
    return Grade("unsure" if finding.holds == "doubt" else "wrong", finding.reason)


def _names_a_refusal(text: str, row: Question) -> bool:
    """Whether a text has the words of a choice such as "unknown" or "not enough information"."""
    said = clean(text).casefold()
    return any(is_refusal(choice) and clean(choice).casefold() in said for choice in row.offered)


def graded_by(grader: Grader, row: Question, answer: str) -> Outcome:
    """Ask a user's grader; InputError if it returns something else than an outcome."""
    outcome = grader(row, answer)
    if outcome not in get_args(Outcome):
        raise InputError(
            f"the grader returned {outcome!r} for the row {row.id!r}",
            'A grader returns "right", "wrong", "refused" or "unsure".',
        )
    return outcome
