"""The chat as a program: in pipes, and in a terminal of its own."""

from __future__ import annotations

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

import pytest
from tiny_gguf import write_tiny_gguf

from energy_guard.log import read_log

PROGRAM = str(Path(sys.executable).with_name("energy-guard"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model that never ends by itself."""
    return write_tiny_gguf(tmp_path_factory.mktemp("model") / "endless.gguf", eos_bias=-50.0)


@pytest.fixture(scope="module")
def ending(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model whose answers end after a few tokens."""
    return write_tiny_gguf(tmp_path_factory.mktemp("model") / "ending.gguf", eos_bias=1.0)


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


def test_piped_lines_are_answered_one_after_the_other(ending: Path, lax: Path) -> None:
    args = ("--model", ending, "--max-tokens", "40", "--policy", lax)
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
    assert notes.count("the answer is cut off (no more tokens)") == 3


@pytest.mark.parametrize("private", [False, True])
def test_every_answer_is_logged(model: Path, lax: Path, tmp_path: Path, private: bool) -> None:
    log = tmp_path / "log.jsonl"
    args = ("--model", model, "--max-tokens", "4", "--policy", lax, "--log", log)
    done = run(b"Hi\nAnd?\n", *args, *["--log-private"] * private)
    assert done.returncode == 0, done.stderr
    entries = list(read_log(log))
    assert [entry.question for entry in entries] == ([None, None] if private else ["Hi", "And?"])
    assert [entry.texts for entry in entries] == [not private] * 2


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
        (["--model", "MODEL", "--n-ctx", "256", "--system", "x" * 300], "system prompt"),
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
        self._ended = False
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
        assert self._has(texts, limit_s), self.seen.decode(errors="replace")
        return self.seen.decode(errors="replace")

    def interrupt(self, *texts: str) -> None:
        """Press Ctrl-C until these texts appear.

        One that comes in the moment before Python waits for a key is only seen at the next key.
        """
        self.type("\x03")
        while not self._has(texts, limit_s=5):
            os.write(self._fd, b"\x03")

    def leave(self, keys: str) -> int:
        """Press keys, again where they got lost, and read to the end; the exit status."""
        self.type(keys)
        while not self._has(["there is no such text"], limit_s=5) and not self._ended:
            os.write(self._fd, keys.encode())
        os.close(self._fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def _has(self, texts: Sequence[str], limit_s: float) -> bool:
        end = time.monotonic() + limit_s
        while not in_order(self.seen, texts):
            if self._ended or time.monotonic() > end:
                return False
            if select.select([self._fd], [], [], 0.1)[0]:
                try:
                    self.seen += os.read(self._fd, 4096)
                except OSError:  # how Linux reports the end
                    self._ended = True
        return True


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
    one.interrupt("unscored", "cancelled", "not remembered", "> ")
    path = tmp_path / "chat.json"
    one.type(f"/save {path}\r")
    one.wait_for("saved to", "> ")
    first = json.loads(path.read_text())["exchanges"][0]
    assert (first["remembered"], first["result"]["finish_reason"]) == (False, "cancelled")
    assert 0 < first["result"]["content_end"] < 2000
    one.type("half a line")
    one.wait_for("half a line")
    one.interrupt("> ")
    one.type("And you?\r")
    one.wait_for("And you?\r\n")
    time.sleep(0.2)
    one.interrupt("not remembered", "> ")
    assert one.leave("\x03") == 0
    assert b"Traceback" not in one.seen


@pytest.mark.parametrize("keys", ["\x03", "\x04", "/quit\r"])
def test_ways_to_leave(model: Path, terminal: Callable[..., Terminal], keys: str) -> None:
    one = terminal("--model", model)
    assert one.leave(keys) == 0
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
    assert one.leave("\x04") == 0


@pytest.mark.model
def test_the_model_sees_what_was_said_before() -> None:
    lines = b"What is the capital of the United Kingdom?\nRepeat your last answer.\n"
    done = run(lines, "--system", "Answer in one short sentence.", "--max-tokens", "24")
    assert done.returncode == 0
    first, second = done.stdout.decode().splitlines()
    assert "London" in first
    assert "London" in second
