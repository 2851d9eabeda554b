from __future__ import annotations

import io
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tiny_gguf import write_tiny_gguf

from energy_guard import Guard, Message, Policy, Request
from energy_guard.backends import Script, Scripted
from energy_guard.backends.locks import lock_of
from energy_guard.cli import chat as chat_module
from energy_guard.cli.chat import Chat
from energy_guard.cli.wrap import WordWrap
from energy_guard.conversation import Conversation
from energy_guard.log import read_log
from energy_guard.request import CancelToken

PROGRAM = str(Path(sys.executable).with_name("energy-guard"))
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
        ("user", "three?"),
        ("assistant", Policy().abstention_text),
        ("user", "four?"),
    ]


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


@pytest.mark.parametrize(
    ("pieces", "lines"),
    [
        (["aaa", " bbb", " cc", "cc"], ["aaa bbb", "cccc"]),
        (["aaaa", " bbbbb", " c"], ["aaaa bbbbb", "c"]),
        (["aaaa", " bbbbb", "b c"], ["aaaa", "bbbbbb c"]),
        (["aaaaaaaaa", "aaaaaa bb"], ["aaaaaaaaaaaaaaa bb"]),  # the terminal breaks it
        (["日本語", "日本語"], ["日本語", "日本語"]),
        (["aaa", "\n\n", "  b"], ["aaa", "", "  b"]),
        (["aa", "\tb"], ["aa        ", "b"]),
        ([], [""]),
    ],
)
def test_words_are_not_broken_at_the_edge(pieces: list[str], lines: list[str]) -> None:
    file = io.StringIO()
    wrap = WordWrap(Console(file=file, width=10, force_terminal=True, color_system=None))
    for piece in pieces:
        wrap.write(piece)
    wrap.new_line()
    shown = [line.rstrip() if line.strip() else line for line in file.getvalue().split("\n")]
    assert shown == [*(line.rstrip() for line in lines), ""]


def test_elsewhere_lines_are_as_long_as_they_are() -> None:
    file = io.StringIO()
    wrap = WordWrap(Console(file=file, width=10))
    for piece in ("[b]aaa", " bbbbbbbbbb", " ccc "):
        wrap.write(piece, "green")
    assert file.getvalue() == "[b]aaa bbbbbbbbbb ccc "


# In a process of its own


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model that never ends by itself."""
    return write_tiny_gguf(tmp_path_factory.mktemp("model") / "endless.gguf", eos_bias=-50.0)


@pytest.fixture
def lax(tmp_path: Path) -> Path:
    """A policy that shows everything, with a warning."""
    path = tmp_path / "lax.toml"
    path.write_text('detector = "nll:max"\nwarn = -1\nunscored = "show"\n')
    return path


def run(lines: bytes, *args: str | bytes | Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [PROGRAM, "chat", *args], input=lines, capture_output=True, timeout=120, check=False
    )


def test_piped_lines_are_answered_one_after_the_other(model: Path, lax: Path) -> None:
    args = ("--model", model, "--max-tokens", "6", "--policy", lax)
    done = run(b"Hi\n\ncaf\xe9\n/foo\nAnd?", *args)
    assert done.returncode == 0
    assert len(done.stdout.decode().splitlines()) == 2, "answers only"
    notes = done.stderr.decode()
    assert notes.count("! warn") == 2
    assert "uncalibrated" in notes
    assert "not valid UTF-8" in notes
    assert "there is no /foo" in notes
    assert "> " not in notes and "Traceback" not in notes


def test_an_abstention_is_no_failure_of_a_chat(model: Path, tmp_path: Path) -> None:
    policy = tmp_path / "strict.toml"
    policy.write_text('detector = "nll:max"\nwarn = -2\nabstain = -1\nabstention_text = "No."\n')
    done = run(b"Hi\n", "--model", model, "--max-tokens", "4", "--policy", policy)
    assert (done.returncode, done.stdout) == (0, b"No.\n")


def test_no_lines_are_no_questions(model: Path) -> None:
    done = run(b"", "--model", model)
    assert (done.returncode, done.stdout) == (0, b"")


def test_overflow_is_said_and_a_long_message_refused(model: Path, lax: Path) -> None:
    args = ("--model", model, "--max-tokens", "40", "--policy", lax, "--n-ctx", "256")
    done = run(b"%s\n" * 4 % (b"a" * 60, b"b" * 60, b"c" * 300, b"d" * 60), *args)
    assert done.returncode == 0
    notes = done.stderr.decode()
    assert "oldest turn forgotten: the context of 256 tokens is full" in notes
    assert "tokens and the context holds 256" in notes
    assert done.stdout.count(b"\n") >= 3
    assert notes.count("! warn") == 3


@pytest.mark.parametrize("private", [False, True])
def test_every_answer_is_logged(model: Path, lax: Path, tmp_path: Path, private: bool) -> None:
    log = tmp_path / "log.jsonl"
    args = ("--model", model, "--max-tokens", "4", "--policy", lax, "--log", log)
    done = run(b"Hi\nAnd?\n", *args, *["--log-private"] * private)
    assert done.returncode == 0, done.stderr
    entries = list(read_log(log))
    assert [entry.question for entry in entries] == (["", ""] if private else ["Hi", "And?"])
    assert [entry.has_texts for entry in entries] == [not private] * 2


@pytest.mark.parametrize(
    ("args", "named"),
    [
        (["--model", "nowhere.gguf"], "nowhere.gguf"),
        (["--max-tokens", "0"], "max_tokens is 0"),
        (["--temperature", "-1"], "temperature"),
        (["--system", b"\xff"], "UTF-8"),
        (["--stop", ""], "stop"),
        (["--detector", "delta:max"], "delta"),
        (["--policy", "no.toml"], "no.toml"),
        (["--log", "/nowhere/log.jsonl"], "/nowhere/log.jsonl"),
        (["--log-private"], "--log FILE"),
        (["--model", "MODEL", "--n-ctx", "256", "--system", "x" * 300], "system message"),
        (["Hi"], "Hi"),
    ],
    ids=lambda value: None if isinstance(value, str) else str(value[0]),
)
def test_bad_use_is_refused_at_the_start(
    model: Path, args: Sequence[str | bytes], named: str
) -> None:
    done = run(b"Hi\n", *[model if arg == "MODEL" else arg for arg in args])
    assert done.returncode == 2
    assert named in done.stderr.decode()
    assert b"Traceback" not in done.stderr
    assert done.stdout == b""


def test_a_model_without_a_chat_template_is_refused_at_the_start(tmp_path: Path) -> None:
    bare = write_tiny_gguf(tmp_path / "bare.gguf", chat_template=None)
    done = run(b"Hi\n", "--model", bare)
    assert done.returncode == 2
    assert b"no chat template" in done.stderr


# In a terminal


class Terminal:
    """The program in a terminal of its own."""

    def __init__(self, *args: str | Path) -> None:
        self.seen = b""
        self.pid, self._fd = pty.fork()
        if self.pid == 0:  # pragma: no cover
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.environ |= {"TERM": "xterm", "COLUMNS": "80"}
            os.execv(PROGRAM, [PROGRAM, "chat", *map(str, args)])

    def type(self, keys: str) -> None:
        """Press keys; forget what was on the screen before."""
        self.seen = b""
        os.write(self._fd, keys.encode())

    def wait_for(self, *texts: str, limit_s: float = 60) -> str:
        """Read until these texts have appeared, in this order."""
        end = time.monotonic() + limit_s
        while not in_order(self.seen, texts):
            assert time.monotonic() < end, self.seen.decode(errors="replace")
            if select.select([self._fd], [], [], 0.1)[0]:
                self.seen += os.read(self._fd, 4096)
        return self.seen.decode(errors="replace")

    def leave(self) -> int:
        """Read to the end; the exit status."""
        with suppress(OSError):  # Linux reports the end as an error
            while more := os.read(self._fd, 4096):
                self.seen += more
        os.close(self._fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def in_order(seen: bytes, texts: Sequence[str]) -> bool:
    at = 0
    for text in texts:
        found = seen.find(text.encode(), at)
        if found < 0:
            return False
        at = found + len(text.encode())
    return True


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def open_one(*args: str | Path) -> Terminal:
        opened.append(Terminal(*args))
        opened[-1].wait_for("/help says", "> ")
        return opened[-1]

    yield open_one
    for one in opened:
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(one.pid, signal.SIGKILL)
            os.waitpid(one.pid, 0)


def test_ctrl_c_while_the_model_writes_and_then_another_question(
    model: Path, lax: Path, terminal: Callable[..., Terminal], tmp_path: Path
) -> None:
    args = ("--model", model, "--max-tokens", "100000", "--policy", lax)
    one = terminal(*args, "--stop", "\n")
    one.type("Hi\r")
    one.wait_for("Hi\r\n", "\x1b[")
    time.sleep(0.2)
    one.type("\x03")
    one.wait_for("unscored", "cancelled", "not remembered", "> ")
    path = tmp_path / "chat.json"
    one.type(f"/save {path}\r")
    one.wait_for("saved to", "> ")
    first = json.loads(path.read_text())["exchanges"][0]
    assert (first["remembered"], first["result"]["finish_reason"]) == (False, "cancelled")
    assert 0 < first["result"]["content_end"] < 2000
    one.type("half a line")
    one.wait_for("half a line")
    one.type("\x03")
    one.wait_for("> ")
    one.type("And you?\r")
    time.sleep(0.2)
    one.type("\x03")
    one.wait_for("not remembered", "> ")
    one.type("\x03")
    assert one.leave() == 0
    assert b"Traceback" not in one.seen


@pytest.mark.parametrize("keys", ["\x03", "\x04", "/quit\r"])
def test_ways_to_leave(model: Path, terminal: Callable[..., Terminal], keys: str) -> None:
    one = terminal("--model", model)
    one.type(keys)
    assert one.leave() == 0
    assert b"Traceback" not in one.seen and b"Abort" not in one.seen


@pytest.mark.model
def test_ctrl_c_while_a_long_prompt_is_read(
    terminal: Callable[..., Terminal], tmp_path: Path
) -> None:
    """A prompt of thousands of tokens takes many seconds; stopping it takes none of them."""
    system = "word " * 6000
    one = terminal("--system", system, "--n-ctx", "8192", "--max-tokens", "4", "--n-threads", "1")
    one.type("Hi\r")
    one.wait_for("Hi\r\n")
    time.sleep(0.5)
    before = time.monotonic()
    one.type("\x03")
    one.wait_for("cancelled", "not remembered", "> ")
    assert time.monotonic() - before < 5
    path = tmp_path / "chat.json"
    one.type(f"/save {path}\r")
    one.wait_for("saved to", "> ")
    result = json.loads(path.read_text())["exchanges"][0]["result"]
    assert (result["finish_reason"], result["tokens"]) == ("cancelled", [])
    one.type("\x04")
    assert one.leave() == 0


@pytest.mark.model
def test_the_model_sees_what_was_said_before() -> None:
    lines = b"What is the capital of France?\nRepeat your last answer.\n"
    done = run(lines, "--system", "Answer in one short sentence.", "--max-tokens", "24")
    assert done.returncode == 0
    first, second = done.stdout.decode().splitlines()
    assert "Paris" in first
    assert "Paris" in second
