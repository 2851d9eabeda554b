"""How the reference reads docstrings."""

from __future__ import annotations

import re
from typing import Any, Final

import griffe

_EXAMPLE: Final = re.compile(r"^>>> .*(?:\n.+)*", re.MULTILINE)
"""From the first prompt to the next empty line, as doctest has it."""


class Docstrings(griffe.Extension):
    """Shows examples as code (in Markdown `>>>` is a quotation), and no `__repr__` and its like."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the docstring of a module, class, function or attribute."""
        if obj.docstring:
            text = obj.docstring.value
            obj.docstring.value = _EXAMPLE.sub(r"```pycon\n\g<0>\n```", text)
        if obj.is_special:
            obj.public = False
