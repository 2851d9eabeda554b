"""A real session in a terminal, and the picture of it that the README shows.

    python -m benchmarks.picture --out docs/pictures/chat.svg -- energy-guard chat --model MODEL \
        --system 'Answer in one short sentence.' < questions.txt

Each line of standard input is typed at the program's prompt. The picture needs no other file: the
fonts are those of whoever looks at it.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import pty
import re
import shlex
import struct
import subprocess
import sys
import termios
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Final

from rich.ansi import AnsiDecoder
from rich.console import Console
from rich.terminal_theme import NIGHT_OWLISH

from energy_guard.files import write_whole

WIDTH: Final = 100

_PROMPT: Final = b"\n> "
_CONTROL: Final = re.compile(rb"\x1b\[\?\d+[hl]|\x1b\[K|\x07|\r")  # of the line editor
_COLOURS: Final = re.compile(r"\x1b\[[\d;]*m")
_FONT: Final = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


def session(command: Sequence[str], typed: Sequence[str] = ()) -> str:
    """Run a program in a terminal of its own; return what was on the screen, colours included.

    Args:
        command: The program and its arguments.
        typed: The lines to type, each when the prompt is there. Ctrl-D is typed after the last.

    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, WIDTH, 0, 0))
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": str(WIDTH)}
    keys = [line.encode() + b"\n" for line in typed] + [b"\x04"] * bool(typed)
    seen = b""
    with subprocess.Popen(  # noqa: S603
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True
    ):
        os.close(theirs)
        while chunk := _read(ours):
            seen = _CONTROL.sub(b"", seen + chunk)
            if keys and seen.endswith(_PROMPT):
                os.write(ours, keys.pop(0))
    os.close(ours)
    return seen.decode()


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, 65_536)
    except OSError:  # how Linux says that nobody has the other end any more
        return b""


def plain(screen: str) -> str:
    """Return the text of a session without its colours and the blanks at the ends of lines."""
    return "\n".join(line.rstrip() for line in _COLOURS.sub("", screen).splitlines())


def picture(screen: str, title: str) -> str:
    """Draw a session as SVG, without the prompt that was left with Ctrl-D."""
    console = Console(width=WIDTH, record=True, file=StringIO())
    for line in AnsiDecoder().decode(screen.removesuffix("> \n")):
        console.print(line)
    drawn = console.export_svg(title=title, theme=NIGHT_OWLISH, unique_id="session")
    return _FONT.sub("", drawn)  # rich would load them from a server


def main() -> None:
    """Run the program, type what stands in standard input, and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", nargs="+", help="the program and its arguments, after --")
    parser.add_argument("--out", type=Path, required=True, help="the file for the picture")
    parser.add_argument("--title", help="above the picture; the command unless given")
    args = parser.parse_args()
    typed = [line.strip() for line in sys.stdin if line.strip()]
    screen = session(args.command, typed)
    write_whole(args.out, picture(screen, args.title or shlex.join(args.command)))


if __name__ == "__main__":
    main()
