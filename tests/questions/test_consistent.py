"""Sampling until a question is consistent: no sample too many, and the same after a kill."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from energy_guard.backends import Scripted, load
from energy_guard.errors import InputError
from energy_guard.questions import consistent as module
from energy_guard.questions.consistent import SampledQuestion, balanced, sample_questions
from energy_guard.questions.rows import Question

NAMES = [f"q{number}" for number in range(8)]
ORDER = sorted(NAMES, key=lambda name: hashlib.sha256(name.encode()).digest())
ROWS = [Question(n, "capitals", f"What is the capital of {n}?", ("Oslo",)) for n in NAMES]
SAID = {
    ORDER[0]: ["Oslo", "It is Oslo.", "Oslo"],
    ORDER[1]: ["Bergen", "Paris", "Rome"],
    ORDER[2]: ["Oslo", "Bergen"],
    ORDER[3]: ["I don't know."],
    ORDER[4]: ["Bergen", "I don't know."],
    ORDER[5]: ["Paris", "Paris", "Paris"],
    ORDER[6]: ["Oslo", "Oslo", "Oslo"],
    ORDER[7]: ["Rome", "Oslo"],
}
OUTCOMES = ["right", "wrong", "mixed", "refused", "refused", "wrong", "right", "mixed"]


class Stopped(BaseException):
    """Stands for a kill: nothing that handles errors sees it."""


def scripted(start: int = 0) -> Scripted:
    """Says what is not said yet: a sample too many gets no script."""
    backend = Scripted.saying(*([(text, 0.9)] for name in ORDER for text in SAID[name]))
    backend._played = sum(len(SAID[name]) for name in ORDER[:start])
    return backend


def sample(path: Path, backend: Scripted, **settings: int) -> list[SampledQuestion]:
    return sample_questions(backend, ROWS, path=path, **({"of_each": 9, "samples": 3} | settings))


def test_sampling_of_a_question_ends_when_it_is_decided(tmp_path: Path) -> None:
    backend = scripted()
    found = sample(tmp_path / "samples.jsonl", backend)
    assert [each.id for each in found] == ORDER
    assert [each.outcome for each in found] == OUTCOMES
    assert [each.samples for each in found] == [len(SAID[name]) for name in ORDER]
    assert [each.consistent for each in found] == [o in ("right", "wrong") for o in OUTCOMES]


def test_the_first_sample_is_kept_with_its_exact_answer_and_scores(tmp_path: Path) -> None:
    first = sample(tmp_path / "samples.jsonl", scripted())[0]
    assert (first.text, first.exact) == ("Oslo", (0,))
    assert first.nll_max == pytest.approx(0.105, abs=0.001)
    read = first.to_read(next(row for row in ROWS if row.id == first.id))
    assert (read.answer, read.exact) == (first.answer, (0,))
    assert read.request.sampling.temperature == 1
    assert (read.request.sampling.top_k, read.request.sampling.top_p) == (50, 0.9)


@pytest.mark.parametrize(
    "edit",
    [
        {"question": "Where?"},
        {"context": "Of q0."},
        {"choices": ("Oslo", "Rome")},
        {"answers": ("Rome",)},
        {"answerable": False},
    ],
)
def test_a_row_that_was_edited_is_neither_gone_on_with_nor_read(
    tmp_path: Path, edit: dict[str, Any]
) -> None:
    path = tmp_path / "samples.jsonl"
    first = sample(path, scripted())[0]
    edited = [replace(row, **edit) if row.id == first.id else row for row in ROWS]
    reason = f"the question {first.id} was edited since it was sampled"
    with pytest.raises(InputError, match=reason):
        sample_questions(scripted(8), edited, path=path, of_each=9, samples=3)
    with pytest.raises(InputError, match=reason):
        first.to_read(next(row for row in edited if row.id == first.id))


def test_it_ends_when_there_are_enough_of_each(tmp_path: Path) -> None:
    found = sample(tmp_path / "samples.jsonl", scripted(), of_each=1)
    assert [each.id for each in found] == ORDER[:2]


def test_a_kind_of_which_a_task_has_enough_costs_one_sample_a_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LEAD", 1)
    wrong, other, right = (ORDER[at] for at in (1, 5, 6))
    rows = [row for row in ROWS if row.id in (wrong, other, right)]
    texts = [*SAID[wrong], SAID[other][0], *SAID[right], *SAID[other]]
    backend = Scripted.saying(*([(text, 0.9)] for text in texts))
    found: list[tuple[str, str, int]] = []
    sample_questions(
        backend,
        rows,
        path=tmp_path / "samples.jsonl",
        of_each=2,
        samples=3,
        on_sampled=lambda each: found.append((each.id, each.outcome, each.samples)),
    )
    assert found == [
        (wrong, "wrong", 3),
        (other, "not needed", 1),
        (right, "right", 3),
        (other, "wrong", 3),
    ], "with a right question in between it is needed after all"


# what is said; how many of four have to be alike: what comes of it, after how many, which is kept
ALIKE: dict[str, tuple[list[str], int, str, int, int]] = {
    "all but the first": (["Bergen", "Oslo", "Oslo", "Oslo"], 3, "right", 4, 1),
    "enough before the last": (["Bergen", "Rome", "Bergen"], 3, "wrong", 3, 0),
    "a refusal is another kind": (["Oslo", "I don't know.", "Oslo", "Oslo"], 3, "right", 4, 0),
    "no kind can reach it": (["Oslo", "Bergen", "Oslo", "Rome"], 3, "mixed", 4, 0),
    "two refusals": (["I don't know.", "I don't know."], 3, "refused", 2, 0),
    "all": (["Bergen", "Oslo"], 4, "mixed", 2, 0),
}


@pytest.mark.parametrize("name", ALIKE)
def test_most_samples_alike_may_be_enough(tmp_path: Path, name: str) -> None:
    said, alike, *expected = ALIKE[name]
    backend = Scripted.saying(*([(text, 0.9)] for text in said))
    [found] = sample_questions(
        backend, ROWS[:1], path=tmp_path / "samples.jsonl", of_each=1, samples=4, alike=alike
    )
    assert [found.outcome, found.samples, found.number] == expected
    assert found.text == said[found.number]


def test_samples_of_a_question_have_seeds_of_their_own(tmp_path: Path, tiny_path: Path) -> None:
    backend = load(tiny_path, n_ctx=1024, n_threads=1)
    row = Question("a", "t", "What?", ("no such answer",))
    seen: list[list[int]] = []
    for name in ("one", "two"):
        [found] = sample_questions(backend, [row], path=tmp_path / name, of_each=1, samples=2)
        seen.append(list(found.answer))
    assert seen[0] == seen[1], "the same question is sampled alike"


@pytest.mark.parametrize("after", range(1, 8))
def test_killed_and_continued_nothing_is_sampled_twice(tmp_path: Path, after: int) -> None:
    whole = sample(tmp_path / "whole.jsonl", scripted())
    path, seen = tmp_path / "samples.jsonl", []

    def kill(sampled: SampledQuestion) -> None:
        seen.append(sampled)
        if len(seen) == after:
            raise Stopped

    with pytest.raises(Stopped):
        sample_questions(scripted(), ROWS, path=path, of_each=9, samples=3, on_sampled=kill)
    with path.open("ab") as file:
        file.write(b'{"id": "cut o')
    assert sample(path, scripted(after)) == whole


def test_a_file_of_other_settings_is_not_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    sample(path, scripted())
    with pytest.raises(InputError, match="other settings"):
        sample(path, scripted(), samples=4)
    with pytest.raises(InputError, match="other settings"):
        sample(path, scripted(), alike=2)


def test_a_line_that_is_no_sample_is_named(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    sample(path, scripted())
    with path.open("a") as file:
        file.write('{"id": "x"}\n')
    with pytest.raises(InputError, match="line 10: bad sampledquestion"):
        sample(path, scripted())


def test_no_samples_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least one"):
        sample(tmp_path / "samples.jsonl", scripted(), samples=0)


def test_as_many_right_as_wrong_questions_of_each_task_are_kept(tmp_path: Path) -> None:
    found = sample(tmp_path / "samples.jsonl", scripted())
    assert [each.id for each in balanced(found, 9)] == [ORDER[i] for i in (0, 6, 1, 5)]
    assert [each.id for each in balanced(found, 1)] == [ORDER[i] for i in (0, 1)]
    assert [each.id for each in balanced(found[:6], 9)] == [ORDER[i] for i in (0, 1)]
    assert balanced(found[:1], 9) == []
    twice = [*found, *(each.model_copy(update={"task": "rivers"}) for each in found)]
    assert [each.task for each in balanced(twice, 2)] == ["capitals", "rivers"] * 2
    assert [each.task for each in balanced(twice, 3)] == ["capitals", "capitals", "rivers"] * 2
    elsewhere = [each.model_copy(update={"task": each.outcome}) for each in found]
    assert balanced(elsewhere, 9) == []
