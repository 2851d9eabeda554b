"""Graded answers as arrays, task by task: what every figure of an evaluation is made from."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from energy_guard.calibrate.detector import FEATURES, Examples
from energy_guard.calibrate.split import question_key
from energy_guard.energy import Bools, Floats
from energy_guard.errors import InputError, NormalisedRowsError
from energy_guard.features import PLAIN, features, signals_of
from energy_guard.locate import Span
from energy_guard.neuron_detector import is_neurons, mean_log_odds
from energy_guard.questions.answered import Answered, by_task
from energy_guard.score import POOLINGS, usual_side
from energy_guard.support_features import BY_ASKING
from energy_guard.trace import NEEDS_RAW_ROWS, SIGNALS, Trace

SINGLES: Final = tuple(f"{signal}:{pooling}" for signal in SIGNALS for pooling in POOLINGS)
"""Every single signal with every pooling, as `Detector` names them."""

PARTS: Final = ("span", "answer")
"""What signals are pooled over: the exact answer, and all of it."""

_POOLED: Final = tuple(f"{part}.{single}" for part in PARTS for single in SINGLES)
_OTHERS: Final = tuple(
    n for n in dict.fromkeys((*PLAIN, *FEATURES, *BY_ASKING)) if n not in _POOLED
)
_OF_ENERGIES: Final = frozenset(name for name in _OTHERS if signals_of([name]) & NEEDS_RAW_ROWS)
_NAMES: Final = (*_POOLED, *_OTHERS)
_COLUMN: Final = {name: at for at, name in enumerate(_NAMES)}
_BY_ASKING: Final = [_COLUMN[name] for name in BY_ASKING]


@dataclass(frozen=True, eq=False)
class Task:
    """The answers to one task, in order.

    values: shape (n, features), NaN if one is missing. default: the features that a detector is
    fitted to, of all tasks of an evaluation the same.
    """

    name: str
    answers: tuple[Answered, ...]
    values: Floats
    default: tuple[str, ...] = FEATURES

    @cached_property
    def questions(self) -> npt.NDArray[np.str_]:
        """What answers to the same question share, shape (n,)."""
        keys = [question_key(a.question, a.context).encode("utf-8") for a in self.answers]
        return np.array([hashlib.sha256(key).hexdigest() for key in keys])

    def without(self, other: Task) -> Task:
        """Leave out the questions that another task asks, too."""
        kept = ~np.isin(self.questions, other.questions)
        answers = tuple(a for a, keep in zip(self.answers, kept, strict=True) if keep)
        return Task(self.name, answers, self.values[kept], self.default)

    @cached_property
    def wrong(self) -> Bools:
        """Answers that it would be wrong to show, shape (n,)."""
        return np.array([a.wrong for a in self.answers], dtype=bool)

    @cached_property
    def right(self) -> Bools:
        """Right answers; where the model declined there is none, shape (n,)."""
        return np.array([a.outcome == "right" and not a.declined for a in self.answers], bool)

    @cached_property
    def ranked(self) -> Bools:
        """Answers that a detector can rank: located, not declined by the model, shape (n,)."""
        located = np.array([isinstance(a.located, Span) for a in self.answers], dtype=bool)
        return located & (self.right | self.wrong)

    def feature(self, name: str) -> Floats:
        """Return one feature of every answer, shape (n,)."""
        return self.values[:, _COLUMN[name]]

    def single(self, name: str, part: str = "span") -> Floats:
        """Return the risk by a single signal, over the span or the whole answer, shape (n,)."""
        values = self.feature(f"{part}.{name}")
        return -values if usual_side(name.partition(":")[0]) == "low" else values

    @cached_property
    def probes(self) -> list[str]:
        """Names of the probes whose neurons were watched while these answers were written."""
        return sorted({name for a in self.answers for name in a.trace.extras if is_neurons(name)})

    def log_odds(self, probe: str) -> Floats:
        """Return what a probe says of the exact answers, shape (n,); NaN if it was not watched."""
        return np.array(
            [
                mean_log_odds(a.trace, probe, a.located.tokens)
                if isinstance(a.located, Span)
                else math.nan
                for a in self.answers
            ]
        )

    @cached_property
    def fittable(self) -> Bools:
        """Ranked answers that have all features of the default detector, shape (n,)."""
        return self.ranked & np.isfinite(self.fitted_to).all(axis=1)

    @property
    def fitted_to(self) -> Floats:
        """The features that a detector is fitted to, shape (n, default)."""
        return self.values[:, [_COLUMN[name] for name in self.default]]


def examples(tasks: Sequence[Task]) -> Examples:
    """Return what a detector can be fitted to; InputError if all are right or all wrong."""
    return Examples(
        tasks[0].default,
        np.concatenate([task.fitted_to[task.fittable] for task in tasks]),
        np.concatenate([task.wrong[task.fittable] for task in tasks]),
        np.concatenate([np.full(int(task.fittable.sum()), task.name) for task in tasks]),
        np.concatenate([task.questions[task.fittable] for task in tasks]),
    )


def tasks_of(answers: Sequence[Answered]) -> list[Task]:
    """Put the answers of each task together; InputError for answers that came after retries."""
    if any(len(answered.attempts) > 1 for answered in answers):
        raise InputError(
            "these answers came after retries, which choose by a detector",
            "Evaluate answers that were asked once.",
        )
    groups = {name: tuple(group) for name, group in by_task(answers).items()}
    values = {
        name: np.array([_values(a) for a in group]).reshape(-1, len(_NAMES))
        for name, group in groups.items()
    }
    default = (*FEATURES, *BY_ASKING) if _asked(groups, values) else FEATURES
    return [Task(name, group, values[name], default) for name, group in groups.items()]


def _asked(groups: Mapping[str, Sequence[Answered]], values: Mapping[str, Floats]) -> bool:
    """Whether the model was asked about all its located answers that have passages, and of some."""
    replies = [
        row[_BY_ASKING]
        for name, group in groups.items()
        for answered, row in zip(group, values[name], strict=True)
        if isinstance(answered.located, Span)
    ]
    return bool(np.isfinite(replies).all() and np.any(replies))


def _values(answered: Answered) -> Floats:
    """All features of one answer, in the order of `_NAMES`."""
    trace, span = answered.trace, answered.located
    if not isinstance(span, Span):
        return np.full(len(_NAMES), math.nan)
    pooled = [*_pooled(trace, list(span.tokens)), *_pooled(trace, list(range(trace.content_end)))]
    known = [name for name in _OTHERS if not (trace.normalised and name in _OF_ENERGIES)]
    others = dict(zip(known, features(trace, span, known, answered.asked).tolist(), strict=True))
    return np.array([*pooled, *(others.get(name, math.nan) for name in _OTHERS)])


def _pooled(trace: Trace, tokens: list[int]) -> list[float]:
    """Every single signal with every pooling over some tokens, in the order of `SINGLES`."""
    pooled: list[float] = []
    for signal in SIGNALS:
        try:
            values = trace.signal(signal)[tokens]
        except NormalisedRowsError:  # no energies: the other signals are good all the same
            values = np.full(len(tokens), math.nan)
        pooled += [pool(values) for pool in POOLINGS.values()]
    return pooled
