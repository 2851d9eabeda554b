"""Asking labelled questions under guard, and grading what comes out. Can be interrupted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from itertools import groupby
from pathlib import Path
from typing import Any, Final, Protocol

from energy_guard.errors import EngineError, InputError
from energy_guard.files import JsonLines
from energy_guard.guard import Guard
from energy_guard.policy import Rules
from energy_guard.questions.answered import Answered, AnswerFile
from energy_guard.questions.grade import Grader, Outcome, grade_row, graded_by
from energy_guard.questions.model_grader import ModelGrader
from energy_guard.questions.replies import Failed
from energy_guard.questions.rows import Question
from energy_guard.questions.wording import (
    WORDINGS,
    Wordings,
    kind_of,
    name_of,
    request_of,
    sharing,
    with_rule,
)
from energy_guard.result import Result
from energy_guard.trace import INCOMPLETE, Trace


class Ask(Protocol):
    """Asks questions, wherever the model is.

    It yields what came of them in any order, together what came at the same time.
    """

    def __call__(
        self,
        guard: Guard,
        rows: Sequence[Question],
        wordings: Wordings,
        *,
        grader: Grader | ModelGrader | None,
        rule: str,
    ) -> Iterator[Sequence[Answered | Failed]]:
        """Yield each row's answer, or why there is none; the arguments are those of `collect`."""
        ...


def ask_here(
    guard: Guard,
    rows: Sequence[Question],
    wordings: Wordings,
    *,
    grader: Grader | ModelGrader | None,
    rule: str,
) -> Iterator[list[Answered]]:
    """Ask in this process, one question after the other; see `Ask`."""
    for kind, group in groupby(rows, kind_of):
        of_kind = list(group)
        words = with_rule(wordings[kind], rule)
        requests = [request_of(row, words) for row in of_kind]
        results = guard.ask_many(requests, sharing=sharing(words))
        for row, result in zip(of_kind, results, strict=True):
            yield [_answered(row, result, grader)]


def collect(
    guard: Guard,
    rows: Sequence[Question],
    *,
    path: Path,
    wordings: Wordings = WORDINGS,
    grader: Grader | ModelGrader | None = None,
    rule: str = "",
    ask: Ask = ask_here,
    on_start: Callable[[], None] = lambda: None,
    on_answer: Callable[[Answered], None] = lambda _: None,
) -> list[Answered]:
    """Ask every row that is not answered in the file yet; return all answers in the rows' order.

    wordings: how each kind of question is put. rule: what the model is told besides, whatever the
    kind. ask: who asks, this process or workers elsewhere. on_start: called when what the file
    holds is known to go with these rows, before the first is asked. Each answer is on disk as it
    comes, and does not depend on which were asked before: an evaluation that was killed goes on to
    the very same numbers and the very same file, in which these rows stand in the order in which
    one process asks them. Answers that are in the file are graded again: gold answers may have
    been corrected since. Questions that failed at workers are listed beside it (*.failed.jsonl).

    Raises InputError where the file holds answers that were asked in another way, or an answer to
    another question by the id of a row, and EngineError where questions failed.
    """
    file = AnswerFile(path, made_with(guard, wordings, grader=grader, rule=rule))
    done = _done(file, rows, grader)
    on_start()
    for answered in done.values():
        on_answer(answered)
    in_order = sorted(rows, key=kind_of)
    open_rows = [row for row in in_order if row.id not in done]
    failed: list[Failed] = []
    for came in ask(guard, open_rows, wordings, grader=grader, rule=rule):
        failed += [said for said in came if isinstance(said, Failed)]
        answers = [said for said in came if isinstance(said, Answered)]
        file.append(*answers)  # the disk is waited for once
        for answered in answers:
            done[answered.id] = answered
            on_answer(answered)
    _list_failed(failed, path.with_suffix(".failed.jsonl"), asked=len(rows))
    if list(done) != [row.id for row in in_order]:
        _put_in_order(file, in_order)
    return [done[row.id] for row in rows]


def _list_failed(failed: Sequence[Failed], path: Path, *, asked: int) -> None:
    """List what failed in a file of its own, and raise EngineError if anything did."""
    if failed:
        JsonLines(path).rewrite(asdict(each) for each in failed)
        raise EngineError(
            f"{len(failed)} of {asked} questions failed, the first one because: {failed[0].reason}",
            f"The others are answered and kept; {path} lists these. Ask them again with --resume, "
            "or leave them out of the data.",
        )
    path.unlink(missing_ok=True)


def _put_in_order(file: AnswerFile, rows: Sequence[Question]) -> None:
    """Sort the answers to rows as these are sorted; answers to others stand before them."""
    places = {row.id: place for place, row in enumerate(rows)}
    file.rewrite(sorted(file.start(), key=lambda answered: places.get(answered.id, -1)))


def made_with(
    guard: Guard, wordings: Wordings, *, grader: Grader | ModelGrader | None, rule: str = ""
) -> dict[str, Any]:
    """What the answers depend on: asked otherwise, they would be others."""
    policy = guard.policy
    info = guard.backend.info
    # Without retries these decide nothing, and files from before they were recorded lack them.
    unused = set() if policy.retries else {"feedback_text", "unscored", "nothing_to_check"}
    return {
        "model": {"name": info.name, "fingerprint": info.fingerprint, "backend": info.backend},
        "locator": guard.judge.locator,
        "detector": guard.detector.name if policy.retries or policy.early_stop else None,
        "limit": policy.abstain if policy.retries else None,
        **policy.model_dump(mode="json", include=set(Rules.model_fields) - unused),
        "wording": name_of(wordings),
        **({"mode": "raw"} if wordings["free"].raw else {}),
        "grader": _told(grader),
        **({"rule": rule} if rule else {}),
        **({"support": sorted(support)} if (support := guard.judge.measures_support) else {}),
        **({"neurons": guard.judge.neurons.name} if guard.judge.neurons else {}),
    }


def _told(grader: Grader | ModelGrader | None) -> str | dict[str, Any]:
    """Who graded: grades of two graders are not mixed."""
    if isinstance(grader, ModelGrader):
        return dict(grader.made_with)
    return "built-in" if grader is None else grader.__qualname__


def _done(
    file: AnswerFile, rows: Sequence[Question], grader: Grader | ModelGrader | None
) -> dict[str, Answered]:
    """What the file holds of these rows, graded against the gold answers of today, there too."""
    by_id = {row.id: row for row in rows}
    stored = file.start()
    graded = [
        _graded_again(answered, by_id[answered.id], grader, file.path)
        if answered.id in by_id
        else answered
        for answered in stored
    ]
    if [a.graded for a in graded] != [a.graded for a in stored]:
        file.rewrite(graded)
    return {answered.id: answered for answered in graded if answered.id in by_id}


def _graded_again(
    answered: Answered, row: Question, grader: Grader | ModelGrader | None, path: Path
) -> Answered:
    asked = {
        "task": (answered.task, row.task),
        "question": (answered.question, row.question),
        "context": (answered.context, row.context),
        "choices": (answered.choices, row.offered),
        "answerable": (answered.answerable, row.answerable),
    }
    changed = [name for name, (then, now) in asked.items() if then != now]
    if changed:
        raise InputError(
            f"{path} has an answer by the id {row.id!r} from when its row had another "
            f"{' and another '.join(changed)}",
            _SAME_FILE if changed == ["task"] else _NEW_ID,
        )
    before = answered.outcomes or (answered.outcome,)
    after = tuple(_graded(row, attempt.trace, grader) for attempt in answered.attempts)
    # Which attempt was kept is not stored: one of those that were graded as the whole was.
    kept = {now for then, now in zip(before, after, strict=True) if then == answered.outcome}
    if len(kept) != 1:
        raise InputError(
            f"{path}: the attempts at {row.id!r} cannot be graded again for its new gold answers",
            _NEW_ID,
        )
    return replace(
        answered,
        answers=row.answers,
        outcome=kept.pop(),
        outcomes=after if answered.outcomes else (),
    )


_NEW_ID: Final = "Give the row a new id, or give another --out."
_SAME_FILE: Final = (
    "Without a column `task` the file's name is the task: keep the name, or give another --out."
)


def _answered(row: Question, result: Result, grader: Grader | ModelGrader | None) -> Answered:
    for attempt in result.attempts:
        if attempt.trace.finish_reason in INCOMPLETE - {"stopped"}:
            raise EngineError(
                f"the answer to {row.id} is not complete ({attempt.trace.finish_reason})",
                "Ask again with --resume; nothing that was answered is lost.",
            )
    outcomes = tuple(_graded(row, attempt.trace, grader) for attempt in result.attempts)
    return Answered(
        id=row.id,
        task=row.task,
        question=row.question,
        context=row.context,
        choices=row.offered,
        answers=row.answers,
        answerable=row.answerable,
        outcome=outcomes[[attempt is result.kept for attempt in result.attempts].index(True)],
        attempts=result.attempts,
        outcomes=outcomes if len(outcomes) > 1 else (),
    )


def _graded(row: Question, trace: Trace, grader: Grader | ModelGrader | None) -> Outcome:
    if isinstance(grader, ModelGrader):
        return grader.grade(row, trace.text, reasoning_open=trace.reasoning_open).outcome
    if grader is not None:
        return graded_by(grader, row, trace.text)
    return grade_row(row, trace.text, trace.reasoning_open)
