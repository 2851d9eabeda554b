"""What a profile is made from: a detector and its P(wrong), by graded answers.

By answers to questions like those that will come, both are fitted to them. By answers to the
built-in quiz, which stands for other people's questions, only the curve is: how often this model is
wrong, and how steeply that goes with its score. The detector is known better from several models
and many tasks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from energy_guard.calibrate.detector import adapt, pooled, rescaled, stack
from energy_guard.calibrate.own_yes import with_own_yes
from energy_guard.calibrate.probability import fit_calibration
from energy_guard.calibrate.split import Split, question_key, split_of
from energy_guard.energy import Floats
from energy_guard.errors import InputError
from energy_guard.features import features
from energy_guard.fitted import FittedDetector, Term
from energy_guard.locate import Span
from energy_guard.neuron_detector import scorer_named
from energy_guard.neurons.probe import NeuronProbe
from energy_guard.profile import Calibration
from energy_guard.profile.other_models import other_models
from energy_guard.questions.answered import Answered
from energy_guard.score import Score, Scorer
from energy_guard.support_features import BY_ASKING, BY_READING, CONFIRMED, SUPPORT

FEWEST: Final = 20
"""Answers of the rarer class that fitting and calibrating need at the least."""


@dataclass(frozen=True)
class Learnt:
    """A detector with its P(wrong).

    parts: all answers, scored by it. calibrating: those that P(wrong) was fitted to. whole_answer:
    P(wrong) of answers that were not located. flatter: what all log-odds were multiplied by, and
    harder: what was added to them then, because the questions that will come are harder than these
    at the same score, and to be sure means less there.
    """

    scorer: Scorer
    calibration: Calibration
    whole_answer: Calibration | None
    parts: Mapping[Split, list[Answered]]
    calibrating: Sequence[tuple[Answered, Score]]
    harder: float = 0.0
    flatter: float = 1.0


def learn_here(
    unscored: Mapping[Split, list[Answered]],
    *,
    detector: str | None,
    promised: bool,
    support: bool = False,
    neurons: NeuronProbe | None = None,
) -> Learnt:
    """Fit a detector and its P(wrong) to answers to questions like those that will come.

    Args:
        unscored: Answers by the split of their question.
        detector: A single signal or a probe, instead of one that is fitted.
        promised: Whether the certifying questions are kept for a promise.
        support: Whether the support by passages was measured.
        neurons: A probe whose neurons were watched.

    """
    scorer = knowing(
        scorer_for(unscored["fit"], detector, support=support, neurons=neurons),
        [*unscored["fit"], *to_learn_from(unscored, promised=promised)],
    )
    parts = {name: [a.scored_by(scorer) for a in part] for name, part in unscored.items()}
    learning = to_learn_from(parts, promised=promised)
    calibrating = scored(learning)
    return Learnt(
        scorer,
        calibrated(calibrating, [score for _, score in scored(parts["fit"])]),
        of_whole_answers(learning),
        parts,
        calibrating,
    )


def learn_from_quiz(
    unscored: Mapping[Split, list[Answered]], *, promised: bool, model: str = ""
) -> Learnt:
    """Take the detector from other models, with the curve that this model has in the quiz.

    What its yes about its passages is worth is added to the detector (`with_own_yes`).

    Args:
        unscored: Answers by the split of their question. None are needed to fit a detector, so
            those serve the curve, too.
        promised: Whether the certifying questions are kept for a promise.
        model: Its fingerprint: of some it is known how much harder people's questions are, and
            what their yes is worth.

    """
    known = other_models()
    mine = [*unscored["fit"], *to_learn_from(unscored, promised=promised)]
    own = known.own.get(model)
    if own and own.terms and not any(CONFIRMED in a.trace.extras for a in mine):
        own = None  # in plain text no model is asked
    harder, flatter = (own.elsewhere, own.slope) if own else (known.elsewhere, 1.0)
    shared = scored([a.scored_by(known.fitted) for a in mine])
    if own is None:
        detector = _with_own_yes(known.fitted, shared)
    else:
        terms = (*known.fitted.terms, *own.terms)
        detector = known.fitted.model_copy(update={"terms": terms})
    parts = {name: [a.scored_by(detector) for a in part] for name, part in unscored.items()}
    learning = [*parts["fit"], *to_learn_from(parts, promised=promised)]
    calibrating = scored(learning)
    curve = calibrated(calibrating, ()).flattened(flatter).shifted(harder)
    before = {a.id: score.value for a, score in shared}
    moved = [score.value - before[a.id] for a, score in calibrating]
    ranges = {
        "lowest": known.calibration.lowest + min(0.0, *moved),
        "highest": known.calibration.highest + max(0.0, *moved),
        "shortest": known.calibration.shortest,
        "longest": known.calibration.longest,
    }
    whole = known.whole_answer
    return Learnt(
        detector,
        curve.model_copy(update=ranges),
        whole and whole.shifted(known.level(curve)),
        {**parts, "fit": [], "calibrate": [*parts["fit"], *parts["calibrate"]]},
        calibrating,
        harder,
        flatter,
    )


def _with_own_yes(
    detector: FittedDetector, pairs: Sequence[tuple[Answered, Score]]
) -> FittedDetector:
    """The detector with what the yes of the model of these answers is worth."""
    values = [features(a.trace, score.span, BY_ASKING, a.asked) for a, score in pairs]
    return with_own_yes(
        detector,
        np.array([score.value for _, score in pairs]),
        np.array([a.wrong for a, _ in pairs], dtype=bool),
        np.array(values).reshape(-1, len(BY_ASKING)),
    )


def to_learn_from(parts: Mapping[Split, list[Answered]], *, promised: bool) -> list[Answered]:
    """Return the answers that P(wrong) is fitted to.

    If nothing is to be promised, there is nothing to keep the certifying questions for.
    """
    return [*parts["calibrate"], *([] if promised else parts["certify"])]


def in_splits(answers: Sequence[Answered]) -> dict[Split, list[Answered]]:
    """Return the answers of each split, one a question: splits and promises are about questions."""
    first: dict[str, Answered] = {}
    for answered in answers:
        first.setdefault(question_key(answered.question, answered.context), answered)
    parts: dict[Split, list[Answered]] = {"fit": [], "calibrate": [], "certify": []}
    for answered in first.values():
        parts[split_of(answered.question, answered.context)].append(answered)
    return parts


def calibrated(pairs: Sequence[tuple[Answered, Score]], seen: Sequence[Score]) -> Calibration:
    """Fit P(wrong) to scored answers; its range takes in the other scores that were seen, too.

    And a tenth more at the sure end: a few hundred answers seldom have the surest one among
    them, and to withhold the surest answers of all would be absurd. Raises InputError if
    there are too few right or wrong answers.
    """
    wrong = [answered.wrong for answered, _ in pairs]
    need(wrong.count(False), wrong.count(True), what="calibrate")
    values = [score.value for _, score in pairs]
    calibration = fit_calibration(values, wrong, lengths=[score.length for _, score in pairs])
    scores, lengths = [s.value for s in seen], [s.length for s in seen]
    lowest, highest = min([calibration.lowest, *scores]), max([calibration.highest, *scores])
    return calibration.model_copy(
        update={
            "lowest": lowest - (highest - lowest) / 10,
            "highest": highest,
            "shortest": min([calibration.shortest or 1, *lengths]),
            "longest": max([calibration.longest or 1, *lengths]),
        }
    )


def scorer_for(
    answers: Sequence[Answered],
    detector: str | None = None,
    *,
    support: bool = False,
    neurons: NeuronProbe | None = None,
) -> Scorer:
    """Return the named detector, or one that is fitted to these answers.

    With support it begins with no weight on that: of other models' answers it told nothing that
    their other numbers do not tell. So it does with neurons, which other models do not have.
    """
    if detector is not None:
        return scorer_named(detector)
    prior = other_models().fitted
    more = [*(_measured(answers) if support else ()), *([neurons.name] if neurons else [])]
    terms = (Term(feature=name, centre=0, scale=1, weight=0) for name in more)
    prior = prior.model_copy(update={"terms": (*prior.terms, *terms)})
    whole = _featured(answers, prior)
    wrong = [a.wrong for a, _ in whole]
    need(wrong.count(False), wrong.count(True), what=FIT)
    tasks = pooled(wrong, [a.task for a, _ in whole])
    examples = stack(prior.names, [row for _, row in whole], wrong=wrong, tasks=tasks)
    return adapt(rescaled(prior, examples.values), examples)


def _measured(answers: Sequence[Answered]) -> Sequence[str]:
    """The features of support that answers have: in plain text no model is asked back."""
    asked = any(CONFIRMED in answered.trace.extras for answered in answers)
    return SUPPORT if asked else tuple(BY_READING)


def knowing(scorer: Scorer, answers: Sequence[Answered]) -> Scorer:
    """Return a fitted detector with the range of each feature in these answers.

    Of answers unlike all of them it gives no P(wrong). A single signal stays as it is.
    """
    if not isinstance(scorer, FittedDetector):
        return scorer
    return scorer.knowing(np.array([row for _, row in _featured(answers, scorer)]))


def _featured(
    answers: Sequence[Answered], detector: FittedDetector
) -> list[tuple[Answered, Floats]]:
    """Those that the model did not decline and that have all features, with these."""
    rows = [
        (a, features(a.trace, a.located, detector.names, a.asked))
        for a in answers
        if isinstance(a.located, Span) and not a.declined
    ]
    return [(a, row) for a, row in rows if np.isfinite(row).all()]


def scored(answers: Sequence[Answered]) -> list[tuple[Answered, Score]]:
    """Return the located answers that have a score (`Answered.scored_by`), but for what the model
    declined.
    """
    return [(a, score) for a, score in with_score(answers) if score.part != "whole answer"]


def with_score(answers: Sequence[Answered]) -> list[tuple[Answered, Score]]:
    """Return the answers that have a score, located or not, but for what the model declined."""
    return [(a, a.score) for a in answers if not a.declined and isinstance(a.score, Score)]


def of_whole_answers(answers: Sequence[Answered]) -> Calibration | None:
    """P(wrong) of answers that were not located; None if they are too few to fit it to."""
    pairs = [(a, score) for a, score in with_score(answers) if score.part == "whole answer"]
    wrong = [answered.wrong for answered, _ in pairs]
    if min(wrong.count(False), wrong.count(True)) < FEWEST:
        return None
    return calibrated(pairs, ())


FIT: Final = "fit a detector"
FEWER: Final = " --detector nll:max needs fewer."


def need(right: int, wrong: int, *, what: str) -> None:
    """Raise InputError if these are too few to learn from."""
    if min(right, wrong) < FEWEST:
        few = [("easier", FEWEST - right, "right"), ("harder", FEWEST - wrong, "wrong")]
        wished = " and ".join(
            f"{kind} ones ({n} more {outcome} answers)" for kind, n, outcome in few if n > 0
        )
        raise InputError(
            f"{right} right and {wrong} wrong answers are too few to {what}: "
            f"at least {FEWEST} of each are needed",
            f"Add questions to the same file, {wished}, of which a part counts here, and go on "
            f"with --resume: what is answered is kept.{FEWER if what == FIT else ''}",
        )
