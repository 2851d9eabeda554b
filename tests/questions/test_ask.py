"""Answers to labelled questions: asked once, on disk as they come, the same when interrupted."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from energy_guard import Guard, Policy, load
from energy_guard.backends import Scripted
from energy_guard.errors import InputError, LogError
from energy_guard.questions.answered import Answered, read_answers
from energy_guard.questions.ask import collect
from energy_guard.questions.rows import Question
from energy_guard.questions.wording import Wording, alike

ROWS = [
    Question("a", "capitals", "What is the capital of France?", ("Paris",)),
    Question("b", "labels", "Which is a fruit?", ("apple",), choices=("cedar", "apple")),
    Question("c", "capitals", "What is the capital of Norway?", ("Oslo",)),
    Question("d", "reading", "Who came?", ("Ann",), context="Ann came."),
    Question("e", "capitals", "What is the capital of Nowhere?", ("none",), answerable=False),
]
SAID = {"a": "Paris", "c": "Bergen", "e": "I don't know.", "d": "Ann", "b": "apple"}


class Stopped(BaseException):
    """Stands for a kill: nothing that handles errors sees it."""


ORDER = ("b", "a", "c", "e", "d")


def scripted(start: int = 0) -> Guard:
    """Answers what is not answered yet: a question that is asked twice gets no script."""
    backend = Scripted.saying(*([(SAID[name], 0.9)] for name in ORDER))
    backend._played = start
    return Guard(backend, locator="whole")


def same(mine: list[Answered], other: list[Answered]) -> bool:
    return [a.to_dict() for a in mine] == [a.to_dict() for a in other]


def test_graded_in_the_order_of_the_rows(tmp_path: Path) -> None:
    answers = collect(scripted(), ROWS, path=tmp_path / "answers.jsonl")
    assert [a.id for a in answers] == [row.id for row in ROWS]
    assert [a.outcome for a in answers] == ["right", "right", "wrong", "right", "right"]
    assert answers[1].choices == ("cedar", "apple")
    head, again = read_answers(tmp_path / "answers.jsonl")
    assert head["model"]["backend"] == "scripted"
    assert {a.id: a.to_dict() for a in again} == {a.id: a.to_dict() for a in answers}


@pytest.mark.parametrize("after", range(5))
def test_killed_and_continued_nothing_is_asked_twice(tmp_path: Path, after: int) -> None:
    whole = collect(scripted(), ROWS, path=tmp_path / "whole.jsonl")
    path = tmp_path / "answers.jsonl"
    seen = []

    def kill(_: Answered) -> None:
        seen.append(True)
        if len(seen) == after + 1:
            raise Stopped

    with pytest.raises(Stopped):
        collect(scripted(), ROWS, path=path, on_answer=kill)
    resumed = collect(scripted(after + 1), ROWS, path=path)
    assert same(resumed, whole)


@pytest.mark.parametrize("cut", range(1, 20))
def test_a_line_that_was_cut_off_is_asked_again(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "answers.jsonl"
    whole = collect(scripted(), ROWS, path=path)
    raw = path.read_bytes()
    head = raw.index(b"\n") + 1
    path.write_bytes(raw[: head + (len(raw) - head) * cut // 20])
    left = path.read_bytes().count(b"\n") - 1
    assert same(collect(scripted(left), ROWS, path=path), whole)


def test_what_was_asked_otherwise_is_not_mixed_in(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    collect(scripted(), ROWS, path=path)
    with pytest.raises(InputError, match="wording"):
        collect(scripted(), ROWS, path=path, wordings=alike(Wording("Be brief.", ())))
    other = Guard(Scripted.saying([("x", 0.9)]), Policy(detector="nll:max", retries=1, abstain=1))
    with pytest.raises(InputError, match="retries"):
        collect(other, ROWS, path=path)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"question": "What is the capital of Nauru?"}, "question"),
        ({"context": "Paris is in Texas."}, "context"),
        ({"choices": ("Paris", "Lyon")}, "choices"),
        ({"answerable": False}, "answerable"),
        ({"task": "cities", "question": "Which city?"}, "task and another question"),
    ],
)
def test_an_answer_to_another_question_of_this_id_is_not_taken_for_its_own(
    tmp_path: Path, change: dict[str, Any], named: str
) -> None:
    path = tmp_path / "answers.jsonl"
    collect(scripted(), ROWS, path=path)
    stored = path.read_bytes()
    with pytest.raises(InputError, match=f"the id 'a' .* another {named}") as caught:
        collect(scripted(5), [replace(ROWS[0], **change), *ROWS[1:]], path=path)
    assert "new id" in caught.value.hint and "--out" in caught.value.hint
    assert path.read_bytes() == stored


def test_a_file_of_another_name_is_said_to_be_another_task(tmp_path: Path) -> None:
    collect(scripted(), ROWS, path=tmp_path / "answers.jsonl")
    renamed = [replace(row, task="cities") for row in ROWS]
    with pytest.raises(InputError, match="had another task") as caught:
        collect(scripted(5), renamed, path=tmp_path / "answers.jsonl")
    assert "keep the name" in caught.value.hint


def test_corrected_gold_answers_are_graded_by_without_asking(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    collect(scripted(), ROWS, path=path)
    bergen = {name: replace(ROWS[name], answers=("Bergen",)) for name in (0, 2)}
    corrected = [bergen.get(number, row) for number, row in enumerate(ROWS)]
    answers = collect(scripted(5), corrected, path=path)
    assert [a.outcome for a in answers] == ["wrong", "right", "right", "right", "right"]
    assert {a.id: a.outcome for a in read_answers(path)[1]} == {a.id: a.outcome for a in answers}
    collect(scripted(5), corrected[:1], path=path)
    assert len(read_answers(path)[1]) == 5, "answers to other rows stay"


def test_several_attempts_are_graded_again_where_it_is_known_which_was_kept(
    tmp_path: Path,
) -> None:
    path = tmp_path / "answers.jsonl"
    row = Question("a", "t", "Which city?", ("Oslo",))

    def guard() -> Guard:
        said = [[(text, 0.9)] for text in ("Oslo", "Oslo", "Bergen")]
        return Guard(Scripted.saying(*said), ALWAYS_AGAIN, locator="whole")

    [first] = collect(guard(), [row], path=path)
    assert first.outcomes == ("right", "right", "wrong")
    [none] = collect(guard(), [replace(row, answers=("Turku",))], path=path)
    assert (none.outcome, none.outcomes) == ("wrong", ("wrong",) * 3)
    with pytest.raises(InputError, match="cannot be graded again"):
        collect(guard(), [row], path=path)


def test_a_file_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text('{"id": 1}\n')
    with pytest.raises(InputError, match="holds no answers"):
        collect(scripted(), ROWS, path=path)
    path.write_text('{"made_with": {}, "schema": 1}\n{"id": "a"}\n')
    with pytest.raises(InputError, match=r"answers\.jsonl, line 1: .*which model"):
        read_answers(path)
    path.write_text("a list of my own")
    with pytest.raises(InputError, match="holds no answers"):
        collect(scripted(), ROWS, path=path)
    assert path.read_text() == "a list of my own"


@pytest.mark.parametrize("left", [0, 1, 13, 14, 100, -1])
def test_killed_in_its_first_line_a_file_is_begun_anew(tmp_path: Path, left: int) -> None:
    path = tmp_path / "answers.jsonl"
    whole = collect(scripted(), ROWS, path=path)
    raw = path.read_bytes()
    path.write_bytes(raw[: raw.index(b"\n") + 1][:left])
    assert same(collect(scripted(), ROWS, path=path), whole)
    assert path.read_bytes() == raw


def set_span(answer: dict[str, Any], tokens: Any) -> None:
    answer["attempts"][0]["located"] = {"tokens": tokens, "text": "x"}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda answer: answer.update(outcome=["right"]),
        lambda answer: answer.update(outcomes=[{}]),
        lambda answer: answer.update(context=3),
        lambda answer: answer.update(choices=[3]),
        lambda answer: set_span(answer, [999]),
        lambda answer: set_span(answer, [-1]),
        lambda answer: set_span(answer, [1, 0]),
        lambda answer: set_span(answer, []),
        lambda answer: set_span(answer, "x"),
    ],
)
def test_an_answer_that_is_none_is_named_by_its_line(tmp_path: Path, spoil: Any) -> None:
    path = tmp_path / "answers.jsonl"
    collect(scripted(), ROWS, path=path)
    lines = path.read_text().splitlines()
    answer = json.loads(lines[2])
    spoil(answer)
    path.write_text("\n".join([*lines[:2], json.dumps(answer), *lines[3:], ""]))
    with pytest.raises(InputError, match=r"answers\.jsonl, line 3: "):
        read_answers(path)
    path.write_text("\n".join([*lines[:2], "[" * 100_000, ""]))
    with pytest.raises(InputError, match=r"answers\.jsonl, line 3: "):
        read_answers(path)


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="--resume"):
        collect(scripted(), ROWS, path=tmp_path / "nowhere" / "answers.jsonl")


def test_a_grader_of_ones_own(tmp_path: Path) -> None:
    def everything(_row: Question, _answer: str) -> Any:
        return "right"

    answers = collect(scripted(), ROWS, path=tmp_path / "a.jsonl", grader=everything)
    assert {a.outcome for a in answers} == {"right"}
    assert (
        "everything"
        in json.loads((tmp_path / "a.jsonl").read_text().splitlines()[0])["made_with"]["grader"]
    )


ALWAYS_AGAIN = Policy(
    detector="nll:max", warn=-2, abstain=-1, retries=2, retry=("feedback", "resample")
)


@pytest.mark.parametrize("policy", [None, ALWAYS_AGAIN], ids=["once", "with retries"])
@pytest.mark.parametrize("engine", ["llama-cpp", "transformers"])
def test_a_real_engine_gives_the_same_digits_after_an_interruption(
    tmp_path: Path, tiny_path: Path, engine: str, policy: Policy | None
) -> None:
    options = {"n_threads": 1, "n_threads_batch": 1} if engine == "llama-cpp" else {}

    def guard() -> Guard:
        return Guard(load(tiny_path, engine, n_ctx=2048, **options), policy, locator="whole")

    whole = collect(guard(), ROWS, path=tmp_path / "whole.jsonl")
    assert all(math.isfinite(a.attempts[0].trace.nll[0]) for a in whole)
    for after in (0, 2, 3):
        path = tmp_path / f"{after}.jsonl"
        lines = (tmp_path / "whole.jsonl").read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(lines[: after + 1]))
        assert same(collect(guard(), ROWS, path=path), whole)
