"""`energy-guard eval`: how well the guard tells right from wrong on labelled questions."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.text import Text

from energy_guard.cli.asking import Measurements, ask_tasks, check_extra, command
from energy_guard.cli.bundle import bundled
from energy_guard.cli.data import DataOptions
from energy_guard.cli.grader import GraderName, check_grader, opened_grader
from energy_guard.cli.options import (
    DetectorName,
    EngineOptions,
    Json,
    JudgingOptions,
    LocatorName,
    Shots,
    Support,
)
from energy_guard.cli.screen import Console, say_json, tell
from energy_guard.cli.spread import SpreadOptions
from energy_guard.errors import ConfigError, InputError
from energy_guard.evaluate.folder import (
    Folder,
    read_run,
    read_told,
    relocated,
    versions,
)
from energy_guard.evaluate.label_figures import grader_name, label_figures
from energy_guard.evaluate.summary import summarise
from energy_guard.files import held, write_whole
from energy_guard.guard import Guard
from energy_guard.neuron_detector import NeuronDetector, is_neurons, scorer_named
from energy_guard.neurons.probe import NeuronProbe
from energy_guard.policy import Policy
from energy_guard.profile import Profile
from energy_guard.profile.store import file_of
from energy_guard.questions.answered import Answered
from energy_guard.questions.labels import LabelFile, labels_beside, with_labels
from energy_guard.questions.to_label import readable_of
from energy_guard.questions.unsure import list_unsure
from energy_guard.questions.wording import EACH_KIND, as_made, as_told
from energy_guard.report.evaluation import evaluation_view
from energy_guard.report.page import evaluation_page
from energy_guard.report.results import Results
from energy_guard.score import Scorer

DEFAULT_OUT: Final = Path("evaluation")


@bundled()
def evaluate(
    data: Annotated[
        list[Path] | None, typer.Argument(metavar="DATA", help="Files of labelled questions.")
    ] = None,
    *,
    engine: EngineOptions,
    reading: DataOptions,
    spread: SpreadOptions,
    rows: Annotated[int, typer.Option("-n", help="Questions of each task.", min=1)] = 300,
    out: Annotated[
        Path | None, typer.Option(help=f"Folder for everything; {DEFAULT_OUT} unless given.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on in that folder.")] = False,
    from_traces: Annotated[
        Path | None,
        typer.Option(help="Score this folder or file of answers again, without the model."),
    ] = None,
    baselines: Annotated[
        int, typer.Option(help="Questions of each task for p(true) and agreement.", min=0)
    ] = 0,
    told: Annotated[
        int,
        typer.Option(help="Questions of each task to ask again, with the rule of a target.", min=0),
    ] = 0,
    shots: Shots = 0,
    system: Annotated[
        str | None,
        typer.Option(
            help="The system prompt that you will use; otherwise the profile's, or one for each "
            "kind of question with examples."
        ),
    ] = None,
    probe: Annotated[
        bool, typer.Option("--probe", help="Read hidden states for a probe (transformers only).")
    ] = False,
    detector: DetectorName = None,
    locator: LocatorName = None,
    support: Support = False,
    profile: Annotated[
        str | None, typer.Option(help="A profile to try; questions are asked as its own were.")
    ] = None,
    grader: GraderName = None,
    as_json: Json = False,
) -> None:
    """Ask labelled questions, and measure what every detector and the guard are worth on them.

    Writes answers.jsonl (with all traces, as they come), results.json and report.html, and
    unsure.jsonl with the answers that a person should grade: they stand in no figure.

    The guard's figures are those of a detector that is fitted to the answers, or of the one that
    --detector names. A profile plays a part only if --profile names it.
    """
    JudgingOptions(
        detector=detector, locator=locator
    ).settings()  # checked before anything is loaded
    check_grader(grader)
    tried = Profile.read(profile) if profile else None
    scorer = scorer_named(detector) if detector else None
    neurons = _watched(scorer, tried)
    if from_traces is not None:
        asks = (data, resume, baselines, told, probe, grader, shots, support, spread.on)
        if any(asks) or system is not None:
            raise InputError("--from-traces asks no questions: it goes with no data file")
        folder = Folder(out or (from_traces if from_traces.is_dir() else from_traces.parent))
    else:
        if not data:
            raise InputError(
                "eval needs labelled questions",
                "Give files of them, or --from-traces DIR to score an evaluation again.",
            )
        if shots and (baselines or probe):
            raise InputError("--baselines and --probe ask in a chat, and --shots does not")
        if baselines:
            engine.check_is_here("--baselines")
        for name, given in {"--baselines": baselines, "--probe": probe, "--grader": grader}.items():
            if given:
                spread.check_not_given(name)
        asked = reading.read(data)
        check_extra()
        folder = Folder(out or DEFAULT_OUT)
        folder.start(resume)
        with (
            held(folder.lock),
            opened_grader(grader, n_threads=engine.n_threads, asked=folder.compared) as second,
            spread.opened(engine) as (backend, ask),
        ):
            guard = Guard(
                backend,
                locator=locator,
                profile=None,
                support=support,
            )
            wanted = guard.judge.support | (tried.scorer.needs_support if tried else frozenset())
            guard = guard.with_judge(replace(guard.judge, neurons=neurons, support=wanted))
            if tried is None and (untried := file_of(backend.info)) is not None:
                tell(
                    "Detectors are fitted to these answers: the model's own profile plays no part. "
                    "To try it, and to ask as it was made: "
                    f"--profile {shlex.quote(str(untried))}"
                )
            ask_tasks(
                guard,
                Measurements(
                    rows=rows,
                    baselines=baselines,
                    told=told,
                    probe=probe,
                    wordings=as_told(
                        system, shots, otherwise=as_made(tried.system_prompt if tried else None)
                    ),
                    grader=second,
                    ask=ask,
                ),
                asked,
                folder,
            )
    told_locator = locator if from_traces else None
    results, answers = results_of(
        from_traces or folder.path,
        detector=scorer.name if scorer else None,
        locator=told_locator,
        profile=tried,
    )
    folder.start(resume=True)  # scored again, there is something to put there only now
    folder.write_results(results)
    list_unsure(answers, folder.unsure)
    write_whole(folder.report, evaluation_page(results))
    if as_json:
        say_json(results)
        return
    console = Console()
    console.print(evaluation_view(results))
    console.print(Text(f"\n{folder.results}\n{folder.report}"), soft_wrap=True)


def results_of(
    traces: Path, *, detector: str | None, locator: str | None, profile: Profile | None
) -> tuple[Results, Sequence[Answered]]:
    """Score what is stored, and return the answers, too.

    Args:
        traces: An evaluation's folder, or a file of answers.
        detector: The name of what the guard's figures are for; None for a fitted one.
        locator: To find the answers anew.
        profile: One to try as it is.

    Raises:
        InputError: There are no answers, or the neurons of the detector were not watched.
        MismatchError: The profile does not fit the answers.

    """
    made_with, answers, run = read_run(traces)
    folder = Folder(traces if traces.is_dir() else traces.parent)
    labels = LabelFile(labels_beside(folder.answers if traces.is_dir() else traces))
    figures = label_figures(readable_of(answers), labels, grader=grader_name(made_with))
    answers = with_labels(answers, labels.given(1))
    told = {
        target: with_labels(those, LabelFile(labels_beside(folder.told(target))).given(1))
        for target, those in read_told(traces).items()
    }
    if detector is not None and is_neurons(detector) and detector != made_with.get("neurons"):
        raise InputError(
            f"the answers in {traces} were written without watching {detector}",
            "Ask anew with --detector neurons:FILE.json, into another folder.",
        )
    if locator is not None:
        answers, made_with = relocated(answers, locator), made_with | {"locator": locator}
    if profile is not None:
        model = made_with["model"]
        profile.check(model=model["fingerprint"], backend=model["backend"])
        profile.check(locator=made_with["locator"], scoring="token-by-token")
        profile.check(mode=made_with.get("mode", "chat"))
        profile.check_policy(Policy(on="p_wrong", abstain=profile.abstain))
    results: Results = {
        **summarise(
            answers,
            detector,
            told=told,
            profile=profile,
            wording=str(made_with.get("wording", EACH_KIND)),
        ),
        "labels": figures,
        "command": run.command if run else command(),
        "versions": versions(),
        "made_with": made_with,
        "too_long": run.too_long if run else {},
    }
    return results, answers


def _watched(detector: Scorer | None, profile: Profile | None) -> NeuronProbe | None:
    """The probe whose neurons are watched while answers are written: a guard watches one."""
    own = detector.probe if isinstance(detector, NeuronDetector) else None
    theirs = profile.neurons if profile else None
    if own is not None and theirs is not None and own.name != theirs.name:
        raise ConfigError(
            f"the detector is {own.name}, and the profile goes by {theirs.name}",
            "Evaluate one after the other, each into a folder of its own.",
        )
    return own or theirs
