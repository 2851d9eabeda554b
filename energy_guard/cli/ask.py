"""`energy-guard ask`: one question, one guarded answer."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console

from energy_guard.cli.live import show_live
from energy_guard.cli.options import (
    ABSTAINED,
    BackendName,
    DetectorName,
    Device,
    DType,
    EngineOptions,
    Json,
    LocatorName,
    LogFile,
    LogPrivate,
    MaxTokens,
    Model,
    NCtx,
    NGpuLayers,
    NThreads,
    PolicyFile,
    ProfileFile,
    Seed,
    Stop,
    Temperature,
    guard_settings,
    open_log,
    read_prompt,
)
from energy_guard.errors import LogError
from energy_guard.guard import Guard
from energy_guard.report.terminal import details, remarks, verdict_line
from energy_guard.request import Request, Sampling
from energy_guard.result import Result


def ask(
    question: Annotated[str, typer.Argument(help="What to ask; - reads standard input.")],
    model: Model = "demo",
    backend: BackendName = None,
    raw: Annotated[bool, typer.Option("--raw", help="Plain completion, no template.")] = False,
    max_tokens: MaxTokens = 256,
    temperature: Temperature = 0.0,
    seed: Seed = None,
    stop: Stop = None,
    detector: DetectorName = None,
    locator: LocatorName = None,
    policy: PolicyFile = None,
    profile: ProfileFile = None,
    n_ctx: NCtx = None,
    n_gpu_layers: NGpuLayers = None,
    n_threads: NThreads = None,
    device: Device = None,
    dtype: DType = None,
    log: LogFile = None,
    log_private: LogPrivate = False,
    as_json: Json = False,
) -> None:
    """Ask a question and show the answer with its verdict, or the abstention.

    In a terminal the answer appears as it is written, coloured by risk. Elsewhere only the text
    to show goes to standard output, and the verdict to standard error. Exit status: 0 shown,
    3 abstained.
    """
    make = Request.raw if raw else Request.chat
    request = make(  # checked before any model is loaded
        read_prompt(question),
        max_tokens=max_tokens,
        sampling=Sampling(temperature=temperature, seed=seed),
        stop=tuple(stop or ()),
    )
    options = EngineOptions(model, backend, n_ctx, n_threads, n_gpu_layers, device, dtype)
    settings = guard_settings(policy, detector, locator, profile)
    guard = Guard(options.open(), **settings, log=open_log(log, log_private)).for_request(request)
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
        typer.echo(json.dumps(result.to_dict(), ensure_ascii=False, allow_nan=False))
    elif console.is_terminal:
        console.print(*details(result.to_dict()), sep="\n")
    else:
        typer.echo(result.text)
        said = [verdict_line(result.to_dict()), *filter(None, [result.warning])]
        said += remarks(result.to_dict())
        Console(stderr=True, soft_wrap=True, markup=False).print(*said, sep="\n")
    if not_logged is not None:
        raise not_logged
    if not result.shown:
        raise typer.Exit(ABSTAINED)
