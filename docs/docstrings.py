"""How the reference reads docstrings."""

from __future__ import annotations

import re
from typing import Any, Final

import griffe

_EXAMPLE: Final = re.compile(r"^>>> .*(?:\n.+)*", re.MULTILINE)
"""From the first prompt to the next empty line, as doctest has it."""


_SPECIAL: Final = re.compile(r"__(?!init__)\w+__")


class Docstrings(griffe.Extension):
    """Shows examples as code (in Markdown `>>>` is a quotation), and no `__repr__` and its like."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the docstring of a module, class, function or attribute."""
        if obj.docstring:
            text = obj.docstring.value
            obj.docstring.value = _EXAMPLE.sub(r"```pycon\n\g<0>\n```", text)

    def on_class_members(self, *, cls: griffe.Class, **_: Any) -> None:
        """Leave out what Python calls by itself."""
        for name in [name for name in cls.members if _SPECIAL.fullmatch(name)]:
            cls.del_member(name)
