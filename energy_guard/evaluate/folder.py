"""An evaluation's folder: which rows were asked, their answers, and what else was measured."""

from __future__ import annotations

import hashlib
import json
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from energy_guard.backends import Backend
from energy_guard.decide import Attempt
from energy_guard.errors import InputError, LogError
from energy_guard.evaluate.references.ask_again import read_measured, with_measured
from energy_guard.evaluate.references.hidden_states import with_states
from energy_guard.evaluate.references.told_the_rule import TOLD
from energy_guard.files import write_whole
from energy_guard.json_text import read_json
from energy_guard.locate import Asked, Locator
from energy_guard.locate import locator as locator_named
from energy_guard.questions.answered import Answered, begun, read_answers
from energy_guard.questions.rows import Question
from energy_guard.questions.wording import Wordings, fits_context, request_of
from energy_guard.report.results import Results
from energy_guard.trace import SCHEMA

PACKAGES: Final = (
    "energy-guard",
    "numpy",
    "scipy",
    "scikit-learn",
    "llama-cpp-python",
    "torch",
    "transformers",
)
"""Whose versions results depend on."""


@dataclass(frozen=True)
class EvaluationRun:
    """What was asked: the command, ids in order, and of each task how many rows did not fit."""

    command: str
    ids: tuple[str, ...]
    too_long: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Folder:
    """The files of an evaluation."""

    path: Path

    @property
    def answers(self) -> Path:
        """Graded answers with their traces; see `questions.answered`."""
        return self.path / "answers.jsonl"

    @property
    def unsure(self) -> Path:
        """Answers that a person should grade; see `questions.unsure`."""
        return self.path / "unsure.jsonl"

    @property
    def compared(self) -> Path:
        """What a grading model was asked; see `questions.model_grader`."""
        return self.path / "compared.jsonl"

    @property
    def measured(self) -> Path:
        """p(true) and agreement; see `references.ask_again`."""
        return self.path / "baselines.jsonl"

    @property
    def states(self) -> Path:
        """Hidden states, a file for each answer; see `references.hidden_states`."""
        return self.path / "states"

    def told(self, target: float) -> Path:
        """Answers after the model was told the rule of a confidence target."""
        return self.path / f"told-{target:g}.jsonl"

    @property
    def results(self) -> Path:
        """All results as one object."""
        return self.path / "results.json"

    @property
    def lock(self) -> Path:
        """Held by whoever asks into this folder."""
        return self.path / "eval.lock"

    @property
    def report(self) -> Path:
        """The same for people, in a browser."""
        return self.path / "report.html"

    def start(self, resume: bool) -> None:
        """Make the folder; InputError if it has answers and they are not to be gone on with."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"cannot make {self.path}: {error.strerror}", "Give another place: --out DIR."
            ) from error
        if self.answers.exists() and not resume:
            raise InputError(
                f"{self.answers} has answers already",
                f"Go on with --resume, score them again with --from-traces {self.path}, or give "
                "another --out.",
            )

    def write_run(self, run: EvaluationRun) -> None:
        """Say what this folder is the evaluation of."""
        self._write(
            self.path / "run.json",
            {
                "schema": SCHEMA,
                "command": run.command,
                "ids": run.ids,
                "too_long": run.too_long,
            },
        )

    def write_results(self, results: Results) -> None:
        """Write the results."""
        self._write(self.results, results)

    def _write(self, path: Path, data: Mapping[str, Any]) -> None:
        try:
            write_whole(path, json.dumps(data, ensure_ascii=False, allow_nan=False))
        except OSError as error:
            raise LogError(f"cannot write {path}: {error.strerror}", "Make room.") from error


def choose(
    rows: Sequence[Question],
    most: int,
    *,
    backend: Backend | None = None,
    wordings: Wordings | None = None,
) -> tuple[list[Question], dict[str, int]]:
    """Return at most so many rows of each task, and how many of each did not fit the context.

    The first ones after an order by a hash of their ids: the same rows on every machine, and more
    of them keep those that were there. backend: whose context they have to fit, put in wordings.
    """
    taken: Counter[str] = Counter()
    too_long: Counter[str] = Counter()
    chosen = []
    for row in sorted(rows, key=lambda row: hashlib.sha256(row.id.encode()).digest()):
        if taken[row.task] == most:
            continue
        if backend is not None and not fits_context(row, backend, wordings=wordings):
            too_long[row.task] += 1
            continue
        taken[row.task] += 1
        chosen.append(row)
    tasks = list(dict.fromkeys(row.task for row in rows))
    return sorted(chosen, key=lambda row: tasks.index(row.task)), dict(too_long)


def read_run(path: Path) -> tuple[dict[str, Any], list[Answered], EvaluationRun | None]:
    """Read how answers were asked, the answers, and what was asked, of a folder or one file.

    A folder that is not finished gives the answers that there are.
    """
    folder = Folder(path if path.is_dir() else path.parent)
    made_with, answers = read_answers(folder.answers if path.is_dir() else path)
    run = _read_run(folder.path / "run.json") if path.is_dir() else None
    if run is not None:
        by_id = {answered.id: answered for answered in answers}
        answers = [by_id[name] for name in run.ids if name in by_id]
    if path.is_dir() and folder.measured.exists():
        answers = with_measured(answers, read_measured(folder.measured))
    if path.is_dir() and folder.states.exists():
        answers = with_states(answers, folder.states, model=made_with["model"]["fingerprint"])
    if not answers:
        raise InputError(f"{path} holds no answers", "Go on asking: --resume.")
    return made_with, answers, run


def relocated(answers: Sequence[Answered], locator: str) -> list[Answered]:
    """Find the exact answers anew, with another locator; no model is there to be asked."""
    locate = locator_named(locator)
    return [
        replace(
            answered, attempts=tuple(_relocated(answered, a, locate) for a in answered.attempts)
        )
        for answered in answers
    ]


def _relocated(answered: Answered, attempt: Attempt, locate: Locator) -> Attempt:
    request = request_of(_row(answered))
    return replace(attempt, located=locate(attempt.trace, Asked(request.question, request.choices)))


def _row(answered: Answered) -> Question:
    """The row that was asked, without its gold answers."""
    return Question(
        answered.id,
        answered.task,
        answered.question,
        (),
        answered.context,
        answered.choices,
        answered.answerable,
    )


def _read_run(path: Path) -> EvaluationRun | None:
    if not path.exists():
        return None
    try:
        data = read_json(path.read_text("utf-8"))
        return EvaluationRun(str(data["command"]), tuple(data["ids"]), dict(data["too_long"]))
    except (KeyError, RecursionError, TypeError, ValueError) as error:
        raise InputError(f"{path} is not the run.json of an evaluation") from error


def read_told(path: Path) -> dict[float, list[Answered]]:
    """Read the answers after the model was told a rule, by the rule's confidence target."""
    files = {target: Folder(path).told(target) for target in TOLD}
    return {t: read_answers(file)[1] for t, file in files.items() if begun(file)}


def versions() -> dict[str, str]:
    """Return the versions of what numbers depend on, as far as it is installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
