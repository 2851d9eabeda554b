"""What judging every word costs: the same answers, judged by their exact answer alone, too.

    python -m benchmarks.coverage NAME=SHORT.jsonl,LONG.jsonl …

For each model a file of the quiz's answers in a sentence (`calibrate` writes one) and one of
`benchmarks.long_answers`. Of the long ones those of three sentences or more count, and as many of
the short ones. Each way to judge has a P(wrong) of its own, fitted to the other folds of a model's
answers. Compared is the coverage at equal risk among the shown: both thresholds are set on the
rows that they are measured on, anew in each drawing of the questions.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from energy_guard.calibrate.detector import Examples, folds_of
from energy_guard.calibrate.probability import fit_calibration
from energy_guard.claims import score_answer
from energy_guard.energy import Bools, Floats, Ints
from energy_guard.estimates.bootstrap import Sample, interval
from energy_guard.estimates.estimate import Estimate, Measured
from energy_guard.estimates.ranking import coverage_statistic
from energy_guard.locate import NothingToCheck
from energy_guard.locate.sentences import sentences
from energy_guard.questions.answered import Answered, read_answers
from energy_guard.score import Detector, Score, Unscored

RISKS: Final = (0.1, 0.2, 0.3, 0.4)
"""Shares of wrong ones among the shown at which coverages are compared."""

SENTENCES: Final = 3
DETECTOR: Final = Detector.parse("nll:max")


@dataclass(frozen=True)
class Judged:
    """An answer with its two scores, NaN if it is unscored."""

    model: str
    question: str
    long: bool
    wrong: bool
    exact: float
    every: float


def judged(model: str, answered: Answered, *, long: bool) -> Judged:
    """Score an answer both ways; one that is cut off has no score either way."""
    trace, located = answered.trace, answered.located
    return Judged(
        model,
        answered.id,
        long,
        answered.wrong,
        _number(score_answer(DETECTOR, trace, located, words=())),
        _number(score_answer(DETECTOR, trace, located)),
    )


def _number(score: Score | Unscored) -> float:
    return score.value if isinstance(score, Score) else np.nan


def read(model: str, short: Path, long: Path, left_out: Counter[str]) -> Iterator[Judged]:
    """Yield a model's answers, as many short ones as long ones, and count what is left out."""
    many = [a for a in _kept(read_answers(long)[1], left_out) if _sentences(a) >= SENTENCES]
    few = [a for a in _kept(read_answers(short)[1], left_out) if _sentences(a) < SENTENCES]
    for answered in few[: len(many)]:
        yield judged(model, answered, long=False)
    for answered in many:
        yield judged(model, answered, long=True)


def _kept(answers: list[Answered], left_out: Counter[str]) -> Iterator[Answered]:
    """Those that are right or wrong and claim something."""
    for answered in answers:
        left_out["all"] += 1
        if answered.unsure:
            left_out["unsure"] += 1
        elif answered.declined or isinstance(answered.located, NothingToCheck):
            left_out["declined, or nothing to check"] += 1
        else:
            yield answered


def _sentences(answered: Answered) -> int:
    return len(sentences(answered.trace))


def p_wrong(scores: Floats, rows: list[Judged]) -> Floats:
    """Return P(wrong) by the other folds of the same model's answers, shape (n,); NaN stays."""
    models = np.array([row.model for row in rows])
    wrong = np.array([row.wrong for row in rows])
    questions = np.array([row.question for row in rows])
    no_values = np.zeros((len(rows), 1))  # folds follow from models, labels and questions
    folds = folds_of(Examples(("none",), no_values, wrong, models, questions))
    out = np.full(len(rows), np.nan)
    for model in np.unique(models):
        for fold in np.unique(folds):
            here, held = models == model, folds == fold
            seen = here & ~held & np.isfinite(scores)
            fitted = fit_calibration(scores[seen], wrong[seen])
            odds = fitted.slope * scores[here & held] + fitted.intercept
            out[here & held] = 1 / (1 + np.exp(-odds))
    return out


def line(name: str, rows: list[Judged], p: dict[str, Floats], kept: Bools, risk: float) -> str:
    """Return a row of the table: both coverages and what is lost, over questions drawn again."""
    wrong = np.array([row.wrong for row in rows])[kept]
    questions, question = np.unique(
        np.array([row.question for row in rows])[kept], return_inverse=True
    )
    exact, every = (coverage_statistic(p[side][kept], wrong, risk) for side in _SIDES)

    def lost(counts: Ints) -> Floats:
        answers = counts[:, question]
        return exact(answers) - every(answers)

    once = np.ones((1, len(wrong)), dtype=np.int64)
    shares = (f"{float(side(once)[0]):.1%}" for side in (exact, every))
    found = _told(interval(Sample(lost, len(questions))))
    cells = (name, len(wrong), int(wrong.sum()), f"{risk:.0%}", *shares)
    return f"| {' | '.join(map(str, cells))} | {found} |"


def _told(measured: Measured) -> str:
    """The loss in points of coverage, with its interval."""
    if not isinstance(measured, Estimate):
        return measured.reason
    value, low, high = (100 * end for end in (measured.value, measured.low, measured.high))
    return f"{value:+.1f} ({low:+.1f} to {high:+.1f})"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", metavar="NAME=SHORT,LONG")
    left_out: Counter[str] = Counter()
    rows: list[Judged] = []
    for given in parser.parse_args().models:
        name, _, files = given.partition("=")
        short, long = map(Path, files.split(","))
        rows += read(name, short, long, left_out)
    p = {side: p_wrong(np.array([getattr(r, side) for r in rows]), rows) for side in _SIDES}
    parts: dict[str, Bools] = {
        "all": np.ones(len(rows), dtype=bool),
        "short": np.array([not row.long for row in rows]),
        f"{SENTENCES} sentences or more": np.array([row.long for row in rows]),
    }
    for name in dict.fromkeys(row.model for row in rows):
        parts[name] = np.array([row.model == name for row in rows])
    out = [f"left out of what was read: {dict(left_out)}; judged: {len(rows)}"]
    for name, kept in parts.items():
        unscored = int(np.isnan(p["every"][kept]).sum())
        raised = np.array([row.every > row.exact for row in rows]) & kept
        wrong = int((raised & np.array([row.wrong for row in rows])).sum())
        told = f"another word decides in {int(raised.sum())}, of which {wrong} are wrong"
        out.append(f"{name}: {unscored} unscored; {told}")
    out += ["", "| answers | n | wrong | risk among the shown | exact answer alone | every word |"]
    out[-1] += " lost, points (95 %) |"
    out.append("|---|---|---|---|---|---|---|")
    out += [line(name, rows, p, kept, risk) for name, kept in parts.items() for risk in RISKS]
    sys.stdout.write("\n".join(out) + "\n")


_SIDES: Final = ("exact", "every")


if __name__ == "__main__":
    main()
