"""What `benchmarks.coverage` compares: two coverages at one risk, on the same answers."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.coverage import RISKS, Judged, judged, line, p_wrong
from energy_guard.claims import exact_answer
from energy_guard.decide import Attempt
from energy_guard.energy import Floats, Row
from energy_guard.estimates.ranking import coverage_statistic
from energy_guard.locate import Located, Span
from energy_guard.questions.answered import Answered
from energy_guard.score import Unscored
from energy_guard.trace import Step, Trace


def trace_of(*tokens: tuple[str, float]) -> Trace:
    """A trace of texts with their nll."""
    steps = []
    for text, nll in tokens:
        row = Row(log_partition=2.0, mean=0.0, entropy=0.1, margin=1.0)
        steps.append(Step(0, text.encode(), 2.0 - nll, row))
    return Trace.from_steps(steps, Row(log_partition=2.0, mean=0.0, entropy=0.1, margin=1.0))


def answered(trace: Trace, located: Located) -> Answered:
    attempt = Attempt(trace, exact_answer(trace, located), Unscored("not yet"))
    return Answered("q", "facts", "Who?", None, (), True, "right", (attempt,))


def test_a_doubted_word_beside_the_exact_answer_raises_one_score_alone() -> None:
    trace = trace_of(("Rome", 0.2), (" was", 0.1), (" built", 0.3), (" by", 0.1), (" Zorg", 6.0))
    row = judged("m", answered(trace, Span((0,), "Rome")), long=False)
    assert row.exact == pytest.approx(0.2)
    assert row.every == pytest.approx(6.0)


def test_without_doubted_words_both_scores_are_the_same() -> None:
    trace = trace_of(("Rome", 0.2), (" is", 0.1), (" old", 0.3))
    row = judged("m", answered(trace, Span((0,), "Rome")), long=False)
    assert row.exact == row.every == pytest.approx(0.2)


def most_shown(risk: Floats, wrong: np.ndarray, limit: float) -> float:
    """The definition, by trying every threshold."""
    found = [0]
    for threshold in risk[np.isfinite(risk)]:
        shown = risk <= threshold
        if wrong[shown].sum() <= limit * shown.sum():
            found.append(int(shown.sum()))
    return max(found) / len(risk)


@pytest.mark.parametrize("seed", range(20))
def test_the_coverage_is_the_largest_over_all_thresholds(seed: int) -> None:
    random = np.random.default_rng(seed)
    risk = random.integers(0, 8, 40) / 8  # with ties
    risk[random.random(40) < 0.1] = np.nan
    wrong = random.random(40) < np.nan_to_num(risk, nan=0.5)
    once = np.ones((1, 40), dtype=np.int64)
    for limit in RISKS:
        found = coverage_statistic(risk, wrong, limit)(once)
        assert found == pytest.approx([most_shown(risk, wrong, limit)])


def rows_of(n: int) -> list[Judged]:
    random = np.random.default_rng(0)
    scores = random.random(n) * 4
    wrong = random.random(n) < scores / 4
    pairs = zip(scores.tolist(), wrong.tolist(), strict=True)
    return [Judged("m", f"q{i // 2}", False, w, s, s) for i, (s, w) in enumerate(pairs)]


def test_nothing_is_lost_where_both_scores_are_the_same() -> None:
    rows = rows_of(200)
    p = p_wrong(np.array([row.exact for row in rows]), rows)
    told = line("all", rows, {"exact": p, "every": p}, np.ones(200, dtype=bool), 0.2)
    assert told.endswith("| +0.0 (+0.0 to +0.0) |")


def test_an_answer_without_a_score_has_no_p_wrong_and_moves_no_other() -> None:
    rows = rows_of(200)
    scores = np.array([row.exact for row in rows])
    scores[7] = np.nan
    p = p_wrong(scores, rows)
    assert np.isnan(p[7])
    assert np.isfinite(np.delete(p, 7)).all()
