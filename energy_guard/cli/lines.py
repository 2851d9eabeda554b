"""Lines that a user types or a program pipes in, and Ctrl-C between them."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Final

from energy_guard.cli.options import decode_input
from energy_guard.cli.screen import say
from energy_guard.errors import PromptError
from energy_guard.request import CancelToken

Read = Callable[[], str | None]
"""Returns the next line, None at the end; PromptError for a line that is no text."""

PROMPT: Final = "> "


def piped_line() -> str | None:
    """Read a line from standard input, whatever that is."""
    raw = sys.stdin.buffer.readline()
    return decode_input(raw) if raw else None


def typed_line() -> str | None:
    """Let the user edit a line, with those before it at hand where `readline` exists.

    Ctrl-C clears a line that has begun, and ends an empty one as Ctrl-D does.
    """
    editor = _editor()
    while True:
        try:
            return input(PROMPT)
        except UnicodeDecodeError as error:
            raise PromptError("what was typed is not valid UTF-8") from error
        except EOFError:
            say()
            return None
        except KeyboardInterrupt:
            say()
            if editor is None or not editor.get_line_buffer():
                return None


def _editor() -> ModuleType | None:
    """Importing it is what makes `input` edit."""
    try:
        import readline
    except ImportError:  # Windows
        return None
    return readline


@contextmanager
def stoppable() -> Iterator[CancelToken]:
    """Let Ctrl-C cancel the token meanwhile, and do nothing else.

    An exception would get lost in the callback in which llama.cpp asks whether to go on.
    """
    cancel = CancelToken()
    before = signal.signal(signal.SIGINT, lambda _number, _frame: cancel.cancel())
    try:
        yield cancel
    finally:
        signal.signal(signal.SIGINT, before)
