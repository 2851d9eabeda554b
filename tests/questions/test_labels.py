"""Labels that people give: kept at once, found by what they are of, and used for nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from energy_guard.decide import Attempt
from energy_guard.energy import Row
from energy_guard.errors import InputError
from energy_guard.locate import NotLocated
from energy_guard.questions.answered import Answered
from energy_guard.questions.grade import Outcome
from energy_guard.questions.labels import (
    LabelFile,
    Pass,
    digest_of,
    digests_of,
    with_labels,
)
from energy_guard.questions.to_label import in_order, readable_of, shuffled
from energy_guard.score import Unscored
from energy_guard.trace import Step, Trace

ROW = Row(log_partition=2.0, mean=0.0, entropy=0.1, margin=1.0)


def attempt(text: str) -> Attempt:
    trace = Trace.from_steps([Step(0, text.encode(), 1.0, ROW)], ROW)
    return Attempt(trace, NotLocated("not looked for"), Unscored("not scored"))


def answered(
    name: str, outcome: Outcome, *texts: str, outcomes: tuple[Outcome, ...] = ()
) -> Answered:
    return Answered(
        id=name,
        task="t",
        question=f"{name}?",
        context=None,
        choices=(),
        answerable=True,
        outcome=outcome,
        attempts=tuple(map(attempt, texts or (f"says {name}",))),
        outcomes=outcomes,
    )


def add(
    file: LabelFile, label: Outcome | None, of: Answered, at: int = 0, number: Pass = 1
) -> None:
    digest = digests_of(of)[at]
    file.add(label, name=of.id, digest=digest, labeller="ann", number=number)


@pytest.fixture
def file(tmp_path: Path) -> LabelFile:
    return LabelFile(tmp_path / "answers.labels.jsonl")


def test_the_last_label_counts_and_one_that_is_taken_back_does_not(file: LabelFile) -> None:
    a, b = answered("a", "wrong"), answered("b", "right")
    for label, of in (("wrong", a), ("right", a), ("wrong", b), (None, b)):
        add(file, label, of)  # type: ignore[arg-type]
    given = file.given(1)
    assert {label.id: label.label for label in given.values()} == {"a": "right"}
    assert [one.outcome for one in with_labels([a, b], given)] == ["right", "right"]
    assert len(file.path.read_text().splitlines()) == 4, "nothing is lost"


def test_each_pass_has_its_own_labels(file: LabelFile) -> None:
    a = answered("a", "wrong")
    add(file, "right", a)
    add(file, "refused", a, number=2)
    assert [[label.label for label in file.given(n).values()] for n in (1, 2)] == [
        ["right"],
        ["refused"],
    ]


def test_a_label_never_serves_another_answer_question_passage_or_choice(file: LabelFile) -> None:
    add(file, "right", answered("a", "wrong"))
    other = answered("a", "wrong", "says something else")
    assert with_labels([other], file.given(1)) == [other]
    digests = {
        digest_of("q", None, (), "x"),
        digest_of("q", "c", (), "x"),
        digest_of("q", None, ("x",), "x"),
        digest_of("q", None, ("x", "y"), "x"),
        digest_of("p", None, (), "x"),
        digest_of("q", None, (), "y"),
    }
    assert len(digests) == 6


def test_a_line_that_was_cut_off_is_no_label_and_the_next_one_is(file: LabelFile) -> None:
    a, b = answered("a", "wrong"), answered("b", "wrong")
    add(file, "right", a)
    whole = file.path.read_bytes()
    file.path.write_bytes(whole[:-20])
    assert file.given(1) == {}
    add(file, "right", b)
    assert [label.id for label in file.given(1).values()] == ["b"]


@pytest.mark.parametrize(
    "change", [{"label": "good"}, {"schema": 2}, {"pass": 3}, {"more": 1}, {"digest": None}]
)
def test_a_line_that_holds_something_else_is_named(
    file: LabelFile, change: dict[str, object]
) -> None:
    add(file, "right", answered("a", "wrong"))
    line = json.loads(file.path.read_text())
    file.path.write_text(json.dumps(line) + "\n" + json.dumps(line | change) + "\n")
    with pytest.raises(InputError, match=r"answers\.labels\.jsonl, line 2"):
        file.given(1)


def test_unsure_people_leave_an_answer_to_nobody(file: LabelFile) -> None:
    a = answered("a", "wrong")
    add(file, "unsure", a)
    [found] = with_labels([a], file.given(1))
    assert found.unsure
    assert not found.wrong


def test_every_attempt_has_its_own_label(file: LabelFile) -> None:
    tried = answered("a", "wrong", "one", "two", outcomes=("right", "wrong"))
    add(file, "right", tried, at=1)
    [found] = with_labels([tried], file.given(1))
    assert (found.outcome, found.outcomes) == ("right", ("right", "right"))


def test_labels_that_leave_open_which_attempt_was_kept_make_the_answer_unsure(
    file: LabelFile,
) -> None:
    tried = answered("a", "wrong", "one", "two", outcomes=("wrong", "wrong"))
    add(file, "right", tried, at=1)
    [found] = with_labels([tried], file.given(1))
    assert (found.outcome, found.outcomes) == ("unsure", ("wrong", "right"))


def test_half_of_the_first_answers_to_label_are_called_right_whatever_the_share() -> None:
    grades: list[Outcome] = ["right"] * 60 + ["wrong"] * 200 + ["refused"] * 40
    answers = [answered(f"x{n}", grade) for n, grade in enumerate(grades)]
    ordered = in_order(readable_of(answers))
    for begin in range(0, 100, 20):
        assert sum(each.grade == "right" for each in ordered[begin : begin + 20]) == 10
    assert sorted(each.id for each in ordered) == sorted(answer.id for answer in answers)
    runs = "".join(each.grade[0] for each in ordered[:20] if each.grade)
    assert runs not in ("rw" * 10, "wr" * 10), "the order tells nothing of the grade"


def test_what_the_grader_is_unsure_about_comes_first() -> None:
    grades: list[Outcome] = ["right"] * 9 + ["unsure"] * 3 + ["wrong"] * 9
    answers = [answered(f"x{n}", grade) for n, grade in enumerate(grades)]
    ordered = in_order(readable_of(answers))
    assert [each.grade for each in ordered[:3]] == ["unsure"] * 3


def test_the_order_does_not_depend_on_how_answers_are_stored_and_passes_differ() -> None:
    readables = readable_of([answered(f"x{n}", "right") for n in range(30)])
    assert in_order(readables) == in_order(readables[::-1])
    assert shuffled(readables, "second") != shuffled(readables)


def test_the_same_answer_is_read_once() -> None:
    tried = answered("a", "right", "one", "one", "two", outcomes=("right", "right", "wrong"))
    assert [each.answer for each in readable_of([tried])] == ["one", "two"]
