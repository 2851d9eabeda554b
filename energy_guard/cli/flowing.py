"""Help whose paragraphs fill the terminal: Typer keeps the line breaks of a docstring."""

from __future__ import annotations

import inspect
import re
from typing import Any, Final

from typer.core import TyperCommand

_BREAK: Final = re.compile(r"(?<!\n)\n(?!\n)")
"""The end of a line within a paragraph."""


class FlowingCommand(TyperCommand):
    """A command whose help has one line a paragraph, to be broken where the terminal ends."""

    def __init__(self, *args: Any, help: str | None = None, **settings: Any) -> None:
        text = inspect.cleandoc(help or "")
        super().__init__(*args, help=_BREAK.sub(" ", text), **settings)
