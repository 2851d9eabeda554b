"""What `benchmarks.private_rounding` compares: an answer's result, and that of its private log."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.private_rounding import line, twice
from energy_guard.backends.base import ModelInfo
from energy_guard.decide import Attempt
from energy_guard.energy import Row
from energy_guard.judge import Judge
from energy_guard.locate import NotLocated
from energy_guard.questions.answered import Answered, AnswerFile
from energy_guard.score import Unscored
from energy_guard.trace import Step, Trace

INFO = ModelInfo("tiny", "0" * 32, backend="scripted")
ROW = Row(log_partition=2.0, mean=0.0, entropy=0.1, margin=1.0)


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    file = AnswerFile(
        tmp_path / "answers.jsonl",
        {
            "model": {"name": "tiny", "fingerprint": "0" * 32, "backend": "scripted"},
            "locator": "automatic",
        },
    )
    file.start()
    for number, nll in enumerate(np.linspace(0.03, 6.03, 25).tolist()):
        trace = Trace.from_steps([Step(1, b"Rome", 2.0 - nll, ROW)], ROW)
        attempt = Attempt(trace, NotLocated("not yet"), Unscored("not yet"))
        file.append(Answered(str(number), "t", "Which city?", None, (), True, "right", (attempt,)))
    return file.path


def test_scores_move_up_by_less_than_a_step_and_no_answer_is_shown_for_it(
    answers: Path, tmp_path: Path
) -> None:
    pairs = twice(Judge.assemble(), INFO, answers, tmp_path / "log.jsonl")
    moved = [again.score - live.score for live, again in pairs if live.score and again.score]
    assert len(moved) == 25
    assert min(moved) >= 0
    assert 0.05 < max(moved) < 0.1
    assert not any(again.shown and not live.shown for live, again in pairs)
    assert any(live.shown for live, _ in pairs)
    assert not all(live.shown for live, _ in pairs)


def test_the_table_counts_how_far_p_wrong_moves(answers: Path, tmp_path: Path) -> None:
    pairs = twice(Judge.assemble(), INFO, answers, tmp_path / "log.jsonl")
    assert line("all", pairs).startswith("| all | 25 | 0 | –")
    known = [(replace(a, p_wrong=0.3), replace(b, p_wrong=0.32)) for a, b in pairs[:4]]
    known.append((replace(pairs[4][0], p_wrong=0.3), replace(pairs[4][1], p_wrong=None)))
    assert line("x", known).startswith("| x | 5 | 4 | 0.0200 | 0.020 | 100.0%, 0.0%, 0.0% | 1 |")
