"""`energy-guard neurons`: single neurons that go with wrong answers."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final, get_args

import typer
from rich.text import Text

from energy_guard.backends import Backend
from energy_guard.cli.bundle import bundled
from energy_guard.cli.data import DataOptions
from energy_guard.cli.flowing import FlowingCommand
from energy_guard.cli.options import EngineOptions, Json
from energy_guard.cli.progress import bar
from energy_guard.cli.screen import Console, say_json
from energy_guard.errors import InputError, LogError
from energy_guard.evaluate.neuron_figures import (
    OTHER_MODELS,
    neuron_figures,
    outside_scores,
    read_neuron_figures,
)
from energy_guard.evaluate.origin_figures import origin_figures
from energy_guard.extras import needs_extra
from energy_guard.files import held, write_whole
from energy_guard.neurons.contributions import AnswerToRead
from energy_guard.neurons.find import FoundNeurons, find_neurons
from energy_guard.neurons.fit import FEWEST, LabelledContributions
from energy_guard.neurons.origin import as_read_by_base, parameter_change, transferred
from energy_guard.neurons.probe import Labelling, NeuronProbe
from energy_guard.neurons.read import check_readable
from energy_guard.neurons.store import stored_contributions
from energy_guard.questions.consistent import (
    KINDS,
    SAMPLES,
    SampledQuestion,
    balanced,
    read_samples,
    sample_questions,
)
from energy_guard.questions.quiz import quiz
from energy_guard.questions.rows import Question
from energy_guard.questions.wording import fits_context
from energy_guard.report.evaluation import sheet_view
from energy_guard.report.neuron_sheet import NeuronFigures, neuron_sheet
from energy_guard.report.origin_sheet import origin_sheet
from energy_guard.report.plots import neurons_plot

DEFAULT_OUT: Final = Path("neurons")

neurons = typer.Typer(
    no_args_is_help=True, help="Find single neurons that contribute more to wrong answers."
)


@neurons.command(cls=FlowingCommand)
@bundled(without=("served_model",))
def find(
    data: Annotated[
        list[Path] | None,
        typer.Argument(metavar="DATA", help="Files of labelled questions; without, the quiz."),
    ] = None,
    *,
    engine: EngineOptions,
    reading: DataOptions,
    of_each: Annotated[
        int, typer.Option("-n", help="Questions that are answered right, and wrong.", min=1)
    ] = 200,
    samples: Annotated[int, typer.Option(help="Samples of a question.", min=1)] = SAMPLES,
    alike: Annotated[
        int | None,
        typer.Option(help="How many of these must be right, or wrong; without, all.", min=1),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for everything.")] = DEFAULT_OUT,
    resume: Annotated[bool, typer.Option("--resume", help="Go on in that folder.")] = False,
    as_json: Json = False,
) -> None:
    """Sample questions, read what neurons contribute to consistent answers, and fit probes.

    Writes samples.jsonl and contributions (as they come), a probe for each labelling, neurons.json
    and a picture of the neurons by layer.
    """
    engine.check_is_here("neurons find")
    rows = reading.read(data) if data else quiz(whole=True)
    _check_extra()
    path = out / "samples.jsonl"
    if path.exists() and not resume:
        raise InputError(
            f"{path} has samples already", "Go on with --resume, or give another --out."
        )
    with held(out / "neurons.lock"):
        backend = engine.open()
        check_readable(backend)
        sampled = _sample(backend, rows, path, of_each, samples, alike)
        used = balanced(sampled, of_each)
        _check_enough(sampled, len(used) // 2)
        found = _find(backend, rows, used, out)
        figures = neuron_figures(sampled, used, found, backend.info)
        _write(out, found, figures)
    if as_json:
        say_json(figures)
        return
    console = Console()
    console.print(sheet_view(neuron_sheet(figures)))
    console.print(Text(f"\n{out / 'neurons.json'}"), soft_wrap=True)


@neurons.command(cls=FlowingCommand)
@bundled(without=("served_model",))
def origin(
    data: Annotated[
        list[Path] | None,
        typer.Argument(help="The questions that `neurons find` was given; the built-in quiz."),
    ] = None,
    *,
    engine: EngineOptions,
    reading: DataOptions,
    base: Annotated[str, typer.Option(help="The base model that --model was made from.")],
    out: Annotated[Path, typer.Option(help="The folder of `neurons find`.")] = DEFAULT_OUT,
    as_json: Json = False,
) -> None:
    """See whether H-neurons were there before a chat model was made of its base model.

    Has the base model read the answers that probes were fitted to, tells them by the chat model's
    neurons, and compares how far training turned the weights of H-neurons and of others. Writes
    base-contributions (as they come) and origin.json.
    """
    engine.check_is_here("neurons origin")
    _check_extra()
    searched = read_neuron_figures(out / "neurons.json")
    probes: dict[Labelling, NeuronProbe] = {
        name: NeuronProbe.read(out / f"probe-{name}.json") for name in get_args(Labelling)
    }
    rows = reading.read(data) if data else quiz(whole=True)
    with held(out / "neurons.lock"):
        sampled = {each.id: each for each in read_samples(out / "samples.jsonl")}
        ids = [each["id"] for each in searched["answers"]]
        if not sampled.keys() >= set(ids):
            raise InputError(f"{out / 'neurons.json'} is of other samples", "Run `neurons find`.")
        used = [sampled[name] for name in ids]
        chat, before = engine.open(), replace(engine, model=base).open()
        for probe in probes.values():
            probe.check(chat.info)
        check_readable(before)
        change = parameter_change(chat, before)
        answers = _to_read(rows, used)
        labelled = _labelled(chat, answers, used, out / "contributions")
        moved = {name: as_read_by_base(chat, before, each) for name, each in answers.items()}
        read = _labelled(before, moved, used, out / "base-contributions")
        told = {name: transferred(labelled, read.exact, labelling=name) for name in probes}
        figures = origin_figures(
            told, labelled.wrong, probes, change, chat=chat.info, base=before.info
        )
        _write_files(out, {"origin.json": json.dumps(figures, allow_nan=False)})
    if as_json:
        say_json(figures)
        return
    console = Console()
    console.print(sheet_view(origin_sheet(figures)))
    console.print(Text(f"\n{out / 'origin.json'}"), soft_wrap=True)


def _check_extra() -> None:
    """Better known now than after all questions were sampled: MissingExtraError."""
    with needs_extra("eval"):
        import filelock  # noqa: F401
        import matplotlib  # noqa: F401
        import scipy  # noqa: F401
        import sklearn  # noqa: F401


def _sample(
    backend: Backend,
    rows: Sequence[Question],
    path: Path,
    of_each: int,
    samples: int,
    alike: int | None,
) -> list[SampledQuestion]:
    fitting = [row for row in rows if fits_context(row, backend)]
    if not fitting:
        raise InputError("no question fits the context", "Give more of it: --n-ctx.")
    counts: dict[str, int] = {}
    with bar("sampling", len(fitting)) as advance:

        def on_sampled(sampled: SampledQuestion) -> None:
            counts[sampled.outcome] = counts.get(sampled.outcome, 0) + 1
            advance(", ".join(f"{count} {outcome}" for outcome, count in counts.items()))

        return sample_questions(
            backend,
            fitting,
            path=path,
            of_each=of_each,
            samples=samples,
            alike=alike,
            on_sampled=on_sampled,
        )


def _check_enough(sampled: Sequence[SampledQuestion], pairs: int) -> None:
    """Better known now than after contributions were read: InputError with all counts."""
    if pairs < FEWEST:
        counts = Counter(each.outcome for each in sampled)
        others = [f"{n} {outcome}" for outcome, n in counts.items() if outcome not in KINDS]
        raise InputError(
            f"of {len(sampled)} questions {counts['right']} were consistently answered right and "
            f"{counts['wrong']} wrong (others: {', '.join(others) or 'none'}), which makes {pairs} "
            f"of each if every task counts alike, and at least {FEWEST} are needed",
            "Add questions that are easier or harder for this model, or ask for more (-n); "
            "--alike 8 takes questions with eight of ten samples alike.",
        )


def _find(
    backend: Backend, rows: Sequence[Question], used: Sequence[SampledQuestion], out: Path
) -> dict[Labelling, FoundNeurons]:
    """Read the contributions to balanced answers, and fit a probe for each labelling."""
    rows_to_fit = _labelled(backend, _to_read(rows, used), used, out / "contributions")
    found: dict[Labelling, FoundNeurons] = {}
    with bar("fitting", len(get_args(Labelling))) as advance:
        for labelling in get_args(Labelling):
            found[labelling] = find_neurons(
                rows_to_fit,
                backend.info,
                labelling=labelling,
                outside=outside_scores(used),
                tier=OTHER_MODELS,
            )
            advance("")
    return found


def _to_read(rows: Sequence[Question], used: Sequence[SampledQuestion]) -> dict[str, AnswerToRead]:
    """The answers to these questions by their ids."""
    by_id = {row.id: row for row in rows}
    gone = [each.id for each in used if each.id not in by_id]
    if gone:
        raise InputError(
            f"{gone[0]} was sampled, and is not among the questions", "Give the same files."
        )
    return {each.id: each.to_read(by_id[each.id]) for each in used}


def _labelled(
    backend: Backend,
    answers: Mapping[str, AnswerToRead],
    used: Sequence[SampledQuestion],
    folder: Path,
) -> LabelledContributions:
    """What a model's neurons contribute to these answers, in the order of the questions."""
    with bar("contributions", len(answers)) as advance:
        read = stored_contributions(backend, answers, folder=folder, on_read=lambda _: advance(""))
    return LabelledContributions.of(
        [read[each.id] for each in used],
        [each.outcome == "wrong" for each in used],
        [f"{each.question}\0{each.context or ''}" for each in used],
        [each.task for each in used],
    )


def _write(out: Path, found: Mapping[Labelling, FoundNeurons], figures: NeuronFigures) -> None:
    for labelling, each in found.items():
        each.probe.store(out / f"probe-{labelling}.json")
    best = found["3-vs-1"].probe  # what is about the answer, and not about its sentence
    written = json.dumps(figures, ensure_ascii=False, allow_nan=False)
    _write_files(out, {"neurons.svg": neurons_plot(best), "neurons.json": written})


def _write_files(out: Path, texts: Mapping[str, str]) -> None:
    try:
        for name, text in texts.items():
            write_whole(out / name, text)
    except OSError as error:
        raise LogError(f"cannot write to {out}: {error.strerror}", "Make room.") from error
