"""`energy-guard calibrate`: thresholds that come from answers of this very model."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from energy_guard.calibrate import Profile
from energy_guard.cli.options import (
    BackendName,
    DetectorName,
    Device,
    DType,
    EngineOptions,
    Json,
    LocatorName,
    Model,
    NCtx,
    NGpuLayers,
    NThreads,
)
from energy_guard.errors import InputError
from energy_guard.estimate import Measured, NotDefined
from energy_guard.evaluate.answers import Answered
from energy_guard.evaluate.collect import collect
from energy_guard.evaluate.make import Made, Wish, make_profile
from energy_guard.evaluate.rows import Row, read_rows
from energy_guard.evaluate.tasks import Wording
from energy_guard.extras import needs_extra
from energy_guard.guard import Guard
from energy_guard.profiles import store, user_path
from energy_guard.request import Sampling
from energy_guard.score import Detector

SYSTEM: Final = "Answer in one short sentence."
_MAX_TOKENS: Final = 48


def calibrate(
    data: Annotated[
        list[Path] | None, typer.Argument(help="Labelled questions (JSONL); the built-in quiz.")
    ] = None,
    model: Model = "demo",
    backend: BackendName = None,
    max_risk: Annotated[
        float | None,
        typer.Option(help="Promise that at most this share of shown answers is wrong."),
    ] = None,
    confidence: Annotated[float, typer.Option(help="Of the promise.")] = 0.95,
    target: Annotated[
        float | None, typer.Option(help="Answer only where P(right) is above this.")
    ] = None,
    system: Annotated[str, typer.Option(help="The system message that you will use.")] = SYSTEM,
    detector: DetectorName = None,
    locator: LocatorName = None,
    out: Annotated[
        Path | None, typer.Option(help="Where to put the profile; where it is found by itself.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on after an interruption.")] = False,
    n_ctx: NCtx = None,
    n_gpu_layers: NGpuLayers = None,
    n_threads: NThreads = None,
    device: Device = None,
    dtype: DType = None,
    as_json: Json = False,
) -> None:
    """Ask the model labelled questions, and make its profile: a score's P(wrong), and thresholds.

    Without DATA a built-in quiz is asked. Answers are kept beside the profile as they come;
    --resume goes on with them.
    """
    with needs_extra("eval"):  # better now than when everything has been asked
        import scipy  # noqa: F401
        import sklearn  # noqa: F401
    wish = Wish(max_risk, confidence, target)
    if detector is not None:
        Detector.parse(detector)
    rows = _rows(data)
    options = EngineOptions(model, backend, n_ctx, n_threads, n_gpu_layers, device, dtype)
    engine = options.open()
    guard = Guard(engine, detector=detector, locator=locator, profile=None)
    path = out or user_path(engine.info)
    answers = _ask(guard, rows, path, Wording(system, (), _MAX_TOKENS), resume)
    made = make_profile(
        answers,
        engine.info,
        guard.judge.locator,
        detector=detector,
        wish=wish,
        system_prompt=system,
        sampling=Sampling(),
        earlier=Profile.read(path).certificates if path.exists() else (),
    )
    store(made.profile, path)
    if as_json:
        typer.echo(made.profile.model_dump_json(by_alias=True))
    else:
        _print(Console(), made, path)


def _rows(data: list[Path] | None) -> list[Row]:
    if data:
        return read_rows(data)
    with as_file(files("energy_guard.data") / "quiz.jsonl") as quiz:
        return read_rows([quiz])


def _ask(
    guard: Guard, rows: list[Row], path: Path, wording: Wording, resume: bool
) -> list[Answered]:
    kept = path.with_name(f"{path.stem}.answers.jsonl")
    if kept.exists() and not resume:
        if not path.exists() or path.stat().st_mtime < kept.stat().st_mtime:
            raise InputError(
                f"{kept} has the answers of a run that was interrupted",
                "Go on with --resume, or remove the file.",
            )
        kept.unlink()  # its profile was made
    kept.parent.mkdir(parents=True, exist_ok=True)
    with Progress(
        TextColumn("asking"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[counts]}"),
        console=Console(stderr=True),
    ) as progress:
        bar = progress.add_task("", total=len(rows), counts="")
        counts = {"right": 0, "wrong": 0, "refused": 0}

        def advance(answered: Answered) -> None:
            counts[answered.outcome] += 1
            said = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
            progress.update(bar, advance=1, counts=said)

        return collect(guard, rows, kept, wording=wording, on_answer=advance)


def _print(console: Console, made: Made, path: Path) -> None:
    profile = made.profile
    counts = ", ".join(f"{made.outcomes[o]} {o}" for o in ("right", "wrong", "refused"))
    console.print(f"{sum(made.outcomes.values())} answers: {counts}")
    console.print(
        f"On questions that the detector was not fitted on: AUROC {_text(made.auroc)}; "
        f"nll:max alone {_text(made.baseline)}"
    )
    if made.certificate is not None:
        console.print(_thresholds(made))
        console.print(made.certificate.reason, style="bold")
    console.print(
        f"Rules: warn from P(wrong) {profile.warn:.2f}, abstain from {profile.abstain:.2f}."
    )
    if profile.calibration.note:
        console.print(f"note: {profile.calibration.note}", style="yellow")
    console.print(f"Profile: {path}", soft_wrap=True)


def _thresholds(made: Made) -> Table:
    """Risk and coverage below every threshold that was tested."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("P(wrong) below", "answered", "wrong", "risk", "coverage", "promised"):
        table.add_column(heading, justify="right")
    for row in made.certificate.tested if made.certificate else ():
        table.add_row(
            f"{row.threshold:.3f}",
            str(row.answered),
            str(row.wrong),
            _text(row.risk),
            _text(row.coverage),
            "yes" if row.holds else "–",
        )
    return table


def _text(measured: Measured) -> str:
    if isinstance(measured, NotDefined):
        return f"– ({measured.reason})"
    return f"{measured.value:.3f} ({measured.low:.3f} to {measured.high:.3f}, n = {measured.n})"
