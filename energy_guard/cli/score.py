"""`energy-guard score`: judge an answer that exists, or a log of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from energy_guard.cli.bundle import bundled
from energy_guard.cli.options import (
    ABSTAINED,
    EngineOptions,
    Json,
    JudgingOptions,
    LogFile,
    LogPrivate,
    Raw,
    System,
    asked,
    open_log,
    read_prompt,
)
from energy_guard.cli.score_table import is_table, score_table
from energy_guard.cli.screen import Console, say_json, tell
from energy_guard.cli.spread import SpreadOptions
from energy_guard.errors import InputError
from energy_guard.guard import Guard
from energy_guard.log import LogEntry, read_log
from energy_guard.questions.labels import Label, LabelFile, digest_of, labels_beside
from energy_guard.report.printable import printable
from energy_guard.report.terminal import VERDICTS
from energy_guard.rescore import Rescorer
from energy_guard.result import Result

FromLog = Annotated[
    str | None,
    typer.Option("--from-log", help="Score a log again, JSON lines or Parquet, without the model."),
]


@bundled(without={"gpus_per_worker"})
def score(
    prompt: Annotated[str | None, typer.Option(help="What was asked.")] = None,
    answer: Annotated[
        str | None, typer.Option(help="What was answered; - reads standard input.")
    ] = None,
    *,
    from_log: FromLog = None,
    engine: EngineOptions,
    judging: JudgingOptions,
    system: System = None,
    raw: Raw = False,
    fast: Annotated[
        bool, typer.Option("--fast", help="Read many tokens at once; numbers differ.")
    ] = False,
    log: LogFile = None,
    log_private: LogPrivate = False,
    out: Annotated[
        Path | None, typer.Option(help="With --from-log: a folder for results as Parquet.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on in that folder.")] = False,
    spread: SpreadOptions,
    as_json: Json = False,
) -> None:
    """Judge an answer to a prompt by reading it with the model, or the answers of a log.

    Exit status: 0 shown, 3 abstained (of a log: 0).
    """
    settings = judging.settings()
    if out is None:
        spread.check_not_given("scoring without --out")
    if from_log is not None and out is not None:
        score_table(Path(from_log), out, settings, spread, resume=resume, as_json=as_json)
        return
    if from_log is not None:
        if is_table(Path(from_log)):
            raise InputError("results of a log as Parquet are Parquet, too", "Give --out DIR.")
        _score_log(from_log, settings, as_json)
        return
    if out is not None or resume:
        raise InputError("--out and --resume are for logs", "Give --from-log FILE.")
    if prompt is None or answer is None:
        raise InputError("score needs --prompt and --answer, or --from-log FILE")
    request = asked(prompt, system=system, raw=raw)
    text = read_prompt(answer)
    guard = Guard(engine.open(), **settings, log=open_log(log, log_private))
    result = guard.score(request, text, fast=fast)
    if as_json:
        say_json(result.to_dict())
    else:
        Console().print(result)
    if not result.shown:
        raise typer.Exit(ABSTAINED)


def _score_log(path: str, settings: dict[str, Any], as_json: bool) -> None:
    scored = []
    rescorer = Rescorer(settings)
    log = read_log(path)
    labels = LabelFile(labels_beside(log.path)).given(1)
    for entry in log:
        result = rescorer.judged(entry, relocate=rescorer.relocates)
        scored.append((_labelled(entry, labels), result))
    for warning in log.warnings:
        tell(f"warning: {warning}")
    if as_json:
        results = [result.to_dict() | {"label": entry.label} for entry, result in scored]
        say_json({"results": results})
    else:
        _print_log(Console(), scored)


def _labelled(entry: LogEntry, labels: Mapping[str, Label]) -> LogEntry:
    """Return an entry with the label that a person gave with `energy-guard label`, if any."""
    if not entry.texts or entry.question is None:
        return entry
    digest = digest_of(entry.question, None, entry.choices, entry.trace.text)
    given = labels.get(digest)
    return entry if given is None else entry.model_copy(update={"label": given.label})


def _print_log(console: Console, scored: list[tuple[LogEntry, Result]]) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("was", "is", "score", "question", "answer", "label"):
        table.add_column(heading)
    for entry, result in scored:
        mark, style = VERDICTS[result.verdict]
        answer = result.span.text if result.span else result.answer
        table.add_row(
            entry.stored.verdict,
            Text(f"{mark} {result.verdict}", style),
            "–" if result.score is None else f"{result.score:.2f}",
            Text(printable(entry.question or "")),
            Text(printable(answer)),
            entry.label or "–",
        )
    console.print(table)
    counts = Counter(result.verdict for _, result in scored)
    console.print(", ".join(f"{count} × {verdict}" for verdict, count in counts.items()))
