"""Fits the detector for models without a profile, and judges it by leaving models and tasks out.

    python -m benchmarks.other_models NAME=QUIZ.jsonl,ANSWERS.jsonl… … [--longer NAME=LONG.jsonl… …]

For each model the answers to the built-in quiz (`calibrate` writes them) and to other people's
questions (`eval`'s answers.jsonl). Every answer elsewhere is judged by a detector that has seen
neither its model nor its task, with the curve that the model has in the quiz, as a profile of it
has, and with the one of the other models, as without a profile. Longer answers to the quiz, which
`benchmarks.long_answers` asks for, are judged like that, too, and nothing is fitted to them. The
quiz's certifying questions are left out of all but these, and of the curve that tells by how much
people's questions are harder for one of the models: that moves no answer past another one. With
--support the detector goes by the support of passages, too, which `benchmarks.support` measures of
stored answers. --earlier names a detector of before, whose answers are gone, but whose ranges are
known. --engines tells what else is one of these models: the fingerprint that it has on another
engine.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from energy_guard.calibrate.across_models import (
    Across,
    Answers,
    fit_across,
    level_of,
    level_of_tasks,
    slope_of_tasks,
)
from energy_guard.calibrate.detector import FEATURES
from energy_guard.calibrate.learn import with_score
from energy_guard.calibrate.own_yes import with_own_yes
from energy_guard.calibrate.probability import fit_calibration
from energy_guard.calibrate.split import split_of
from energy_guard.claims import score_answer
from energy_guard.energy import Bools, Floats
from energy_guard.estimates.calibration_quality import brier_skill, calibration_error
from energy_guard.estimates.estimate import Estimate, Measured, proportion
from energy_guard.estimates.ranking import auroc
from energy_guard.evaluate.folder import relocated
from energy_guard.evaluate.paired_auroc import aurocs, mean_auroc
from energy_guard.features import features
from energy_guard.files import write_whole
from energy_guard.fitted import FittedDetector, Term
from energy_guard.locate import Asked, Located, Span
from energy_guard.profile import Calibration
from energy_guard.profile.other_models import OtherModels, OwnTerms
from energy_guard.questions.answered import Answered, read_answers
from energy_guard.score import Detector, Score, Scorer, Unscored
from energy_guard.support_features import BY_ASKING, SUPPORT
from energy_guard.trace import Trace

SHOWN: Final = 0.25
QUIZ: Final = "quiz"
LONGER: Final = "longer answers"
SINGLE: Final = Detector.parse("nll:max")


@dataclass(frozen=True)
class Row:
    """An answer. parts: the features `names` of its exact answer, and of what else may decide.

    replies: `BY_ASKING`, NaN if the model was not asked about its passages.
    """

    model: str
    task: str
    wrong: bool
    single: float
    names: tuple[str, ...]
    parts: Floats
    replies: Floats


@dataclass
class Recorder:
    """Stands in a detector's place, and keeps the features of every part that is scored."""

    names: tuple[str, ...]
    parts: list[Floats] = field(default_factory=list)
    name = signal = "nll"
    needs = frozenset({"nll"})
    per_token = needs_support = False

    def score(self, trace: Trace, located: Located, asked: Asked) -> Score | Unscored:
        """Keep the features of a part."""
        if not isinstance(located, Span):
            return Unscored("not located")
        self.parts.append(features(trace, located, self.names, asked))
        return Score(0.0, SINGLE, located, (0.0,))

    def risk(self, value: float) -> float:
        """The nll grows with risk as it is."""
        return value


def rows_of(
    model: str, answers: Iterable[Answered], names: tuple[str, ...], task: str | None = None
) -> Iterator[Row]:
    """Yield the located answers that are right or wrong and have all features."""
    for answered in answers:
        if answered.unsure or answered.declined or not isinstance(answered.located, Span):
            continue
        recorder, trace = Recorder(names), answered.trace
        scorer: Scorer = recorder  # type: ignore[assignment]  # it has what claims ask of one
        score_answer(scorer, trace, answered.located, asked=answered.asked)
        single = score_answer(SINGLE, trace, answered.located)
        parts = np.array(recorder.parts)
        if isinstance(single, Score) and len(parts) and np.isfinite(parts).all():
            replies = features(trace, answered.located, BY_ASKING, answered.asked)
            yield Row(
                model, task or answered.task, answered.wrong, single.value, names, parts, replies
            )


def table_of(rows: list[Row]) -> Answers:
    """Return the exact answers as what a detector is fitted to."""
    tasks = np.array([row.task for row in rows])
    return Answers(
        rows[0].names,
        np.array([row.parts[0] for row in rows]),
        np.array([row.wrong for row in rows]),
        np.array([row.model for row in rows]),
        tasks,
        tasks == QUIZ,
    )


@dataclass(frozen=True)
class Curve:
    """What log-odds of being wrong are of a detector's score: slope and intercept."""

    detector: FittedDetector
    slope: float = 1.0
    intercept: float = 0.0

    def judges(self, row: Row) -> bool:
        """Whether the model was asked, if the detector goes by it."""
        return not self.detector.needs_support or bool(np.isfinite(row.replies).all())

    def log_odds(self, rows: list[Row]) -> Floats:
        """Return the log-odds of being wrong, shape (n,)."""
        return self.slope * scores_of(rows, self.detector) + self.intercept


def scores_of(rows: list[Row], detector: FittedDetector) -> Floats:
    """Return the scores of the parts that decide, shape (n,)."""
    if not rows:
        return np.empty(0)
    counts = [len(row.parts) for row in rows]
    values = np.vstack([row.parts for row in rows])
    if detector.needs_support - set(rows[0].names):
        values = np.hstack([values, np.repeat([row.replies for row in rows], counts, axis=0)])
    begins = np.cumsum([0, *counts[:-1]])
    return np.asarray(np.maximum.reduceat(detector.log_odds(values), begins))


def curve_of(rows: list[Row], across: Across) -> Curve:
    """Return the curve of a model in the quiz, by the scores that decide, with its own yes."""
    wrong = np.array([row.wrong for row in rows])
    replies = np.array([row.replies for row in rows])
    detector = across.detector
    detector = with_own_yes(detector, scores_of(rows, detector), wrong, replies)
    fitted = fit_calibration(scores_of(rows, detector), wrong)
    return Curve(detector, fitted.slope or 0.0, fitted.intercept or 0.0)


def harder(rows: list[Row], curves: Mapping[str, Curve]) -> float:
    """Return what is to be added elsewhere so that P(wrong) is right on average over tasks."""
    return level_of_tasks(by_task(rows, curves))


def by_task(rows: list[Row], curves: Mapping[str, Curve]) -> list[tuple[Floats, Bools]]:
    """Return log-odds of answers elsewhere, and which are wrong, of each model and task."""
    found = []
    for model, curve in curves.items():
        own = [row for row in rows if row.model == model and curve.judges(row)]
        for task in sorted({row.task for row in own} - {QUIZ}):
            some = [row for row in own if row.task == task]
            found.append((curve.log_odds(some), np.array([row.wrong for row in some])))
    return found


@dataclass(frozen=True)
class Judged:
    """P(wrong) of the answers elsewhere, by detectors that saw neither model nor task."""

    rows: list[Row]
    by_quiz: Floats
    unknown: Floats


def left_out(rows: list[Row]) -> Judged:
    """Judge each answer elsewhere, one model and one task left out at a time."""
    judged: list[Row] = []
    by_quiz: list[float] = []
    unknown: list[float] = []
    for model in sorted({row.model for row in rows}):
        for task in sorted({row.task for row in rows} - {QUIZ}):
            held = [row for row in rows if row.model == model and row.task == task]
            seen = [row for row in rows if row.model != model and row.task not in (task, LONGER)]
            across = fit_across(table_of(seen))
            others = sorted({row.model for row in seen})
            curves = {m: curve_of(at_home(seen, m), across) for m in others}
            own = curve_of(at_home(rows, model), across)
            held = [row for row in held if own.judges(row)]
            if not held:
                continue
            judged += held
            more = 0.0 if task == LONGER else harder(seen, curves)
            by_quiz += _p(own.log_odds(held) + more)
            plain = Curve(across.detector)
            level = harder(seen, dict.fromkeys(others, plain))
            unknown += _p(plain.log_odds(held) + level)
    return Judged(judged, np.array(by_quiz), np.array(unknown))


def at_home(rows: list[Row], model: str) -> list[Row]:
    """Return a model's answers to the quiz."""
    return [row for row in rows if row.model == model and row.task == QUIZ]


def _p(odds: Floats) -> list[float]:
    return list((1 / (1 + np.exp(-odds))).tolist())


def figures(name: str, rows: list[Row], p: Floats) -> str:
    """Return a row of the table."""
    wrong = np.array([row.wrong for row in rows])
    single = np.array([row.single for row in rows])
    shown = p < SHOWN
    cells = [
        name,
        str(len(rows)),
        f"{wrong.mean():.2f}",
        f"{p.mean():.2f}",
        _told(auroc(p, wrong)),
        _told(auroc(single, wrong)),
        _gain(p, single, wrong),
        _told(brier_skill(p, wrong)),
        _told(calibration_error(p, wrong)),
        f"{shown.mean():.0%}",
        _told(proportion(int(wrong[shown].sum()), int(shown.sum()))),
        f"{shown[~wrong].mean():.0%}" if (~wrong).any() else "–",
    ]
    return f"| {' | '.join(cells)} |"


def _gain(p: Floats, single: Floats, wrong: Bools) -> str:
    """How much higher the AUROC is, on the same resamples."""
    if wrong.all() or not wrong.any():
        return "–"
    return _told(mean_auroc([aurocs({"p": p, "single": single}, wrong)], "p", other="single"))


def _told(measured: Measured) -> str:
    if not isinstance(measured, Estimate):
        return "–"
    return f"{measured.value:.3f} ({measured.low:.3f} to {measured.high:.3f})"


def kept(
    rows: list[Row],
    whole: list[Answered],
    quizzes: Mapping[str, list[Row]],
    fingerprints: Mapping[str, str],
) -> OtherModels:
    """Return what is shipped: a detector fitted to all of them, with its P(wrong).

    quizzes: each model's answers to the whole quiz. fingerprints: of files of models, each with
    the model's name here.
    """
    across = fit_across(table_of(rows))
    models = sorted({row.model for row in rows})
    curves = {model: curve_of(at_home(rows, model), across) for model in models}
    values = np.vstack([row.parts for row in rows])
    detector = across.detector.knowing(values)
    detector = detector.model_copy(update={"terms": tuple(map(_of_any_length, detector.terms))})
    scores = scores_of(rows, detector)
    spare = (scores.max() - scores.min()) / 10
    wrong = sum(row.wrong for row in rows)
    return OtherModels(
        models=tuple(models),
        fitted=detector,
        calibration=Calibration(
            slope=1.0,
            intercept=harder(rows, dict.fromkeys(models, Curve(across.detector))),
            n=len(rows),
            n_wrong=wrong,
            lowest=float(scores.min() - spare),
            highest=float(scores.max()),
        ),
        whole_answer=_whole_answer([a.scored_by(detector) for a in whole]),
        elsewhere=harder(rows, curves),
        own={
            fingerprint: own_of([row for row in rows if row.model == model], quizzes[model], across)
            for fingerprint, model in fingerprints.items()
        },
    )


def as_wide_as(made: OtherModels, earlier: OtherModels) -> OtherModels:
    """Let answers be known that an earlier detector was fitted to, if they lie further out."""
    before = {term.feature: term for term in earlier.fitted.terms if term.low is not None}
    terms = []
    for term in made.fitted.terms:
        known = before.get(term.feature)
        if term.low is None or term.high is None or known is None or known.high is None:
            terms.append(term)
            continue
        ends = {"low": min(term.low, known.low or 0.0), "high": max(term.high, known.high)}
        terms.append(term.model_copy(update=ends))
    return made.model_copy(
        update={"fitted": made.fitted.model_copy(update={"terms": tuple(terms)})}
    )


def own_of(rows: list[Row], quiz: list[Row], across: Across) -> OwnTerms:
    """Return what a model's answers tell of it, those elsewhere among them.

    quiz: its answers to the whole quiz, whose curve its profile will have.
    """
    asked = [row for row in rows if np.isfinite(row.replies).all()]
    detector = with_own_yes(
        across.detector,
        scores_of(asked, across.detector),
        np.array([row.wrong for row in asked]),
        np.array([row.replies for row in asked]),
        np.array([float(row.task != QUIZ) for row in asked]),
    )
    home = [row for row in quiz if Curve(detector).judges(row)]
    fitted = fit_calibration(scores_of(home, detector), [row.wrong for row in home])
    curve = Curve(detector, fitted.slope or 0.0, fitted.intercept or 0.0)
    tasks = by_task(rows, {rows[0].model: curve})
    slope = slope_of_tasks(tasks)
    level = level_of_tasks([(slope * odds, wrong) for odds, wrong in tasks])
    return OwnTerms(
        elsewhere=level, slope=slope, terms=detector.terms[len(across.detector.terms) :]
    )


def _of_any_length(term: Term) -> Term:
    """Sums over tokens and their number have no range: how much riskier they are, weights tell."""
    if term.feature == "span.tokens" or term.feature.endswith(":sum"):
        return term.model_copy(update={"low": None, "high": None})
    return term


def _whole_answer(answers: list[Answered]) -> Calibration | None:
    """The curve of answers that were not located: they are few, so their level alone is fitted."""
    some = [(a, s) for a, s in with_score(answers) if s.part == "whole answer"]
    scores = np.array([score.value for _, score in some])
    wrong = np.array([answered.wrong for answered, _ in some], dtype=bool)
    if not len(some) or wrong.all() or not wrong.any():
        return None
    return Calibration(
        slope=1.0,
        intercept=level_of(scores, wrong),
        n=len(some),
        n_wrong=int(wrong.sum()),
        lowest=float(scores.min()),
        highest=float(scores.max()),
    )


def main() -> None:
    """Print the tables, and write the file if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", metavar="NAME=QUIZ,ANSWERS")
    parser.add_argument("--longer", nargs="+", default=[], metavar="NAME=ANSWERS")
    parser.add_argument("--engines", nargs="+", default=[], metavar="NAME=FINGERPRINT")
    parser.add_argument("--support", action="store_true", help="go by the support of passages")
    parser.add_argument("--earlier", type=Path, help="an earlier detector: what it had seen counts")
    parser.add_argument("--out", type=Path, help="where the detector goes")
    args = parser.parse_args()
    names = (*FEATURES, *SUPPORT) if args.support else FEATURES
    rows: list[Row] = []
    everything: list[Answered] = []
    quizzes: dict[str, list[Row]] = {}
    fingerprints: dict[str, str] = {}
    for given in args.engines:
        name, _, fingerprint = given.partition("=")
        fingerprints[fingerprint] = name
    for given in args.models:
        name, _, files = given.partition("=")
        home, *others = map(Path, files.split(","))
        for path in (home, *others):
            made_with, answers = read_answers(path)
            fingerprints[made_with["model"]["fingerprint"]] = name
            answers = relocated(answers, "automatic")
            if path == home:
                quizzes[name] = list(rows_of(name, answers, names, QUIZ))
                # or no promise could be made of a model whose answers these are
                answers = [a for a in answers if split_of(a.question, a.context) != "certify"]
            rows += rows_of(name, answers, names, QUIZ if path == home else None)
            everything += [a for a in answers if not a.unsure]
    longer = [
        row
        for given in args.longer
        for name, _, files in [given.partition("=")]
        for path in files.split(",")
        for row in rows_of(name, relocated(read_answers(Path(path))[1], "automatic"), names, LONGER)
    ]
    judged = left_out([*rows, *longer])
    out = [
        "| level | left out | n | wrong | mean P | AUROC | of nll:max | gain | Brier skill "
        "| calibration error | P < 0.25 | of these wrong | right ones below 0.25 |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    tasks, models = ([getattr(row, key) for row in judged.rows] for key in ("task", "model"))
    people: Bools = np.array([task != LONGER for task in tasks])
    for basis, p in (("by the quiz", judged.by_quiz), ("not known", judged.unknown)):
        groups = {"all": people}
        groups |= {name: people & (np.array(models) == name) for name in dict.fromkeys(models)}
        groups |= {name: np.array(tasks) == name for name in dict.fromkeys(tasks)}
        for name, keep in groups.items():
            some = [row for row, is_kept in zip(judged.rows, keep, strict=True) if is_kept]
            out.append(f"| {basis} " + figures(name, some, p[keep]))
    made = kept(rows, everything, quizzes, fingerprints)
    if args.earlier:
        made = as_wide_as(made, OtherModels.read(args.earlier))
    out.append(f"\nfitted to {len(rows)} answers; elsewhere {made.elsewhere:.2f} in log-odds")
    terms = sorted(made.fitted.terms, key=lambda term: -abs(term.weight))
    out += [f"  {term.feature}: {term.weight:+.2f}" for term in terms]
    sys.stdout.write("\n".join(out) + "\n")
    if args.out:
        write_whole(args.out, made.model_dump_json(indent=1, by_alias=True) + "\n")


if __name__ == "__main__":
    main()
