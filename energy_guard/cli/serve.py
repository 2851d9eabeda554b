"""`energy-guard serve`: a guarded model behind OpenAI's HTTP interface."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final, Literal

import typer

from energy_guard.cli.bundle import bundled
from energy_guard.cli.options import (
    EngineOptions,
    JudgingOptions,
    LogFile,
    LogPrivate,
    MaxTokens,
    open_log,
)
from energy_guard.errors import ConfigError
from energy_guard.extras import needs_extra
from energy_guard.guard import Guard

StreamName = Literal["hold", "live", "sentence"]
STREAM_MODES: Final[tuple[StreamName, ...]] = ("hold", "live", "sentence")


@bundled()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 for a free one.", min=0, max=65535)] = 8000,
    *,
    engine: EngineOptions,
    judging: JudgingOptions,
    api_key: Annotated[
        str | None,
        typer.Option(envvar="ENERGY_GUARD_API_KEY", help="The key that clients must show."),
    ] = None,
    no_key: Annotated[
        bool, typer.Option("--no-key", help="Serve other machines without a key.")
    ] = False,
    stream: Annotated[
        str, typer.Option(help="When streams give text: hold, live or sentence.")
    ] = "hold",
    max_tokens: MaxTokens = 1024,
    max_waiting: Annotated[int, typer.Option(help="Requests that may wait.", min=0)] = 32,
    timeout: Annotated[
        float, typer.Option(help="Seconds for one request.", min=0.1, max=1e9)  # not for ever
    ] = 300.0,
    reveal: Annotated[
        bool, typer.Option("--reveal", help="Clients may ask for words that are withheld.")
    ] = False,
    refusal_as_content: Annotated[
        bool,
        typer.Option(
            "--refusal-as-content", help="Abstentions are content, for programs that show no other."
        ),
    ] = False,
    log: LogFile = None,
    log_private: LogPrivate = False,
) -> None:
    """Serve a model to clients of OpenAI's interface, each answer with its verdict.

    Only this machine is served, unless --host says otherwise; that needs a key, or --no-key. What
    is asked and answered is not logged, unless --log says so.
    """
    with needs_extra("server"):
        from energy_guard.server.access import is_loopback
        from energy_guard.server.run import listener
        from energy_guard.server.settings import ServerSettings
    local = is_loopback(host)
    api_key = (api_key or "").strip() or None  # a header has no blanks at its ends
    if not local and api_key is None and not no_key:
        raise ConfigError(
            f"{host} is an address for other machines, and there is no API key",
            "Set ENERGY_GUARD_API_KEY, or give --no-key if everybody may ask.",
        )
    mode = next((mode for mode in STREAM_MODES if mode == stream), None)
    if mode is None:
        raise ConfigError(
            f"there is no stream mode {stream!r}", f"One of: {', '.join(STREAM_MODES)}."
        )
    if max_tokens < 1:
        raise ConfigError(f"--max-tokens is {max_tokens}", "Give at least 1.")
    settings = ServerSettings(
        model=_served_as(engine.model),
        api_key=api_key,
        loopback=local,
        stream=mode,
        max_tokens=max_tokens,
        max_waiting=max_waiting,
        timeout_s=timeout,
        reveal=reveal,
        refusal_as_content=refusal_as_content,
    )
    judge = judging.settings()
    _check_address(host, port)
    guard = Guard(engine.open(), **judge, log=open_log(log, log_private))
    if engine.kind == "remote":  # its address is nothing for clients
        settings = replace(settings, model=guard.backend.info.name)
    listener(guard, settings, host, port).run()


def _check_address(host: str, port: int) -> None:
    """Raise ConfigError if nothing can listen there: better now than when the model is loaded."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        with socket.socket(family, socket.SOCK_STREAM) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(address)
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {host}, port {port}: {error.strerror or error}",
            "Give another address (--host) or port (--port).",
        ) from error


def _served_as(model: str) -> str:
    """What clients call the model: a file or folder by its name, anything else as it was given."""
    return Path(model).stem if Path(model).exists() else model
