"""How commands that evaluate ask labelled questions: into a folder, on where it was ended."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from energy_guard.cli.progress import bars
from energy_guard.errors import InputError
from energy_guard.evaluate.folder import EvaluationRun, Folder, choose, read_told
from energy_guard.evaluate.references.ask_again import measure
from energy_guard.evaluate.references.hidden_states import measure_states, showing
from energy_guard.evaluate.references.told_the_rule import TOLD, rule_of
from energy_guard.extras import needs_extra
from energy_guard.guard import Guard
from energy_guard.questions.ask import Ask, ask_here, collect
from energy_guard.questions.model_grader import ModelGrader
from energy_guard.questions.rows import Question
from energy_guard.questions.wording import Wordings


def check_extra() -> None:
    """Better known now than after all questions were asked: MissingExtraError."""
    with needs_extra("eval"):
        import filelock  # noqa: F401
        import jinja2  # noqa: F401
        import matplotlib  # noqa: F401
        import scipy  # noqa: F401
        import sklearn  # noqa: F401


@dataclass(frozen=True, kw_only=True)
class Measurements:
    """How many questions of each task: in all, for the baselines, and with a rule.

    probe: whether hidden states are wanted, too. wordings: how questions are put. grader: None if
    the rules grade alone. ask: who asks them, this process or workers.
    """

    rows: int
    baselines: int
    told: int
    probe: bool
    wordings: Wordings
    grader: ModelGrader | None
    ask: Ask = ask_here


def ask_tasks(
    guard: Guard, wanted: Measurements, asked: Sequence[Question], folder: Folder
) -> None:
    """Ask what is not answered yet, and measure the baselines of what is not measured yet.

    Raises:
        InputError: No question fits the context.
        EngineError: The model fails; what is answered so far is kept.

    """
    reader = showing(guard.backend) if wanted.probe else None
    chosen, too_long = choose(asked, wanted.rows, backend=guard.backend, wordings=wanted.wordings)
    if not chosen:
        raise InputError("no question fits the context", "Give more of it: --n-ctx.")
    run = EvaluationRun(command(), tuple(row.id for row in chosen), too_long)
    with bars("asking", chosen) as advance:
        answers = collect(
            guard,
            chosen,
            path=folder.answers,
            wordings=wanted.wordings,
            grader=wanted.grader,
            ask=wanted.ask,
            on_start=lambda: folder.write_run(run),
            on_answer=advance,
        )
    if reader is not None:
        with bars("hidden states", chosen) as advance:
            measure_states(
                reader,
                list(zip(chosen, answers, strict=True)),
                folder=folder.states,
                wordings=wanted.wordings,
                on_measured=advance,
            )
    if wanted.baselines:
        subsample, _ = choose(chosen, wanted.baselines)
        by_id = {answered.id: answered for answered in answers}
        pairs = [(row, by_id[row.id]) for row in subsample]
        with bars("baselines", subsample) as advance:
            measure(
                guard,
                pairs,
                path=folder.measured,
                wordings=wanted.wordings,
                on_measured=advance,
            )
    told = read_told(folder.path)  # what was told before is graded again, asked for or not
    more = {row.id for row in choose(chosen, wanted.told)[0]}
    for target in TOLD:
        ids = more | {answered.id for answered in told.get(target, ())}
        subsample = [row for row in chosen if row.id in ids]
        if subsample:
            with bars(f"told, t = {target:g}", subsample) as advance:
                collect(
                    guard,
                    subsample,
                    path=folder.told(target),
                    wordings=wanted.wordings,
                    grader=wanted.grader,
                    rule=rule_of(target),
                    ask=wanted.ask,
                    on_answer=advance,
                )


def command() -> str:
    """Return the command line of this run, for who wants to run it again."""
    return shlex.join(["energy-guard", *sys.argv[1:]])
