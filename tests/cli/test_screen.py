"""Nothing that the program prints steers a terminal, whoever wrote it."""

from __future__ import annotations

import ast
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import gguf
import pytest
from rich.progress import MofNCompleteColumn
from rich.table import Table
from rich.text import Text
from tiny_gguf import write_tiny_gguf

import energy_guard
from energy_guard.cli import screen
from energy_guard.cli.screen import Console, Errors, say, say_json, tell
from energy_guard.report.printable import printable, printable_json

PROGRAM = str(Path(sys.executable).with_name("energy-guard"))
HOSTILE = (
    "\x1b]0;title\x07",
    "\x1b[2J",
    "\x9b2J",
    "\x9d8;;http://a.example\x9c",
    "\x1b]8;;http://a.example\x1b\\",
    "a\rb",
    "\x08\x08",
    "\u202eabc",
    "\u2066abc",
    "\u2028",
    "\x7f",
)
STEERING = [c for text in HOSTILE for c in text if not c.isprintable()]
MARKUP = ("[bold]", "[/]", "[/nope]", "[link=http://a.example]b[/link]", ":smile:")


def harmless(text: str) -> bool:
    return not any(character in text for character in STEERING)


@pytest.mark.parametrize("text", HOSTILE)
def test_the_filter_leaves_nothing_that_steers(text: str) -> None:
    assert harmless(printable(f"x{text}y"))
    assert printable(f"x{text}y").startswith("x")
    assert printable(f"x{text}y").endswith("y")


@pytest.mark.parametrize(
    "text",
    [
        "two\nlines\tand a tab",
        "👩‍👩‍👧 🏴󠁧󠁢󠁥󠁮󠁧󠁿 ❤️ 👍🏽",
        "نص عربي‌ها \u200fעברית\u200e",
        "12\u202f000\u00a0km　東京",
        "\u0e2a\u200b\u0e27",
        "e\u0301 ½ ﷺ",
    ],
)
def test_the_filter_keeps_what_people_read(text: str) -> None:
    assert printable(text) == text


def test_lines_of_windows_are_lines() -> None:
    assert printable("a\r\nb") == "a\nb"


@pytest.mark.parametrize("text", [*HOSTILE, "\ud800"])
def test_json_is_escaped_and_reads_as_the_same_value(text: str) -> None:
    raw = json.dumps({text: [text]}, ensure_ascii=False)
    assert harmless(printable_json(raw))
    assert json.loads(printable_json(raw)) == {text: [text]}


def shown(thing: Any, **options: Any) -> str:
    file = io.StringIO()
    Console(file=file, width=200, **options).print(thing)
    return file.getvalue()


def table_of(text: str) -> Table:
    table = Table(text, title=text)
    table.add_row(text)
    return table


@pytest.mark.parametrize("text", HOSTILE)
def test_a_console_filters_texts_tables_and_titles(text: str) -> None:
    assert harmless(shown(text))
    assert harmless(shown(Text(text, "bold")))
    assert harmless(shown(table_of(text)))


def test_a_console_keeps_its_own_colours() -> None:
    seen = shown(Text("a\x1b[2Jb", "bold"), force_terminal=True, color_system="standard")
    assert seen == "\x1b[1ma\ufffd[2Jb\x1b[0m\n"


@pytest.mark.parametrize("text", MARKUP)
def test_what_looks_like_markup_is_shown_as_it_is(text: str) -> None:
    assert text in shown(text)
    assert text in shown(table_of(text))


@pytest.mark.parametrize("text", [*HOSTILE, *MARKUP])
@pytest.mark.parametrize("terminal", [True, False])
def test_bars_are_filtered_and_no_markup(
    text: str, terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = io.StringIO()

    def console(**options: Any) -> Console:
        return Console(**options, file=file, width=200, force_terminal=terminal, color_system=None)

    monkeypatch.setattr(screen, "Console", console)
    with screen.progress(MofNCompleteColumn()) as bars:
        list(bars.track([1], description=f"x{text}y"))
    own = re.compile(r"\x1b\[(?:\?25[lh]|2K|1A)|\r")  # of the bar itself, in a terminal
    seen = own.sub("", file.getvalue())
    assert harmless(seen)
    assert text in seen or not text.isprintable()


def test_say_and_tell_write_filtered_lines(capsys: pytest.CaptureFixture[str]) -> None:
    say("a\x1b[2J\nb")
    tell("c\x9b2J")
    say_json({"d": "\x9b"})
    seen = capsys.readouterr()
    assert seen.out == 'a\ufffd[2J\nb\n{"d": "\\u009b"}\n'
    assert seen.err == "c\ufffd2J\n"


def test_what_others_write_to_standard_error_is_filtered() -> None:
    below = io.StringIO()
    errors = Errors(below)
    print("\x1b[31mred\x1b[0m \x1b]0;title\x07", file=errors)
    errors.writelines(["\u202eabc"])
    assert below.getvalue() == "red \ufffd]0;title\ufffd\n\ufffdabc"


def test_bars_of_others_can_go_back_in_their_line_and_nowhere_else() -> None:
    below = io.StringIO()
    errors = Errors(below)
    for text in ("\r 10%|█  | model\x1b[2J.gguf\r", "\n", "\x1b[A\x1b[A", "\x1b[A\x1b[2J"):
        errors.write(text)
    assert below.getvalue() == (
        "\r 10%|█  | model\ufffd[2J.gguf\ufffd\n\x1b[A\x1b[A\ufffd[A\ufffd[2J"
    )


CHILDREN = {
    "backends/constraint_trial.py",
    "backends/llama_cpp/trial.py",
    "cli/bench_memory.py",
}
"""Programs of their own, whose output the program reads."""


def test_nothing_is_printed_past_the_filter() -> None:
    folder = Path(energy_guard.__file__).parent
    for path in folder.rglob("*.py"):
        name = path.relative_to(folder).as_posix()
        if name in {"cli/screen.py", *CHILDREN}:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in ("print", "typer.echo", "typer.secho", "rich.print"), name
                assert not called.endswith(("stdout.write", "stderr.write")), name
            if isinstance(node, ast.ImportFrom) and node.module in (
                "rich.console",
                "rich.progress",
            ):
                taken = {alias.name for alias in node.names}
                if name.startswith("cli/") and name != "cli/wrap.py":  # it is given a console
                    assert not taken & {"Console", "Progress", "track"}, name


def run(*args: str | Path, **options: Any) -> subprocess.CompletedProcess[bytes]:
    options.setdefault("stdout", subprocess.PIPE)
    return subprocess.run([PROGRAM, *args], stderr=subprocess.PIPE, timeout=120, **options)


TITLE = "\x1b]0;title\x07"


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model whose name is a sequence for the terminal, and a mistake in markup."""
    path = tmp_path_factory.mktemp("model") / "[red]x[nope].gguf"
    named = gguf.GGUFWriter.add_name
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gguf.GGUFWriter, "add_name", lambda self, _: named(self, f"[/nope]{TITLE}"))
        write_tiny_gguf(path, eos_bias=1.0)
    return path


@pytest.mark.parametrize(
    "args", [("doctor",), ("bench", "--pairs", "2", "--tokens", "16"), ("chat",), ("ask", "Hi")]
)
def test_the_name_of_a_model_steers_no_command(named: Path, args: tuple[str, ...]) -> None:
    done = run(*args, "--model", named, input=b"Hi\n")
    seen = (done.stdout + done.stderr).decode()
    assert "Traceback" not in seen
    assert done.returncode in (0, 3), seen
    assert harmless(seen)
    assert "[/nope]" in seen or args[0] == "ask"


@pytest.mark.slow
def test_keys_files_and_tasks_steer_no_command(named: Path, tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text('"\\u001b]0;title\\u0007" = 1')
    (tmp_path / "profile.json").write_text(json.dumps({f"{TITLE}[/nope]": 1}))
    rows = [
        {"id": f"{TITLE}{n}", "task": f"[/nope]{TITLE}\nt", "question": f"q{n}{TITLE}?"}
        | {"answers": [f"a{TITLE}"]}
        for n in range(2)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    model = ("--model", named)
    for args in (
        ("ask", "Hi", "--model", tmp_path / f"x{TITLE}[/nope].gguf"),
        ("ask", "Hi", *model, "--policy", tmp_path / "policy.toml"),
        ("ask", "Hi", *model, "--profile", tmp_path / "profile.json"),
        ("ask", "Hi", *model, "--n-threads", TITLE),
        ("eval", tmp_path / "rows.jsonl", *model, "--out", tmp_path / "out"),
        ("label", tmp_path / "out"),
    ):
        done = run(*args, input=b"r\nq\n")
        seen = (done.stdout + done.stderr).decode()
        assert "Traceback" not in seen, args
        assert harmless(seen), args
        assert done.returncode == (0 if args[0] in ("eval", "label") else 2), seen


def test_standard_output_that_is_closed_is_an_error(named: Path) -> None:
    done = subprocess.run(
        ["sh", "-c", f'"{PROGRAM}" ask Hi --model "$0" >&-', named],
        stderr=subprocess.PIPE,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(b"energy-guard: standard output is closed\n")


@pytest.mark.parametrize("closed", ["<&-", "2>&-"])
def test_other_streams_may_be_closed(named: Path, closed: str) -> None:
    done = subprocess.run(
        ["sh", "-c", f'"{PROGRAM}" ask Hi --model "$0" {closed}', named],
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode in (0, 3)
    assert done.stdout
    assert b"Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize("args", [("--version",), ("doctor",), ("chat",), ("--help",)])
def test_a_full_disk_ends_every_command_with_its_reason(named: Path, args: tuple[str]) -> None:
    more = ("--model", named) if not args[0].startswith("-") else ()
    with Path("/dev/full").open("w") as full:
        done = run(*args, *more, stdout=full, input=b"Hi\n")
    assert done.returncode == 1
    assert b"No space left" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("args", [("--version",), ("doctor",), ("chat",), ("--help",)])
def test_a_closed_pipe_is_quiet_in_every_command(named: Path, args: tuple[str]) -> None:
    more = ("--model", named) if not args[0].startswith("-") else ()
    read, write = os.pipe()
    os.close(read)
    try:
        done = run(*args, *more, stdout=write, input=b"Hi\n")
    finally:
        os.close(write)
    assert b"Traceback" not in done.stderr
    assert b"Broken pipe" not in done.stderr
