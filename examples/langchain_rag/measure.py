"""What the guard does for question answering over passages: precision with and without it.

    python examples/langchain_rag/measure.py squad2.jsonl --out measured

Asks every labelled question with its passage (can be interrupted: the same command goes on),
calibrates a profile on the first third, in a fixed random order, and measures on the others.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from langchain_core.documents import Document
from langchain_energy_guard import ChatEnergyGuard
from rag import WORDING, messages_of

from energy_guard import Guard, Profile, load
from energy_guard.calibrate.learn import knowing
from energy_guard.calibrate.make_profile import profile_with
from energy_guard.calibrate.probability import fit_calibration
from energy_guard.energy import Floats, Ints
from energy_guard.estimates.bootstrap import Sample, interval
from energy_guard.estimates.estimate import Measured, NotDefined, proportion
from energy_guard.profile.other_models import other_models
from energy_guard.profile.store import store
from energy_guard.questions.answered import Answered
from energy_guard.questions.ask import collect
from energy_guard.questions.rows import Question, read_rows
from energy_guard.request import Sampling
from energy_guard.score import Detector, Score, Scorer

COVERAGE: Final = 0.2
AGAIN: Final = 20
"""Test questions that are asked once more, through LangChain."""


def main() -> int:
    """Ask, calibrate, measure; print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("questions", type=Path, help="JSON lines: id, question, context, answers")
    parser.add_argument("--out", type=Path, required=True, help="folder for answers and profile")
    parser.add_argument("--model", default="demo", help="a GGUF file; demo: the embedded model")
    parser.add_argument("--n-threads", type=int, default=1)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    backend = load(given.model, n_threads=given.n_threads, n_threads_batch=given.n_threads)
    rows = read_rows([given.questions])
    # The shipped detector was fitted on answers to 80 of squad2's questions, among 2,874 in all.
    random.Random(0).shuffle(rows)  # noqa: S311
    answers = collect(Guard(backend, profile=None), rows, path=given.out / "answers.jsonl")
    third = len(rows) // 3
    profile = calibrated(answers[:third], Guard(backend, profile=None))
    store(profile, given.out / "profile.json")
    table(answers[third:], profile, {answered.context for answered in answers[:third]})
    model = ChatEnergyGuard.of(backend, profile=profile, max_tokens=WORDING.max_tokens)
    ask_again(rows[third : third + AGAIN], answers[third:], model, profile)
    return 0


def calibrated(answers: Sequence[Answered], guard: Guard) -> Profile:
    """Calibrate the shipped detector as it is; its threshold shows a fifth of these answers.

    A few dozen right answers are too few to move its weights.
    """
    detector = knowing(other_models().fitted, answers)
    scored = [(a, s) for a in answers if isinstance(s := _score(a, detector), Score)]
    scores = [score.value for _, score in scored]
    lengths = [len(score.span.tokens) for _, score in scored]
    fitted = fit_calibration(scores, [answered.wrong for answered, _ in scored], lengths=lengths)
    lower = fitted.lowest - (fitted.highest - fitted.lowest) / 10  # the surest are to come yet
    fitted = fitted.model_copy(update={"lowest": lower})
    limit = fitted.p_wrong(sorted(scores)[round(COVERAGE * len(answers))]) or 0.0
    return profile_with(
        detector,
        fitted,
        info=guard.backend.info,
        locator=guard.judge.locator,
        system_prompt=WORDING.system,
        sampling=Sampling(),
        warn=limit,
        abstain=limit,
    )


def table(answers: Sequence[Answered], profile: Profile, known: set[str | None]) -> None:
    """Print what is right of all answers, and of those that are shown."""
    right = np.array([answered.outcome == "right" for answered in answers])
    risk = np.array([_p_wrong(answered, profile) for answered in answers])
    plain = np.array([_value(answered, Detector.parse("nll:max")) for answered in answers])
    new = np.array([answered.context not in known for answered in answers])
    answerable = np.array([answered.answerable for answered in answers])
    _, passages = np.unique([answered.context or "" for answered in answers], return_inverse=True)
    print(f"{len(answers)} test questions, {np.sum(~answerable)} of them without an answer in")
    print(f"the passage; {passages.max() + 1} passages. P(wrong) below {profile.abstain:.3f} shows")
    print("a fifth of the calibration answers.\n")
    print("| what is shown | shown | right | precision (95 %) | ratio to all answers (95 %) |")
    print("|---|---|---|---|---|")
    _line("all answers: no guard", right, len(right))
    for name, by in (("the guard", risk), ("`nll:max` alone", plain)):
        count = round(COVERAGE * len(by))
        shown = right[np.argsort(by, kind="stable")[:count]]
        _line(f"{name}: the surest 20 %", shown, count, gain(by, right, passages))
    shown = right[risk < profile.abstain]
    _line("the guard as it runs, with its threshold", shown, len(shown))
    count = round(COVERAGE * new.sum())
    shown = right[new][np.argsort(risk[new], kind="stable")[:count]]
    name = f"the guard, the {new.sum()} questions whose passage is new: the surest 20 %"
    _line(name, shown, count, gain(risk[new], right[new], passages[new]))


def gain(risk: Floats, right: np.ndarray, passages: np.ndarray) -> Measured:
    """Precision of the surest fifth over the share of right answers; passages are drawn again."""
    order = np.argsort(risk, kind="stable")
    names, of = np.unique(passages, return_inverse=True)

    def statistic(drawn: Ints) -> Floats:
        counts = drawn[:, of]
        every = counts.sum(axis=1, keepdims=True)
        ordered = counts[:, order]
        before = np.cumsum(ordered, axis=1) - ordered
        taken = np.clip(COVERAGE * every - before, 0, ordered)
        precision = (taken * right[order]).sum(axis=1) / (COVERAGE * every[:, 0])
        return np.asarray(precision / (counts * right).sum(axis=1) * every[:, 0])

    return interval(Sample(statistic, len(names)))


def ask_again(
    rows: Sequence[Question],
    answers: Sequence[Answered],
    model: ChatEnergyGuard,
    profile: Profile,
) -> None:
    """Ask some once more through LangChain, and say how far the verdicts are those above."""
    same, largest = 0, 0.0
    for row, answered in zip(rows, answers, strict=False):
        passage = Document(row.context or "")
        said = model.invoke(messages_of(row.question, [passage])).response_metadata["energy_guard"]
        expected = _p_wrong(answered, profile)
        same += said["shown"] == (expected < profile.abstain)
        if said["p_wrong"] is not None:
            largest = max(largest, abs(said["p_wrong"] - expected))
    print(f"\nAsked again through `ChatEnergyGuard`: {same} of {len(rows)} verdicts the same,")
    print(f"P(wrong) differs by at most {largest:.1g}.")


def _line(name: str, shown: np.ndarray, count: int, ratio: Measured | None = None) -> None:
    precision = _told(proportion(int(shown.sum()), count), "{:.1%}")
    told = _told(ratio, "{:.2f}") if ratio else ""
    print(f"| {name} | {count} | {shown.sum()} | {precision} | {told} |")


def _told(number: Measured, form: str) -> str:
    if isinstance(number, NotDefined):
        return number.reason
    value, low, high = map(form.format, (number.value, number.low, number.high))
    return f"{value} ({low} to {high})"


def _score(answered: Answered, scorer: Scorer) -> object:
    return scorer.score(answered.trace, answered.located, answered.asked)


def _value(answered: Answered, scorer: Scorer) -> float:
    """The score; where there is none the answer is not shown."""
    score = _score(answered, scorer)
    return score.value if isinstance(score, Score) else np.inf


def _p_wrong(answered: Answered, profile: Profile) -> float:
    score = _score(answered, profile.scorer)
    if not isinstance(score, Score):
        return np.inf
    p = profile.p_wrong(score)
    return np.inf if p is None else p


if __name__ == "__main__":
    sys.exit(main())
