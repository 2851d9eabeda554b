"""Where reasoning stands in a text: the marks that models of all families put around it.

Only here are they known: for whole texts, for texts that are being written, and for prompts.
"""

from __future__ import annotations

import codecs
import re
from functools import lru_cache
from typing import Final

from energy_guard.text import Range, merged

REASONING_TAGS: Final = (
    "think", "thinking", "thought", "reasoning", "reason", "seed:think", "mm:think",
)  # fmt: skip
"""Names of the tags, <think> and the like, that models put around their reasoning."""

_MARKS: Final = re.compile(
    rf"<(?P<end1>/?)(?P<tag>{'|'.join(map(re.escape, REASONING_TAGS))})>"
    r"|\[(?P<end2>/?)(?P<box>THINK)\]"
    r"|(?P<end3>◁/)?(?(end3)|◁)(?P<kimi>think)▷"
    r"|<\|(?:(?P<begin4>START|begin_of)|END|end_of)_(?P<bars>THINKING|thought)\|>"
    r"|<\|?channel\|?>\s*(?P<channel>analysis|commentary|thought|final)\s*(?:<\|message\|>)?"
    r"|(?P<end6><channel\|>)"
)
_MARKS_BEGIN: Final = "<[◁"
"""What marks begin with: looking for these alone takes next to no time."""
_FINAL_AS_TEXT: Final = re.compile(r"assistant\s*final")
_CHANNELS_AS_TEXT: Final = re.compile(rf"\Aanalysis(?=.*?({_FINAL_AS_TEXT.pattern}))", re.DOTALL)
_LONGEST_MARK: Final = 64
"""Characters, and more than any mark has unless it is blown up with blanks."""


def reasoning(text: str, is_open: bool = False) -> list[Range]:
    """Return where reasoning stands, tags included.

    It begins with the text where only its end is there (chat templates may write the opening
    tag into the prompt), and runs to the end of the text if it is not closed. Each family of
    marks is closed by its own; channels are closed by the final one.

    >>> reasoning("<think>Lyon?</think>Paris")
    [(0, 20)]
    """
    return list(_reasoning(text, is_open))


@lru_cache(maxsize=8)
def _reasoning(text: str, is_open: bool) -> tuple[Range, ...]:
    """As `reasoning`: every sentence and every claim of an answer asks for it again."""
    ranges: list[Range] = []
    as_text = _CHANNELS_AS_TEXT.match(text)
    if as_text:
        ranges.append((0, as_text.end(1)))
    marks = _Marks(is_open)
    has_marks = any(begin in text for begin in _MARKS_BEGIN)
    for mark in _MARKS.finditer(text) if has_marks else ():
        closed = marks.read(mark)
        if closed is not None:
            ranges.append((closed, mark.end()))
    if marks.opened is not None:
        ranges.append((marks.opened, len(text)))
    return tuple(merged(ranges))


class _Marks:
    """Reads the marks of reasoning in order; opened: where it began, None outside of it."""

    def __init__(self, is_open: bool) -> None:
        self.opened: int | None = 0 if is_open else None
        self._family = ""  # of marks that the prompt opened: any mark may close them

    def read(self, mark: re.Match[str]) -> int | None:
        """Take the next mark; return where the reasoning began that it ends, if it ends any."""
        own, closes = _family(mark)
        if self.opened is None and not closes:
            self.opened, self._family = mark.start(), own
        elif closes and (self.opened is None or self._family in ("", own)):
            began, self.opened = self.opened or 0, None
            return began
        return None


class ReasoningStream:
    """Tells of each token whether it stands in reasoning, while the text is being written.

    It knows the marks that `reasoning` knows. A text that begins with "analysis" may turn out to be
    reasoning by the words that end it, and counts as such until then.

    >>> stream = ReasoningStream()
    >>> [stream.push(piece) for piece in (b"[THINK]", b"Lyon?", b"[/THINK]", b"Paris")]
    [True, True, True, False]
    """

    def __init__(self, is_open: bool = False) -> None:
        self._marks = _Marks(is_open)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._tail = ""
        self._read = 0  # characters of the tail before which every mark was read
        self._as_text = self._at_start = True

    def push(self, piece: bytes) -> bool:
        """Take the next token; return whether any of it belongs to reasoning."""
        self._tail += self._decoder.decode(piece)
        inside = self._is_analysis() or self._marks.opened is not None
        for mark in _MARKS.finditer(self._tail, self._read):
            inside |= self._marks.read(mark) is not None
            self._read = mark.end()
        inside |= self._marks.opened is not None
        cut = max(0, len(self._tail) - _LONGEST_MARK)
        self._tail, self._read = self._tail[cut:], max(0, self._read - cut)
        return inside

    def _is_analysis(self) -> bool:
        """Whether the text began with "analysis" and its final part had not begun before."""
        if self._at_start:
            self._as_text = "analysis".startswith(self._tail[:8])
            self._at_start = self._as_text and len(self._tail) < 8
            return self._as_text and not self._at_start
        was, ended = self._as_text, _FINAL_AS_TEXT.search(self._tail)
        self._as_text = was and ended is None
        return was


def without_reasoning(text: str, *, is_open: bool = False) -> str:
    """Return what a text says besides its reasoning; is_open: the prompt ended inside <think>.

    >>> without_reasoning("<think>Lyon?</think> Paris")
    'Paris'
    """
    for start, end in reversed(reasoning(text, is_open)):
        text = text[:start] + " " + text[end:]
    return text.strip()


def opens_reasoning(prompt: str) -> bool:
    r"""Return whether a prompt ends with a mark that begins reasoning, as some templates do.

    >>> opens_reasoning("Which city?<think>\n"), opens_reasoning("<think></think>")
    (True, False)
    """
    *_, last = [None, *_MARKS.finditer(prompt)]
    return last is not None and not _family(last)[1] and not prompt[last.end() :].strip()


def _family(mark: re.Match[str]) -> tuple[str, bool]:
    """Which marks a mark belongs to, and whether it ends reasoning."""
    if mark["tag"]:
        return mark["tag"], bool(mark["end1"])
    if mark["box"]:
        return "box", bool(mark["end2"])
    if mark["kimi"]:
        return "kimi", bool(mark["end3"])
    if mark["bars"]:
        return "bars", not mark["begin4"]
    return "channel", bool(mark["end6"]) or mark["channel"] == "final"
