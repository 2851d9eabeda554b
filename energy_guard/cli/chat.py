"""`energy-guard chat`: questions that build on each other, every answer guarded."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.table import Table
from rich.text import Text

from energy_guard.backends import Backend
from energy_guard.cli.bundle import bundled
from energy_guard.cli.lines import Read, piped_line, stoppable, typed_line
from energy_guard.cli.live import show_live
from energy_guard.cli.options import EngineOptions, JudgingOptions, SamplingOptions, open_log
from energy_guard.cli.screen import Console, say
from energy_guard.conversation import Conversation
from energy_guard.errors import EnergyGuardError, InputError, PromptError
from energy_guard.files import OWNER_ONLY
from energy_guard.guard import Guard
from energy_guard.report.printable import printable
from energy_guard.report.terminal import (
    details,
    outcome,
    remarks,
    risk_legend,
    rules,
    verdict_line,
)
from energy_guard.request import CancelToken, Message, Request
from energy_guard.result import Result

COMMANDS: Final = {
    "/why": "the exact answer of the last reply, its signals and the verdict",
    "/save FILE": "write the conversation to a new file: one JSON object, with every result",
    "/help": "this list",
    "/quit": "leave (Ctrl-D, or Ctrl-C at an empty line, do so too)",
}


@bundled()
def chat(
    *,
    engine: EngineOptions,
    sampling: SamplingOptions,
    judging: JudgingOptions,
    system: Annotated[
        str | None, typer.Option(help="The system prompt; a profile is right for its own.")
    ] = None,
    log: Annotated[str | None, typer.Option(help="Append every result (JSON lines).")] = None,
    log_private: Annotated[
        bool, typer.Option("--log-private", help="Log verdicts and rounded scores, no texts.")
    ] = False,
) -> None:
    """Chat in the terminal; every answer is coloured by risk as it is written, and judged.

    The model remembers what was shown. An answer that was withheld or stopped with Ctrl-C is
    not remembered, nor is its question. When the context is full, the oldest turns are
    forgotten, and it is said.

    If the input is no terminal, every line of it is a question. If the output is none, answers go
    to standard output, and everything about them to standard error.
    """
    opening = () if system is None else (Message("system", system),)
    messages = (*opening, Message("user", "?"))
    settings = Request.chat(messages, **sampling.settings())  # checked before loading a model
    guard_options = judging.settings()
    trace_log = open_log(log, log_private)
    backend = engine.open()
    _check_opening(backend, settings)
    guard = Guard(backend, **guard_options, log=trace_log)
    if sys.stdin.isatty() and sys.stdout.isatty():
        with suppress(KeyboardInterrupt):  # in the moments between reading and answering
            Chat(guard, settings).run(typed_line, typed=True)
    else:
        Chat(guard, settings).run(piped_line, typed=False)


def _check_opening(backend: Backend, settings: Request) -> None:
    """Refuse at once what would be refused at every question."""
    if backend.measure(settings).room < 1:
        raise PromptError(
            "the system prompt leaves no room for a question",
            "Shorten it, or load the model with a larger context (--n-ctx).",
        )


class Chat:
    """A conversation on the screen. Where that is no terminal, only answers go to it."""

    def __init__(self, guard: Guard, settings: Request) -> None:
        self.conversation = Conversation(guard.backend, settings)
        self._guard = guard
        self._said: set[str] = set()
        self._screen = Console()
        self._notes = self._screen
        if not self._screen.is_terminal:
            self._notes = Console(stderr=True, soft_wrap=True)

    def run(self, read: Read, typed: bool) -> None:
        """Answer line after line until there is none.

        typed: somebody sits at the keyboard, who stops one answer with Ctrl-C; a script is
        ended by it.
        """
        self._greet(typed)
        goes_on = True
        while goes_on:
            try:
                line = read()
            except PromptError as error:
                self._complain(error)
                continue
            if line is None:
                return
            with stoppable() as cancel:
                goes_on = self._handle(line, cancel)
            if cancel.cancelled and not typed:
                raise KeyboardInterrupt

    def _handle(self, line: str, cancel: CancelToken) -> bool:
        """Do what a line says; False if that is to leave."""
        try:
            if line.startswith("/"):
                return self._command(line)
            if line.strip():
                self._answer(line.strip(), cancel)
        except EnergyGuardError as error:
            self._complain(error)
        return True

    def _answer(self, question: str, cancel: CancelToken) -> None:
        request, forgotten = self.conversation.next_request(question, cancel)
        if forgotten:
            turns = "turn" if forgotten == 1 else "turns"
            self._note(
                f"{forgotten} oldest {turns} forgotten: "
                f"the context of {self.conversation.context} tokens is full"
            )
        result = self._show(request)
        exchange = self.conversation.add(question, result)
        if exchange.stopped:
            self._notes.print(verdict_line(result.to_dict()))
            self._note("stopped: this question and its answer are not remembered")
        else:
            self._notes.print(*outcome(result.to_dict()), sep="\n")
            for remark in remarks(result.to_dict()):
                if remark.plain not in self._said:  # once is enough: they hold for every answer
                    self._said.add(remark.plain)
                    self._notes.print(remark)
            if not result.shown:
                self._note("withheld: this question and its answer are not remembered")

    def _show(self, request: Request) -> Result:
        if self._screen.is_terminal:
            return show_live(self._screen, self._guard, self._guard.stream(request))
        result = self._guard.ask(request)
        say(result.text)
        return result

    def _command(self, line: str) -> bool:
        """Do what a command says; False if that is to leave."""
        name, _, rest = line.strip().partition(" ")
        if name == "/quit":
            return False
        if name == "/why":
            self._why()
        elif name == "/save":
            self._save(rest.strip())
        elif name == "/help":
            self._help()
        else:
            self._note(
                f"there is no {name}; there are {', '.join(COMMANDS)}. "
                "To ask something that begins with /, put a space before it."
            )
        return True

    def _why(self) -> None:
        if not self.conversation.exchanges:
            self._note("nothing has been answered yet")
            return
        result = self.conversation.exchanges[-1].result.to_dict()
        self._screen.print(*details(result), sep="\n")

    def _save(self, name: str) -> None:
        if not name:
            raise InputError("/save needs the name of a file", "For example: /save chat.json")
        path = Path(name).expanduser()
        text = json.dumps(self.conversation.to_dict(), ensure_ascii=False, allow_nan=False)
        try:
            _write_new(path, text + "\n")
        except FileExistsError as error:
            raise InputError(f"{path} exists already", "Give the name of a new file.") from error
        except OSError as error:
            raise InputError(f"cannot write {path}: {error.strerror}") from error
        self._note(f"saved to {path} as one JSON object, answers that were withheld included")

    def _help(self) -> None:
        table = Table.grid(padding=(0, 2, 0, 0))
        for command, what in COMMANDS.items():
            table.add_row(command, Text(what, "dim"))
        self._notes.print(table)
        self._note("Ctrl-C stops a running answer; it is not remembered, nor is its question.")

    def _greet(self, typed: bool) -> None:
        guard = self._guard
        self._notes.print(
            Text.assemble(
                (printable(guard.backend.info.name), "bold"),
                f" under guard: detector {guard.detector.name}, locator {guard.judge.locator}",
            )
        )
        self._notes.print(Text(f"Rules on {rules(guard.policy, guard.judge.p_wrong_from)}."))
        if self._screen.is_terminal:
            self._notes.print(Text.assemble("Tokens: ", risk_legend(), " risk"))
        if typed:
            self._note("/help says what there is; Ctrl-C stops an answer, Ctrl-D leaves.")

    def _note(self, text: str) -> None:
        self._notes.print(Text(printable(text), "dim"))

    def _complain(self, error: EnergyGuardError) -> None:
        self._notes.print(Text.assemble(("error: ", "bold red"), printable(str(error))))


def _write_new(path: Path, text: str) -> None:
    """Write a file that did not exist, the whole of it or nothing."""
    path.touch(OWNER_ONLY, exist_ok=False)
    with path.open("w", encoding="utf-8") as file:
        try:
            file.write(text)
            file.flush()
        except OSError:
            path.unlink()
            raise
