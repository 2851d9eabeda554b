from __future__ import annotations

import json
from pathlib import Path

from energy_guard.decide import Attempt
from energy_guard.energy import Row
from energy_guard.locate import NotLocated
from energy_guard.questions.answered import Answered
from energy_guard.questions.grade import Outcome
from energy_guard.questions.unsure import list_unsure, sure
from energy_guard.score import Unscored
from energy_guard.trace import Step, Trace

ROW = Row(2.0, 0.0, 0.1, 1.0)


def answered(name: str, outcome: Outcome, outcomes: tuple[Outcome, ...] = ()) -> Answered:
    trace = Trace.from_steps([Step(1, "fünf".encode(), 1.0, ROW)], ROW)
    attempts = (Attempt(trace, NotLocated("empty"), Unscored("")),) * max(1, len(outcomes))
    return Answered(name, "t", f"{name}?", None, (), True, outcome, attempts, outcomes)


ANSWERS = [
    answered("a", "right"),
    answered("b", "unsure"),
    answered("c", "right", ("unsure", "right")),
    answered("d", "refused"),
]


def test_an_answer_with_an_unsure_attempt_is_left_out() -> None:
    assert [a.id for a in sure(ANSWERS)] == ["a", "d"]


def test_unsure_answers_are_listed_for_a_person(tmp_path: Path) -> None:
    path = tmp_path / "unsure.jsonl"
    assert list_unsure(ANSWERS, path) == 2
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert lines[0] == {"id": "b", "task": "t", "question": "b?", "answer": "fünf"}
    assert [line["id"] for line in lines] == ["b", "c"]


def test_an_old_list_goes_if_nothing_is_unsure(tmp_path: Path) -> None:
    path = tmp_path / "unsure.jsonl"
    path.write_text("old", "utf-8")
    assert list_unsure(ANSWERS[:1], path) == 0
    assert not path.exists()
