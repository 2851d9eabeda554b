"""What workers answer makes the file that one process writes, in whatever order it comes."""

from __future__ import annotations

import pickle
import random
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from by_question import ByQuestion

from energy_guard import Guard
from energy_guard.errors import EngineError, MismatchError
from energy_guard.on_ray.worker import WayOfAsking, Worker
from energy_guard.questions.answered import read_answers
from energy_guard.questions.ask import collect, made_with
from energy_guard.questions.replies import Failed, WorkerReply, check_alike, digest_of, merged
from energy_guard.questions.rows import Question
from energy_guard.questions.wording import WORDINGS

ROWS = [
    Question(f"{n}", "towns", f"Which town, {n}?", ("Oslo",), context="Oslo." if n % 3 else None)
    for n in range(30)
]


class Workers:
    """Three of them, without Ray: asked in any order, and heard late, twice and out of order."""

    def __init__(self, notes: Path, seed: int) -> None:
        self.dice = random.Random(seed)
        open_there = pickle.loads(pickle.dumps(partial(ByQuestion.noting, notes)))
        self.workers = [Worker(open_there) for _ in range(3)]
        self.failing: set[str] = set()
        self.asked: list[str] = []

    def ask(self, guard: Guard, rows: Sequence[Question], *args: Any, **kw: Any) -> Iterator[Any]:
        way = pickle.loads(pickle.dumps(WayOfAsking.of(guard, WORDINGS, "")))
        alike = [worker.prepare(way) for worker in self.workers]
        assert alike[0] == alike[1] == alike[2]
        replies = [self.dice.choice(self.workers).ask(row) for row in rows]
        self.asked += [row.id for row in rows]
        digest = digest_of(alike[0])
        told = [
            WorkerReply(Failed(reply.id, "it broke"), digest) if reply.id in self.failing else reply
            for reply in replies
        ]
        late = self.workers[0].ask(Question("gone", "towns", "Which town was it?", ("Oslo",)))
        told += [late, *self.dice.sample(told, len(told) // 2)]
        self.dice.shuffle(told)
        together = [told[n : n + 4] for n in range(0, len(told), 4)]
        yield from merged(together, rows, asked=digest)


def guard_in(notes: Path) -> Guard:
    return Guard(ByQuestion.noting(notes), locator="whole")


@pytest.mark.parametrize("seed", range(5))
def test_late_twice_and_out_of_order_it_is_the_file_of_one_process(
    tmp_path: Path, seed: int
) -> None:
    alone = collect(guard_in(tmp_path), ROWS, path=tmp_path / "alone.jsonl")
    workers = Workers(tmp_path, seed)
    spread = collect(guard_in(tmp_path), ROWS, path=tmp_path / "spread.jsonl", ask=workers.ask)
    assert [a.to_dict() for a in spread] == [a.to_dict() for a in alone]
    assert (tmp_path / "spread.jsonl").read_bytes() == (tmp_path / "alone.jsonl").read_bytes()
    assert len({a.outcome for a in alone}) == 2


def test_a_run_that_was_cut_off_asks_open_rows_alone(tmp_path: Path) -> None:
    collect(guard_in(tmp_path), ROWS, path=tmp_path / "alone.jsonl")
    path = tmp_path / "spread.jsonl"
    collect(guard_in(tmp_path), ROWS[::-1][:11], path=path, ask=Workers(tmp_path, 1).ask)
    kept = {answered.id for answered in read_answers(path)[1]}
    workers = Workers(tmp_path, 2)
    collect(guard_in(tmp_path), ROWS, path=path, ask=workers.ask)
    assert sorted(workers.asked) == sorted({row.id for row in ROWS} - kept)
    assert path.read_bytes() == (tmp_path / "alone.jsonl").read_bytes()


def test_what_fails_is_kept_as_the_error_of_its_row_and_can_be_asked_again(tmp_path: Path) -> None:
    path = tmp_path / "spread.jsonl"
    workers = Workers(tmp_path, 3)
    workers.failing = {"7", "20"}
    with pytest.raises(EngineError, match=r"2 of 30 questions failed.*it broke") as caught:
        collect(guard_in(tmp_path), ROWS, path=path, ask=workers.ask)
    listed = (tmp_path / "spread.failed.jsonl").read_text().splitlines()
    assert sorted(listed) == [f'{{"id": "{id}", "reason": "it broke"}}' for id in ("20", "7")]
    assert "--resume" in caught.value.hint
    assert len(read_answers(path)[1]) == 28
    workers.failing, workers.asked = set(), []
    collect(guard_in(tmp_path), ROWS, path=path, ask=workers.ask)
    assert sorted(workers.asked) == ["20", "7"]
    assert not (tmp_path / "spread.failed.jsonl").exists()
    collect(guard_in(tmp_path), ROWS, path=tmp_path / "alone.jsonl")
    assert path.read_bytes() == (tmp_path / "alone.jsonl").read_bytes()


def test_answers_of_two_models_are_not_mixed(tmp_path: Path) -> None:
    guard = guard_in(tmp_path)
    way = WayOfAsking.of(guard, WORDINGS, "")
    here = Worker(partial(ByQuestion.noting, tmp_path))
    other = Worker(partial(ByQuestion.noting, tmp_path, ("Bergen", "Oslo", "Ely")))
    made = here.prepare(way)
    assert made.items() >= made_with(guard, WORDINGS, grader=None).items()
    with pytest.raises(MismatchError, match=r"another model.*fingerprint"):
        check_alike(made, other.prepare(way))
    replies = [here.ask(ROWS[0]), other.ask(ROWS[1])]
    with pytest.raises(MismatchError, match="answer to '1'"):
        list(merged([replies], ROWS, asked=digest_of(made)))
