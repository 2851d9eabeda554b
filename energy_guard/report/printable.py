"""The one filter between texts of others and a terminal.

Names, keys, questions and answers come from files and models: an escape sequence in one of them
could rename the window, hide a line or write another one.
"""

from __future__ import annotations

import re
from typing import Final

_STEERING: Final = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f"  # controls of both kinds, but for the tab and the line's end
    r"\u2028-\u202e\u2066-\u206f"  # separators of lines; what turns the direction of what follows
    r"\ufff9-\ufffb"  # what hides a text behind another one
    r"\ud800-\udfff]"  # halves of characters, which no stream can write
)
"""What moves the cursor, starts a sequence of a terminal, or makes text look like another one."""

_WINDOWS_LINE: Final = "\r\n"
_LINES: Final = re.compile(r"\s*[\n\t]\s*")


def printable(text: str) -> str:
    r"""Return a text without the characters that would steer a terminal: U+FFFD stands for each.

    Lines, tabs, spaces of every width, joiners and marks of direction stay, for emoji and many
    scripts need them; only what turns the direction of other text goes.

    >>> printable("a\x1b[2Jb\r\n")
    'a\ufffd[2Jb\n'
    """
    return _STEERING.sub("\ufffd", text.replace(_WINDOWS_LINE, "\n"))


def printable_line(text: str) -> str:
    r"""Return a name as one line, so that it cannot pass for a line of ours.

    >>> printable_line("model\n✓ accept")
    'model ✓ accept'
    """
    return _LINES.sub(" ", printable(text))


def printable_json(text: str) -> str:
    r"""Return JSON text with those characters escaped as JSON does: it reads as the same value.

    >>> printable_json('"\x9b2J"')
    '"\\u009b2J"'
    """
    return _STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
