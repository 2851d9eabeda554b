"""Sums with planted errors: what is planted, and what is read of it."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from energy_guard import load
from energy_guard.backends import Backend
from energy_guard.errors import InputError
from energy_guard.questions.rows import Question
from energy_guard.questions.wording import few_shot, in_chat, request_of
from energy_guard.reproduce.planted_sums import BARE, OFFSETS, planted_sums, read_sums

WORDINGS = in_chat(BARE)


@pytest.fixture(scope="module")
def tiny(tiny_path: Path) -> Backend:
    return load(tiny_path, n_ctx=512, n_threads=1)


def test_wrong_results_are_off_by_what_is_planted_and_have_as_many_digits() -> None:
    sums = planted_sums(200)
    assert Counter(each.digits for each in sums) == {9: 200, 12: 200, 14: 200}
    signs = Counter()
    for each in sums:
        first, second = (int(word.strip("?")) for word in each.question.split()[2::2])
        assert each.right == first + second
        assert {len(str(n)) for n in (first, second, each.right, *each.wrong)} == {each.digits}
        for wrong, (least, most) in zip(each.wrong, OFFSETS, strict=True):
            assert least <= abs(wrong - each.right) <= most
            signs[wrong > each.right] += 1
    assert 0.45 < signs[True] / signs.total() < 0.55


def test_the_same_sums_come_every_time_and_more_begin_with_them() -> None:
    assert planted_sums(20, [9])[:7] == planted_sums(7, [9])


def test_a_size_that_is_named_twice_counts_once() -> None:
    assert planted_sums(3, [9, 6, 9]) == planted_sums(3, [9, 6])


def test_each_result_is_read_as_the_whole_answer(tiny: Backend, tmp_path: Path) -> None:
    [read] = read_sums(tiny, planted_sums(1, [9]), path=tmp_path / "s.jsonl", wordings=WORDINGS)
    texts = [trace.text for trace in (read.right, *read.wrong)]
    assert texts == [str(n) for n in (read.planted.right, *read.planted.wrong)]
    question = Question("1", "sums", read.planted.question, ())
    request = request_of(question, WORDINGS["calculation"])
    *_, alone = tiny.replay(request, texts[2])
    for signal in ("spilled_energy", "marginal_energy", "nll"):
        expected = alone.trace.signal(signal)  # type: ignore[union-attr]
        assert np.isfinite(expected[: len(texts[2])]).all()
        assert read.wrong[1].signal(signal) == pytest.approx(expected, abs=1e-5, nan_ok=True)


def test_a_base_model_reads_the_result_after_a_blank(tiny: Backend, tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    [read] = read_sums(tiny, planted_sums(1, [9]), path=path, wordings=few_shot(2))
    assert read.right.text == f" {read.planted.right}"


def test_what_was_read_is_not_read_again(tiny: Backend, tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    read_sums(tiny, planted_sums(2, [6]), path=path, wordings=WORDINGS)
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])  # killed while it wrote
    again = read_sums(tiny, planted_sums(3, [6]), path=path, wordings=WORDINGS)
    assert [each.planted.id for each in again] == ["6-0", "6-1", "6-2"]
    assert len(path.read_text().splitlines()) == 4
    assert path.read_bytes().startswith(whole[: whole.rindex(b"\n", 0, -1)])


def test_a_file_of_another_wording_is_not_mixed_in(tiny: Backend, tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    read_sums(tiny, planted_sums(1, [6]), path=path, wordings=WORDINGS)
    with pytest.raises(InputError, match="another model or with another wording"):
        read_sums(tiny, planted_sums(1, [6]), path=path, wordings=few_shot(1))


@pytest.mark.parametrize("damage", [{"traces": [{}] * 5}, {"traces": []}, {}])
def test_a_damaged_line_is_named(tiny: Backend, tmp_path: Path, damage: object) -> None:
    path = tmp_path / "s.jsonl"
    read_sums(tiny, planted_sums(1, [6]), path=path, wordings=WORDINGS)
    path.write_text(path.read_text().splitlines()[0] + "\n" + json.dumps(damage) + "\n")
    with pytest.raises(InputError, match="line 2"):
        read_sums(tiny, planted_sums(1, [6]), path=path, wordings=WORDINGS)


def test_sums_of_another_version_are_not_taken_for_these(tiny: Backend, tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    [planted] = planted_sums(1, [6])
    read_sums(tiny, [planted], path=path, wordings=WORDINGS)
    other = replace(planted, right=planted.right + 1)
    with pytest.raises(InputError, match="has other results of the sum 6-0"):
        read_sums(tiny, [other], path=path, wordings=WORDINGS)
