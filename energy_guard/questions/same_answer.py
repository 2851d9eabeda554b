"""Whether an answer says the same as a gold answer: a model is asked for one word, yes or no.

The word is not written: one pass over the prompt gives the raw row, and the logits of "yes" and
"no" in it say which is how likely. Everything that was written by others stands in the prompt as
data: on one line, cut if it is long, and without control tokens, as plain text never has any.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from energy_guard.backends import Backend, Session
from energy_guard.errors import ConfigError
from energy_guard.request import Request

_TASK: Final = (
    "Say whether the given answer to the question means the same as an accepted answer. "
    "Yes: it says the same, in whatever words, or more exactly. No: it names somebody or "
    "something else, another date or number, only a part of what was asked for, or nothing."
)
_EXAMPLES: Final = (
    (
        "who was the first man to walk on the moon",
        "Neil Armstrong",
        "It was Armstrong, on 20 July 1969.",
        "Yes",
    ),
    ("when did the Titanic sink", "15 April 1912; April 1912", "The Titanic sank in 1915.", "No"),
    ("how long is a marathon", "42.195 kilometres", "About 26.2 miles.", "Yes"),
    (
        "which countries share the island of Hispaniola",
        "Haiti and the Dominican Republic",
        "Haiti",
        "No",
    ),
    (
        "who composed The Four Seasons",
        "Antonio Vivaldi; Vivaldi",
        "The Four Seasons were composed by Johann Sebastian Bach.",
        "No",
    ),
    (
        "where is the Great Barrier Reef",
        "in the Coral Sea, off Queensland",
        "The reef lies off the north-east coast of Australia.",
        "Yes",
    ),
    (
        "what is the largest organ of the human body",
        "the skin",
        "The largest organ inside the human body is the liver, which weighs about 1.5 kg.",
        "No",
    ),
    (
        "what are diamonds made of",
        "pure carbon; carbon",
        "They consist of carbon atoms in a crystal lattice.",
        "Yes",
    ),
)
_CUT: Final = " […] "
_LONGEST: Final = 400
"""Characters of a question, an answer, or all gold answers together that the model is shown."""


_SAID: Final = 0.5
"""Least probability of yes and no together: below it the model is about to say something else."""


@dataclass(frozen=True, slots=True)
class NotCompared:
    """Nothing is known of whether two answers say the same, and why.

    >>> NotCompared("the prompt does not fit").reason
    'the prompt does not fit'
    """

    reason: str


class SameAnswer:
    """Asks one model, which is held in a session.

    Args:
        backend: The model.
        session: A session of this backend.

    Raises:
        ConfigError: The model has no single tokens for yes or for no.

    """

    def __init__(self, backend: Backend, session: Session) -> None:
        self._backend = backend
        self._session = session
        self._yes, self._no = (_spellings(session, word) for word in ("Yes", "No"))
        if not self._yes or not self._no:
            raise ConfigError(
                f"{backend.info.name} has no token of its own for yes or for no",
                "Grade with another model.",
            )
        self._opening = session.beginning([AnswerPair(x, (x,), x).request for x in ("a", "1")])

    def log_odds(self, pair: AnswerPair) -> float | NotCompared:
        """Ask about one answer; the result does not depend on what was asked before.

        Returns:
            log(P(yes) / P(no)) in nats, from the raw logits, or why there is none.

        Raises:
            EngineError: The model fails.

        """
        request = pair.request
        if self._backend.measure(request).room < 1:
            return NotCompared("the prompt does not fit the context of the grading model")
        self._session.rewind(self._opening)
        row = self._session.next_row(request).astype(np.float64)
        if not math.isfinite(row.max()):
            return NotCompared("the grading model's logits are not finite")
        yes, no = (float(np.logaddexp.reduce(row[ids])) for ids in (self._yes, self._no))
        said = math.exp(np.logaddexp(yes, no) - np.logaddexp.reduce(row))
        if not (math.isfinite(yes - no) and said >= _SAID):
            return NotCompared("the grading model says neither yes nor no")
        return yes - no


@dataclass(frozen=True, slots=True)
class AnswerPair:
    """What is put to the model: a question, its gold answers, and the answer that was given.

    >>> AnswerPair("Which city?", ("Oslo", "Kristiania"), "In Oslo.").asked.splitlines()[1:3]
    ['Accepted: Oslo; Kristiania', 'Given: In Oslo.']
    """

    question: str
    answers: tuple[str, ...]
    given: str

    @property
    def asked(self) -> str:
        """The part of the prompt that is about this answer."""
        golds = "; ".join(map(_on_one_line, self.answers))
        return _item(_shortened(self.question), _shortened(golds), _shortened(self.given))

    @property
    def request(self) -> Request:
        """The whole prompt, a plain completion: models without a chat template can do it, too."""
        return Request.raw(f"{OPENING}{self.asked}", max_tokens=1)


def _item(question: str, accepted: str, given: str) -> str:
    return f"Question: {question}\nAccepted: {accepted}\nGiven: {given}\nSame:"


OPENING: Final = f"{_TASK}\n\n" + "".join(
    f"{_item(question, accepted, given)} {same}\n\n"
    for question, accepted, given, same in _EXAMPLES
)
"""What every prompt begins with; it is read once a session."""

PROMPT: Final = hashlib.sha256(f"{OPENING}{_LONGEST}".encode()).hexdigest()[:12]
"""Identifies the wording: asked with another one, a model has other log odds."""


def _on_one_line(text: str) -> str:
    """A text cannot begin a line of the prompt that looks like the next field."""
    return " ".join(text.split())


def _shortened(text: str) -> str:
    """A text on one line; a long one loses its middle, as answers say most at either end."""
    line = _on_one_line(text)
    if len(line) <= _LONGEST:
        return line
    tail = _LONGEST // 4
    return line[: _LONGEST - tail - len(_CUT)] + _CUT + line[-tail:]


def _spellings(session: Session, word: str) -> list[int]:
    """The tokens that are this word, in either case, with and without a blank before it."""
    found = [session.tokens_of(blank + w) for blank in ("", " ") for w in (word, word.lower())]
    return sorted({ids[0] for ids in found if len(ids) == 1})
