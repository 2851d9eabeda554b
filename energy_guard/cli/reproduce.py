"""`energy-guard reproduce`: the experiments of papers, on any model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.text import Text

from energy_guard.cli.asking import Measurements, ask_tasks, check_extra
from energy_guard.cli.bundle import bundled
from energy_guard.cli.data import DataOptions
from energy_guard.cli.evaluate import results_of
from energy_guard.cli.options import EngineOptions, Json, Shots
from energy_guard.cli.progress import bar
from energy_guard.cli.screen import Console, say_json
from energy_guard.errors import InputError, LogError
from energy_guard.evaluate.folder import Folder, read_run
from energy_guard.files import held, write_whole
from energy_guard.guard import Guard
from energy_guard.questions.labels import LabelFile, labels_beside, with_labels
from energy_guard.questions.wording import WORDINGS, as_told, in_chat
from energy_guard.report import decisions
from energy_guard.report.evaluation import sheet_view
from energy_guard.report.plots import arithmetic_plot, localising_plot
from energy_guard.report.reproduced import arithmetic_sheet, spilled_energy_sheets
from energy_guard.report.sheet import Sheet
from energy_guard.reproduce.arithmetic import arithmetic_figures
from energy_guard.reproduce.planted_sums import BARE, DIGITS, planted_sums, read_sums
from energy_guard.reproduce.spilled_energy import spilled_energy_figures

reproduce = typer.Typer(
    no_args_is_help=True, help="Repeat the experiments of papers, on any model."
)

Data = Annotated[
    list[Path] | None, typer.Argument(help="Files of labelled questions, a task each.")
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
        typer.Option(help="The system message; without, one for each kind of question."),
    ] = None
    shots: Shots = 0


@reproduce.command("spilled-energy")
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


@reproduce.command()
@bundled()
def abstention(
    data: Data = None,
    *,
    engine: EngineOptions,
    reading: DataOptions,
    asking: AskingOptions,
    told: Annotated[
        int | None,
        typer.Option(help=f"Questions of each task to ask with the target's rule; {TOLD}.", min=0),
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


@reproduce.command()
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
