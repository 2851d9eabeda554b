"""`energy-guard ask`: one question, one guarded answer."""

from __future__ import annotations

from typing import Annotated

import typer

from energy_guard.cli.bundle import bundled
from energy_guard.cli.live import show_live
from energy_guard.cli.options import (
    ABSTAINED,
    EngineOptions,
    Json,
    JudgingOptions,
    LogFile,
    LogPrivate,
    Raw,
    SamplingOptions,
    System,
    asked,
    open_log,
    read_prompt,
)
from energy_guard.cli.screen import Console, say, say_json
from energy_guard.errors import LogError
from energy_guard.guard import Guard
from energy_guard.report.terminal import details, remarks, verdict_line
from energy_guard.result import Result


@bundled()
def ask(
    question: Annotated[str, typer.Argument(help="What to ask; - reads standard input.")],
    *,
    engine: EngineOptions,
    sampling: SamplingOptions,
    judging: JudgingOptions,
    system: System = None,
    raw: Raw = False,
    log: LogFile = None,
    log_private: LogPrivate = False,
    as_json: Json = False,
) -> None:
    """Ask a question and show the answer with its verdict, or the abstention.

    In a terminal the answer appears as it is written, coloured by risk. Elsewhere only the text
    to show goes to standard output, and the verdict to standard error. Exit status: 0 shown,
    3 abstained.
    """
    # Checked before loading a model.
    request = asked(read_prompt(question), system=system, raw=raw, **sampling.settings())
    settings = judging.settings()
    guard = Guard(engine.open(), **settings, log=open_log(log, log_private)).for_request(request)
    console = Console()
    not_logged: LogError | None = None
    try:
        if console.is_terminal and not as_json:
            result = show_live(console, guard, guard.stream(request))
        else:
            result = guard.ask(request)
    except LogError as error:  # the answer is there all the same
        if not isinstance(error.result, Result):
            raise
        result, not_logged = error.result, error
    if as_json:
        say_json(result.to_dict())
    elif console.is_terminal:
        console.print(*details(result.to_dict()), sep="\n")
    else:
        say(result.text)
        said = [verdict_line(result.to_dict()), *filter(None, [result.warning])]
        said += remarks(result.to_dict())
        Console(stderr=True, soft_wrap=True).print(*said, sep="\n")
    if not_logged is not None:
        raise not_logged
    if not result.shown:
        raise typer.Exit(ABSTAINED)
