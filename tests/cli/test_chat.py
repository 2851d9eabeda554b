from __future__ import annotations

import io
import json
import os
import signal
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from energy_guard import Guard, Message, Policy, Request
from energy_guard.backends import Script, Scripted
from energy_guard.backends.locks import lock_of
from energy_guard.cli import chat as chat_module
from energy_guard.cli.chat import Chat
from energy_guard.conversation import Conversation
from energy_guard.request import CancelToken

SURE = [("Par", 0.97), ("is", 0.99)]
DOUBTFUL = [("Ly", 0.2), ("on", 0.9)]  # nll 1.6: warned by default
GUESSED = [("Nice", 0.05)]  # nll 3.0: withheld by default
LONG = [("x ", 0.9)] * 40

Talk = Callable[..., Chat]


class Spy(Scripted):
    """Keeps the prompts that it is asked."""

    def measure(self, request: Request) -> Any:
        self.last = request
        return super().measure(request)

    @property
    def prompt(self) -> list[tuple[str, str]]:
        return [(m.role, m.content) for m in self.last.messages or ()]


@pytest.fixture
def talk(monkeypatch: pytest.MonkeyPatch) -> Talk:
    """Runs a chat over these lines; `chat.seen` is what was on the screen."""

    def run(backend: Scripted, *lines: str, terminal: bool = True, **options: Any) -> Chat:
        seen = io.StringIO()

        def console(**kwargs: Any) -> Console:
            settings = {"width": 80, "force_terminal": terminal, "color_system": None}
            return Console(file=seen, **(settings | kwargs | {"stderr": False}))

        monkeypatch.setattr(chat_module, "Console", console)
        guard = options.pop("guard", None) or Guard(backend)
        system = options.pop("system", ())
        settings = Request.chat((*system, Message("user", "?")), **options)
        chat = Chat(guard, settings)
        waiting = iter(lines)
        chat.run(lambda: next(waiting, None), typed=True)
        chat.seen = seen.getvalue()  # type: ignore[attr-defined]
        return chat

    return run


def seen(chat: Chat) -> str:
    text: str = chat.seen  # type: ignore[attr-defined]
    return text


def test_the_model_remembers_what_was_shown(talk: Talk) -> None:
    backend = Spy.saying(SURE, DOUBTFUL, GUESSED, SURE)
    system = (Message("system", "Be short."),)
    talk(backend, "one?", " two? ", "three?", "four?", system=system)
    assert backend.prompt == [
        ("system", "Be short."),
        ("user", "one?"),
        ("assistant", "Paris"),
        ("user", "two?"),
        ("assistant", "Lyon"),
        ("user", "four?"),
    ], "the third answer was withheld"


def test_every_answer_has_its_verdict_and_the_start_says_what_guards_it(talk: Talk) -> None:
    chat = talk(Scripted.saying(SURE, DOUBTFUL, GUESSED), "one?", "two?", "three?")
    lines = seen(chat).splitlines()
    assert "scripted" in lines[0] and "nll:max" in lines[0]
    assert "uncalibrated" in lines[1] and "warn from 1, abstain from 2" in lines[1]
    verdicts = [line.split(":")[0] for line in lines if line[:2] in ("✓ ", "! ", "✗ ")]
    assert verdicts == ["✓ accept", "! warn", "✗ abstain"]
    assert "shown instead: I am not sure" in seen(chat)


def test_the_oldest_turns_are_forgotten_when_the_context_is_full(talk: Talk) -> None:
    backend = Spy.saying(*[SURE] * 4, context=20)
    system = (Message("system", "Be short."),)
    lines = ("a b c d", "e f g h", "i j", "k l m n o p q r s")
    chat = talk(backend, *lines, system=system, max_tokens=4)
    assert "2 oldest turns forgotten: the context of 20 tokens is full" in seen(chat)
    assert backend.prompt == [
        ("system", "Be short."),
        ("user", "i j"),
        ("assistant", "Paris"),
        ("user", "k l m n o p q r s"),
    ]
    saved = chat.conversation.to_dict()["exchanges"]
    assert [exchange["remembered"] for exchange in saved] == [False, False, True, True]


def test_half_a_context_is_enough_for_an_answer(talk: Talk) -> None:
    backend = Spy.saying(SURE, SURE, context=20)
    chat = talk(backend, "a b c", "d e f", max_tokens=10_000)
    assert "forgotten" not in seen(chat)
    assert len(backend.prompt) == 3


def test_a_message_that_is_too_long_alone_is_refused_and_nothing_is_forgotten(talk: Talk) -> None:
    backend = Spy.saying(SURE, SURE, context=20)
    chat = talk(backend, "short?", "x " * 30, "again?", max_tokens=4)
    assert "error: the prompt has 30 words and the context holds 20" in seen(chat)
    assert "forgotten" not in seen(chat)
    assert [content for _, content in backend.prompt] == ["short?", "Paris", "again?"]


def test_a_question_as_long_as_the_room_is_asked_without_history() -> None:
    backend = Scripted.saying(SURE, context=10)
    conversation = Conversation(backend, Request.chat("?", max_tokens=4))
    conversation.add("one?", Guard(backend).ask("one?"))
    request, forgotten = conversation.next_request("a b c d e f g h i")
    assert (forgotten, len(request.messages or ())) == (1, 1)
    assert backend.measure(request).room == 1


def test_an_engine_that_breaks_does_not_end_the_chat(talk: Talk) -> None:
    good = Scripted.saying(SURE, SURE)
    broken = Script(good._scripts[0].ids, good._scripts[0].rows, fail_at=1)
    backend = Scripted(good.vocabulary, [broken, *good._scripts], end=0)
    chat = talk(backend, "one?", "two?", "/why")
    assert "error: the script breaks before token 1" in seen(chat)
    assert [exchange.question for exchange in chat.conversation.exchanges] == ["two?"]
    assert not lock_of(backend).locked


def test_ctrl_c_stops_the_answer_and_nothing_else(
    talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = Spy.saying(SURE, LONG, SURE)
    step, calls = Scripted._play, 0

    def play(self: Scripted, *args: Any) -> Iterator[Any]:
        nonlocal calls
        calls += 1
        for number, event in enumerate(step(self, *args)):
            if calls == 2 and number == 4:
                os.kill(os.getpid(), signal.SIGINT)
            yield event

    monkeypatch.setattr(Scripted, "_play", play)
    before = signal.getsignal(signal.SIGINT)
    chat = talk(backend, "one?", "two?", "three?")
    assert signal.getsignal(signal.SIGINT) is before
    stopped = chat.conversation.exchanges[1]
    assert stopped.stopped and not stopped.result.shown
    assert stopped.result.verdict == "unscored"
    assert 0 < len(stopped.result.trace) < len(LONG)
    assert "this question and its answer are not remembered" in seen(chat)
    assert [content for _, content in backend.prompt] == ["one?", "Paris", "three?"]


def test_a_stopped_retry_is_a_stopped_answer() -> None:
    backend = Scripted.saying(GUESSED, LONG)
    policy = Policy(detector="nll:max", warn=1, abstain=2, retries=1)
    cancel = CancelToken()
    for event in Guard(backend, policy).stream("one?", cancel=cancel):
        if getattr(event, "attempt", 0) == 1:
            cancel.cancel()
    conversation = Conversation(backend, Request.chat("?"))
    assert conversation.add("one?", event.result).stopped  # type: ignore[union-attr]
    assert conversation.remembered == []


def test_why_shows_the_signals_of_the_last_answer(talk: Talk) -> None:
    chat = talk(Scripted.saying(SURE), "/why", "one?", "/why")
    text = seen(chat)
    assert "nothing has been answered yet" in text
    assert "exact answer: Paris" in text
    assert "spilled E" in text
    assert text.count("✓ accept") == 2


@pytest.mark.parametrize("line", ["/exit", "/", "/why?", "/Save x"])
def test_an_unknown_command_says_what_there_is(talk: Talk, line: str) -> None:
    chat = talk(Scripted.saying(), line)
    for name in ("/why", "/save FILE", "/help", "/quit"):
        assert name in seen(chat)


def test_help_and_quit(talk: Talk) -> None:
    chat = talk(Scripted.saying(), "/help", "/quit", "one?")
    assert "/save FILE  write the conversation" in seen(chat)
    assert "error" not in seen(chat)
    assert chat.conversation.exchanges == []


def test_a_space_before_a_slash_makes_a_question_and_blank_lines_none(talk: Talk) -> None:
    chat = talk(Scripted.saying(SURE), "", "  ", " /etc is what?")
    assert [exchange.question for exchange in chat.conversation.exchanges] == ["/etc is what?"]


def test_save_writes_one_json_object_and_never_over_a_file(talk: Talk, tmp_path: Path) -> None:
    path = tmp_path / "a chat [1].json"
    backend = Scripted.saying(SURE, GUESSED)
    system = (Message("system", "Be short."),)
    save = f"/save {path}"
    chat = talk(backend, "one?", "two?", save, save, "/save", "/save /nowhere/x", system=system)
    saved = json.loads(path.read_text())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600, "it holds what was asked"
    assert (saved["schema"], saved["system"]) == (1, "Be short.")
    assert [exchange["question"] for exchange in saved["exchanges"]] == ["one?", "two?"]
    results = [exchange["result"] for exchange in saved["exchanges"]]
    assert [result["verdict"] for result in results] == ["accept", "abstain"]
    assert results[1]["answer"] == "Nice"
    text = " ".join(seen(chat).split())
    assert text.count("as one JSON object") == 1
    assert "exists already" in text
    assert "/save needs the name of a file" in text
    assert "cannot write /nowhere/x: No such file or directory" in text


def test_a_disk_that_is_full_leaves_no_half_a_file(
    talk: Talk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.json"
    real = Path.open

    def full(self: Path, *args: Any, **kwargs: Any) -> Any:
        real(self, *args, **kwargs).close()
        return real(Path("/dev/full"), "w")

    monkeypatch.setattr(Path, "open", full)
    chat = talk(Scripted.saying(SURE), "one?", f"/save {path}")
    assert "No space left" in " ".join(seen(chat).split())
    assert not path.exists()


def test_what_a_model_writes_cannot_steer_the_terminal(talk: Talk) -> None:
    chat = talk(Scripted.saying([("\x1b[2J", 0.9), ("[bold]", 0.9)]), "one?", "/\x1b[2J")
    assert "\x1b" not in seen(chat)
    assert "[bold]" in seen(chat)
