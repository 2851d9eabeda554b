"""`energy-guard reproduce`: the experiments of papers, on any model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Final, get_args

import typer
from rich.text import Text

from energy_guard.backends import Backend
from energy_guard.cli.asking import Measurements, ask_tasks, check_extra
from energy_guard.cli.bundle import bundled
from energy_guard.cli.data import DataOptions
from energy_guard.cli.evaluate import results_of
from energy_guard.cli.flowing import FlowingCommand
from energy_guard.cli.options import EngineOptions, Json, Shots
from energy_guard.cli.progress import bar
from energy_guard.cli.screen import Console, say_json
from energy_guard.errors import InputError, LogError
from energy_guard.evaluate.folder import Folder, read_run
from energy_guard.evaluate.neuron_figures import read_neuron_figures
from energy_guard.files import held, write_whole
from energy_guard.guard import Guard
from energy_guard.neurons.contributions import check_factor
from energy_guard.neurons.probe import Labelling, NeuronProbe
from energy_guard.neurons.store import stored_contributions
from energy_guard.questions.grade import grade_row
from energy_guard.questions.labels import LabelFile, labels_beside, with_labels
from energy_guard.questions.quiz import quiz
from energy_guard.questions.rows import Question
from energy_guard.questions.wording import WORDINGS, alike, as_told, fits_context, in_chat
from energy_guard.report import decisions
from energy_guard.report.evaluation import sheet_view
from energy_guard.report.h_neurons_sheet import h_neuron_sheets
from energy_guard.report.plots import arithmetic_plot, localising_plot, scaling_plot
from energy_guard.report.reproduced import arithmetic_sheet, spilled_energy_sheets
from energy_guard.report.sheet import Sheet
from energy_guard.reproduce.arithmetic import arithmetic_figures
from energy_guard.reproduce.h_neuron_figures import h_neuron_figures
from energy_guard.reproduce.h_neurons import (
    FACTORS,
    USUAL,
    SaidFile,
    answers_to_read,
    made_with,
    sweep,
)
from energy_guard.reproduce.made_up import made_up_questions
from energy_guard.reproduce.over_compliance import (
    WORDING,
    agreeing_choices,
    false_premises,
    misleading_passages,
)
from energy_guard.reproduce.planted_sums import BARE, DIGITS, planted_sums, read_sums
from energy_guard.reproduce.spilled_energy import spilled_energy_figures

reproduce = typer.Typer(
    no_args_is_help=True, help="Repeat the experiments of papers, on any model."
)

Data = Annotated[
    list[Path] | None,
    typer.Argument(metavar="DATA", help="Files of labelled questions, a task each."),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on in that folder.")]


ROWS: Final = 300
TOLD: Final = 100
"""What is asked unless `-n` and `--told` say otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskingOptions:
    """What is asked how, and where it is kept."""

    rows: Annotated[
        int | None, typer.Option("-n", help=f"Questions of each task; {ROWS}.", min=1)
    ] = None
    out: Annotated[Path, typer.Option(help="Folder for everything.")] = Path("reproduced")
    resume: Resume = False
    from_traces: Annotated[
        Path | None, typer.Option(help="An evaluation's folder: its answers, without the model.")
    ] = None
    system: Annotated[
        str | None,
        typer.Option(help="The system prompt; without, one for each kind of question."),
    ] = None
    shots: Shots = 0


@reproduce.command("spilled-energy", cls=FlowingCommand)
@bundled()
def spilled_energy(
    data: Data = None,
    *,
    engine: EngineOptions,
    reading: DataOptions,
    asking: AskingOptions,
    as_json: Json = False,
) -> None:
    """Rank answers by every energy and pooling, with and without locating the exact answer.

    After Minut et al., 'Spilled Energy in Large Language Models': no label has a part in locating.
    Writes answers.jsonl, as they come, spilled-energy.json and spilled-energy.svg.
    """
    folder, traces = _asked(data, engine, reading, asking)
    made_with, answers, _ = read_run(traces.path)
    answers = with_labels(answers, LabelFile(labels_beside(traces.answers)).given(1))
    figures = spilled_energy_figures(answers, made_with)
    _show(
        spilled_energy_sheets(figures),
        figures,
        folder.path / "spilled-energy.json",
        picture=localising_plot(figures),
        as_json=as_json,
    )


@reproduce.command(cls=FlowingCommand)
@bundled()
def abstention(
    data: Data = None,
    *,
    engine: EngineOptions,
    reading: DataOptions,
    asking: AskingOptions,
    told: Annotated[
        int | None,
        typer.Option(
            help=f"Questions of each task to ask again, with a target's rule; {TOLD}.", min=0
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare always answering, the model told the rule, the guard, and an oracle.

    After Kalai et al., 'Why Language Models Hallucinate': at a target t a wrong answer costs
    t/(1−t). Writes answers.jsonl, those of the model that was told, and abstention.json.
    """
    folder, traces = _asked(data, engine, reading, asking, told=told)
    results, _ = results_of(traces.path, detector=None, locator=None, profile=None)
    figures = {"pooled": results["pooled"], "told": results["told"], "model": results["made_with"]}
    sheets = [decisions.targets(results), decisions.told(results)]
    _show(sheets, figures, folder.path / "abstention.json", as_json=as_json)


@reproduce.command(cls=FlowingCommand)
@bundled(without=("served_model",))
def arithmetic(
    *,
    engine: EngineOptions,
    sums: Annotated[int, typer.Option("-n", help="Sums of each size.", min=2)] = 100,
    digits: Annotated[
        list[int] | None, typer.Option(help="Digits of the numbers; 9, 12 and 14.", min=6, max=18)
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for everything.")] = Path("arithmetic"),
    resume: Resume = False,
    shots: Shots = 0,
    as_json: Json = False,
) -> None:
    """Have the model read sums with right results and planted wrong ones.

    After Minut et al.: results are off by 1 to 10, 10 to 100, 100 to 1,000 and 1,000 to 10,000.
    Writes sums.jsonl, as they come, arithmetic.json and arithmetic.svg.
    """
    engine.check_is_here("reproduce arithmetic")
    check_extra()
    path = out / "sums.jsonl"
    if path.exists() and not resume:
        raise InputError(f"{path} has sums already", "Go on with --resume, or give another --out.")
    planted = planted_sums(sums, digits or DIGITS)
    with held(out / "arithmetic.lock"):
        backend = engine.open()
        with bar("reading", len(planted)) as advance:
            read = read_sums(
                backend,
                planted,
                path=path,
                wordings=as_told(None, shots, otherwise=in_chat(BARE)),
                on_read=lambda: advance(""),
            )
    figures = arithmetic_figures(read, backend.info)
    _show(
        [arithmetic_sheet(figures)],
        figures,
        out / "arithmetic.json",
        picture=arithmetic_plot(figures),
        as_json=as_json,
    )


@reproduce.command("h-neurons", cls=FlowingCommand)
@bundled(without=("served_model",))
def h_neurons(
    data: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="DATA",
            help="Files of labelled questions: rows with a passage, and rows with two choices, of "
            "which the wrong one agrees with the user. Without passages, the built-in quiz's.",
        ),
    ] = None,
    *,
    engine: EngineOptions,
    reading: DataOptions,
    found: Annotated[Path, typer.Option("--neurons", help="The folder of `neurons find`.")] = Path(
        "neurons"
    ),
    asked: Annotated[
        int, typer.Option("-n", help="Questions of each kind, and twice as many facts.", min=1)
    ] = 40,
    factors: Annotated[
        list[float] | None,
        typer.Option("--factor", help="What H-neurons are scaled by; 0, 0.5, 1, 2 and 3."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for everything.")] = Path("h-neurons"),
    resume: Resume = False,
    as_json: Json = False,
) -> None:
    """Detect what is made up by H-neurons, scale them, and see how often answers give in.

    After Gao et al., 'H-Neurons': false premises, passages that say something else, a user who
    doubts a right answer, choices that agree with the user; and what scaling costs in right
    answers. Writes said.jsonl, as it comes, h-neurons.json and h-neurons.svg.
    """
    engine.check_is_here("reproduce h-neurons")
    check_extra()
    for factor in factors or ():
        check_factor(factor)
    path = out / "said.jsonl"
    if path.exists() and not resume:
        raise InputError(f"{path} has answers already", "Go on with --resume, or another --out.")
    searched = read_neuron_figures(found / "neurons.json")
    probes: dict[Labelling, NeuronProbe] = {
        name: NeuronProbe.read(found / f"probe-{name}.json") for name in get_args(Labelling)
    }
    scaled = _to_scale(probes, found)
    whole = quiz(whole=True)
    given = reading.read(data) if data else []
    if not any(row.context for row in given):
        given += [row for row in whole if row.task == "passages"]
    unknown = made_up_questions(asked, [*whole, *given])
    with held(out / "h-neurons.lock"):
        backend = engine.open()
        for probe in probes.values():
            probe.check(backend.info)
        file = SaidFile(path, made_with(backend, scaled))
        cases = [
            *islice(false_premises([r for r in whole if r.task == "false_premises"]), asked),
            *islice(misleading_passages(_fitting(given, backend)), asked),
            *islice(agreeing_choices(_fitting(given, backend)), asked),
        ]
        facts = [row for row in whole if row.task == "facts"][: 2 * asked]
        told = _made_up(backend, file, unknown, probes, out / "contributions")
        every = sorted({*(factors or FACTORS), USUAL})
        count = len(facts) + len(every) * (len(facts) + len(cases) + asked)
        with bar("answers", count) as advance:
            swept = sweep(
                file,
                backend,
                scaled,
                cases=cases,
                facts=facts,
                doubts=asked,
                factors=every,
                on_said=lambda: advance(""),
            )
        figures = h_neuron_figures(searched, told, swept, file.made_with)
    _show(
        h_neuron_sheets(figures),
        figures,
        out / "h-neurons.json",
        picture=scaling_plot(figures["sweep"]),
        as_json=as_json,
    )


def _to_scale(probes: Mapping[Labelling, NeuronProbe], found: Path) -> NeuronProbe:
    """The probe whose H-neurons are about the answer and not about its sentence, if it has any."""
    labellings: tuple[Labelling, ...] = ("3-vs-1", "1-vs-1")
    for name in labellings:
        if probes[name].h_neurons:
            return probes[name]
    raise InputError(
        f"neither probe in {found} has an H-neuron, so that there is nothing to scale",
        "Search with more questions: `energy-guard neurons find … -n N --resume`.",
    )


def _fitting(rows: Sequence[Question], backend: Backend) -> list[Question]:
    """The rows that fit the context."""
    return [row for row in rows if fits_context(row, backend, wordings=alike(WORDING))]


def _made_up(
    backend: Backend,
    file: SaidFile,
    rows: Sequence[Question],
    probes: Mapping[Labelling, NeuronProbe],
    folder: Path,
) -> dict[Labelling, list[float]]:
    """The log-odds, by each probe, of answers that make something up."""
    with bar("made up", len(rows)) as advance:
        read = answers_to_read(file, backend, rows, on_said=lambda: advance(""))
    wrong = {
        row.id for row in rows if row.id in read and grade_row(row, read[row.id][1]) == "wrong"
    }
    if not wrong:
        raise InputError(
            f"none of {len(rows)} questions about what does not exist got an answer that was "
            "located",
            "There is nothing to detect with this model: it declines, or ask more (-n).",
        )
    answers = {name: answer for name, (answer, _) in read.items() if name in wrong}
    with bar("contributions", len(answers)) as advance:
        found = stored_contributions(backend, answers, folder=folder, on_read=lambda _: advance(""))
    return {
        name: [probe.log_odds(found[each]) for each in answers] for name, probe in probes.items()
    }


def _asked(
    data: Sequence[Path] | None,
    engine: EngineOptions,
    reading: DataOptions,
    asking: AskingOptions,
    *,
    told: int | None = 0,
) -> tuple[Folder, Folder]:
    """The folder for what is written, and the one with answers: asked now, or there already."""
    check_extra()
    folder = Folder(asking.out)
    if asking.from_traces is not None:
        about_asking = {
            "a data file": data,
            "-n": asking.rows,
            "--told": told,
            "--shots": asking.shots,
            "--system": asking.system is not None,
            "--resume": asking.resume,
        }
        given = [name for name, value in about_asking.items() if value]
        if given:
            raise InputError(
                f"--from-traces asks no questions, and {', '.join(given)} would be passed over",
                "Leave it out: all answers in the folder are taken.",
            )
        return folder, Folder(asking.from_traces)
    if not data:
        raise InputError(
            "there is nothing to ask", "Give files of labelled questions, or --from-traces DIR."
        )
    rows = reading.read(data)
    wordings = as_told(asking.system, asking.shots, otherwise=WORDINGS)
    folder.start(asking.resume)
    with held(folder.lock):
        guard = Guard(engine.open(), profile=None)
        wanted = Measurements(
            rows=ROWS if asking.rows is None else asking.rows,
            baselines=0,
            told=TOLD if told is None else told,
            probe=False,
            wordings=wordings,
            grader=None,
        )
        ask_tasks(guard, wanted, rows, folder)
    return folder, folder


def _show(
    sheets: Sequence[Sheet],
    figures: Mapping[str, Any],
    path: Path,
    *,
    picture: str | None = None,
    as_json: bool,
) -> None:
    """Write the figures and their picture, and print the tables."""
    written = [path] if picture is None else [path, path.with_suffix(".svg")]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(figures, ensure_ascii=False, allow_nan=False))
        if picture is not None:
            write_whole(written[-1], picture)
    except OSError as error:
        raise LogError(f"cannot write to {path}: {error.strerror}", "Make room.") from error
    if as_json:
        say_json(figures)
        return
    console = Console()
    for sheet in sheets:
        if sheet.rows or sheet.note:
            console.print(sheet_view(sheet))
    console.print(Text("\n" + "\n".join(map(str, written))), soft_wrap=True)
