"""`energy-guard calibrate`: thresholds that come from answers of this very model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from energy_guard.backends import Backend
from energy_guard.calibrate.detector import FEATURES
from energy_guard.calibrate.keep_profile import (
    answers_of,
    check_kept,
    check_new,
    is_interrupted,
    promised,
)
from energy_guard.calibrate.make_profile import Made, Wish, check_enough, make_profile
from energy_guard.calibrate.make_profile_with_retries import (
    asking_profile,
    check_policy,
    make_retried,
)
from energy_guard.calibrate.split import split_of
from energy_guard.cli.bundle import bundled
from energy_guard.cli.calibrate_traffic import calibrate_on_traffic
from energy_guard.cli.chosen_detector import chosen_detector, chosen_probe, watching
from energy_guard.cli.data import DataOptions
from energy_guard.cli.grader import GraderName, check_grader, opened_grader
from energy_guard.cli.made_profile import print_made
from energy_guard.cli.options import (
    DetectorName,
    EngineOptions,
    Json,
    LocatorName,
    PolicyFile,
    Shots,
    Support,
)
from energy_guard.cli.progress import bars
from energy_guard.cli.screen import Console, say_json, tell
from energy_guard.cli.spread import SpreadOptions
from energy_guard.errors import ConfigError, InputError
from energy_guard.evaluate.label_figures import grader_name, label_figures
from energy_guard.extras import needs_extra
from energy_guard.features import signals_of
from energy_guard.files import held
from energy_guard.guard import Guard
from energy_guard.policy import Policy
from energy_guard.profile import Certificate, Profile
from energy_guard.profile.other_models import other_models
from energy_guard.profile.store import store, user_path
from energy_guard.questions.answered import Answered, read_answers
from energy_guard.questions.ask import Ask, collect
from energy_guard.questions.labels import LabelFile, labels_beside, with_labels
from energy_guard.questions.model_grader import ModelGrader
from energy_guard.questions.quiz import quiz
from energy_guard.questions.rows import Question
from energy_guard.questions.to_label import readable_of
from energy_guard.questions.unsure import list_unsure
from energy_guard.questions.wording import (
    SYSTEM,
    Wordings,
    as_made,
    as_told,
    fits_context,
    in_chat,
)
from energy_guard.report.labels import label_lines
from energy_guard.request import Sampling
from energy_guard.support_features import BY_ASKING


@bundled()
def calibrate(
    data: Annotated[
        list[Path] | None,
        typer.Argument(metavar="DATA", help="Files of labelled questions; without, the quiz."),
    ] = None,
    *,
    engine: EngineOptions,
    reading: DataOptions,
    spread: SpreadOptions,
    whole: Annotated[bool, typer.Option("--whole", help="Ask the whole quiz, no third.")] = False,
    max_risk: Annotated[
        float | None,
        typer.Option(help="Promise that at most this share of shown answers is wrong."),
    ] = None,
    confidence: Annotated[float, typer.Option(help="How sure the promise is.")] = 0.95,
    target: Annotated[
        float | None, typer.Option(help="Answer only if P(right) is above this.")
    ] = None,
    policy: PolicyFile = None,
    system: Annotated[
        str | None, typer.Option(help=f"The system prompt that you will use; without, “{SYSTEM}”")
    ] = None,
    shots: Shots = 0,
    detector: DetectorName = None,
    locator: LocatorName = None,
    support: Support = False,
    neurons: Annotated[
        Path | None,
        typer.Option(help="A probe's file: the detector that is fitted may go by it, too."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="File for the profile; without, the place where it is found."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on after an interruption.")] = False,
    grader: GraderName = None,
    unlabelled: Annotated[
        list[Path] | None,
        typer.Option(help="Ask nothing: move a profile to the level of the answers in this log."),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="With --unlabelled: the file that `label` wrote.")
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(
            help="With DATA and --max-risk: a profile to keep as it is, so that all of DATA, which "
            "it was not made from, goes into the promise. With --unlabelled: the one to move, the "
            "model's unless given."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Ask the model labelled questions, and make its profile: a score's P(wrong), and thresholds.

    Without DATA the command asks a third of a built-in quiz, in which every kind of question has
    its share. With --whole it asks all of the quiz, which is better for a promise. Questions that
    do not fit the context are left out, and counted. Answers are kept beside the profile as they
    come; --resume goes on with them.

    With --policy the profile is for that policy (on = "p_wrong") as it runs: a question is asked as
    often as the policy's retries allow, and the answer that the policy keeps counts. The policy's
    deadline is not followed, as what it cuts off depends on the machine.

    With --profile nothing is learnt: the profile stays as it is, and the questions are asked with
    its system prompt. All of DATA tests what can be promised of them (--max-risk), and not two
    fifths. They must be questions that the profile was not made from.

    With --unlabelled nothing is asked. The command estimates from the scores in a log, or in a file
    of answers, how often the model is wrong there. It writes a profile with P(wrong) at that level,
    and without a promise. About 30 --labels sharpen the estimate.
    """
    if unlabelled:
        unused = {
            "DATA": data,
            "--max-risk": max_risk,
            "--target": target,
            "--policy": policy,
            "--detector": detector,
            "--locator": locator,
            "--resume": resume or None,
            "--shots": shots or None,
            "--grader": grader,
            "--support": support or None,
            "--neurons": neurons,
            "--on": spread.on,
        }
        _refuse([name for name, value in unused.items() if value is not None], "--unlabelled")
        calibrate_on_traffic(
            unlabelled,
            engine,
            profile=profile,
            labels=labels,
            system=system,
            out=out,
            as_json=as_json,
        )
        return
    if labels is not None:
        raise ConfigError(
            "--labels are of logged answers, and none were given",
            "Name them with --unlabelled; questions of your own have their answers in DATA.",
        )
    if support and not data:
        raise InputError(
            "--support is learnt from questions over passages like yours, and the quiz is asked",
            "Give them as DATA, or leave --support out: any guard can measure it.",
        )
    with needs_extra("eval"):  # better now than when everything has been asked
        import filelock  # noqa: F401
        import scipy  # noqa: F401
        import sklearn  # noqa: F401
    check_grader(grader)
    if grader:
        spread.check_not_given("--grader")
    wish = Wish(max_risk, confidence, target)
    if profile is not None and not data:
        raise InputError("a promise by a profile that is kept needs questions", "Give DATA.")
    kept = None if profile is None else Profile.read(profile)
    if kept is not None:
        unused = {
            "--target": target,
            "--policy": policy,
            "--system": system,
            "--detector": detector,
            "--locator": locator,
            "--support": support or None,
            "--neurons": neurons,
        }
        _refuse([name for name, value in unused.items() if value is not None], "--profile")
        check_kept(kept, wish, raw=bool(shots))
    rules = Policy.read(policy) if policy else None
    detector = chosen_detector(detector, rules)
    probe = chosen_probe(neurons, detector, asks_quiz=not data)
    if rules is not None:
        check_policy(rules, wish)
    otherwise = as_made(kept.system_prompt) if kept else in_chat()
    wordings = as_told(system, shots, otherwise=otherwise)
    rows = _rows(data, reading, whole=whole)
    with spread.opened(engine) as (backend, ask):
        if kept is None:
            _check_fitting(backend, detector)
        path = out or user_path(backend.info)
        if profile is not None:
            _check_place(path, Path(profile))
            check_new(rows, Path(profile))
        asker = _Asker(backend, path, wordings, resume, ask)
        rows = asker.fitting(rows)
        if kept is not None:
            guard = Guard(backend, profile=kept)
        else:
            check_enough(
                [split_of(row.question, row.context) for row in rows],
                detector=detector,
                promised=max_risk is not None,
            )
            guard = Guard(
                backend,
                Policy(model=rules.model) if rules else None,
                detector=detector,
                locator=locator,
                profile=None,
                support=support,
            )
            guard = watching(guard, probe, rules)
            known = other_models().own.get(backend.info.fingerprint)
            unknown = known is None or known.terms  # what the model's yes about passages is worth
            if not data and detector is None and rules is None and backend.replays and unknown:
                guard = guard.with_judge(replace(guard.judge, support=frozenset(BY_ASKING)))
        compared = path.with_name(f"{path.stem}.compared.jsonl")
        with (
            held(path.with_name(f"{path.stem}.lock")),
            opened_grader(grader, n_threads=engine.n_threads, asked=compared) as second,
        ):
            asker = replace(asker, grader=second)
            earlier = Profile.read(path).certificates if path.exists() else ()
            if kept is not None and max_risk is not None:
                answers = asker.ask(guard, rows, what="asking")
                made = promised(kept, answers, max_risk, confidence, earlier)
            elif rules is None:
                made = make_profile(
                    asker.ask(guard, rows, what="asking"),
                    backend.info,
                    locator=guard.judge.locator,
                    detector=detector,
                    wish=wish,
                    earlier=earlier,
                    quiz=not data,
                    support=support,
                    neurons=probe,
                    **asker.asked_in,
                )
            else:
                made = _as_it_runs(
                    asker,
                    guard,
                    rows=rows,
                    policy=rules,
                    wish=wish,
                    detector=detector,
                    earlier=earlier,
                )
            store(made.profile, path)
    if as_json:
        say_json(made.profile.model_dump(mode="json", by_alias=True))
    else:
        print_made(Console(), made, path, kept=kept is not None)


def _refuse(given: list[str], beside: str) -> None:
    if given:
        raise ConfigError(
            f"{', '.join(given)} and {beside} do not go together", "Leave one of them out."
        )


def _check_fitting(backend: Backend, detector: str | None) -> None:
    """Raise ConfigError if a detector is to be fitted on signals that the backend does not give."""
    missing = ", ".join(sorted(signals_of(FEATURES) - backend.exact_signals))
    if detector is None and missing:
        raise ConfigError(
            f"a detector is fitted on all signals, and this model gives no {missing}",
            "Name one signal: --detector nll:max.",
        )


def _check_place(path: Path, kept: Path) -> None:
    """Raise ConfigError if a promise would take the place of the profile that it is by."""
    if path.resolve() == kept.resolve():
        raise ConfigError(
            f"{kept} would be written over, and the answers beside it with it",
            "Give the profile with the promise a place of its own: --out FILE.",
        )


def _rows(data: list[Path] | None, reading: DataOptions, *, whole: bool) -> list[Question]:
    if data and whole:
        raise InputError(
            "--whole is for the built-in quiz, and DATA was given",
            "Leave one of them out: files are asked whole.",
        )
    return reading.read(data) if data else quiz(whole=whole)


@dataclass(frozen=True)
class _Asker:
    """Asks, and keeps answers beside the profile as they come."""

    backend: Backend
    path: Path
    wordings: Wordings
    resume: bool
    asks: Ask
    grader: ModelGrader | None = None

    @property
    def asked_in(self) -> dict[str, Any]:
        """How questions are put, as a profile says it."""
        wording = self.wordings["free"]
        system = None if wording.raw else wording.system
        mode = "raw" if wording.raw else "chat"
        return {"mode": mode, "system_prompt": system, "sampling": Sampling()}

    def fitting(self, rows: list[Question]) -> list[Question]:
        """Return those that fit the context, and say how many do not, before any is asked."""
        short = [row for row in rows if fits_context(row, self.backend, wordings=self.wordings)]
        if not short:
            raise InputError("no question fits the context", "Give more of it: --n-ctx.")
        if len(short) < len(rows):
            count = f"{len(rows) - len(short)} of {len(rows)} questions"
            tell(f"{count} do not fit the context and are left out")
        return short

    def ask(
        self, guard: Guard, rows: list[Question], *, what: str, kept: str = "answers"
    ) -> list[Answered]:
        """Ask what is not answered yet; kept: what the file is called."""
        file = answers_of(self.path, kept)
        if file.exists() and not self.resume:
            if is_interrupted(self.path, file):
                raise InputError(
                    f"{file} has the answers of a run that was interrupted",
                    "Go on with --resume, or remove the file.",
                )
            file.unlink()  # its profile was made
        with bars(what, rows) as advance:
            answers = collect(
                guard,
                rows,
                path=file,
                wordings=self.wordings,
                grader=self.grader,
                ask=self.asks,
                on_answer=advance,
            )
        answers = _labelled(answers, file)
        list_unsure(answers, file.with_suffix(".unsure.jsonl"))
        return answers


def _labelled(answers: list[Answered], file: Path) -> list[Answered]:
    """Return answers with the labels that people gave, and say how many those are."""
    labels = LabelFile(labels_beside(file))
    given = labels.given(1)
    if given:
        grader = grader_name(read_answers(file)[0])
        for line in label_lines(label_figures(readable_of(answers), labels, grader=grader)):
            tell(line)
    return with_labels(answers, given)


def _as_it_runs(
    asker: _Asker,
    guard: Guard,
    *,
    rows: list[Question],
    policy: Policy,
    wish: Wish,
    detector: str | None,
    earlier: Sequence[Certificate],
) -> Made:
    """Ask some questions once, to fit the detector, and the others as often as the policy may."""
    fit = [row for row in rows if split_of(row.question, row.context) == "fit"]
    others = [row for row in rows if split_of(row.question, row.context) != "fit"]
    fitted = asker.ask(guard, fit, what="asking")
    asking = asking_profile(
        fitted,
        guard.backend.info,
        locator=guard.judge.locator,
        policy=policy,
        detector=detector,
        support=bool(guard.judge.measures_support),
        neurons=None if detector else guard.judge.neurons,
        **asker.asked_in,
    )
    under = Guard(asker.backend, profile=asking)
    asked = asker.ask(under, others, what="with retries", kept="attempts")
    return make_retried(fitted, asked, asking=asking, policy=policy, wish=wish, earlier=earlier)
