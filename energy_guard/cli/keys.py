"""Single keys that a person presses, or lines of a script in their place."""

from __future__ import annotations

import sys
from collections.abc import Collection

import typer

from energy_guard.cli.lines import piped_line
from energy_guard.errors import InputError

END = "q"
"""What the end of the input, Ctrl-C and Ctrl-D count as."""


class Keys:
    """Reads keys: from a terminal without Enter, from a pipe one a line."""

    def next(self, allowed: Collection[str]) -> str | None:
        """Return the next key.

        Returns:
            One of those that are allowed, `END` among them; None if a person pressed another.

        Raises:
            InputError: A line of a script is no key: what followed would go to other answers.
            PromptError: A line is no text.

        """
        if sys.stdin.isatty():
            try:
                key = typer.getchar().lower()
            except (EOFError, KeyboardInterrupt):
                return END
            return key if key in allowed else None
        line = piped_line()
        if line is None:
            return END
        key = line.strip().lower()
        if key not in allowed:
            raise InputError(
                f"{line.strip()!r} is no key here", f"Write one a line: {', '.join(allowed)}."
            )
        return key
